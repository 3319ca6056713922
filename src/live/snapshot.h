// What a reader sees: an immutable list of segments and a sequence, taken without a lock.
//
// Sequence numbers rise by one with every post, replacement, order to delete and list of counts. Segments part
// the sequences between them in rising ranges: sealed ones, then those being sealed, then the active one. A document is
// visible at sequence S when its own is at or below S and the sequence that ended it (a replacement, a deletion) is above S.
// So one number fixes what is seen in all segments, and a reader finds the old version of a post or the new one, never both
// and never none.
//
// The writer publishes by storing the sequence (release). It replaces the list (seal, merge, retention) by storing a
// pointer and frees the old list when no reader holds it: readers count themselves in and out of one of two epochs (as in
// McKenney's sleepable read-copy-update), wait-free. A reader takes the sequence before the list: all that is visible at that
// sequence lies in that list or in a later one, and whatever a later one has forgotten was dead at its `since`.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "live/index.h"
#include "live/segment/segment.h"

namespace fathom::live {

/// Oldest first. Immutable once published; segments are shared between successive lists.
struct SegmentList {
  std::vector<std::shared_ptr<Segment>> sealed;
  std::vector<std::shared_ptr<Index>> memory;  // those being sealed, then the active one: never empty
  uint64_t since = 0;                          // the sequence published when the list was
};

class Segments;

/// Pins a list. Short-lived: a snapshot that is kept keeps merged files from being removed. Movable, one thread at a time.
class Snapshot {
 public:
  Snapshot(Snapshot&& other) noexcept;
  Snapshot& operator=(Snapshot&&) = delete;
  ~Snapshot();

  const SegmentList& segments() const { return *list_; }
  uint64_t sequence() const { return sequence_; }

  /// Visible posts and their mean length over all segments (for BM25; a few posts off while the writer works).
  double posts() const { return posts_; }
  double mean_length() const { return mean_length_; }

 private:
  friend class Segments;
  explicit Snapshot(std::atomic<uint64_t>* readers) : readers_(readers) {}
  void sum_up();

  std::atomic<uint64_t>* readers_;  // of the epoch that it is counted in
  const SegmentList* list_ = nullptr;
  uint64_t sequence_ = 0;
  double posts_ = 0, mean_length_ = 1;
};

/// The current list. `snapshot`, `published` and `reclaim` for any thread; all else for the writer, one thread at a time.
class Segments {
 public:
  /// All up to first.since is visible.
  explicit Segments(SegmentList first);
  ~Segments();

  Snapshot snapshot() const;

  /// The writer's own view of the list.
  const SegmentList& list() const;
  /// Makes everything up to `sequence` visible.
  void publish(uint64_t sequence);
  uint64_t published() const;
  /// Replaces the list. Readers that hold the old one go on; `reclaim` frees it. REQUIRES: list.since <= published().
  void replace(SegmentList list);
  /// Frees the lists that were replaced; returns when no reader holds one of them any more.
  void reclaim();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fathom::live
