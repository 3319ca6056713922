// Decides what each post of a group does, seeing what the posts before it in the group will have done: nothing is written yet.
//
// Used again from group to group (its memory is kept). One thread; the posts and the list must outlive a plan.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "live/prepare.h"
#include "live/removed_keys.h"
#include "live/store.h"
#include "live/store_place.h"

namespace fathom::live {

/// A document in an earlier segment that ends.
struct Death {
  Place place;
  uint64_t sequence = 0;
};

class Planner {
 public:
  /// Starts a group of at most `posts` posts over `list`; the first that is to be written takes the sequence after `last`.
  /// `removed`: what the segments have forgotten to be removed.
  void begin(const SegmentList& list, const RemovedKeys& removed, uint64_t last, size_t posts);
  void plan(const PreparedBatch& posts, IngestResult& result);

  /// What is to be written and added, in order: posts, and orders to delete; their sequences rise by one from the first.
  std::span<const PreparedPost* const> posts() const { return posts_; }
  uint64_t first() const { return first_; }
  uint64_t last() const { return first_ + posts_.size() - 1; }
  /// Documents that they end in other segments than the active one, which looks after itself.
  std::span<const Death> deaths() const { return deaths_; }

 private:
  struct Known;

  Known known(const PreparedPost& post) const;
  void plan_one(const PreparedPost& post, IngestResult& result);
  bool wanted(const PreparedPost& post, const Known& before, IngestResult& result) const;
  size_t slot_of(const PreparedPost& post) const;

  const SegmentList* list_ = nullptr;
  const RemovedKeys* removed_ = nullptr;
  uint64_t first_ = 0;
  std::vector<const PreparedPost*> posts_;
  std::vector<Death> deaths_;
  std::vector<uint32_t> slots_;  // key -> 1 + its last place in posts_; open addressing, at most half full
};

}  // namespace fathom::live
