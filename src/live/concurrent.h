// Containers for one writer and many readers without locks, as the live index needs them.
//
// Readers may call the const methods at any time. What they find is complete because the writer fills an element before
// it publishes a number or a slot that leads to it (release), and readers start from such a number or slot (acquire).
// Nothing is freed before the container is destroyed: a growing table keeps its smaller predecessors, which together are
// a small part of itself.
//
// `warm` is for a third thread, one at a time: it takes the memory that the writer will want next, so that the writer does not
// wait for the kernel to find and clear it (milliseconds for a huge page of a virtual machine whose host has to find it too).
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"

namespace fathom::live {

/// Memory in huge pages where the kernel has them: a random access then misses one cache fewer on its way to the address.
class HugeMemory {
 public:
  static constexpr size_t kPage = size_t{2} << 20;

  HugeMemory() = default;
  /// Zeroed lazily by the kernel: pages are taken when they are touched.
  explicit HugeMemory(size_t bytes) : bytes_(bytes) {
    void* memory = ::mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mapped_ = static_cast<char*>(memory);
    data_ = mapped_ + (kPage - reinterpret_cast<uintptr_t>(mapped_) % kPage) % kPage;
    if (bytes >= kPage) ::madvise(data_, bytes, MADV_HUGEPAGE);  // advice: failing changes speed alone
  }
  HugeMemory(HugeMemory&& other) noexcept { swap(other); }
  HugeMemory& operator=(HugeMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~HugeMemory() {
    if (mapped_ != nullptr) ::munmap(mapped_, bytes_ + kPage);
  }

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

  /// Takes the pages of a part of such memory now, beside anyone who reads or writes there: a zero is replaced by a zero, so
  /// that nobody's write is lost. (Not by madvise, which keeps the writer from mapping memory meanwhile.)
  __attribute__((no_sanitize("thread"))) static void populate(char* begin, size_t bytes) {
    constexpr size_t kSmallPage = 4096;
    for (size_t at = 0; at < bytes; at += kSmallPage) {
      char zero = 0;
      __atomic_compare_exchange_n(begin + at, &zero, char{0}, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
  }

 private:
  void swap(HugeMemory& other) {
    std::swap(mapped_, other.mapped_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  char* mapped_ = nullptr;
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

/// Bytes that stay where they are, up to 4 GiB, named by 32-bit offsets; 0 names none. Written by the writer, who hands
/// offsets to readers through something published.
class Arena {
 public:
  static constexpr size_t kBlock = HugeMemory::kPage;
  static constexpr size_t kMost = size_t{4} << 30;

  Arena() : blocks_(std::make_unique<std::atomic<char*>[]>(kMost / kBlock)) { grow(), used_ = 8; }

  void warm() {
    const size_t used = bytes() / kBlock;
    for (; warmed_ < std::min(used + kAhead, mapped_.load(std::memory_order_acquire)); ++warmed_)
      HugeMemory::populate(blocks_[warmed_].load(std::memory_order_relaxed), kBlock);
  }

  /// REQUIRES: `size` at most kBlock, `alignment` at most 64.
  uint32_t allocate(size_t size, size_t alignment) {
    used_ = (used_ + alignment - 1) & ~(alignment - 1);
    if (used_ + size > kBlock) grow();
    const auto offset = static_cast<uint32_t>(bytes() - kBlock + used_);
    used_ += size;
    return offset;
  }

  /// The same with the bytes filled.
  uint32_t copy(std::string_view bytes) {
    FATHOM_CHECK(bytes.size() <= kBlock);
    const uint32_t offset = allocate(bytes.size(), 1);
    std::memcpy(at(offset), bytes.data(), bytes.size());
    return offset;
  }

  char* at(uint32_t offset) const {
    return blocks_[offset / kBlock].load(std::memory_order_relaxed) + offset % kBlock;
  }

  size_t bytes() const { return total_.load(std::memory_order_relaxed); }
  size_t left() const { return kMost - bytes(); }

 private:
  // Memory is mapped in large steps, since a call of mmap may wait for whoever takes pages; pages are warmed a few ahead.
  static constexpr size_t kMapped = 32, kAhead = 3;  // blocks

  void grow() {
    FATHOM_CHECK(left() >= kBlock);
    const size_t number = bytes() / kBlock;
    if (number == mapped_.load(std::memory_order_relaxed)) map();
    used_ = 0;
    total_.store((number + 1) * kBlock, std::memory_order_relaxed);
  }

  void map() {
    memory_.emplace_back(kMapped * kBlock);
    const size_t mapped = mapped_.load(std::memory_order_relaxed);
    for (size_t i = 0; i < kMapped; ++i)
      blocks_[mapped + i].store(memory_.back().data() + i * kBlock, std::memory_order_relaxed);
    mapped_.store(mapped + kMapped, std::memory_order_release);
  }

  std::vector<HugeMemory> memory_;
  std::unique_ptr<std::atomic<char*>[]> blocks_;
  size_t used_ = 0;                           // of the newest block in use
  std::atomic<size_t> total_{0}, mapped_{0};  // bytes in use; blocks
  size_t warmed_ = 0;                         // blocks; of whoever warms
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

/// The same in huge pages, for large arrays of which any element may be wanted. Zero bytes must be a T's first state.
template <class T, size_t Size, size_t Chunks>
class HugeArray {
  static_assert((Size & (Size - 1)) == 0 && std::is_trivially_destructible_v<T>);

 public:
  HugeArray() : chunks_(std::make_unique<std::atomic<T*>[]>(Chunks)) {}

  static constexpr size_t capacity() { return Size * Chunks; }

  /// REQUIRES: `index` was made by `grow` before it was published.
  const T& operator[](size_t index) const {
    return chunks_[index / Size].load(std::memory_order_acquire)[index & (Size - 1)];
  }
  T& operator[](size_t index) {
    return chunks_[index / Size].load(std::memory_order_acquire)[index & (Size - 1)];
  }

  /// Writer: makes room for `index`, the next one.
  T& grow(size_t index) {
    FATHOM_CHECK(index < capacity());
    map(index / Size);
    if ((index & (Size - 1)) == Size / 2 && index / Size + 1 < Chunks) map(index / Size + 1);  // for `warm`
    used_.store(index + 1, std::memory_order_relaxed);
    return (*this)[index];
  }

  void warm() {
    constexpr size_t kStep = std::min(Size, HugeMemory::kPage / sizeof(T));
    const size_t used = used_.load(std::memory_order_relaxed);
    while (warmed_ < std::min(used + 2 * kStep, capacity())) {
      T* chunk = chunks_[warmed_ / Size].load(std::memory_order_acquire);
      if (chunk == nullptr) return;
      const size_t first = warmed_ & (Size - 1), count = std::min(kStep, Size - first);
      HugeMemory::populate(reinterpret_cast<char*>(chunk + first), count * sizeof(T));
      warmed_ += count;
    }
  }

  size_t bytes() const { return used_.load(std::memory_order_relaxed) * sizeof(T); }

 private:
  void map(size_t number) {
    auto& chunk = chunks_[number];
    if (chunk.load(std::memory_order_relaxed) != nullptr) return;
    memory_.emplace_back(Size * sizeof(T));
    chunk.store(reinterpret_cast<T*>(memory_.back().data()), std::memory_order_release);
  }

  std::vector<HugeMemory> memory_;
  std::unique_ptr<std::atomic<T*>[]> chunks_;
  std::atomic<size_t> used_{0};
  size_t warmed_ = 0;  // of whoever warms
};

/// From a hash to a number that is not 0; the caller compares what the number stands for. Open addressing, linear
/// probing from the place that the hash's upper half has among the slots (Lemire's multiply and shift: any size will do).
class HashIndex {
 public:
  /// Grows in one step from small to the size that `expected` numbers need, and doubles beyond.
  explicit HashIndex(size_t expected = 0) : full_(slots_for(expected)) {
    current_.store(install(std::make_unique<Table>(kSmallest)), std::memory_order_release);
  }

  /// The first number stored under `hash` for which `matches(number)` holds, or 0.
  template <class Matches>
  uint32_t find(uint64_t hash, Matches&& matches) const {
    const Table& table = *current_.load(std::memory_order_acquire);
    const uint32_t tag = tag_of(hash);
    for (size_t i = table.home(tag);; i = table.next(i)) {
      const uint64_t slot = table.slots[i].load(std::memory_order_acquire);
      if (slot == 0) return 0;
      if (static_cast<uint32_t>(slot >> 32) == tag && matches(static_cast<uint32_t>(slot)))
        return static_cast<uint32_t>(slot);
    }
  }

  /// Writer: adds `number`, which must not be there yet.
  void insert(uint64_t hash, uint32_t number) {
    const Table* table = current_.load(std::memory_order_relaxed);
    const size_t size = size_.load(std::memory_order_relaxed);
    // Longer probes for a moment are better than to wait for the next table's memory.
    const bool patient = warming_.load(std::memory_order_relaxed) && size < table->size / 16 * 15;
    if (size + 1 > most(*table) && !patient) table = rehash();
    place(*table, tag_of(hash), number);
    size_.store(size + 1, std::memory_order_relaxed);
  }

  /// Makes the next table before it is needed.
  void warm() {
    const Table& table = *current_.load(std::memory_order_acquire);
    const size_t soon = table.size < full_ ? most(table) / 4 : most(table) / 16 * 15;
    if (size_.load(std::memory_order_relaxed) < soon) return;
    const size_t wanted = next_size(table.size);
    {
      const std::lock_guard lock(ready_mutex_);
      if (ready_ != nullptr && ready_->size == wanted) return;
    }
    warming_.store(true, std::memory_order_relaxed);
    auto next = std::make_unique<Table>(wanted);
    HugeMemory::populate(next->memory.data(), wanted * sizeof(Slot));
    {
      const std::lock_guard lock(ready_mutex_);
      ready_ = std::move(next);
    }
    warming_.store(false, std::memory_order_relaxed);
  }

  /// Takes the memory for all that is expected. REQUIRES: nothing was inserted, and nobody else has it.
  void reserve() {
    current_.store(install(std::make_unique<Table>(full_)), std::memory_order_release);
    HugeMemory::populate(tables_.back()->memory.data(), full_ * sizeof(Slot));
  }

  /// Writer: puts `number` in the place of `old`, which must be there.
  void replace(uint64_t hash, uint32_t old, uint32_t number) {
    const Table& table = *current_.load(std::memory_order_relaxed);
    const uint32_t tag = tag_of(hash);
    const uint64_t wanted = pack(tag, old);
    for (size_t i = table.home(tag);; i = table.next(i)) {
      const uint64_t slot = table.slots[i].load(std::memory_order_relaxed);
      FATHOM_CHECK(slot != 0);
      if (slot != wanted) continue;
      table.slots[i].store(pack(tag, number), std::memory_order_release);
      return;
    }
  }

  /// Writer: a number stored under a hash whose upper half is that of `hash`, or 0: for asking ahead what it stands for.
  uint32_t guess(uint64_t hash) const {
    const Table& table = *current_.load(std::memory_order_relaxed);
    const uint32_t tag = tag_of(hash);
    for (size_t i = table.home(tag);; i = table.next(i)) {
      const uint64_t slot = table.slots[i].load(std::memory_order_relaxed);
      if (slot == 0 || static_cast<uint32_t>(slot >> 32) == tag) return static_cast<uint32_t>(slot);
    }
  }

  /// Asks for the slot's cache line ahead of its use.
  void prefetch(uint64_t hash) const {
    const Table& table = *current_.load(std::memory_order_relaxed);
    __builtin_prefetch(&table.slots[table.home(tag_of(hash))]);
  }

  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kSmallest = 2048, kMiddle = size_t{1} << 16;
  using Slot = std::atomic<uint64_t>;
  static_assert(sizeof(Slot) == sizeof(uint64_t) && Slot::is_always_lock_free);

  struct Table {
    explicit Table(size_t count)
        : size(count), memory(count * sizeof(Slot)), slots(reinterpret_cast<Slot*>(memory.data())) {}
    size_t home(uint32_t tag) const { return static_cast<size_t>((uint64_t{tag} * size) >> 32); }
    size_t next(size_t i) const { return i + 1 == size ? 0 : i + 1; }

    size_t size;
    HugeMemory memory;  // zeros: empty slots
    Slot* slots;
  };

  static size_t slots_for(size_t expected) { return expected / 3 * 4 + kSmallest; }
  static uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
  static uint64_t pack(uint32_t tag, uint32_t number) { return (uint64_t{tag} << 32) | number; }

  static void place(const Table& table, uint32_t tag, uint32_t number) {
    size_t i = table.home(tag);
    while (table.slots[i].load(std::memory_order_relaxed) != 0) i = table.next(i);
    table.slots[i].store(pack(tag, number), std::memory_order_release);
  }

  static size_t most(const Table& table) { return table.size / 4 * 3; }

  const Table* install(std::unique_ptr<Table> table) {
    tables_.push_back(std::move(table));
    bytes_.fetch_add(tables_.back()->size * sizeof(Slot), std::memory_order_relaxed);
    return tables_.back().get();
  }

  std::unique_ptr<Table> next_table(size_t size) {
    {
      const std::lock_guard lock(ready_mutex_);
      if (ready_ != nullptr && ready_->size == size) return std::move(ready_);
    }
    return std::make_unique<Table>(size);
  }

  size_t next_size(size_t size) const {
    if (size < kMiddle) return kMiddle;
    return size < full_ && full_ / size > 1 ? full_ : 2 * size;
  }

  const Table* rehash() {
    const Table& old = *current_.load(std::memory_order_relaxed);
    const Table* bigger = install(next_table(next_size(old.size)));
    for (size_t i = 0; i < old.size; ++i) {
      const uint64_t slot = old.slots[i].load(std::memory_order_relaxed);
      if (slot != 0) place(*bigger, static_cast<uint32_t>(slot >> 32), static_cast<uint32_t>(slot));
    }
    current_.store(bigger, std::memory_order_release);
    return bigger;
  }

  const size_t full_;
  std::atomic<const Table*> current_{nullptr};
  std::vector<std::unique_ptr<Table>> tables_;
  std::atomic<size_t> size_{0}, bytes_{0};
  std::atomic<bool> warming_{false};
  std::mutex ready_mutex_;
  std::unique_ptr<Table> ready_;  // for the next growth
};

}  // namespace fathom::live
