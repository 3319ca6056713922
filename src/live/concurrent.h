// Containers for one writer and many readers without locks, as the live index needs them.
//
// Readers may call the const methods at any time. What they find is complete because the writer fills an element before
// it publishes a number or a slot that leads to it (release), and readers start from such a number or slot (acquire).
// Nothing is freed before the container is destroyed: a growing table keeps its smaller predecessors, which together are
// never larger than itself.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace fathom::live {

/// Bytes that stay where they are. Writer only; what it hands out is read by all.
class Arena {
 public:
  char* allocate(size_t size, size_t alignment) {
    used_ = (used_ + alignment - 1) & ~(alignment - 1);
    if (used_ + size > capacity_) grow(size);
    char* result = current_ + used_;
    used_ += size;
    return result;
  }

  std::string_view copy(std::string_view bytes) {
    if (bytes.empty()) return {};
    char* to = allocate(bytes.size(), 1);
    std::memcpy(to, bytes.data(), bytes.size());
    return {to, bytes.size()};
  }

  size_t bytes() const { return total_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kBlock = size_t{1} << 20;

  void grow(size_t size) {
    capacity_ = size > kBlock ? size : kBlock;
    blocks_.emplace_back(new char[capacity_]);  // not value-initialised: pages are touched when they are used
    current_ = blocks_.back().get();
    used_ = 0;
    total_.fetch_add(capacity_, std::memory_order_relaxed);
  }

  std::vector<std::unique_ptr<char[]>> blocks_;
  char* current_ = nullptr;
  size_t used_ = 0, capacity_ = 0;
  std::atomic<size_t> total_{0};
};

/// An array that grows at its end and never moves: `Chunks` blocks of `Size` elements (a power of two).
template <class T, size_t Size, size_t Chunks>
class ChunkedArray {
  static_assert((Size & (Size - 1)) == 0);

 public:
  ChunkedArray() : chunks_(std::make_unique<std::atomic<T*>[]>(Chunks)) {}
  ~ChunkedArray() {
    for (size_t i = 0; i < Chunks; ++i) delete[] chunks_[i].load(std::memory_order_relaxed);
  }
  ChunkedArray(const ChunkedArray&) = delete;
  ChunkedArray& operator=(const ChunkedArray&) = delete;

  static constexpr size_t capacity() { return Size * Chunks; }

  /// REQUIRES: `index` was made by `grow` before it was published.
  const T& operator[](size_t index) const {
    return chunks_[index / Size].load(std::memory_order_acquire)[index & (Size - 1)];
  }
  T& operator[](size_t index) {
    return chunks_[index / Size].load(std::memory_order_acquire)[index & (Size - 1)];
  }

  /// Writer: makes room for `index`.
  T& grow(size_t index) {
    FATHOM_CHECK(index < capacity());
    auto& chunk = chunks_[index / Size];
    if (chunk.load(std::memory_order_relaxed) == nullptr) {
      chunk.store(new T[Size](), std::memory_order_release);
      bytes_.fetch_add(Size * sizeof(T), std::memory_order_relaxed);
    }
    return (*this)[index];
  }

  size_t bytes() const { return bytes_.load(std::memory_order_relaxed) + Chunks * sizeof(T*); }

 private:
  std::unique_ptr<std::atomic<T*>[]> chunks_;
  std::atomic<size_t> bytes_{0};
};

/// From a hash to a number that is not 0; the caller compares what the number stands for. Open addressing, linear
/// probing, at most half full.
class HashIndex {
 public:
  HashIndex() { install(kSmallest); }

  /// The first number stored under `hash` for which `matches(number)` holds, or 0.
  template <class Matches>
  uint32_t find(uint64_t hash, Matches&& matches) const {
    const Table& table = *current_.load(std::memory_order_acquire);
    const uint32_t tag = tag_of(hash);
    for (size_t i = tag & table.mask;; i = (i + 1) & table.mask) {
      const uint64_t slot = table.slots[i].load(std::memory_order_acquire);
      if (slot == 0) return 0;
      if (static_cast<uint32_t>(slot >> 32) == tag && matches(static_cast<uint32_t>(slot)))
        return static_cast<uint32_t>(slot);
    }
  }

  /// Writer: adds `number`, which must not be there yet.
  void insert(uint64_t hash, uint32_t number) {
    const Table* table = current_.load(std::memory_order_relaxed);
    if (2 * (size_ + 1) > table->mask + 1) table = rehash();
    place(*table, tag_of(hash), number);
    ++size_;
  }

  /// Writer: puts `number` in the place of `old`, which must be there.
  void replace(uint64_t hash, uint32_t old, uint32_t number) {
    const Table& table = *current_.load(std::memory_order_relaxed);
    const uint32_t tag = tag_of(hash);
    const uint64_t wanted = pack(tag, old);
    for (size_t i = tag & table.mask;; i = (i + 1) & table.mask) {
      const uint64_t slot = table.slots[i].load(std::memory_order_relaxed);
      FATHOM_CHECK(slot != 0);
      if (slot != wanted) continue;
      table.slots[i].store(pack(tag, number), std::memory_order_release);
      return;
    }
  }

  /// Asks for the slot's cache line ahead of its use.
  void prefetch(uint64_t hash) const {
    const Table& table = *current_.load(std::memory_order_relaxed);
    __builtin_prefetch(&table.slots[tag_of(hash) & table.mask]);
  }

  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kSmallest = 1024;
  struct Table {
    size_t mask = 0;
    std::unique_ptr<std::atomic<uint64_t>[]> slots;
  };

  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
  static uint64_t pack(uint32_t tag, uint32_t number) { return (uint64_t{tag} << 32) | number; }

  static void place(const Table& table, uint32_t tag, uint32_t number) {
    size_t i = tag & table.mask;
    while (table.slots[i].load(std::memory_order_relaxed) != 0) i = (i + 1) & table.mask;
    table.slots[i].store(pack(tag, number), std::memory_order_release);
  }

  Table* install(size_t slots) {
    auto table = std::make_unique<Table>();
    table->mask = slots - 1;
    table->slots = std::make_unique<std::atomic<uint64_t>[]>(slots);
    tables_.push_back(std::move(table));
    bytes_.fetch_add(slots * sizeof(uint64_t), std::memory_order_relaxed);
    if (tables_.size() == 1) current_.store(tables_.back().get(), std::memory_order_release);
    return tables_.back().get();
  }

  const Table* rehash() {
    const Table& old = *current_.load(std::memory_order_relaxed);
    const Table* bigger = install(2 * (old.mask + 1));
    for (size_t i = 0; i <= old.mask; ++i) {
      const uint64_t slot = old.slots[i].load(std::memory_order_relaxed);
      if (slot != 0) place(*bigger, static_cast<uint32_t>(slot >> 32), static_cast<uint32_t>(slot));
    }
    current_.store(bigger, std::memory_order_release);
    return bigger;
  }

  std::atomic<const Table*> current_{nullptr};
  std::vector<std::unique_ptr<Table>> tables_;
  size_t size_ = 0;
  std::atomic<size_t> bytes_{0};
};

/// 64-bit hash by multiply and fold, eight bytes a step. Not for secrets; the seed keeps strangers from choosing collisions.
inline uint64_t hash_bytes(std::string_view bytes, uint64_t seed) {
  __extension__ using Wide = unsigned __int128;
  const auto fold = [](uint64_t a, uint64_t b) {
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  constexpr uint64_t kA = 0xA0761D6478BD642Full, kB = 0xE7037ED1A0B428DBull;
  uint64_t h = seed ^ kA;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, 8);
    h = fold(h ^ word, kB);
  }
  uint64_t last = 0;
  if (left > 0) std::memcpy(&last, at, left);
  h = fold(h ^ last ^ (uint64_t{left} << 56), kB);
  return fold(h ^ bytes.size(), kA);
}

}  // namespace fathom::live
