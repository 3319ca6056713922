// Near-duplicates among documents: texts whose runs of five words are the same but for a fifth of them.
//
// MinHash (Broder, 1997) over shingles of five words, as for the corpora of language models (Lee et al., 2022): 128 minima,
// of which 8 bits each are kept (b-bit minwise hashing; Li and Koenig, 2010), estimate the Jaccard similarity with a
// deviation of 4 %; 16 bands of 8 find candidates (95 % of the pairs at 0.8, 7 % at 0.5), which are then compared.
// Chosen over SimHash because its measure is the share of common shingles itself, whatever the texts' lengths, and because
// candidates come out of a table at once. Words are runs of letters and digits, without case (of ASCII); a text of fewer
// than five words is one shingle.
//
// `min_hash` is a pure function; the index is for one thread and takes about 250 bytes a document.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

namespace fathom::train {

/// One word of 8 bytes a band.
using MinHash = std::array<uint64_t, 16>;

/// Empty for a text without words.
std::optional<MinHash> min_hash(std::string_view text);

/// Estimate of the Jaccard similarity of two texts, 0 to 1.
double similarity(const MinHash& a, const MinHash& b);

class NearDuplicates {
 public:
  explicit NearDuplicates(double threshold) : threshold_(threshold) {}

  /// False, and nothing is kept, when one that was added before is at least as similar as the threshold.
  bool add(const MinHash& hash);

 private:
  /// Open addressing over one band: numbers of documents, counted from 1.
  using Table = std::vector<uint32_t>;

  bool is_known(const MinHash& hash) const;
  void insert(size_t band, uint32_t document);
  void grow();

  double threshold_;
  std::vector<MinHash> documents_;
  std::array<Table, std::tuple_size_v<MinHash>> tables_;
};

}  // namespace fathom::train
