#include "live/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>

#include "base/error.h"
#include "live/expansion.h"
#include "live/old_format.h"
#include "live/query.h"
#include "live/search.h"
#include "live/store_core.h"
#include "live/store_fold.h"
#include "live/store_keeper.h"
#include "live/store_place.h"
#include "live/store_recover.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxQueuedPosts = 100'000;
constexpr size_t kMaxGroupPosts = 20'000;
constexpr auto kQueuePatience = std::chrono::seconds(30);
constexpr size_t kMaxHits = 2'000;
constexpr size_t kSpareCalls = 8, kSparePosts = 20'000;

/// One call of `ingest` on its way to the disk and into the index.
struct Request : IngestCall {
  uint64_t sequence = 0;  // to be synced before it is acknowledged
  std::exception_ptr error;
  bool done = false;
};

class LiveStore final : public Store {
 public:
  LiveStore(const StoreOptions& options, const Clock& clock)
      : core_(open_core(options, clock, repaired_)), keeper_(*core_, repaired_) {}

  IngestResult ingest(std::vector<Post> posts) override;
  void count(const std::vector<CountUpdate>& updates) override;
  SearchResult search(const Query& query) const override;
  std::optional<Post> find(std::string_view key) const override;
  std::vector<Sequenced> tail(uint64_t after, size_t limit) const override;
  std::vector<Sequenced> newest(size_t limit) const override;
  bool wait_for(uint64_t after, std::chrono::milliseconds wait, const std::stop_token& stop) const override {
    return core_->wait_for(after, wait, stop);
  }
  Time feed_time() const override { return core_->feed_time(); }
  StoreStats stats() const override;

 private:
  static std::unique_ptr<StoreCore> open_core(const StoreOptions& options, const Clock& clock,
                                              bool& repaired);
  std::unique_ptr<Request> take_request();
  void give_back(std::unique_ptr<Request> request);
  void enqueue(Request& request);
  void lead(std::unique_lock<std::mutex>& lock);
  void sync(uint64_t sequence);

  bool repaired_ = false;
  const std::unique_ptr<StoreCore> core_;

  // Whoever finds no leader writes, for itself and for all that wait; each then waits for the disk by itself, so that the next
  // group is planned and indexed while this one is synced.
  std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::deque<Request*> queue_;
  size_t queued_posts_ = 0;
  bool leading_ = false;
  std::vector<std::unique_ptr<Request>> spares_;  // their memory is used again

  StoreKeeper keeper_;
};

std::unique_ptr<StoreCore> LiveStore::open_core(const StoreOptions& options, const Clock& clock,
                                                bool& repaired) {
  take_over_old_format(options.folder);
  LogOptions log_options;
  log_options.folder = options.folder;
  log_options.sync = options.sync;
  auto log = Log::open(log_options);
  StoreContent content = read_content(options.folder, clock);
  const uint64_t through = content.through;
  repaired = content.repaired;
  auto core = std::make_unique<StoreCore>(options, clock, std::move(log), std::move(content));
  replay_log(*core, through);
  return core;
}

// Writing

std::unique_ptr<Request> LiveStore::take_request() {
  const std::lock_guard lock(queue_mutex_);
  if (spares_.empty()) return std::make_unique<Request>();
  auto request = std::move(spares_.back());
  spares_.pop_back();
  return request;
}

void LiveStore::give_back(std::unique_ptr<Request> request) {
  if (request->posts.size() > kSparePosts) return;
  request->posts.clear();
  request->result = {};
  request->error = nullptr;
  request->done = false;
  const std::lock_guard lock(queue_mutex_);
  if (spares_.size() < kSpareCalls) spares_.push_back(std::move(request));
}

IngestResult LiveStore::ingest(std::vector<Post> posts) {
  if (posts.empty()) return {};
  auto request = take_request();
  for (size_t i = 0; i < posts.size(); ++i) {
    try {
      validate(posts[i]);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("post {} of {}: {}", i + 1, posts.size(), error.what()));
    }
    request->posts.add(posts[i]);
  }
  enqueue(*request);
  if (request->error) std::rethrow_exception(request->error);
  sync(request->sequence);
  const IngestResult result = request->result;
  give_back(std::move(request));
  return result;
}

void LiveStore::enqueue(Request& request) {
  const size_t count = request.posts.size();
  std::unique_lock lock(queue_mutex_);
  const auto room = [&] { return queued_posts_ == 0 || queued_posts_ + count <= kMaxQueuedPosts; };
  if (!queue_changed_.wait_for(lock, kQueuePatience, room))
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("{} posts wait to be written and the disk does not keep up; try again later",
                            queued_posts_));
  queue_.push_back(&request);
  queued_posts_ += count;
  while (!request.done) {
    if (leading_)
      queue_changed_.wait(lock, [&] { return request.done || !leading_; });
    else
      lead(lock);
  }
}

void LiveStore::lead(std::unique_lock<std::mutex>& lock) {
  leading_ = true;
  std::vector<Request*> group;
  std::vector<IngestCall*> calls;
  size_t posts = 0;
  while (!queue_.empty() && (group.empty() || posts + queue_.front()->posts.size() <= kMaxGroupPosts)) {
    posts += queue_.front()->posts.size();
    group.push_back(queue_.front());
    calls.push_back(queue_.front());
    queue_.pop_front();
  }
  lock.unlock();
  std::exception_ptr error;
  uint64_t sequence = 0;
  try {
    sequence = core_->write(calls);
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  for (Request* request : group) {
    request->sequence = sequence;
    request->error = error;
    request->done = true;
  }
  queued_posts_ -= posts;
  leading_ = false;
  queue_changed_.notify_all();
}

/// Also for a call that changed nothing: what it found may have been written by another that still waits for the disk.
void LiveStore::sync(uint64_t sequence) {
  Log& log = core_->log();
  log.sync(std::min(sequence, log.last()));
}

void LiveStore::count(const std::vector<CountUpdate>& updates) { sync(core_->count(updates)); }

// Reading

SearchResult LiveStore::search(const Query& query) const {
  ParsedQuery parsed = parse_query(query);
  const Snapshot snapshot = core_->snapshot();
  const SegmentList& list = snapshot.segments();
  const Collection all(snapshot);
  const Time now = feed_time();
  const size_t limit = std::min(query.limit, kMaxHits);
  SearchResult result;
  result.as_of = now;
  result.query_terms = parsed.scored.size();
  if (query.expand) {
    expand(parsed, all, query, now);
    for (const auto& [term, weight] : parsed.expansion) result.expansion.push_back(term);
  }
  // Folding makes several into one, so that more are fetched than are asked for, and more again if they were all alike.
  for (size_t count = query.fold ? limit + limit / 4 + 4 : limit;; count *= 4) {
    Ranking ranking = rank(all, parsed, query, now, count);
    result.matched = ranking.matched;
    result.matched_exact = ranking.exact_count;
    result.terms = std::move(ranking.terms);
    if (!query.fold) {
      for (const auto& candidate : ranking.best)
        if (auto hit = read_hit(list, core_->damage(), candidate)) result.hits.push_back(std::move(*hit));
      return result;
    }
    Folder folder(list, core_->damage());
    for (const auto& candidate : ranking.best) folder.add(candidate);
    const bool all_seen = ranking.best.size() < count || count >= kMaxHits;
    if (folder.size() >= limit || all_seen) {
      result.hits = folder.take(limit);
      return result;
    }
  }
}

/// A post that a reader at `sequence` may see and that can be read.
template <class Part>
std::optional<Post> read_visible(const Part& part, uint32_t number, uint64_t sequence, DamageLog& damage) {
  const bool visible =
      (part.facts(number).flags & DocumentFacts::kTombstone) == 0 && part.alive(number, sequence);
  if (!visible) return std::nullopt;
  return damage.contain(part.sequence(number), [&] { return part.post(number); });
}

std::optional<Post> LiveStore::find(std::string_view key) const {
  const Snapshot snapshot = core_->snapshot();
  const uint64_t hash = key_hash(key);
  const auto read = [&](const auto& part, uint32_t number) {
    return read_visible(part, number, snapshot.sequence(), core_->damage());
  };
  const SegmentList& list = snapshot.segments();
  for (auto at = list.memory.rbegin(); at != list.memory.rend(); ++at) {
    const Index& index = **at;
    if (const uint32_t number = index.find_key(hash, key, index.end(snapshot.sequence())))
      return read(index, number);
  }
  for (auto at = list.sealed.rbegin(); at != list.sealed.rend(); ++at)
    if (const uint32_t number = (*at)->find_key(hash, key)) return read(**at, number);
  return {};
}

std::vector<Sequenced> LiveStore::tail(uint64_t after, size_t limit) const {
  const Snapshot snapshot = core_->snapshot();
  const SegmentList& list = snapshot.segments();
  std::vector<Sequenced> posts;
  for (size_t i = 0; i < count_parts(list) && posts.size() < limit; ++i)
    visit_part(list, i, [&](const auto& part) {
      const uint32_t end = part.end(snapshot.sequence());
      for (uint32_t n = part.end(after); n < end && posts.size() < limit; ++n)
        if (auto post = read_visible(part, n, snapshot.sequence(), core_->damage()))
          posts.push_back({part.sequence(n), std::move(*post)});
    });
  return posts;
}

std::vector<Sequenced> LiveStore::newest(size_t limit) const {
  const Snapshot snapshot = core_->snapshot();
  const SegmentList& list = snapshot.segments();
  std::vector<Sequenced> posts;
  for (size_t i = count_parts(list); i > 0 && posts.size() < limit; --i)
    visit_part(list, i - 1, [&](const auto& part) {
      for (uint32_t n = part.end(snapshot.sequence()) - 1; n > 0 && posts.size() < limit; --n)
        if (auto post = read_visible(part, n, snapshot.sequence(), core_->damage()))
          posts.push_back({part.sequence(n), std::move(*post)});
    });
  return posts;
}

StoreStats LiveStore::stats() const {
  const Snapshot snapshot = core_->snapshot();
  const SegmentList& list = snapshot.segments();
  StoreStats stats;
  stats.last_sequence = core_->last_visible();
  stats.ingested = core_->ingested();
  stats.dropped = core_->dropped();
  stats.removed_keys = core_->removed()->size();
  stats.damaged_records = core_->damage().records();
  stats.log_bytes = core_->log().bytes();
  std::map<std::string, uint64_t> by_source;
  for (size_t i = 0; i < count_parts(list); ++i)
    visit_part(list, i, [&](const auto& part) {
      stats.posts += part.posts();
      stats.terms += part.terms();
      for (size_t s = 0; s < part.sources().size(); ++s)
        by_source[std::string(part.sources().name(s))] += part.posts_of(s);
    });
  for (const auto& index : list.memory) stats.index_bytes += index->bytes();
  stats.sealed_segments = list.sealed.size();
  for (const auto& segment : list.sealed) {
    stats.sealed_posts += segment->posts();
    stats.sealed_bytes += segment->bytes();
  }
  stats.by_source.assign(by_source.begin(), by_source.end());
  return stats;
}

}  // namespace

Query what_is_going_on(Time since, size_t limit) {
  Query query;
  query.limit = limit;
  query.since = since;
  query.weights = {.recency = 0.8, .half_life_hours = 6, .engagement = 1};
  return query;
}

std::unique_ptr<Store> Store::open(const StoreOptions& options, const Clock& clock) {
  return std::make_unique<LiveStore>(options, clock);
}

}  // namespace fathom::live
