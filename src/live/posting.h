// A posting list for one writer and many readers: a term's documents in rising order, walked from the newest back.
//
// A posting is (document << 5) | min(frequency, 31). The first two lie in the list itself, since most terms of a feed occur
// once; the rest in chunks of doubling size, each linked to the one before. The writer fills a posting and then raises the
// chunk's count (release); a reader that has acquired the index's end finds every posting below that end, and skips those
// above it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "live/concurrent.h"

namespace fathom::live {

inline constexpr uint32_t kFrequencyBits = 5;
inline constexpr uint32_t kMaxFrequency = (1u << kFrequencyBits) - 1;

inline uint32_t posting_document(uint32_t posting) { return posting >> kFrequencyBits; }
inline uint32_t posting_frequency(uint32_t posting) { return posting & kMaxFrequency; }

struct PostingChunk {
  PostingChunk* previous = nullptr;
  std::atomic<uint32_t> count{0};
  uint32_t capacity = 0;

  uint32_t* postings() { return reinterpret_cast<uint32_t*>(this + 1); }
  const uint32_t* postings() const { return reinterpret_cast<const uint32_t*>(this + 1); }
};

class PostingList {
 public:
  /// Writer, before the list is published.
  void name(std::string_view term) { term_ = term; }
  std::string_view term() const { return term_; }

  /// Writer. REQUIRES: `document` above all before it.
  void append(uint32_t document, uint32_t frequency, uint16_t length, Arena& arena);

  /// How many documents have the term, dead ones included.
  uint32_t count() const { return count_.load(std::memory_order_acquire); }
  uint32_t max_frequency() const { return max_frequency_.load(std::memory_order_relaxed); }
  uint16_t min_length() const { return min_length_.load(std::memory_order_relaxed); }

 private:
  friend class PostingCursor;
  static constexpr uint32_t kInline = 2;
  static constexpr uint32_t kSmallestChunk = 4, kLargestChunk = 2048;

  std::string_view term_;
  std::atomic<PostingChunk*> tail_{nullptr};
  std::atomic<uint32_t> count_{0};
  uint32_t inline_[kInline] = {};
  std::atomic<uint16_t> max_frequency_{0};  // bounds over all postings; they only widen
  std::atomic<uint16_t> min_length_{UINT16_MAX};
};

/// Walks one list from a document back. Cheap to copy; the list must outlive it.
class PostingCursor {
 public:
  PostingCursor() = default;
  /// Starts at the newest document below `end`. A null list has no documents.
  PostingCursor(const PostingList* list, uint32_t end);

  /// Moves to the newest document that is not above `document` and returns it; 0 at the end. Never moves forward.
  uint32_t seek(uint32_t document) {
    if (document_ > document) move(document);
    return document_;
  }
  uint32_t document() const { return document_; }
  uint32_t frequency() const { return posting_frequency(postings_[index_]); }

 private:
  void move(uint32_t document);
  bool step_back();
  void load() { document_ = posting_document(postings_[index_]); }

  const PostingList* list_ = nullptr;
  const PostingChunk* chunk_ = nullptr;  // null within the list's own postings
  const uint32_t* postings_ = nullptr;   // of the chunk
  uint32_t index_ = 0;                   // current, within the chunk
  uint32_t document_ = 0;
};

}  // namespace fathom::live
