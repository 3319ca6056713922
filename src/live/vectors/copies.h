// Finds the recent post that a new one repeats, so that it need not be embedded again: by a quarter of the sketch (locality-
// sensitive hashing in bands, Indyk and Motwani 1998), then by the words. Remembers the last post of each value of each band:
// copies come soon or not at all. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "live/duplicates.h"

namespace fathom::live {

class Copies {
 public:
  /// The text of a post that is still there.
  using TextOf = std::function<std::optional<std::string>(uint64_t sequence)>;

  Copies() : last_(kBands * kValues) {}

  bool repeats(uint64_t sequence, uint64_t sketch, std::string_view text, const TextOf& text_of) const {
    if (sketch == 0) return false;
    std::optional<Statement> statement;
    uint64_t before = sequence;  // no post repeats itself
    for (size_t band = 0; band < kBands; ++band) {
      const Entry& entry = last_[slot(band, sketch)];
      if (entry.sequence == 0 || entry.sequence == before) continue;
      before = entry.sequence;
      if (sketch_agreement(entry.sketch, sketch) < kAlikeAgreement) continue;
      const auto other = text_of(entry.sequence);
      if (!other) continue;
      if (!statement) statement.emplace(text);
      if (statement->same_as(Statement(*other))) return true;
    }
    return false;
  }

  void add(uint64_t sketch, uint64_t sequence) {
    if (sketch == 0) return;
    for (size_t band = 0; band < kBands; ++band) last_[slot(band, sketch)] = {sketch, sequence};
  }

 private:
  static constexpr size_t kBands = 4, kValues = size_t{1} << 16;
  struct Entry {
    uint64_t sketch = 0, sequence = 0;
  };
  static size_t slot(size_t band, uint64_t sketch) {
    return band * kValues + (sketch >> (16 * band) & 0xFFFF);
  }

  std::vector<Entry> last_;
};

}  // namespace fathom::live
