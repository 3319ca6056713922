#include "live/store_planner.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "live/codec.h"

namespace fathom::live {
namespace {

constexpr size_t kPrefetchDistance = 8;
constexpr size_t kFewestSlots = 64;

/// What cannot be read any more is written anew.
bool holds(const Place& place, std::string_view record) {
  try {
    return same_content(place.record(), record);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorrupt) throw;
    return false;
  }
}

}  // namespace

/// The last state of a key: planned in this group, or in a segment.
struct Planner::Known {
  const PreparedPost* planned = nullptr;
  Place place;
  bool post = false, order = false;
  Time time{};  // of the order
};

void Planner::begin(const SegmentList& list, const RemovedKeys& removed, uint64_t last, size_t posts) {
  list_ = &list;
  removed_ = &removed;
  first_ = last + 1;
  posts_.clear();
  deaths_.clear();
  slots_.assign(std::bit_ceil(std::max(2 * posts, kFewestSlots)), 0);
}

void Planner::plan(const PreparedBatch& posts, IngestResult& result) {
  for (size_t i = 0; i < std::min(posts.size(), kPrefetchDistance); ++i)
    prefetch_key(*list_, posts[i].key_hash);
  for (size_t i = 0; i < posts.size(); ++i) {
    if (i + kPrefetchDistance < posts.size()) prefetch_key(*list_, posts[i + kPrefetchDistance].key_hash);
    plan_one(posts[i], result);
  }
}

/// The slot of a post's key, free or not.
size_t Planner::slot_of(const PreparedPost& post) const {
  const size_t mask = slots_.size() - 1;
  for (size_t slot = post.key_hash & mask;; slot = (slot + 1) & mask) {
    if (slots_[slot] == 0) return slot;
    const PreparedPost& other = *posts_[slots_[slot] - 1];
    if (other.key_hash == post.key_hash && other.key == post.key) return slot;
  }
}

Planner::Known Planner::known(const PreparedPost& post) const {
  Known known;
  if (const uint32_t planned = slots_[slot_of(post)]; planned != 0) {
    known.planned = posts_[planned - 1];
    known.order = known.planned->deleted;
    known.post = !known.order;
    known.time = known.planned->created;
    return known;
  }
  known.place = locate(*list_, post.key_hash, post.key);
  if (known.place) {
    const DocumentFacts facts = known.place.facts();
    known.order = (facts.flags & DocumentFacts::kTombstone) != 0;
    known.post = known.place.lives();
    known.time = Time(Micros(facts.created));
  }
  if (known.post || known.order) return known;
  if (const auto order = removed_->find(post.key_hash)) {
    known.order = true;
    known.time = *order;
  }
  return known;
}

bool Planner::wanted(const PreparedPost& post, const Known& before, IngestResult& result) const {
  if (post.deleted) {
    if (before.order && before.time >= post.created) {
      ++result.duplicates;
      return false;
    }
    if (before.post) ++result.deleted;
    return true;
  }
  if (before.order && post.created <= before.time) {
    ++result.stale;
    return false;
  }
  if (before.post) {
    const bool same = before.planned != nullptr ? same_content(before.planned->record, post.record)
                                                : holds(before.place, post.record);
    ++(same ? result.duplicates : result.replaced);
    return !same;
  }
  ++result.added;
  return true;
}

void Planner::plan_one(const PreparedPost& post, IngestResult& result) {
  const Known before = known(post);
  if (!wanted(post, before, result)) return;
  posts_.push_back(&post);
  slots_[slot_of(post)] = static_cast<uint32_t>(posts_.size());
  const bool elsewhere = before.place && before.place.memory != list_->memory.back().get();
  if (elsewhere && before.post) deaths_.push_back({before.place, last()});
}

}  // namespace fathom::live
