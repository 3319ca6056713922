#include "live/posting.h"

#include <new>

namespace fathom::live {
namespace {

template <class T>
void raise(std::atomic<T>& bound, T value) {
  if (value > bound.load(std::memory_order_relaxed)) bound.store(value, std::memory_order_relaxed);
}

template <class T>
void lower(std::atomic<T>& bound, T value) {
  if (value < bound.load(std::memory_order_relaxed)) bound.store(value, std::memory_order_relaxed);
}

}  // namespace

void PostingList::append(uint32_t document, uint32_t frequency, uint16_t length, Arena& arena) {
  frequency = std::min(frequency, kMaxFrequency);
  raise(max_frequency_, static_cast<uint16_t>(frequency));
  lower(min_length_, length);
  const uint32_t posting = (document << kFrequencyBits) | frequency;
  const uint32_t count = count_.load(std::memory_order_relaxed);
  if (count < kInline) {
    inline_[count] = posting;
  } else {
    PostingChunk* tail = tail_.load(std::memory_order_relaxed);
    const uint32_t filled = tail == nullptr ? 0 : tail->count.load(std::memory_order_relaxed);
    if (tail == nullptr || filled == tail->capacity) {
      const uint32_t capacity =
          tail == nullptr ? kSmallestChunk : std::min(2 * tail->capacity, kLargestChunk);
      char* memory =
          arena.allocate(sizeof(PostingChunk) + capacity * sizeof(uint32_t), alignof(PostingChunk));
      auto* chunk = new (memory) PostingChunk;  // in the arena, which frees it
      chunk->previous = tail;
      chunk->capacity = capacity;
      chunk->postings()[0] = posting;
      chunk->count.store(1, std::memory_order_relaxed);
      tail_.store(chunk, std::memory_order_release);
    } else {
      tail->postings()[filled] = posting;
      tail->count.store(filled + 1, std::memory_order_release);
    }
  }
  count_.store(count + 1, std::memory_order_release);
}

PostingCursor::PostingCursor(const PostingList* list, uint32_t end) : list_(list) {
  if (list == nullptr) return;
  const uint32_t count = list->count();
  if (count == 0) return;
  chunk_ = list->tail_.load(std::memory_order_acquire);
  if (chunk_ != nullptr) {
    postings_ = chunk_->postings();
    index_ = chunk_->count.load(std::memory_order_acquire) - 1;
  } else {
    postings_ = list->inline_;
    index_ = std::min(count, PostingList::kInline) - 1;
  }
  load();
  seek(end - 1);
}

bool PostingCursor::step_back() {
  if (chunk_ == nullptr) return false;
  chunk_ = chunk_->previous;
  if (chunk_ != nullptr) {
    postings_ = chunk_->postings();
    index_ = chunk_->count.load(std::memory_order_acquire) - 1;
  } else {
    postings_ = list_->inline_;
    index_ = PostingList::kInline - 1;
  }
  return true;
}

void PostingCursor::move(uint32_t document) {
  while (posting_document(postings_[0]) > document) {
    if (step_back()) continue;
    document_ = 0;
    return;
  }
  // Gallops down from the current place, then halves: neighbours are the common case.
  uint32_t high = index_, step = 1;
  uint32_t low = high;
  while (low > 0 && posting_document(postings_[low]) > document) {
    high = low;
    low = low > step ? low - step : 0;
    step *= 2;
  }
  while (low < high) {  // postings_[low] fits; finds the last that does
    const uint32_t middle = low + (high - low + 1) / 2;
    if (posting_document(postings_[middle]) <= document)
      low = middle;
    else
      high = middle - 1;
  }
  index_ = low;
  load();
}

}  // namespace fathom::live
