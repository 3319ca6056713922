#include "live/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"

namespace fathom::live {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

constexpr size_t kKeptRejections = 5;
constexpr size_t kMinute = 60;

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

int64_t whole_seconds(Time time) {
  return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
}

/// How many posts came in each of the last sixty seconds.
class RateMeter {
 public:
  void count(Time now, size_t posts) {
    turn_to(whole_seconds(now));
    buckets_[static_cast<size_t>(second_) % kMinute] += posts;
  }

  double per_second(Time now, Time since) {
    turn_to(whole_seconds(now));
    uint64_t sum = 0;
    for (const uint64_t bucket : buckets_) sum += bucket;
    const double seconds = std::chrono::duration<double>(now - since).count();
    return static_cast<double>(sum) / std::clamp(seconds, 1.0, static_cast<double>(kMinute));
  }

 private:
  void turn_to(int64_t second) {
    second = std::max<int64_t>(second, 0);
    if (second <= second_) return;  // the clock may be set back: the present bucket goes on
    const auto steps = std::min<int64_t>(second - second_, kMinute);
    for (int64_t i = 0; i < steps; ++i) buckets_[static_cast<size_t>(second - i) % kMinute] = 0;
    second_ = second;
  }

  std::array<uint64_t, kMinute> buckets_{};
  int64_t second_ = 0;
};

/// Waits that double from the first to the longest, each shortened by up to a quarter at random.
class Backoff {
 public:
  Backoff(milliseconds first, milliseconds longest, uint64_t seed)
      : first_(first), longest_(longest), next_(first), random_(seed) {}

  milliseconds next() {
    const double kept = 1.0 - 0.25 * random_.uniform();
    const milliseconds wait(static_cast<int64_t>(static_cast<double>(next_.count()) * kept));
    next_ = std::min(longest_, next_ * 2);
    return wait;
  }
  void reset() { next_ = first_; }

 private:
  milliseconds first_, longest_, next_;
  Random random_;
};

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

/// Everything of the runner. Each source thread fills the queue of its feed; one flusher empties all queues into the store.
/// `mutex` guards all but the sources, the threads and what only the flusher touches.
struct SourceRunner::State {
  struct Feed;
  class FeedSink;
  enum class Taken { kYes, kRefused, kGivenUp };

  State(Store& store_to, CursorStore& cursors_to, const Clock& clock_to, const RunnerOptions& options_given)
      : store(store_to), cursors(cursors_to), clock(clock_to), options(options_given) {}

  void run_feed(Feed& feed, const std::stop_token& stop);
  bool attempt(Feed& feed, FeedSink& sink, const std::stop_token& stop);
  void end(Feed& feed, SourceState final_state, const std::string& error = {});
  void wait_to_retry(Feed& feed, const std::stop_token& stop);
  void flush_loop();
  bool wait_for_work(std::unique_lock<std::mutex>& lock);
  bool queues_empty() const;
  void flush(std::unique_lock<std::mutex>& lock);
  Taken put(Feed& feed, const std::vector<Post>& posts, std::string& refusal);
  bool store_batch(Feed& feed, const std::vector<Post>& batch);
  void account(Feed& feed, size_t posts, Time newest);
  void note_rejection(Feed& feed, std::string_view why);
  void keep_cursors(bool now);

  Store& store;
  CursorStore& cursors;
  const Clock& clock;
  const RunnerOptions options;

  mutable std::mutex mutex;
  mutable std::condition_variable_any changed;  // a queue, a state or `closing` changed
  std::vector<std::unique_ptr<Feed>> feeds;
  std::optional<SteadyTime> oldest;  // when the oldest post now queued was delivered
  size_t queued = 0;                 // in all queues
  bool closing = false;              // all source threads have ended: flush what is left and end
  bool stopped = false;
  bool cursors_dirty = false;  // the flusher's own, like the next
  SteadyTime cursors_kept{};
  std::stop_source abandon;  // ends waits for a store that does not take posts, once stopping
  std::mutex stopping;       // one `stop` at a time
  std::thread flusher;
};

struct SourceRunner::State::Feed {
  Feed(std::unique_ptr<Source> from, const RunnerOptions& options, uint64_t index, Time now)
      : source(std::move(from)),
        backoff(options.retry_first, options.retry_longest, options.seed * 0x9E3779B97F4A7C15u + index),
        started(now) {
    status.name = source->name();
  }

  std::unique_ptr<Source> source;
  Backoff backoff;  // the source thread's own
  const Time started;

  // Guarded by State::mutex.
  SourceStatus status;
  RateMeter meter;
  std::vector<Post> queue;
  std::string cursor;       // as the source gave it last
  bool cursor_new = false;  // to be kept once the queue is durable
  bool storing = false;     // the flusher has posts of this feed in hand
  std::optional<Time> live_since;
  Time newest{};  // creation of the newest post stored
  std::optional<Time> retry_at;

  bool gap = false;  // the flusher's own: posts were given up, so no later cursor may be kept

  std::jthread thread;
};

class SourceRunner::State::FeedSink final : public Sink {
 public:
  FeedSink(State& state, Feed& feed, std::stop_token stop)
      : state_(state), feed_(feed), stop_(std::move(stop)) {}

  std::string cursor() const override {
    const std::lock_guard lock(state_.mutex);
    return feed_.cursor;
  }

  bool deliver(Post post) override {
    std::unique_lock lock(state_.mutex);
    state_.changed.wait(lock, stop_, [&] { return feed_.queue.size() < state_.options.queue_posts; });
    if (stop_.stop_requested()) return false;
    feed_.queue.push_back(std::move(post));
    ++state_.queued;
    const bool first = !state_.oldest.has_value();
    if (first) state_.oldest = std::chrono::steady_clock::now();
    if (first || state_.queued == state_.options.batch_posts) state_.changed.notify_all();
    return true;
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
    if (!feed_.live_since) feed_.live_since = state_.clock.now();
  }

  void reject(std::string_view why) override { state_.note_rejection(feed_, why); }

  void warn(std::string_view what) override {
    log().warn("source {}: {}", feed_.source->name(), what);
    const std::lock_guard lock(state_.mutex);
    feed_.status.last_error = what;
  }

 private:
  State& state_;
  Feed& feed_;
  const std::stop_token stop_;
};

// --- the source threads -----------------------------------------------------------------------------------------------

void SourceRunner::State::run_feed(Feed& feed, const std::stop_token& stop) {
  FeedSink sink(*this, feed, stop);
  while (attempt(feed, sink, stop)) wait_to_retry(feed, stop);
}

/// Returns true when the source is to be tried again.
bool SourceRunner::State::attempt(Feed& feed, FeedSink& sink, const std::stop_token& stop) {
  std::string error;
  bool final_error = false;
  {
    const std::lock_guard lock(mutex);
    feed.status.state = SourceState::kConnecting;
    feed.live_since.reset();
  }
  try {
    feed.source->run(sink, stop);
    end(feed, stop.stop_requested() ? SourceState::kStopped : SourceState::kFinished);
    return false;
  } catch (const Error& failure) {
    error = failure.what();
    final_error = is_final(failure.code());
  } catch (const std::exception& failure) {  // a defect of the source must not take the others down
    error = failure.what();
  }
  if (stop.stop_requested()) {
    end(feed, SourceState::kStopped);
    return false;
  }
  log().warn("source {}: {}", feed.source->name(), error);
  if (final_error) {
    end(feed, SourceState::kFailed, error);
    return false;
  }
  const std::lock_guard lock(mutex);
  feed.status.last_error = error;
  if (feed.live_since && clock.now() - *feed.live_since >= options.healthy_after) feed.backoff.reset();
  return true;
}

void SourceRunner::State::end(Feed& feed, SourceState final_state, const std::string& error) {
  {
    const std::lock_guard lock(mutex);
    feed.status.state = final_state;
    if (!error.empty()) feed.status.last_error = error;
  }
  changed.notify_all();
}

void SourceRunner::State::wait_to_retry(Feed& feed, const std::stop_token& stop) {
  const milliseconds wait = feed.backoff.next();
  {
    const std::lock_guard lock(mutex);
    feed.status.state = SourceState::kWaiting;
    feed.retry_at = clock.now() + wait;
  }
  clock.sleep(wait, stop);
  const std::lock_guard lock(mutex);
  feed.retry_at.reset();
}

// --- the flusher ------------------------------------------------------------------------------------------------------

void SourceRunner::State::flush_loop() {
  std::unique_lock lock(mutex);
  while (wait_for_work(lock)) {
    flush(lock);
    lock.unlock();
    keep_cursors(false);
    lock.lock();
  }
  lock.unlock();
  keep_cursors(true);
}

/// Waits until a batch is large or old enough. Returns false when all is flushed and nothing more will come.
bool SourceRunner::State::wait_for_work(std::unique_lock<std::mutex>& lock) {
  const auto due = [this] { return closing || queued >= options.batch_posts; };
  for (;;) {
    if (closing) return !queues_empty();
    if (queued >= options.batch_posts) return true;
    if (oldest) {
      if (!changed.wait_until(lock, *oldest + options.flush_interval, due)) return true;
    } else if (cursors_dirty) {  // nothing to do until the cursors are to be kept
      if (!changed.wait_until(lock, cursors_kept + options.cursor_interval,
                              [&] { return due() || oldest.has_value(); }))
        return true;
    } else {
      changed.wait(lock, [&] { return due() || oldest.has_value(); });
    }
  }
}

bool SourceRunner::State::queues_empty() const {
  return std::none_of(feeds.begin(), feeds.end(),
                      [](const auto& feed) { return !feed->queue.empty() || feed->cursor_new; });
}

void SourceRunner::State::flush(std::unique_lock<std::mutex>& lock) {
  oldest.reset();
  const size_t count = feeds.size();  // feeds are only added, never moved in memory
  for (size_t i = 0; i < count; ++i) {
    Feed& feed = *feeds[i];
    if (feed.queue.empty() && !feed.cursor_new) continue;
    const std::vector<Post> batch = std::exchange(feed.queue, {});
    const std::string cursor = feed.cursor;
    const bool cursor_new = std::exchange(feed.cursor_new, false);
    queued -= batch.size();
    feed.storing = true;
    lock.unlock();
    changed.notify_all();  // there is room in the queue
    feed.gap = feed.gap || !store_batch(feed, batch);
    if (cursor_new && !feed.gap) {
      cursors.save(feed.source->name(), cursor);
      cursors_dirty = true;
    }
    lock.lock();
    feed.storing = false;
  }
  changed.notify_all();
}

/// Tries until the store has taken the posts, or refused them as invalid, or the runner stops while it does neither.
SourceRunner::State::Taken SourceRunner::State::put(Feed& feed, const std::vector<Post>& posts,
                                                    std::string& refusal) {
  Time newest{};
  for (const Post& post : posts) newest = std::max(newest, post.created_at);
  Backoff backoff(options.retry_first, options.retry_longest, options.seed);
  for (;;) {
    std::string error;
    try {
      store.ingest(posts);
      account(feed, posts.size(), newest);
      return Taken::kYes;
    } catch (const Error& failure) {
      error = failure.what();
      if (failure.code() == ErrorCode::kInvalidArgument) {
        refusal = error;
        return Taken::kRefused;
      }
    } catch (const std::exception& failure) {
      error = failure.what();
    }
    log().error("source {}: {} posts wait to be stored: {}", feed.source->name(), posts.size(), error);
    {
      const std::lock_guard lock(mutex);
      feed.status.last_error = error;
    }
    if (!clock.sleep(backoff.next(), abandon.get_token())) return Taken::kGivenUp;
  }
}

/// Returns false when posts were given up, which happens only while stopping.
bool SourceRunner::State::store_batch(Feed& feed, const std::vector<Post>& batch) {
  if (batch.empty()) return true;
  std::string refusal;
  const Taken taken = put(feed, batch, refusal);
  if (taken != Taken::kRefused) return taken == Taken::kYes;
  for (const Post& post : batch) {  // which of them is it about?
    const Taken alone = put(feed, {post}, refusal);
    if (alone == Taken::kGivenUp) return false;
    if (alone == Taken::kRefused) note_rejection(feed, fmt::format("{}: {}", post.key(), refusal));
  }
  return true;
}

void SourceRunner::State::account(Feed& feed, size_t posts, Time newest) {
  const Time now = clock.now();
  const std::lock_guard lock(mutex);
  feed.status.posts += posts;
  feed.status.last_post = now;
  feed.meter.count(now, posts);
  if (newest <= feed.newest) return;  // a change of an old post says nothing about the lag
  feed.newest = newest;
  if (!feed.source->replays())
    feed.status.lag_seconds = std::max(0.0, std::chrono::duration<double>(now - newest).count());
}

void SourceRunner::State::note_rejection(Feed& feed, std::string_view why) {
  bool first = false;
  {
    const std::lock_guard lock(mutex);
    ++feed.status.rejected;
    first = feed.status.rejections.size() < kKeptRejections;
    if (first) feed.status.rejections.emplace_back(why);
  }
  if (first) log().warn("source {}: left out {}", feed.source->name(), why);
}

/// Called by the flusher alone.
void SourceRunner::State::keep_cursors(bool now) {
  const auto time = std::chrono::steady_clock::now();
  if (!cursors_dirty || (!now && time - cursors_kept < options.cursor_interval)) return;
  cursors_kept = time;
  try {
    cursors.sync();
    cursors_dirty = false;
  } catch (const Error& error) {  // costs a repeated read after a restart, nothing else
    log().warn("the places where the sources stopped were not kept: {}", error.what());
  }
}

// --- the runner -------------------------------------------------------------------------------------------------------

SourceRunner::SourceRunner(Store& store, CursorStore& cursors, const Clock& clock,
                           const RunnerOptions& options)
    : state_(std::make_unique<State>(store, cursors, clock, options)) {
  state_->flusher = std::thread([state = state_.get()] { state->flush_loop(); });
}

SourceRunner::~SourceRunner() { stop(); }

void SourceRunner::add(std::unique_ptr<Source> source) {
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
  auto feed = std::make_unique<State::Feed>(std::move(source), state_->options, state_->feeds.size(),
                                            state_->clock.now());
  feed->cursor = state_->cursors.load(name);
  State::Feed& added = *feed;
  state_->feeds.push_back(std::move(feed));
  added.thread = std::jthread(
      [state = state_.get(), &added](const std::stop_token& stop) { state->run_feed(added, stop); });
}

std::vector<SourceStatus> SourceRunner::status() const {
  const Time now = state_->clock.now();
  const std::lock_guard lock(state_->mutex);
  std::vector<SourceStatus> all;
  for (const auto& feed : state_->feeds) {
    SourceStatus& status = all.emplace_back(feed->status);
    status.per_second = feed->meter.per_second(now, feed->started);
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
      return over && feed->queue.empty() && !feed->storing;
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
  state_->abandon.request_stop();
  for (const auto& feed : state_->feeds) feed->thread.join();
  {
    const std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  state_->changed.notify_all();
  state_->flusher.join();
}

}  // namespace fathom::live
