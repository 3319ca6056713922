#include "live/store_core.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "live/codec.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxFrozen = 3;
constexpr size_t kPrefetchDistance = 8;
constexpr uint64_t kAttendEvery = 1'024;  // posts: far less than fit into the memory that is kept ahead
constexpr auto kPatience = std::chrono::seconds(30);
constexpr auto kFutureTolerance = std::chrono::hours(24);

SegmentList first_list(const StoreContent& content) {
  SegmentList list;
  for (const Sealed& sealed : content.sealed) list.sealed.push_back(sealed.segment);
  list.memory.push_back(std::make_shared<Index>(content.through));
  list.since = content.through;
  return list;
}

}  // namespace

StoreCore::StoreCore(const StoreOptions& options, const Clock& clock, std::unique_ptr<Log> log,
                     StoreContent content)
    : options_(options),
      clock_(clock),
      log_(std::move(log)),
      segments_(first_list(content)),
      sequence_(content.through),
      through_(content.through),
      sealed_(std::move(content.sealed)),
      removed_(std::make_shared<const RemovedKeys>(std::move(content.removed))),
      feed_time_(content.feed_time),
      supply_(std::min(options.segment_posts, Index::kUsualDocuments)) {}

// Writing

bool StoreCore::is_due(size_t posts) const {
  const Index& index = active();
  if (index.documents() == 0) return false;
  return index.documents() >= options_.segment_posts || index.bytes() >= options_.segment_bytes ||
         !index.has_room(posts);
}

/// Freezes the active index when it is full; waits for the sealing of earlier ones where too many wait.
void StoreCore::make_room(std::unique_lock<std::mutex>& lock, size_t posts) {
  if (!is_due(posts)) return;
  const auto few = [this] { return segments_.list().memory.size() <= kMaxFrozen; };
  const bool room =
      frozen_changed_.wait_for(lock, kPatience, [&] { return few() || sealing_fails_; }) && few();
  if (!room)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("segments in '{}' wait to be written and the disk does not take them; free some "
                            "space, or try again later",
                            options_.folder.string()));
  if (is_due(posts)) rotate();
}

void StoreCore::rotate() {
  auto memory = segments_.list().memory;
  memory.push_back(supply_.take(sequence_));
  replace_list(std::move(memory));
  frozen_changed_.notify_all();
}

void StoreCore::replace_list(std::vector<std::shared_ptr<Index>> memory) {
  SegmentList list;
  for (const Sealed& sealed : sealed_) list.sealed.push_back(sealed.segment);
  list.memory = std::move(memory);
  list.since = segments_.published();
  segments_.replace(std::move(list));
}

/// Fresh memory is taken by another thread than the one that posts wait for.
void StoreCore::attend_memory() {
  if (sequence_ - attended_ < kAttendEvery) return;
  attended_ = sequence_;
  const Index& index = active();
  const bool next_soon =
      index.documents() >= options_.segment_posts / 8 * 7 || index.bytes() >= options_.segment_bytes / 8 * 7;
  supply_.attend(segments_.list().memory.back(), next_soon);
}

uint64_t StoreCore::write(std::span<IngestCall* const> calls) {
  size_t posts = 0;
  for (const IngestCall* call : calls) posts += call->posts.size();
  std::unique_lock lock(mutex_);
  make_room(lock, posts);
  planner_.begin(segments_.list(), *removed_, sequence_, posts);
  for (IngestCall* call : calls) planner_.plan(call->posts, call->result);
  if (planner_.posts().empty()) return sequence_;
  log_posts();
  sequence_ = planner_.last();
  apply_posts();
  return sequence_;
}

void StoreCore::log_posts() {
  entries_.clear();
  orders_.clear();
  const auto posts = planner_.posts();
  orders_.reserve(static_cast<size_t>(
      std::count_if(posts.begin(), posts.end(), [](const PreparedPost* post) { return post->deleted; })));
  uint64_t sequence = planner_.first();
  for (const PreparedPost* post : posts) {
    if (post->deleted) orders_.push_back(encode_order({post->created, post->key}));
    const std::string_view payload = post->deleted ? std::string_view(orders_.back()) : post->record;
    entries_.push_back({sequence++, post->deleted ? LogKind::kBury : LogKind::kPost, payload});
  }
  log_->append(entries_);
}

void StoreCore::apply_posts() {
  for (const Death& death : planner_.deaths()) end(death.place, death.sequence);
  active().add(planner_.posts(), planner_.first());
  uint64_t added = 0;
  for (const PreparedPost* post : planner_.posts()) {
    if (post->deleted) continue;
    advance(post->created, (post->flags & DocumentFacts::kFiction) != 0);
    ++added;
  }
  ingested_.fetch_add(added, std::memory_order_relaxed);
  segments_.publish(sequence_);
  announce(sequence_);
  attend_memory();
}

uint64_t StoreCore::count(const std::vector<CountUpdate>& updates) {
  const std::lock_guard lock(mutex_);
  std::vector<CountUpdate> known;
  std::vector<Place> places;
  for (const CountUpdate& update : updates) {
    const Place place = locate(segments_.list(), key_hash(update.key), update.key);
    if (!place || !place.lives()) continue;
    known.push_back(update);
    places.push_back(place);
  }
  if (known.empty()) return 0;
  const std::string payload = encode_counts(known);
  const LogEntry entry{sequence_ + 1, LogKind::kCount, payload};
  log_->append({&entry, 1});
  ++sequence_;
  for (size_t i = 0; i < known.size(); ++i) add_counts(places[i], known[i].change);
  return sequence_;
}

void StoreCore::restore(std::span<const PreparedPost* const> posts, uint64_t first) {
  const std::lock_guard lock(mutex_);
  if (is_due(posts.size())) rotate();
  const SegmentList& list = segments_.list();
  for (size_t i = 0; i < posts.size(); ++i) {
    if (i + kPrefetchDistance < posts.size()) prefetch_key(list, posts[i + kPrefetchDistance]->key_hash);
    const Place before = locate(list, posts[i]->key_hash, posts[i]->key);
    if (before && before.memory != &active() && before.lives()) end(before, first + i);
    const bool fiction = (posts[i]->flags & DocumentFacts::kFiction) != 0;
    if (!posts[i]->deleted) advance(posts[i]->created, fiction);
  }
  active().add(posts, first);
  sequence_ = first + posts.size() - 1;
  segments_.publish(sequence_);
  attend_memory();
}

void StoreCore::restore(std::span<const CountUpdate> updates, uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  sequence_ = sequence;
  for (const CountUpdate& update : updates) {
    const Place place = locate(segments_.list(), key_hash(update.key), update.key);
    if (!place || !place.lives()) continue;
    const auto owner = std::find_if(sealed_.begin(), sealed_.end(), [&](const Sealed& sealed) {
      return sealed.segment.get() == place.sealed;
    });
    const bool counted = owner != sealed_.end() && owner->counted >= sequence;
    if (!counted) add_counts(place, update.change);
  }
}

void StoreCore::finish_restore(uint64_t last) {
  const std::lock_guard lock(mutex_);
  sequence_ = std::max(sequence_, last);
  segments_.publish(sequence_);
  announce(sequence_);
}

/// A document ends. Works on its segment must hear of it; the active index looks after its own.
void StoreCore::end(const Place& place, uint64_t sequence) {
  place.bury(sequence);
  mark_changed(place);
  for (Work* work : works_)
    if (work->covers(place.part())) work->late_.push_back({place, sequence, {}, false});
}

void StoreCore::add_counts(const Place& place, const CountChange& change) {
  bool waits = false;
  for (Work* work : works_) {
    if (!work->covers(place.part())) continue;
    work->late_.push_back({place, 0, change, false});
    waits = true;
  }
  if (!waits) place.add_counts(change);
  mark_changed(place);
}

void StoreCore::mark_changed(const Place& place) {
  for (Sealed& sealed : sealed_)
    if (sealed.segment.get() == place.sealed) sealed.changed = true;
}

/// The feed's clock follows the newest post; one far ahead of the real clock is a sender's mistake, unless it is fiction,
/// which has a calendar of its own.
void StoreCore::advance(Time created, bool fiction) {
  const int64_t micros = created.time_since_epoch().count();
  if (micros <= feed_time_.load(std::memory_order_relaxed)) return;
  if (!fiction && created > clock_.now() + kFutureTolerance) return;
  feed_time_.store(micros, std::memory_order_release);
}

void StoreCore::announce(uint64_t sequence) {
  {
    const std::lock_guard lock(wait_mutex_);
    last_visible_.store(sequence, std::memory_order_release);
  }
  visible_changed_.notify_all();
}

bool StoreCore::wait_for(uint64_t after, std::chrono::milliseconds wait, const std::stop_token& stop) const {
  std::unique_lock lock(wait_mutex_);
  return visible_changed_.wait_for(lock, stop, wait, [&] { return last_visible() > after; });
}

}  // namespace fathom::live
