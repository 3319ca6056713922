// Finds tokens by their texts, in four to eight bytes a token beside the texts themselves, which outlive the index.
// Open addressing; thread-safe once filled.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::model {

class TextIndex {
 public:
  /// For so many of these texts at most.
  explicit TextIndex(const std::vector<std::string>& texts)
      : texts_(texts), slots_(std::bit_ceil(texts.size() + texts.size() / 2 + 1), kNone) {}
  TextIndex(const TextIndex&) = delete;
  TextIndex& operator=(const TextIndex&) = delete;

  /// Of several ids with the same text the first counts, or with `last` the last. REQUIRES: an id of the texts, each added
  /// once.
  void add(size_t id, bool last) {
    int32_t& slot = slots_[slot_of(texts_[id])];
    if (slot == kNone || last) slot = static_cast<int32_t>(id);
  }

  std::optional<int32_t> find(std::string_view text) const {
    const int32_t id = slots_[slot_of(text)];
    if (id == kNone) return std::nullopt;
    return id;
  }

 private:
  static constexpr int32_t kNone = -1;

  /// Where the text stands, or else could be put: there is always a free slot.
  size_t slot_of(std::string_view text) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = std::hash<std::string_view>()(text) & mask;
    while (slots_[slot] != kNone && texts_[static_cast<size_t>(slots_[slot])] != text)
      slot = (slot + 1) & mask;
    return slot;
  }

  const std::vector<std::string>& texts_;
  std::vector<int32_t> slots_;  // a power of two
};

}  // namespace fathom::model
