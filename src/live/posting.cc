#include "live/posting.h"

#include <new>

namespace fathom::live {

void PostingList::prefetch_tail(const Arena& arena) const {
  __builtin_prefetch(arena.at(term_));
  __builtin_prefetch(arena.at(term_) + term_size_ - 1);
  if (const uint32_t tail = tail_.load(std::memory_order_relaxed); tail != 0)
    __builtin_prefetch(arena.at(tail), 1);
}

void PostingList::prefetch_end(const Arena& arena) const {
  const uint32_t tail = tail_.load(std::memory_order_relaxed);
  if (tail == 0) return;
  PostingChunk* last = chunk(tail, arena);
  __builtin_prefetch(last->postings() + last->count.load(std::memory_order_relaxed), 1);
}

void PostingList::append(uint32_t document, uint32_t frequency, uint8_t length, Arena& arena) {
  frequency = std::min(frequency, kMaxFrequency);
  bounds_.widen(frequency, length);
  const uint32_t posting = (document << kFrequencyBits) | frequency;
  const uint32_t count = count_.load(std::memory_order_relaxed);
  if (count < kInline) {
    inline_[count] = posting;
    count_.store(count + 1, std::memory_order_release);
    return;
  }
  const uint32_t tail = tail_.load(std::memory_order_relaxed);
  PostingChunk* last = tail == 0 ? nullptr : chunk(tail, arena);
  const uint32_t filled = last == nullptr ? 0 : last->count.load(std::memory_order_relaxed);
  if (last == nullptr || filled == last->capacity) {
    const uint32_t capacity = std::clamp(count / 3, kSmallestChunk, kLargestChunk);
    const uint32_t offset =
        arena.allocate(sizeof(PostingChunk) + capacity * sizeof(uint32_t), alignof(PostingChunk));
    auto* added = new (arena.at(offset)) PostingChunk;  // in the arena, which frees it
    added->previous = tail;
    added->capacity = static_cast<uint16_t>(capacity);
    added->bounds.widen(frequency, length);
    added->postings()[0] = posting;
    added->count.store(1, std::memory_order_relaxed);
    tail_.store(offset, std::memory_order_release);
  } else {
    last->bounds.widen(frequency, length);
    last->postings()[filled] = posting;
    last->count.store(static_cast<uint16_t>(filled + 1), std::memory_order_release);
  }
  count_.store(count + 1, std::memory_order_release);
}

PostingCursor::PostingCursor(const PostingList* list, const Arena& arena, uint32_t end)
    : list_(list), arena_(&arena) {
  if (list == nullptr || list->count() == 0) return;
  enter(chunk_at(list->tail_.load(std::memory_order_acquire)), block_);
  chunk_ = block_.chunk;
  postings_ = block_.postings;
  index_ = block_.last;
  load();
  seek(end - 1);
}

const PostingChunk* PostingCursor::chunk_at(uint32_t offset) const {
  return offset == 0 ? nullptr : reinterpret_cast<const PostingChunk*>(arena_->at(offset));
}

/// The newest posting of a chunk, or of the list itself.
void PostingCursor::enter(const PostingChunk* chunk, Place& place) const {
  place.chunk = chunk;
  place.postings = chunk != nullptr ? chunk->postings() : list_->inline_;
  place.last = chunk != nullptr ? chunk->count.load(std::memory_order_acquire) - 1u
                                : std::min(list_->count(), PostingList::kInline) - 1;
}

bool PostingCursor::step_back(Place& place) const {
  if (place.chunk == nullptr) return false;
  enter(chunk_at(place.chunk->previous), place);
  return true;
}

BlockBound PostingCursor::block(uint32_t document) {
  while (block_.postings != nullptr && posting_document(block_.postings[0]) > document)
    if (!step_back(block_)) block_.postings = nullptr;
  if (block_.postings == nullptr) return {};
  const PostingBounds& bounds = block_.chunk != nullptr ? block_.chunk->bounds : list_->bounds_;
  return {posting_document(block_.postings[0]), bounds.max_frequency(), bounds.min_length()};
}

void PostingCursor::move(uint32_t document) {
  if (posting_document(postings_[0]) > document) {
    Place place{chunk_, postings_, index_};
    do {
      if (step_back(place)) continue;
      document_ = 0;
      return;
    } while (posting_document(place.postings[0]) > document);
    chunk_ = place.chunk;
    postings_ = place.postings;
    index_ = place.last;
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
