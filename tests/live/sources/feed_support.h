// A source run by the real runner into a store in memory, for tests of sources against a local server.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/file.h"
#include "live/source.h"
#include "support/feed_server.h"
#include "support/memory_store.h"

namespace fathom::test {

/// Stands where the tests' posts are made; remembers how long it was asked to sleep, and sleeps a moment only.
class PatientClock final : public Clock {
 public:
  explicit PatientClock(Time now) : now_(now) {}
  Time now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  bool sleep(Micros duration, const std::stop_token& stop) const override {
    {
      const std::lock_guard lock(mutex_);
      slept_.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(duration));
      now_ += duration;
    }
    return SystemClock().sleep(std::chrono::milliseconds(2), stop);
  }
  /// All waits so far, in order.
  std::vector<std::chrono::milliseconds> slept() const {
    const std::lock_guard lock(mutex_);
    return slept_;
  }

 private:
  mutable std::mutex mutex_;
  mutable Time now_;
  mutable std::vector<std::chrono::milliseconds> slept_;
};

/// Runs one source at a time; what it kept stays for the next.
class SourceHarness {
 public:
  explicit SourceHarness(const Clock& clock) : clock_(clock) {}

  void start(std::unique_ptr<live::Source> source) {
    live::RunnerOptions options;
    options.flush_interval = std::chrono::milliseconds(1);
    options.cursor_interval = std::chrono::milliseconds(0);
    options.retry_first = options.retry_longest = std::chrono::milliseconds(5);
    name_ = source->name();
    cursors_ = live::open_cursor_file(folder_.path() / "cursors.json");
    runner_ = std::make_unique<live::SourceRunner>(store, *cursors_, clock_, options);
    runner_->add(std::move(source));
  }
  void stop() { runner_.reset(); }

  live::SourceStatus status() const { return runner_->status().at(0); }
  std::string cursor() const { return live::open_cursor_file(folder_.path() / "cursors.json")->load(name_); }
  bool has(const std::string& key) const { return store.find(key).has_value(); }
  bool comes(const std::string& key) const {
    return eventually([&] { return has(key); });
  }
  bool goes(const std::string& key) const {
    return eventually([&] { return !has(key); });
  }
  live::Post post(const std::string& key) const { return store.find(key).value_or(live::Post{}); }
  /// How often a post of this key came.
  size_t times(const std::string& key) const {
    const auto order = store.order();
    return static_cast<size_t>(std::count(order.begin(), order.end(), key));
  }
  bool fails(live::SourceState state, std::string_view with) const {
    return eventually([&] {
      const auto now = status();
      return now.state == state && now.last_error.find(with) != std::string::npos;
    });
  }

  MemoryStore store;

 private:
  const Clock& clock_;
  TempDir folder_;
  std::string name_;
  std::unique_ptr<live::CursorStore> cursors_;
  std::unique_ptr<live::SourceRunner> runner_;
};

}  // namespace fathom::test
