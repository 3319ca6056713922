// A posting list for one writer and many readers: a term's documents in rising order, walked from the newest back.
//
// A posting is (document << 5) | min(frequency, 31). The first two lie in the list itself, since most terms of a feed occur
// once; the rest in chunks that grow by a third, each linked to the one before and with its own bounds (block-max, Ding and
// Suel 2011). The writer fills a posting and then raises the chunk's count (release); a reader that has acquired a published
// sequence finds every posting at or below it, and skips those above it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "live/concurrent.h"
#include "live/facts.h"

namespace fathom::live {

inline constexpr uint32_t kFrequencyBits = 5;
inline constexpr uint32_t kMaxFrequency = (1u << kFrequencyBits) - 1;
static_assert(kMaxFrequency == kMaxCountedFrequency);

inline uint32_t posting_document(uint32_t posting) { return posting >> kFrequencyBits; }
inline uint32_t posting_frequency(uint32_t posting) { return posting & kMaxFrequency; }

/// Bounds that only widen, read while they do. Zero bytes are bounds over nothing.
class PostingBounds {
 public:
  void widen(uint32_t frequency, uint8_t length) {
    if (frequency > max_frequency()) max_frequency_.store(static_cast<uint8_t>(frequency), kRelaxed);
    if (length < min_length()) most_short_of_.store(static_cast<uint8_t>(UINT8_MAX - length), kRelaxed);
  }
  uint8_t max_frequency() const { return max_frequency_.load(kRelaxed); }
  uint8_t min_length() const { return static_cast<uint8_t>(UINT8_MAX - most_short_of_.load(kRelaxed)); }

 private:
  static constexpr auto kRelaxed = std::memory_order_relaxed;
  std::atomic<uint8_t> max_frequency_{0}, most_short_of_{0};  // what the shortest length lacks of 255
};

/// In the arena, its postings behind it.
struct PostingChunk {
  uint32_t previous = 0;  // arena offset, 0: the list's own postings
  uint16_t capacity = 0;
  std::atomic<uint16_t> count{0};
  PostingBounds bounds;

  uint32_t* postings() { return reinterpret_cast<uint32_t*>(this + 1); }
  const uint32_t* postings() const { return reinterpret_cast<const uint32_t*>(this + 1); }
};
static_assert(sizeof(PostingChunk) == 12);

/// Zero bytes are an empty list.
class PostingList {
 public:
  /// Writer, before the list is published: the term's place in the arena.
  void name(uint32_t offset, uint16_t size) { term_ = offset, term_size_ = size; }
  std::string_view term(const Arena& arena) const { return {arena.at(term_), term_size_}; }

  /// Writer. REQUIRES: `document` above all before it.
  void append(uint32_t document, uint32_t frequency, uint8_t length, Arena& arena);
  /// Writer: asks for what `append` and a look at the term will touch: the list, then what it leads to, then the chunk's end.
  void prefetch() const {
    __builtin_prefetch(&term_, 1);
    __builtin_prefetch(&term_size_, 1);  // may lie in the next line
  }
  void prefetch_tail(const Arena& arena) const;
  void prefetch_end(const Arena& arena) const;

  /// How many documents have the term, dead ones included.
  uint32_t count() const { return count_.load(std::memory_order_acquire); }
  uint8_t max_frequency() const { return bounds_.max_frequency(); }
  uint8_t min_length() const { return bounds_.min_length(); }

 private:
  friend class PostingCursor;
  static constexpr uint32_t kInline = 2;
  static constexpr uint32_t kSmallestChunk = 3, kLargestChunk = 1000;

  PostingChunk* chunk(uint32_t offset, const Arena& arena) const {
    return reinterpret_cast<PostingChunk*>(arena.at(offset));
  }

  uint32_t term_ = 0;
  std::atomic<uint32_t> tail_{0};  // arena offset of the newest chunk
  std::atomic<uint32_t> count_{0};
  uint32_t inline_[kInline] = {};
  PostingBounds bounds_;  // over all postings
  uint16_t term_size_ = 0;
};
static_assert(sizeof(PostingList) == 24);

/// Walks one list from a document back. Cheap to copy; the list and its arena must outlive it.
class PostingCursor {
 public:
  PostingCursor() = default;
  /// Starts at the newest document below `end`. A null list has no documents.
  PostingCursor(const PostingList* list, const Arena& arena, uint32_t end);

  /// Moves to the newest document that is not above `document` and returns it; 0 at the end. Never moves forward.
  uint32_t seek(uint32_t document) {
    if (document_ <= document) return document_;
    for (uint32_t steps = std::min(index_, kSteps); steps > 0; --steps) {  // near ones are the common case
      const uint32_t next = posting_document(postings_[--index_]);
      if (next <= document) return document_ = next;
    }
    move(document);
    return document_;
  }
  uint32_t document() const { return document_; }
  uint32_t frequency() const { return posting_frequency(postings_[index_]); }

  /// Bounds over the chunk that holds seek(document), which must not be above an earlier call's.
  BlockBound block(uint32_t document);

 private:
  static constexpr uint32_t kSteps = 6;

  struct Place {
    const PostingChunk* chunk = nullptr;  // null within the list's own postings
    const uint32_t* postings = nullptr;   // null: no postings are left
    uint32_t last = 0;
  };

  void move(uint32_t document);
  void enter(const PostingChunk* chunk, Place& place) const;
  bool step_back(Place& place) const;
  const PostingChunk* chunk_at(uint32_t offset) const;
  void load() { document_ = posting_document(postings_[index_]); }

  const PostingList* list_ = nullptr;
  const Arena* arena_ = nullptr;
  const PostingChunk* chunk_ = nullptr;
  const uint32_t* postings_ = nullptr;  // of the chunk
  uint32_t index_ = 0;                  // current, within the chunk
  uint32_t document_ = 0;
  Place block_;  // where `block` looked last
};

}  // namespace fathom::live
