// The inside of SourceRunner, for its own .cc files (see source.h): one thread a source fills the queue of its feed, one
// flusher empties all queues into the store.
//
// `mutex` guards all but the sources, the threads and what only the flusher touches.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "live/source.h"
#include "live/source_meters.h"

namespace fathom::live {

struct SourceRunner::State {
  using Milliseconds = std::chrono::milliseconds;
  using SteadyTime = std::chrono::steady_clock::time_point;
  struct Feed;
  class FeedSink;
  using CountMap = std::unordered_map<std::string, CountChange>;
  struct Removal {
    std::string source, handle;
    Time at{};
  };
  enum class Taken { kYes, kRefused, kGivenUp };

  State(Store& store_to, CursorStore& cursors_to, const Clock& clock_to, const RunnerOptions& options_given)
      : store(store_to), cursors(cursors_to), clock(clock_to), options(options_given) {}

  void run_feed(Feed& feed, const std::stop_token& stop);
  std::optional<Milliseconds> attempt(Feed& feed, FeedSink& sink, const std::stop_token& stop);
  std::optional<Milliseconds> failed(Feed& feed, ErrorCode code, std::string_view error,
                                     std::optional<Milliseconds> wait, const std::stop_token& stop);
  void end(Feed& feed, SourceState final_state);
  void wait_to_retry(Feed& feed, Milliseconds wait, const std::stop_token& stop);
  void flush_loop();
  bool wait_for_work(std::unique_lock<std::mutex>& lock);
  bool queues_empty() const;
  void flush(std::unique_lock<std::mutex>& lock);
  void flush_one(Feed& feed, std::unique_lock<std::mutex>& lock);
  template <class Write>
  Taken write(Feed& feed, size_t pieces, std::string& refusal, const Write& write_pieces);
  Taken put(Feed& feed, const std::vector<Post>& posts, std::string& refusal);
  bool store_batch(Feed& feed, const std::vector<Post>& batch);
  bool store_counts(Feed& feed, const CountMap& counts);
  bool store_removal(Feed& feed, const Removal& removal);
  void account(Feed& feed, const std::vector<Post>& posts, const IngestResult& result);
  void join(Feed& feed);
  void note_rejection(Feed& feed, std::string_view why);
  void keep_cursors(bool now);

  Store& store;
  CursorStore& cursors;
  const Clock& clock;
  const RunnerOptions options;

  mutable std::mutex mutex;
  mutable std::condition_variable_any changed;  // a queue, a state or `closing` changed
  std::vector<std::shared_ptr<Feed>> feeds;
  std::optional<SteadyTime> oldest;  // when the oldest post now queued was delivered
  size_t queued = 0;                 // posts and counts in all queues
  uint64_t added = 0;                // feeds so far, removed ones too
  bool closing = false;              // all source threads have ended: flush what is left and end
  bool stopped = false;
  bool cursors_dirty = false;  // the flusher's own, like the next
  SteadyTime cursors_kept{};
  std::mutex stopping;  // one `stop` or `remove` at a time
  std::thread flusher;
};

struct SourceRunner::State::Feed {
  Feed(std::unique_ptr<Source> from, const RunnerOptions& options, const SourceLimits& limits, uint64_t index,
       Time now)
      : source(std::move(from)),
        throttle(limits.posts_per_second),
        backoff(options.retry_first, options.retry_longest, options.seed * 0x9E3779B97F4A7C15u + index),
        started(now) {
    status.name = source->name();
  }

  std::unique_ptr<Source> source;
  Throttle throttle;  // the source thread's own, like the next
  Backoff backoff;
  const Time started;
  std::stop_source abandon;  // ends waits for a store that does not take posts, once stopping

  // Guarded by State::mutex.
  SourceStatus status;
  RateMeter meter;
  LagMeter lags;
  std::vector<Post> queue;
  CountMap counts;
  std::vector<Removal> removals;
  std::string cursor;       // as the source gave it last
  bool cursor_new = false;  // to be kept once the queue is durable
  bool storing = false;     // the flusher has posts of this feed in hand
  std::optional<Time> live_since;
  Time newest{};  // creation of the newest post stored
  std::optional<Time> retry_at;

  bool gap = false;  // the flusher's own: posts were given up, so no later cursor may be kept

  size_t waiting() const { return queue.size() + counts.size() + removals.size(); }
  bool idle() const { return waiting() == 0 && !cursor_new && !storing; }

  std::jthread thread;
};

}  // namespace fathom::live
