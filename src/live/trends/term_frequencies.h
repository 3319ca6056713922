// In how many posts of the window each term is: a flat table, since a window has a million terms and is counted anew for every
// picture.
//
// A value; not thread-safe while it is added to.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fathom::live {

class TermFrequencies {
 public:
  TermFrequencies() : TermFrequencies(0) {}
  /// Room for so many different terms.
  explicit TermFrequencies(size_t most) : slots_(std::bit_ceil(2 * most + 2)) {}

  /// REQUIRES: no more different terms than there is room for.
  void add(uint64_t term) {
    Slot& slot = slots_[slot_of(term)];
    slot.term = term;
    ++slot.posts;
  }
  /// 0: none.
  uint32_t of(uint64_t term) const { return slots_[slot_of(term)].posts; }

 private:
  struct Slot {
    uint64_t term = 0;
    uint32_t posts = 0;  // 0: free
  };

  size_t slot_of(uint64_t term) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = (term * 0x9E3779B97F4A7C15ull >> 20) & mask;
    while (slots_[slot].posts != 0 && slots_[slot].term != term) slot = (slot + 1) & mask;
    return slot;
  }

  std::vector<Slot> slots_;
};

}  // namespace fathom::live
