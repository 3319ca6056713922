// Training of byte-level BPE (Sennrich et al., 2016): the most frequent pair of neighbouring symbols within words becomes a
// symbol, again and again, until the vocabulary is full. Of equally frequent pairs the one with the lower ids is taken, so
// that words and counts alone decide; the result is that of Hugging Face's trainer on the same words.
//
// Words are counted with the splitting rules that the tokenizer will use (model/pretokenizer.h). Memory is that of the
// distinct words. A WordCounter belongs to one thread; the trained vocabulary is a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/pretokenizer.h"

namespace fathom::train {

struct CountedWord {
  std::string bytes;
  uint64_t count = 0;
};

/// How often each word occurs.
class WordCounter {
 public:
  explicit WordCounter(model::PreTokenizer rules) : rules_(rules) {}

  /// Longer words (runs of letters without an end) teach nothing and are left out.
  static constexpr size_t kLongestWord = 512;  // bytes

  /// REQUIRES: valid UTF-8.
  void add(std::string_view text);
  /// Takes the other's counts and empties it.
  void merge(WordCounter& other);

  /// By falling count, then by bytes.
  std::vector<CountedWord> take();

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  model::PreTokenizer rules_;
  std::unordered_map<std::string, uint64_t, Hash, std::equal_to<>> counts_;
};

/// Symbols 0..255 are the bytes, in the order of their characters in GPT-2's alphabet; then come those that merges make
/// (two merges may make the same one).
struct BytePairs {
  std::vector<std::pair<uint32_t, uint32_t>> merges;
  std::vector<std::string> symbols;  // in GPT-2's alphabet (model/byte_pair.h)
};

/// Merges pairs that occur at least `min_count` times until there are `symbols` symbols. `progress(symbols)` is called
/// after each merge. REQUIRES: min_count > 0.
BytePairs train_byte_pairs(const std::vector<CountedWord>& words, size_t symbols, uint64_t min_count,
                           const std::function<void(size_t)>& progress);

}  // namespace fathom::train
