// Keys and values in pages, shared between sequences that begin with the same tokens.
//
// A page holds tensor::kPagePositions consecutive positions of a sequence for every layer. Once a page's positions are
// final it is published: found by later sequences through the tokens that it holds and the page before it, all compared
// one by one, so that a sequence gets another's keys and values only where their tokens are equal from position 0 on.
//
// 1. A published page never changes; who would write to it gets a copy first.
// 2. A page with holders is never reused. Pages without any stay to be found, and are given up when memory is needed, the
//    longest unused first; a page goes before the one that it follows.
// 3. Page identities are never used twice, so that a page whose predecessor was given up can no longer be found.
//
// The pool owns the memory and outlives its sequences; address space is reserved for `pages` pages and becomes real as they
// are used. Not thread-safe: one thread at a time may use a pool and its sequences. Counts may be read by any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "model/config.h"
#include "tensor/attention.h"
#include "tensor/buffer.h"

namespace fathom::infer {

class KvSequence;

class KvPool {
 public:
  static constexpr size_t kPositions = tensor::kPagePositions;

  /// Errors: kResourceExhausted, when there is no such address space.
  KvPool(const model::ModelConfig& config, tensor::DType dtype, size_t pages);
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  /// Bytes of a page.
  static size_t page_bytes(const model::ModelConfig& config, tensor::DType dtype);
  static size_t pages_of(size_t positions) { return (positions + kPositions - 1) / kPositions; }

  size_t pages() const { return count_; }
  /// Pages that hold something: of living sequences, or kept to be found.
  size_t used() const { return used_.load(std::memory_order_relaxed); }
  /// Pages that a sequence could have: empty ones and those that nobody holds.
  size_t available() const { return count_ - held_; }

 private:
  friend class KvSequence;
  using Id = uint32_t;
  static constexpr Id kNone = UINT32_MAX;

  struct Page {
    uint64_t identity = 0;  // 0: not published
    uint64_t parent = 0;    // identity of the page before; 0: none
    uint64_t released = 0;  // when its last holder left
    uint32_t holders = 0;
    uint32_t filled = 0;                       // positions, of a published page
    std::array<int32_t, kPositions> tokens{};  // likewise
  };

  /// What pages are looked up by.
  struct Key {
    uint64_t parent;
    std::span<const int32_t> tokens;
  };
  struct Order {
    using is_transparent = void;
    const std::vector<Page>* pages;
    Key key(Id id) const;
    static bool less(const Key& a, const Key& b);
    bool operator()(Id a, Id b) const { return less(key(a), key(b)); }
    bool operator()(Id a, const Key& b) const { return less(key(a), b); }
    bool operator()(const Key& a, Id b) const { return less(a, key(b)); }
  };

  std::byte* data(Id id) const { return memory_.as<std::byte>() + id * page_bytes_; }
  uint64_t identity(Id id) const { return pages_[id].identity; }
  bool published(Id id) const { return pages_[id].identity != 0; }
  /// An empty page with one holder; kNone when all are held.
  Id take();
  void hold(Id id);
  /// One holder less; an unpublished page is empty then.
  void release(Id id);
  /// Makes a page of these tokens after `parent` findable; returns the page that now stands for them: `id`, or an equal one
  /// that was there before, held in its place.
  Id publish(Id id, uint64_t parent, std::span<const int32_t> tokens);
  struct Match {
    Id id = kNone;
    size_t count = 0;  // leading tokens that are equal
  };
  /// The published page after `parent` with the longest common beginning.
  Match find(uint64_t parent, std::span<const int32_t> tokens) const;
  void empty(Id id);

  tensor::KvShape shape_;
  size_t page_bytes_;
  size_t count_;
  tensor::Buffer memory_;
  std::vector<Page> pages_;      // those that were ever used
  std::set<Id, Order> index_;    // of published pages
  std::map<uint64_t, Id> idle_;  // published pages without holders, by `released`
  std::vector<Id> free_;         // empty pages that were used before
  size_t held_ = 0;              // pages with holders
  uint64_t next_identity_ = 1;
  uint64_t next_release_ = 1;
  std::atomic<size_t> used_{0};
};

/// The tokens of one sequence and the pages of their keys and values.
class KvSequence {
 public:
  explicit KvSequence(KvPool& pool) : pool_(&pool) {}
  ~KvSequence() { release(); }
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;

  /// The tokens whose keys and values are here, by position.
  const std::vector<int32_t>& tokens() const { return tokens_; }
  /// Positions that there are pages for.
  size_t capacity() const { return ids_.size() * KvPool::kPositions; }
  tensor::PagedKv layer(size_t index) const;

  /// Takes over published pages that go on with the tokens of `prompt`; returns how many tokens were added. Does nothing
  /// within a page of the sequence's own. REQUIRES: tokens() is the beginning of `prompt`.
  size_t adopt(std::span<const int32_t> prompt);
  /// Whether `other` stands at the same place after the same pages.
  bool same_place(const KvSequence& other) const;
  /// Provides pages of its own for positions up to `count`, beginning with the one after the last; false, with nothing
  /// changed, when the pool has too few.
  bool reserve(size_t count);
  /// Records that the positions after the last hold these tokens. REQUIRES: reserved.
  void extend(std::span<const int32_t> tokens);
  /// Forgets positions from `count` on; pages past them go back.
  void truncate(size_t count);
  /// Leaves full pages to be found by others.
  void publish();
  /// Gives all pages back and leaves what was computed to be found, the last page as far as it is filled.
  void release();
  /// Gives all pages back; those not yet published are not kept.
  void discard();

 private:
  void drop_pages(size_t keep);
  uint64_t parent_of(size_t page) const { return page == 0 ? 0 : pool_->identity(ids_[page - 1]); }

  KvPool* pool_;
  std::vector<int32_t> tokens_;
  std::vector<KvPool::Id> ids_;
  std::vector<std::byte*> data_;  // of ids_
  size_t published_ = 0;          // leading pages that are
};

}  // namespace fathom::infer
