#include "live/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "live/source_state.h"

namespace fathom::live {
namespace {

using std::chrono::milliseconds;

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

bool is_final(ErrorCode code) {
  return code == ErrorCode::kInvalidArgument || code == ErrorCode::kNotFound || code == ErrorCode::kCorrupt ||
         code == ErrorCode::kUnsupported || code == ErrorCode::kUnauthenticated ||
         code == ErrorCode::kPermissionDenied;
}

}  // namespace

std::string_view to_string(SourceState state) {
  switch (state) {
    case SourceState::kConnecting: return "connecting";
    case SourceState::kLive: return "live";
    case SourceState::kWaiting: return "waiting";
    case SourceState::kFinished: return "finished";
    case SourceState::kFailed: return "failed";
    case SourceState::kStopped: return "stopped";
  }
  return "failed";
}

class SourceRunner::State::FeedSink final : public Sink {
 public:
  FeedSink(State& state, Feed& feed, std::stop_token stop)
      : state_(state), feed_(feed), stop_(std::move(stop)) {}

  std::string cursor() const override {
    const std::lock_guard lock(state_.mutex);
    return feed_.cursor;
  }

  bool deliver(Post post) override {
    guard_time(post);
    std::unique_lock lock(state_.mutex);
    if (!wait_for_place(lock)) return false;
    feed_.queue.push_back(std::move(post));
    tell_flusher();
    return true;
  }

  void count(std::string_view key, const CountChange& change) override {
    std::unique_lock lock(state_.mutex);
    if (!wait_for_room(lock)) return;
    const auto [found, is_new] = feed_.counts.try_emplace(std::string(key));
    found->second.likes += change.likes;
    found->second.reposts += change.reposts;
    found->second.replies += change.replies;
    ++feed_.status.counts;
    if (is_new) tell_flusher();
  }

  std::optional<Post> find(std::string_view key) const override { return state_.store.find(key); }

  void remove_author(std::string_view source, std::string_view handle, Time at) override {
    std::unique_lock lock(state_.mutex);
    if (!wait_for_room(lock)) return;
    feed_.removals.push_back({std::string(source), std::string(handle), at});
    tell_flusher();
  }

  void advance(std::string cursor) override {
    const std::lock_guard lock(state_.mutex);
    feed_.cursor = std::move(cursor);
    feed_.cursor_new = true;
    if (!state_.oldest) {  // nothing is queued, but the cursor has to be kept all the same
      state_.oldest = std::chrono::steady_clock::now();
      state_.changed.notify_all();
    }
  }

  void set_live() override {
    const std::lock_guard lock(state_.mutex);
    feed_.status.state = SourceState::kLive;
    feed_.retry_at.reset();
    if (!feed_.live_since) feed_.live_since = state_.clock.now();
  }

  void reject(std::string_view why) override { state_.note_rejection(feed_, why); }

  void warn(std::string_view what) override {
    log().warn("source {}: {}", feed_.source->name(), what);
    const std::lock_guard lock(state_.mutex);
    feed_.status.last_error = what;
  }

 private:
  /// A post from the future would stand above all others until its time has come.
  void guard_time(Post& post) {
    if (post.fiction || post.deleted || feed_.source->replays()) return;
    const Time now = state_.clock.now();
    if (post.created_at <= now + state_.options.future_tolerance) return;
    post.created_at = now;
    const std::lock_guard lock(state_.mutex);
    ++feed_.status.skewed;
  }

  bool wait_for_room(std::unique_lock<std::mutex>& lock) {
    state_.changed.wait(lock, stop_, [&] { return feed_.waiting() < state_.options.queue_posts; });
    return !stop_.stop_requested();
  }

  bool wait_for_place(std::unique_lock<std::mutex>& lock) {
    const SteadyTime now = std::chrono::steady_clock::now();
    const SteadyTime due = feed_.throttle.next(now);
    if (due > now) state_.changed.wait_until(lock, stop_, due, [] { return false; });
    return wait_for_room(lock);
  }

  void tell_flusher() {
    ++state_.queued;
    const bool first = !state_.oldest.has_value();
    if (first) state_.oldest = std::chrono::steady_clock::now();
    if (first || state_.queued == state_.options.batch_posts) state_.changed.notify_all();
  }

  State& state_;
  Feed& feed_;
  const std::stop_token stop_;
};

// --- the source threads -----------------------------------------------------------------------------------------------

void SourceRunner::State::run_feed(Feed& feed, const std::stop_token& stop) {
  FeedSink sink(*this, feed, stop);
  while (const auto wait = attempt(feed, sink, stop)) wait_to_retry(feed, *wait, stop);
}

/// How long to wait until the next attempt; empty: there is to be none.
std::optional<milliseconds> SourceRunner::State::attempt(Feed& feed, FeedSink& sink,
                                                         const std::stop_token& stop) {
  {
    const std::lock_guard lock(mutex);
    feed.status.state = SourceState::kConnecting;
    feed.live_since.reset();
  }
  try {
    feed.source->run(sink, stop);
    end(feed, stop.stop_requested() ? SourceState::kStopped : SourceState::kFinished);
    return {};
  } catch (const RetryAfter& failure) {
    return failed(feed, failure.code(), failure.what(), failure.wait(), stop);
  } catch (const Error& failure) {
    return failed(feed, failure.code(), failure.what(), {}, stop);
  } catch (const std::exception& failure) {  // a defect of the source must not take the others down
    return failed(feed, ErrorCode::kInternal, failure.what(), {}, stop);
  }
}

/// `wait`: as the feed's protocol says.
std::optional<milliseconds> SourceRunner::State::failed(Feed& feed, ErrorCode code, std::string_view error,
                                                        std::optional<milliseconds> wait,
                                                        const std::stop_token& stop) {
  if (stop.stop_requested()) {
    end(feed, SourceState::kStopped);
    return {};
  }
  log().warn("source {}: {}", feed.source->name(), error);
  const bool last = !wait && is_final(code);
  {
    const std::lock_guard lock(mutex);
    ++feed.status.errors[std::string(to_string(code))];
    feed.status.last_error = error;
    if (!last) ++feed.status.reconnects;
    if (feed.live_since && clock.now() - *feed.live_since >= options.healthy_after) feed.backoff.reset();
  }
  if (last) {
    end(feed, SourceState::kFailed);
    return {};
  }
  return wait ? wait : feed.backoff.next();
}

void SourceRunner::State::end(Feed& feed, SourceState final_state) {
  {
    const std::lock_guard lock(mutex);
    feed.status.state = final_state;
    feed.retry_at.reset();
  }
  changed.notify_all();
}

void SourceRunner::State::wait_to_retry(Feed& feed, milliseconds wait, const std::stop_token& stop) {
  {
    const std::lock_guard lock(mutex);
    feed.status.state = SourceState::kWaiting;
    feed.retry_at = clock.now() + wait;
  }
  clock.sleep(wait, stop);
  const std::lock_guard lock(mutex);
  feed.retry_at.reset();
}

// --- the runner -------------------------------------------------------------------------------------------------------

SourceRunner::SourceRunner(Store& store, CursorStore& cursors, const Clock& clock,
                           const RunnerOptions& options)
    : state_(std::make_unique<State>(store, cursors, clock, options)) {
  state_->flusher = std::thread([state = state_.get()] { state->flush_loop(); });
}

SourceRunner::~SourceRunner() { stop(); }

void SourceRunner::add(std::unique_ptr<Source> source, const SourceLimits& limits) {
  const std::string name(source->name());
  if (!is_name(name))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("'{}' cannot name a source: use 1 to 32 of a-z, 0-9, '_' and '-'", name));
  const std::lock_guard lock(state_->mutex);
  if (state_->stopped)
    throw Error(ErrorCode::kCancelled, fmt::format("source '{}' came after the stop", name));
  for (const auto& feed : state_->feeds)
    if (feed->status.name == name)
      throw Error(ErrorCode::kInvalidArgument, fmt::format("there are two sources of the name '{}'", name));
  const auto feed = std::make_shared<State::Feed>(std::move(source), state_->options, limits, state_->added++,
                                                  state_->clock.now());
  feed->cursor = state_->cursors.load(name);
  state_->feeds.push_back(feed);
  feed->thread = std::jthread([state = state_.get(), added = feed.get()](const std::stop_token& stop) {
    state->run_feed(*added, stop);
  });
}

/// The feed's thread has ended when this returns.
void SourceRunner::State::join(Feed& feed) {
  feed.thread.request_stop();
  feed.abandon.request_stop();
  feed.thread.join();
}

bool SourceRunner::remove(std::string_view name) {
  const std::lock_guard one(state_->stopping);
  std::shared_ptr<State::Feed> feed;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopped) return false;
    const auto found = std::find_if(state_->feeds.begin(), state_->feeds.end(),
                                    [&](const auto& one_of) { return one_of->status.name == name; });
    if (found == state_->feeds.end()) return false;
    feed = *found;
  }
  state_->join(*feed);
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return feed->idle(); });
  std::erase(state_->feeds, feed);
  lock.unlock();
  state_->changed.notify_all();  // for those who wait until all have finished
  return true;
}

std::vector<SourceStatus> SourceRunner::status() const {
  const Time now = state_->clock.now();
  const std::lock_guard lock(state_->mutex);
  std::vector<SourceStatus> all;
  for (const auto& feed : state_->feeds) {
    SourceStatus& status = all.emplace_back(feed->status);
    status.per_second = feed->meter.per_second(now, feed->started);
    status.lag_p50 = feed->lags.percentile(now, 0.5);
    status.lag_p99 = feed->lags.percentile(now, 0.99);
    if (feed->retry_at)
      status.retry_in =
          std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(*feed->retry_at - now));
  }
  return all;
}

bool SourceRunner::wait_finished(const std::stop_token& stop) const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait(lock, stop, [this] {
    return std::all_of(state_->feeds.begin(), state_->feeds.end(), [](const auto& feed) {
      const auto at = feed->status.state;
      const bool over =
          at == SourceState::kFinished || at == SourceState::kFailed || at == SourceState::kStopped;
      return over && feed->waiting() == 0 && !feed->storing;
    });
  });
}

void SourceRunner::stop() {
  const std::lock_guard one(state_->stopping);
  {
    const std::lock_guard lock(state_->mutex);
    if (std::exchange(state_->stopped, true)) return;
  }
  for (const auto& feed : state_->feeds)
    feed->thread.request_stop();  // all first, so that they end side by side
  for (const auto& feed : state_->feeds) state_->join(*feed);
  {
    const std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  state_->changed.notify_all();
  state_->flusher.join();
}

}  // namespace fathom::live
