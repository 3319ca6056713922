// The flusher of SourceRunner: what sources delivered goes into the store, in batches, until it has taken it.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "live/source_state.h"

namespace fathom::live {
namespace {

constexpr size_t kKeptRejections = 5;
constexpr size_t kRemovedAtOnce = 100;  // posts of an author

}  // namespace

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
  return std::all_of(feeds.begin(), feeds.end(), [](const auto& feed) { return feed->idle(); });
}

void SourceRunner::State::flush(std::unique_lock<std::mutex>& lock) {
  oldest.reset();
  const auto now_here = feeds;  // the list may change while the store is at work
  for (const auto& feed : now_here)
    if (!feed->idle()) flush_one(*feed, lock);
  changed.notify_all();
}

void SourceRunner::State::flush_one(Feed& feed, std::unique_lock<std::mutex>& lock) {
  const std::vector<Post> batch = std::exchange(feed.queue, {});
  const CountMap counts = std::exchange(feed.counts, {});
  const std::vector<Removal> removals = std::exchange(feed.removals, {});
  const std::string cursor = feed.cursor;
  const bool cursor_new = std::exchange(feed.cursor_new, false);
  queued -= batch.size() + counts.size() + removals.size();
  feed.storing = true;
  lock.unlock();
  changed.notify_all();  // there is room in the queue
  const bool stored = store_batch(feed, batch) && store_counts(feed, counts) &&
                      std::all_of(removals.begin(), removals.end(),
                                  [&](const Removal& removal) { return store_removal(feed, removal); });
  feed.gap = feed.gap || !stored;
  if (cursor_new && !feed.gap) {
    cursors.save(feed.source->name(), cursor);
    cursors_dirty = true;
  }
  lock.lock();
  feed.storing = false;
}

/// Tries until the store has taken the pieces, or refused them as invalid, or the source is stopped while it does neither.
template <class Write>
SourceRunner::State::Taken SourceRunner::State::write(Feed& feed, size_t pieces, std::string& refusal,
                                                      const Write& write_pieces) {
  Backoff backoff(options.retry_first, options.retry_longest, options.seed);
  for (;;) {
    std::string error;
    try {
      write_pieces();
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
    log().error("source {}: {} posts wait to be stored: {}", feed.source->name(), pieces, error);
    {
      const std::lock_guard lock(mutex);
      feed.status.last_error = error;
    }
    if (!clock.sleep(backoff.next(), feed.abandon.get_token())) return Taken::kGivenUp;
  }
}

SourceRunner::State::Taken SourceRunner::State::put(Feed& feed, const std::vector<Post>& posts,
                                                    std::string& refusal) {
  return write(feed, posts.size(), refusal, [&] { account(feed, posts, store.ingest(posts)); });
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

bool SourceRunner::State::store_counts(Feed& feed, const CountMap& counts) {
  if (counts.empty()) return true;
  std::vector<CountUpdate> updates;
  updates.reserve(counts.size());
  for (const auto& [key, change] : counts) updates.push_back({key, change});
  std::string refusal;
  const Taken taken = write(feed, updates.size(), refusal, [&] { store.count(updates); });
  if (taken == Taken::kRefused) note_rejection(feed, fmt::format("{} counts: {}", updates.size(), refusal));
  return taken != Taken::kGivenUp;
}

/// Page by page: what is removed is not found again.
bool SourceRunner::State::store_removal(Feed& feed, const Removal& removal) {
  Query query;
  query.order = Query::Order::kNewest;
  query.limit = kRemovedAtOnce;
  query.fold = false;
  query.authors = {removal.handle};
  query.sources = {removal.source};
  for (;;) {
    size_t removed = 0;
    std::string refusal;
    const Taken taken = write(feed, 1, refusal, [&] {
      std::vector<Post> orders;
      for (const Hit& hit : store.search(query).hits) {
        Post& order = orders.emplace_back();
        order.id = hit.post.id;
        order.source = hit.post.source;
        order.created_at = order.received_at = std::max(removal.at, hit.post.created_at);
        order.deleted = true;
      }
      if (!orders.empty()) removed = store.ingest(std::move(orders)).deleted;
    });
    if (taken == Taken::kRefused)
      note_rejection(feed, fmt::format("the end of the author '{}': {}", removal.handle, refusal));
    if (taken != Taken::kYes) return taken == Taken::kRefused;
    if (removed == 0) return true;
    const std::lock_guard lock(mutex);
    feed.status.deleted += removed;
  }
}

void SourceRunner::State::account(Feed& feed, const std::vector<Post>& posts, const IngestResult& result) {
  const Time now = clock.now();
  const std::lock_guard lock(mutex);
  feed.status.posts += posts.size();
  feed.status.duplicates += result.duplicates;
  feed.status.deleted += result.deleted;
  feed.status.last_post = now;
  feed.meter.count(now, posts.size());
  if (feed.source->replays()) return;
  Time newest{};
  for (const Post& post : posts) {
    newest = std::max(newest, post.created_at);
    // What was there before the source was connected says nothing about its lag.
    if (feed.live_since && post.created_at >= *feed.live_since) feed.lags.add(now, now - post.created_at);
  }
  if (newest <= feed.newest) return;  // a change of an old post says nothing about the lag
  feed.newest = newest;
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

}  // namespace fathom::live
