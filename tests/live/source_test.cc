#include "live/source.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "live/source_meters.h"
#include "support/http_server.h"  // eventually
#include "support/memory_store.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::MemoryStore;

Post post_of(int64_t id, Time created = Time(1000s)) {
  Post post;
  post.id = std::to_string(id);
  post.source = "test";
  post.text = "text";
  post.created_at = created;
  return post;
}

/// A source that is a function.
class ScriptedSource final : public Source {
 public:
  using Run = std::function<void(Sink&, const std::stop_token&)>;
  ScriptedSource(std::string name, Run run, bool replays = false)
      : name_(std::move(name)), run_(std::move(run)), replays_(replays) {}
  std::string_view name() const override { return name_; }
  bool replays() const override { return replays_; }
  void run(Sink& sink, const std::stop_token& stop) override { run_(sink, stop); }

 private:
  std::string name_;
  Run run_;
  bool replays_;
};

std::unique_ptr<Source> scripted(std::string name, ScriptedSource::Run run, bool replays = false) {
  return std::make_unique<ScriptedSource>(std::move(name), std::move(run), replays);
}

void wait_for(const std::stop_token& stop) {
  const SystemClock clock;
  while (clock.sleep(1h, stop)) {
  }
}

/// Cursors in memory that say what was saved.
class MemoryCursors final : public CursorStore {
 public:
  std::string load(std::string_view source) const override {
    const std::lock_guard lock(mutex_);
    const auto found = kept_.find(std::string(source));
    return found == kept_.end() ? "" : found->second;
  }
  void save(std::string_view source, std::string_view cursor) override {
    const std::lock_guard lock(mutex_);
    kept_[std::string(source)] = cursor;
  }
  void sync() override { ++syncs; }
  std::atomic<int> syncs{0};

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> kept_;
};

class RunnerTest : public ::testing::Test {
 protected:
  RunnerTest() {
    options_.flush_interval = 5ms;
    options_.cursor_interval = 10ms;
    options_.retry_first = 5ms;
    options_.retry_longest = 40ms;
  }
  SourceStatus status(const SourceRunner& runner) const { return runner.status().at(0); }

  MemoryStore store_;
  MemoryCursors cursors_;
  SystemClock clock_;
  RunnerOptions options_;
};

TEST_F(RunnerTest, DeliversInOrderAndFinishes) {
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token&) {
    for (int i = 0; i < 3000; ++i) ASSERT_TRUE(sink.deliver(post_of(i)));
    sink.advance("end");
  }));
  ASSERT_TRUE(runner.wait_finished({}));
  const auto order = store_.order();
  ASSERT_EQ(order.size(), 3000u);
  for (size_t i = 0; i < order.size(); ++i) ASSERT_EQ(order[i], fmt::format("test:{}", i));
  const auto at = status(runner);
  EXPECT_EQ(at.state, SourceState::kFinished);
  EXPECT_EQ(at.posts, 3000u);
  EXPECT_GT(at.per_second, 0);
  EXPECT_TRUE(at.last_post.has_value());
  EXPECT_LT(store_.batches(), 500u);  // gathered, not one by one
  runner.stop();
  EXPECT_EQ(cursors_.load("a"), "end");
  EXPECT_GE(cursors_.syncs.load(), 1);
}

TEST_F(RunnerTest, ALonePostIsNotHeldBack) {
  options_.batch_posts = 1000000;
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token& stop) {
    sink.set_live();
    sink.deliver(post_of(1));
    wait_for(stop);
  }));
  EXPECT_TRUE(eventually([&] { return store_.stats().posts == 1; }));
  EXPECT_EQ(status(runner).state, SourceState::kLive);
}

TEST_F(RunnerTest, AFullBatchDoesNotWaitForTheInterval) {
  options_.flush_interval = 1h;
  options_.batch_posts = 10;
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token& stop) {
    for (int i = 0; i < 10; ++i) sink.deliver(post_of(i));
    wait_for(stop);
  }));
  EXPECT_TRUE(eventually([&] { return store_.stats().posts == 10; }));
}

TEST_F(RunnerTest, StopMakesDurableWhatWasDelivered) {
  options_.flush_interval = 1h;
  SourceRunner runner(store_, cursors_, clock_, options_);
  std::atomic<bool> delivered{false};
  runner.add(scripted("a", [&](Sink& sink, const std::stop_token& stop) {
    sink.deliver(post_of(1));
    sink.advance("1");
    delivered = true;
    wait_for(stop);
  }));
  ASSERT_TRUE(eventually([&] { return delivered.load(); }));
  EXPECT_EQ(store_.stats().posts, 0u);
  runner.stop();
  EXPECT_EQ(store_.stats().posts, 1u);
  EXPECT_EQ(cursors_.load("a"), "1");
  EXPECT_EQ(status(runner).state, SourceState::kStopped);
  EXPECT_THROW(runner.add(scripted("b", [](Sink&, const std::stop_token&) {})), Error);
  runner.stop();
}

TEST_F(RunnerTest, ACursorIsKeptOnlyOnceItsPostsAre) {
  std::atomic<bool> open{false};
  std::atomic<int> refused{0};
  MemoryStore store([&](const std::vector<Post>&) {
    if (open.load()) return;
    ++refused;
    throw Error(ErrorCode::kResourceExhausted, "the disk is full");
  });
  SourceRunner runner(store, cursors_, clock_, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token& stop) {
    sink.deliver(post_of(1));
    sink.advance("1");
    wait_for(stop);
  }));
  ASSERT_TRUE(eventually([&] { return refused.load() >= 3; }));
  EXPECT_EQ(cursors_.load("a"), "");
  EXPECT_EQ(status(runner).last_error, "the disk is full");
  open = true;
  ASSERT_TRUE(eventually([&] { return cursors_.load("a") == "1"; }));
  EXPECT_EQ(store.stats().posts, 1u);
  EXPECT_EQ(store.stats().ingested, 1u);
}

TEST_F(RunnerTest, PostsGivenUpAtTheStopKeepTheirCursorBack) {
  std::atomic<int> refused{0};
  MemoryStore store([&](const std::vector<Post>& posts) {
    if (posts.front().id != "1") return;
    ++refused;
    throw Error(ErrorCode::kIo, "the disk is gone");
  });
  {
    SourceRunner runner(store, cursors_, clock_, options_);
    runner.add(scripted("a", [&](Sink& sink, const std::stop_token& stop) {
      sink.deliver(post_of(1));
      sink.advance("1");
      eventually([&] { return refused.load() >= 1; });
      sink.deliver(post_of(2));
      sink.advance("2");
      wait_for(stop);
    }));
    ASSERT_TRUE(eventually([&] { return refused.load() >= 2; }));
  }
  EXPECT_EQ(cursors_.load("a"), "");  // else post 1 would never be read again
}

TEST_F(RunnerTest, AnInvalidPostIsRejectedAlone) {
  MemoryStore store([](const std::vector<Post>& posts) {
    for (const Post& post : posts)
      if (post.id == "7") throw Error(ErrorCode::kInvalidArgument, "its text is too long");
  });
  SourceRunner runner(store, cursors_, clock_, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token&) {
    for (int i = 0; i < 20; ++i) sink.deliver(post_of(i));
  }));
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(store.stats().posts, 19u);
  const auto at = status(runner);
  EXPECT_EQ(at.posts, 19u);
  EXPECT_EQ(at.rejected, 1u);
  ASSERT_EQ(at.rejections.size(), 1u);
  EXPECT_EQ(at.rejections[0], "test:7: its text is too long");
}

TEST_F(RunnerTest, AFailedSourceIsTriedAgainFromItsCursor) {
  std::atomic<int> runs{0};
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("a", [&](Sink& sink, const std::stop_token& stop) {
    const int run = ++runs;
    EXPECT_EQ(sink.cursor(), run == 1 ? "" : std::to_string(run - 1));
    sink.deliver(post_of(run));
    sink.advance(std::to_string(run));
    if (run < 4) throw Error(ErrorCode::kNetwork, fmt::format("broke {}", run));
    wait_for(stop);
  }));
  ASSERT_TRUE(eventually([&] { return store_.stats().posts == 4; }));
  EXPECT_EQ(status(runner).last_error, "broke 3");
}

TEST_F(RunnerTest, ADefectInASourceDoesNotTakeTheOthersDown) {
  std::atomic<int> runs{0};
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("bad", [&](Sink&, const std::stop_token&) {
    ++runs;
    throw std::logic_error("a defect");
  }));
  runner.add(scripted("good", [](Sink& sink, const std::stop_token& stop) {
    sink.deliver(post_of(1));
    wait_for(stop);
  }));
  EXPECT_TRUE(eventually([&] { return runs.load() >= 3 && store_.stats().posts == 1; }));
}

TEST_F(RunnerTest, WhatTryingAgainCannotHelpIsFinal) {
  std::atomic<int> runs{0};
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("a", [&](Sink&, const std::stop_token&) {
    ++runs;
    throw Error(ErrorCode::kNotFound, "no such file");
  }));
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(status(runner).state, SourceState::kFailed);
  EXPECT_EQ(status(runner).last_error, "no such file");
  EXPECT_EQ(runs.load(), 1);
}

/// Notes how long it was asked to sleep; time passes at once.
class NotingClock final : public Clock {
 public:
  Time now() const override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  bool sleep(Micros duration, const std::stop_token& stop) const override {
    const std::lock_guard lock(mutex_);
    now_ += duration;
    sleeps_.push_back(duration);
    return !stop.stop_requested();
  }
  std::vector<Micros> sleeps() const {
    const std::lock_guard lock(mutex_);
    return sleeps_;
  }

 private:
  mutable std::mutex mutex_;
  mutable Time now_{1000s};
  mutable std::vector<Micros> sleeps_;
};

TEST_F(RunnerTest, WaitsDoubleToALimitWithJitter) {
  const NotingClock clock;
  {
    SourceRunner runner(store_, cursors_, clock, {});
    std::atomic<int> runs{0};
    runner.add(scripted("a", [&](Sink&, const std::stop_token& stop) {
      if (++runs > 12) return wait_for(stop);
      throw Error(ErrorCode::kNetwork, "down");
    }));
    ASSERT_TRUE(eventually([&] { return runs.load() == 13; }));
  }
  const auto sleeps = clock.sleeps();
  ASSERT_EQ(sleeps.size(), 12u);
  Micros full = 250ms;
  bool jitter = false;
  for (const Micros sleep : sleeps) {
    EXPECT_LE(sleep, full);
    EXPECT_GE(sleep, full * 3 / 4 - 1ms);
    jitter = jitter || sleep < full - 2ms;
    full = std::min<Micros>(full * 2, 60s);
  }
  EXPECT_TRUE(jitter);
}

TEST_F(RunnerTest, ALongHealthyRunStartsTheWaitsAnew) {
  const NotingClock clock;
  {
    SourceRunner runner(store_, cursors_, clock, {});
    std::atomic<int> runs{0};
    runner.add(scripted("a", [&](Sink& sink, const std::stop_token& stop) {
      const int run = ++runs;
      if (run == 5) {
        sink.set_live();
        clock.sleep(20s, stop);
      }
      if (run > 5) return wait_for(stop);
      throw Error(ErrorCode::kNetwork, "down");
    }));
    ASSERT_TRUE(eventually([&] { return runs.load() == 6; }));
  }
  const auto sleeps = clock.sleeps();
  ASSERT_EQ(sleeps.size(), 6u);  // four waits, the 20 s alive, one wait
  EXPECT_GT(sleeps[3], 1s);
  EXPECT_LE(sleeps[5], 250ms);
}

TEST_F(RunnerTest, ASourceThatIsAheadOfTheStoreWaits) {
  std::atomic<bool> open{false};
  std::atomic<int> delivered{0};
  MemoryStore store([&](const std::vector<Post>&) { eventually([&] { return open.load(); }); });
  options_.queue_posts = 10;
  options_.batch_posts = 5;
  SourceRunner runner(store, cursors_, clock_, options_);
  runner.add(scripted("a", [&](Sink& sink, const std::stop_token&) {
    for (int i = 0; i < 100 && sink.deliver(post_of(i)); ++i) ++delivered;
  }));
  ASSERT_TRUE(eventually([&] { return delivered.load() >= 10; }));
  std::this_thread::sleep_for(30ms);
  EXPECT_LE(delivered.load(), 21);  // what is queued and what is in the store's hands
  open = true;
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(store.stats().posts, 100u);
}

TEST_F(RunnerTest, StopReachesASourceThatWaitsForTheStore) {
  std::atomic<bool> open{false};
  MemoryStore store([&](const std::vector<Post>&) { eventually([&] { return open.load(); }); });
  options_.queue_posts = 1;
  SourceRunner runner(store, cursors_, clock_, options_);
  std::atomic<bool> refused{false};
  runner.add(scripted("a", [&](Sink& sink, const std::stop_token&) {
    while (sink.deliver(post_of(1))) {
    }
    refused = true;
    open = true;
  }));
  std::this_thread::sleep_for(30ms);
  runner.stop();
  EXPECT_TRUE(refused.load());
}

TEST_F(RunnerTest, LagIsMeasuredForLiveSourcesOnly) {
  const ManualClock clock(Time(5000s));
  SourceRunner runner(store_, cursors_, clock, options_);
  const auto run = [](Sink& sink, const std::stop_token&) {
    sink.deliver(post_of(1, Time(4990s)));
    sink.deliver(post_of(2, Time(100s)));
  };
  runner.add(scripted("live", run));
  runner.add(scripted("replay", run, true));
  ASSERT_TRUE(runner.wait_finished({}));
  const auto all = runner.status();
  ASSERT_TRUE(all[0].lag_seconds.has_value());
  EXPECT_DOUBLE_EQ(*all[0].lag_seconds, 10.0);
  EXPECT_FALSE(all[1].lag_seconds.has_value());
}

TEST_F(RunnerTest, TheRateFadesWithinAMinute) {
  ManualClock clock(Time(5000s));
  SourceRunner runner(store_, cursors_, clock, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token&) {
    for (int i = 0; i < 120; ++i) sink.deliver(post_of(i));
  }));
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_DOUBLE_EQ(status(runner).per_second, 120.0);
  clock.set(Time(5030s));
  EXPECT_DOUBLE_EQ(status(runner).per_second, 4.0);
  clock.set(Time(5061s));
  EXPECT_DOUBLE_EQ(status(runner).per_second, 0.0);
}

TEST_F(RunnerTest, TheProtocolsWaitIsKeptWhateverTheError) {
  const NotingClock clock;
  {
    SourceRunner runner(store_, cursors_, clock, {});
    std::atomic<int> runs{0};
    runner.add(scripted("a", [&](Sink&, const std::stop_token& stop) {
      if (++runs > 3) return wait_for(stop);
      throw RetryAfter(ErrorCode::kPermissionDenied, "come back", 61s);
    }));
    ASSERT_TRUE(eventually([&] { return runs.load() == 4; }));
    const auto at = status(runner);
    EXPECT_EQ(at.reconnects, 3u);
    EXPECT_EQ(at.errors, (std::map<std::string, uint64_t>{{"permission_denied", 3}}));
  }
  EXPECT_EQ(clock.sleeps(), (std::vector<Micros>{61s, 61s, 61s}));
}

TEST_F(RunnerTest, PostsFromTheFutureGetTheTimeOfTheirArrival) {
  const ManualClock clock(Time(5000s));
  SourceRunner runner(store_, cursors_, clock, options_);
  const auto run = [](Sink& sink, const std::stop_token&) {
    Post fiction = post_of(4, Time(9000s));
    fiction.fiction = true;
    sink.deliver(post_of(1, Time(5059s)));  // a clock that is a little ahead is believed
    sink.deliver(post_of(2, Time(5061s)));
    sink.deliver(post_of(3, Time(10s)));  // late ones are taken as they come
    sink.deliver(fiction);
  };
  runner.add(scripted("a", run));
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(store_.find("test:1")->created_at, Time(5059s));
  EXPECT_EQ(store_.find("test:2")->created_at, Time(5000s));
  EXPECT_EQ(store_.find("test:3")->created_at, Time(10s));
  EXPECT_EQ(store_.find("test:4")->created_at, Time(9000s));
  EXPECT_EQ(status(runner).skewed, 1u);
  runner.add(scripted("b", run, true));  // a recorded feed has a time of its own
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(store_.find("test:2")->created_at, Time(5061s));
}

TEST_F(RunnerTest, CountsComeAfterTheirPostAndAddUp) {
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token&) {
    sink.deliver(post_of(1));
    sink.count("test:1", {.likes = 1});
    sink.count("test:1", {.likes = 2, .reposts = 1});
    sink.count("test:9", {.likes = 5});  // not here
    sink.advance("end");
  }));
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(store_.find("test:1")->metrics.likes, 3);
  EXPECT_EQ(store_.find("test:1")->metrics.reposts, 1);
  EXPECT_EQ(status(runner).counts, 3u);
  runner.stop();
  EXPECT_EQ(cursors_.load("a"), "end");
}

TEST_F(RunnerTest, AnAuthorWhoIsGoneTakesTheirPostsAlong) {
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token&) {
    for (int i = 0; i < 250; ++i) {
      Post post = post_of(i);
      post.author.handle = i == 7 ? "other" : "gone";
      sink.deliver(post);
    }
    sink.remove_author("test", "gone", Time(2000s));
    sink.remove_author("elsewhere", "other", Time(2000s));
  }));
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(store_.stats().posts, 1u);
  EXPECT_TRUE(store_.find("test:7").has_value());
  EXPECT_EQ(status(runner).deleted, 249u);
}

TEST_F(RunnerTest, ARemovedSourceLeavesItsCursorToTheNextOfItsName) {
  SourceRunner runner(store_, cursors_, clock_, options_);
  std::atomic<int> delivered{0};
  runner.add(scripted("a", [&](Sink& sink, const std::stop_token& stop) {
    sink.deliver(post_of(1));
    sink.advance("1");
    ++delivered;
    wait_for(stop);
  }));
  runner.add(scripted("b", [&](Sink&, const std::stop_token& stop) { wait_for(stop); }));
  ASSERT_TRUE(eventually([&] { return delivered.load() == 1; }));
  EXPECT_TRUE(runner.remove("a"));
  EXPECT_FALSE(runner.remove("a"));
  EXPECT_TRUE(store_.find("test:1").has_value());
  ASSERT_EQ(runner.status().size(), 1u);
  EXPECT_EQ(runner.status()[0].name, "b");
  std::string found;
  runner.add(scripted("a", [&](Sink& sink, const std::stop_token&) { found = sink.cursor(); }));
  EXPECT_TRUE(runner.remove("b"));
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(found, "1");
}

TEST_F(RunnerTest, ASourceIsRemovedEvenWhenTheStoreTakesNothing) {
  std::atomic<int> refused{0};
  MemoryStore store([&](const std::vector<Post>&) {
    ++refused;
    throw Error(ErrorCode::kIo, "the disk is gone");
  });
  SourceRunner runner(store, cursors_, clock_, options_);
  runner.add(scripted("a", [&](Sink& sink, const std::stop_token& stop) {
    sink.deliver(post_of(1));
    sink.advance("1");
    wait_for(stop);
  }));
  ASSERT_TRUE(eventually([&] { return refused.load() >= 2; }));
  EXPECT_TRUE(runner.remove("a"));
  EXPECT_EQ(cursors_.load("a"), "");  // the post was given up: it must be read again
}

TEST_F(RunnerTest, ALimitedSourceWaits) {
  SourceRunner runner(store_, cursors_, clock_, options_);
  const auto begin = std::chrono::steady_clock::now();
  runner.add(scripted("a",
                      [](Sink& sink, const std::stop_token&) {
                        for (int i = 0; i < 150; ++i) sink.deliver(post_of(i));
                      }),
             {.posts_per_second = 500});
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 20ms);  // 125 at once, the rest one by one
  EXPECT_EQ(store_.stats().posts, 150u);
}

TEST(LagMeter, TellsPercentilesOfTheLastFiveMinutes) {
  LagMeter meter;
  const Time start(60000s);
  EXPECT_FALSE(meter.percentile(start, 0.5).has_value());
  for (int i = 0; i < 990; ++i) meter.add(start, 100ms);
  for (int i = 0; i < 10; ++i) meter.add(start + 60s, 60s);
  EXPECT_NEAR(*meter.percentile(start + 60s, 0.5), 0.1, 0.02);
  EXPECT_NEAR(*meter.percentile(start + 60s, 0.99), 0.1, 0.02);
  EXPECT_NEAR(*meter.percentile(start + 60s, 0.995), 60, 12);
  EXPECT_NEAR(*meter.percentile(start + 330s, 0.5), 60, 12);  // the first minute is forgotten
  EXPECT_FALSE(meter.percentile(start + 3600s, 0.5).has_value());
}

TEST_F(RunnerTest, NamesAreCheckedAndUnique) {
  SourceRunner runner(store_, cursors_, clock_, options_);
  const auto nothing = [](Sink&, const std::stop_token&) {};
  runner.add(scripted("a", nothing));
  for (const char* name : {"a", "", "A", "a b", "a/b", "abcdefghijklmnopqrstuvwxyz0123456789"})
    EXPECT_THROW(runner.add(scripted(name, nothing)), Error) << name;
}

TEST_F(RunnerTest, OnlyTheFirstRejectionsAreKept) {
  SourceRunner runner(store_, cursors_, clock_, options_);
  runner.add(scripted("a", [](Sink& sink, const std::stop_token&) {
    for (int i = 1; i <= 100; ++i) sink.reject(fmt::format("line {}", i));
  }));
  ASSERT_TRUE(runner.wait_finished({}));
  EXPECT_EQ(status(runner).rejected, 100u);
  EXPECT_EQ(status(runner).rejections.size(), 5u);
  EXPECT_EQ(status(runner).rejections.front(), "line 1");
}

TEST_F(RunnerTest, ManySourcesAtATime) {
  SourceRunner runner(store_, cursors_, clock_, options_);
  for (int s = 0; s < 8; ++s)
    runner.add(scripted(fmt::format("s{}", s), [s](Sink& sink, const std::stop_token&) {
      for (int i = 0; i < 500; ++i) {
        sink.deliver(post_of(s * 1000 + i));
        sink.advance(std::to_string(i));
      }
    }));
  while (!runner.wait_finished({})) {
  }
  runner.stop();
  EXPECT_EQ(store_.stats().posts, 4000u);
  for (int s = 0; s < 8; ++s) EXPECT_EQ(cursors_.load(fmt::format("s{}", s)), "499");
}

TEST(CursorFile, KeepsCursorsOverARestart) {
  const TempDir folder;
  const auto path = folder.path() / "cursors.json";
  {
    const auto cursors = open_cursor_file(path);
    EXPECT_EQ(cursors->load("a"), "");
    cursors->save("a", "1 \"quoted\" \n");
    cursors->save("b", "2");
    cursors->sync();
    cursors->save("b", "3");  // not synced
  }
  const auto cursors = open_cursor_file(path);
  EXPECT_EQ(cursors->load("a"), "1 \"quoted\" \n");
  EXPECT_EQ(cursors->load("b"), "2");
}

TEST(CursorFile, ADamagedFileIsSetAside) {
  const TempDir folder;
  const auto path = folder.path() / "cursors.json";
  for (const char* content : {"", "{", "[1]", "{\"a\": 5}"}) {
    write_file_atomic(path, content);
    const auto cursors = open_cursor_file(path);
    EXPECT_EQ(cursors->load("a"), "");
    EXPECT_EQ(read_file(path.string() + ".corrupt"), content);
    EXPECT_FALSE(std::filesystem::exists(path));
    cursors->save("a", "1");
    cursors->sync();
    EXPECT_EQ(open_cursor_file(path)->load("a"), "1");
  }
}

TEST(SourceState, HasNames) {
  EXPECT_EQ(to_string(SourceState::kConnecting), "connecting");
  EXPECT_EQ(to_string(SourceState::kLive), "live");
  EXPECT_EQ(to_string(SourceState::kWaiting), "waiting");
  EXPECT_EQ(to_string(SourceState::kFinished), "finished");
  EXPECT_EQ(to_string(SourceState::kFailed), "failed");
  EXPECT_EQ(to_string(SourceState::kStopped), "stopped");
}

}  // namespace
}  // namespace fathom::live
