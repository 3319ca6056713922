#include "live/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "live/codec.h"
#include "live/duplicates.h"
#include "live/index.h"
#include "live/post_log.h"
#include "live/query.h"
#include "live/search.h"
#include "live/segment/segment.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxQueuedPosts = 100'000;
constexpr size_t kMaxGroupPosts = 20'000;
constexpr auto kQueuePatience = std::chrono::seconds(30);
constexpr auto kFutureTolerance = std::chrono::hours(24);
constexpr size_t kMaxHits = 2'000;

/// One call of `ingest` on its way to the disk and into the index.
struct Request {
  PreparedBatch posts;
  IngestResult result;
  std::exception_ptr error;
  bool done = false;
};

/// What is to happen with one post, decided before the write and done after it.
enum class Action : uint8_t { kAdd, kBury, kNothing };

struct Step {
  const PreparedPost* post;
  Action action;
  uint64_t sequence;
};

/// Decides what each post of a group does, seeing what the posts before it in the group will have done.
class Planner {
 public:
  Planner(const Index& index, PostLog::Batch& batch, uint64_t& sequence)
      : index_(index), batch_(batch), sequence_(sequence) {}

  void plan(Request& request) {
    for (size_t i = 0; i < request.posts.size(); ++i)
      steps_.push_back(plan_one(request.posts[i], request.result));
  }

  const std::vector<Step>& steps() const { return steps_; }

 private:
  /// The last state of a key.
  struct Known {
    std::string record;
    uint64_t sequence = 0;
    Time time{};
    bool buried = false;
  };

  std::optional<Known> known(const PreparedPost& post, std::string_view key) const {
    if (const auto at = changed_.find(key); at != changed_.end()) return at->second;
    const uint32_t number = index_.find_key(post.key_hash, key);
    if (number == 0) return {};
    const DocumentFacts facts = index_.facts(number);
    return Known{index_.record(number), index_.sequence(number), Time(Micros(facts.created)),
                 (facts.flags & DocumentFacts::kTombstone) != 0};
  }

  Step plan_one(const PreparedPost& post, IngestResult& result) {
    const std::string_view key = post.key;
    const auto before = known(post, key);
    return post.deleted ? plan_delete(post, key, before, result) : plan_post(post, key, before, result);
  }

  Step plan_delete(const PreparedPost& post, std::string_view key, const std::optional<Known>& before,
                   IngestResult& result) {
    const bool removes = before && !before->buried;
    if (before && before->buried && before->time >= post.created) {
      ++result.duplicates;
      return {&post, Action::kNothing, 0};
    }
    if (removes) {
      batch_.remove(before->sequence);
      ++result.deleted;
    }
    const uint64_t sequence = ++sequence_;
    batch_.bury({std::string(key), sequence, post.created});
    changed_[key] = {std::string(post.record), sequence, post.created, true};
    return {&post, Action::kBury, sequence};
  }

  Step plan_post(const PreparedPost& post, std::string_view key, const std::optional<Known>& before,
                 IngestResult& result) {
    if (before && before->buried && post.created <= before->time) {
      ++result.stale;
      return {&post, Action::kNothing, 0};
    }
    if (before && !before->buried && same_content(before->record, post.record)) {
      ++result.duplicates;
      return {&post, Action::kNothing, 0};
    }
    if (before && before->buried) batch_.unbury(key);
    if (before && !before->buried) batch_.remove(before->sequence);
    ++(before && !before->buried ? result.replaced : result.added);
    const uint64_t sequence = ++sequence_;
    batch_.put(sequence, post.record);
    changed_[key] = {std::string(post.record), sequence, post.created, false};
    return {&post, Action::kAdd, sequence};
  }

  const Index& index_;
  PostLog::Batch& batch_;
  uint64_t& sequence_;
  std::unordered_map<std::string_view, Known> changed_;
  std::vector<Step> steps_;
};

/// Hits of one statement become one hit: the best place, the original before its reposts, the other keys listed.
class Folder {
 public:
  explicit Folder(const Index& index) : index_(index) {}

  void add(Hit hit, uint32_t number) {
    const bool repost = (index_.facts(number).flags & DocumentFacts::kRepost) != 0;
    Entry entry{std::move(hit), index_.sketch(number), repost, {}};
    for (Entry& kept : entries_) {
      if (!alike(kept, entry)) continue;
      // The original speaks for its reposts, at the place of the best of them.
      if (kept.repost && !entry.repost) exchange(kept, entry);
      kept.hit.folded.push_back(entry.hit.post.key());
      return;
    }
    entries_.push_back(std::move(entry));
  }

  size_t size() const { return entries_.size(); }

  std::vector<Hit> take(size_t limit) && {
    std::vector<Hit> hits;
    for (auto& entry : entries_) {
      if (hits.size() == limit) break;
      hits.push_back(std::move(entry.hit));
    }
    return hits;
  }

 private:
  struct Entry {
    Hit hit;
    uint64_t sketch;
    bool repost;
    std::optional<Statement> statement;  // made at the first comparison

    const Statement& words() {
      if (!statement) statement.emplace(hit.post.text);
      return *statement;
    }
  };

  static bool alike(Entry& a, Entry& b) {
    const Post &x = a.hit.post, &y = b.hit.post;
    const bool repost = !x.repost_of.empty() || !y.repost_of.empty();
    if (repost && x.source == y.source) {
      if (!x.repost_of.empty() && (x.repost_of == y.id || x.repost_of == y.repost_of)) return true;
      if (y.repost_of == x.id) return true;
    }
    return sketch_agreement(a.sketch, b.sketch) >= kAlikeAgreement && a.words().same_as(b.words());
  }

  static void exchange(Entry& kept, Entry& entry) {
    std::swap(kept.hit, entry.hit);
    std::swap(kept.sketch, entry.sketch);
    std::swap(kept.repost, entry.repost);
    std::swap(kept.statement, entry.statement);
    std::swap(kept.hit.folded, entry.hit.folded);
    std::swap(kept.hit.score, entry.hit.score);
  }

  const Index& index_;
  std::vector<Entry> entries_;
};

class LiveStore final : public Store {
 public:
  LiveStore(const StoreOptions& options, const Clock& clock)
      : clock_(clock), log_(options.folder, options.sync) {
    recover(options);
  }

  IngestResult ingest(std::vector<Post> posts) override;
  SearchResult search(const Query& query) const override;
  std::optional<Post> find(std::string_view key) const override;
  std::vector<Sequenced> tail(uint64_t after, size_t limit) const override;
  std::vector<Sequenced> newest(size_t limit) const override;
  bool wait_for(uint64_t after, std::chrono::milliseconds wait, const std::stop_token& stop) const override;
  Time feed_time() const override { return Time(Micros(feed_time_.load(std::memory_order_acquire))); }
  StoreStats stats() const override;

 private:
  void recover(const StoreOptions& options);
  void enqueue(Request& request);
  void lead(std::unique_lock<std::mutex>& lock);
  void commit(const std::vector<Request*>& group);
  void apply(const std::vector<Step>& steps);
  void advance(Time created, bool fiction);
  void announce();
  Hit make_hit(const Candidate& candidate) const;
  bool readable(uint32_t number, const View& snapshot) const;
  Sequenced sequenced(uint32_t number) const;
  View view() const { return {index_, last_sequence_.load(std::memory_order_acquire)}; }

  const Clock& clock_;
  PostLog log_;            // used by the leader only
  Index index_;            // written by the leader only
  uint64_t sequence_ = 0;  // of the leader; numbers of failed writes are not used again
  std::atomic<int64_t> feed_time_{0};
  std::atomic<uint64_t> last_sequence_{0};
  std::atomic<uint64_t> ingested_{0};

  // Group commit: whoever finds no leader leads, for itself and for all that wait.
  std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::deque<Request*> queue_;
  size_t queued_posts_ = 0;
  bool leading_ = false;

  mutable std::mutex wait_mutex_;
  mutable std::condition_variable_any visible_;
};

void LiveStore::recover(const StoreOptions& options) {
  Progress progress("reading the feed", log_.estimate(), "posts");
  uint64_t read = 0, broken = 0;
  PreparedBatch prepared;
  const size_t damaged = log_.replay(
      [&](uint64_t sequence, std::string_view record) {
        sequence_ = sequence;
        try {
          const Post post = decode_record(record);
          prepared.clear();
          prepared.add(post);
          index_.add(prepared[0], sequence);
          advance(post.created_at, post.fiction);
        } catch (const Error&) {
          ++broken;
        }
        progress.update(++read);
      },
      [&](const Tombstone& tombstone) {
        sequence_ = std::max(sequence_, tombstone.sequence);
        index_.add_tombstone(tombstone.key, key_hash(tombstone.key), tombstone.time, tombstone.sequence);
      });
  last_sequence_.store(sequence_, std::memory_order_release);
  if (broken + damaged > 0)
    log().error("{} posts and {} stretches of the feed in '{}' could not be read and were left out", broken,
                damaged, options.folder.string());
}

/// The feed's clock follows the newest post; one far ahead of the real clock is a sender's mistake, unless it is fiction,
/// which has a calendar of its own.
void LiveStore::advance(Time created, bool fiction) {
  if (!fiction && created > clock_.now() + kFutureTolerance) return;
  const int64_t micros = created.time_since_epoch().count();
  if (micros > feed_time_.load(std::memory_order_relaxed))
    feed_time_.store(micros, std::memory_order_release);
}

IngestResult LiveStore::ingest(std::vector<Post> posts) {
  Request request;
  for (size_t i = 0; i < posts.size(); ++i) {
    try {
      validate(posts[i]);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("post {} of {}: {}", i + 1, posts.size(), error.what()));
    }
    request.posts.add(posts[i]);
  }
  if (request.posts.empty()) return {};
  enqueue(request);
  if (request.error) std::rethrow_exception(request.error);
  return request.result;
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
  size_t posts = 0;
  while (!queue_.empty() && (group.empty() || posts + queue_.front()->posts.size() <= kMaxGroupPosts)) {
    posts += queue_.front()->posts.size();
    group.push_back(queue_.front());
    queue_.pop_front();
  }
  lock.unlock();
  std::exception_ptr error;
  try {
    commit(group);
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  for (Request* request : group) {
    if (error) request->result = {};
    request->error = error;
    request->done = true;
  }
  queued_posts_ -= posts;
  leading_ = false;
  queue_changed_.notify_all();
}

void LiveStore::commit(const std::vector<Request*>& group) {
  size_t posts = 0;
  for (const Request* request : group) posts += request->posts.size();
  if (!index_.has_room(posts))
    throw Error(ErrorCode::kResourceExhausted,
                "the live index is full; remove old posts, or start on another folder");
  PostLog::Batch batch;
  Planner planner(index_, batch, sequence_);
  for (Request* request : group) planner.plan(*request);
  if (batch.empty()) return;
  log_.commit(batch);
  apply(planner.steps());
}

void LiveStore::apply(const std::vector<Step>& steps) {
  uint64_t added = 0;
  for (const Step& step : steps) {
    if (step.action == Action::kNothing) continue;
    index_.add(*step.post, step.sequence);
    if (step.action != Action::kAdd) continue;
    advance(step.post->created, (step.post->flags & DocumentFacts::kFiction) != 0);
    ++added;
  }
  ingested_.fetch_add(added, std::memory_order_relaxed);
  announce();
}

void LiveStore::announce() {
  {
    const std::lock_guard lock(wait_mutex_);
    last_sequence_.store(sequence_, std::memory_order_release);
  }
  visible_.notify_all();
}

Hit LiveStore::make_hit(const Candidate& candidate) const {
  Hit hit;
  hit.post = index_.post(candidate.document);
  hit.sequence = index_.sequence(candidate.document);
  hit.score = candidate.score;
  hit.text_score = candidate.text_score;
  hit.matched_terms = candidate.matched_terms;
  return hit;
}

SearchResult LiveStore::search(const Query& query) const {
  const ParsedQuery parsed = parse_query(query);
  const auto snapshot = view();
  const Time now = feed_time();
  const size_t limit = std::min(query.limit, kMaxHits);
  SearchResult result;
  result.as_of = now;
  result.query_terms = parsed.scored.size();
  // Folding makes several into one, so that more are fetched than are asked for, and more again if they were all alike.
  for (size_t count = query.fold ? 2 * limit + 16 : limit;; count *= 4) {
    Ranking ranking = rank(index_, snapshot, parsed, query, now, count);
    result.matched = ranking.matched;
    result.matched_exact = ranking.exact_count;
    result.terms = std::move(ranking.terms);
    if (!query.fold) {
      for (const auto& candidate : ranking.best) result.hits.push_back(make_hit(candidate));
      return result;
    }
    Folder folder(index_);
    for (const auto& candidate : ranking.best) folder.add(make_hit(candidate), candidate.document);
    const bool all_seen = ranking.best.size() < count || count >= kMaxHits;
    if (folder.size() >= limit || all_seen) {
      result.hits = std::move(folder).take(limit);
      return result;
    }
  }
}

std::optional<Post> LiveStore::find(std::string_view key) const {
  const auto snapshot = view();
  const uint32_t number = index_.find_key(key_hash(key), key, snapshot.end);
  if (number == 0 || !readable(number, snapshot)) return {};
  return index_.post(number);
}

bool LiveStore::readable(uint32_t number, const View& snapshot) const {
  return index_.alive(number, snapshot.sequence) &&
         (index_.facts(number).flags & DocumentFacts::kTombstone) == 0;
}

Sequenced LiveStore::sequenced(uint32_t number) const {
  return {index_.sequence(number), index_.post(number)};
}

std::vector<Sequenced> LiveStore::tail(uint64_t after, size_t limit) const {
  const auto snapshot = view();
  std::vector<Sequenced> posts;
  for (uint32_t n = index_.end(after); n < snapshot.end && posts.size() < limit; ++n)
    if (readable(n, snapshot)) posts.push_back(sequenced(n));
  return posts;
}

std::vector<Sequenced> LiveStore::newest(size_t limit) const {
  const auto snapshot = view();
  std::vector<Sequenced> posts;
  for (uint32_t n = snapshot.end - 1; n > 0 && posts.size() < limit; --n)
    if (readable(n, snapshot)) posts.push_back(sequenced(n));
  return posts;
}

bool LiveStore::wait_for(uint64_t after, std::chrono::milliseconds wait, const std::stop_token& stop) const {
  std::unique_lock lock(wait_mutex_);
  return visible_.wait_for(lock, stop, wait,
                           [&] { return last_sequence_.load(std::memory_order_acquire) > after; });
}

StoreStats LiveStore::stats() const {
  StoreStats stats;
  stats.posts = index_.posts();
  stats.last_sequence = last_sequence_.load(std::memory_order_acquire);
  stats.terms = index_.terms();
  stats.index_bytes = index_.bytes();
  stats.ingested = ingested_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < index_.sources().size(); ++i)
    stats.by_source.emplace_back(std::string(index_.sources().name(i)), index_.posts_of(i));
  std::sort(stats.by_source.begin(), stats.by_source.end());
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
