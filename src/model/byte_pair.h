// Byte-level BPE of one word: the merge of the lowest rank first, the leftmost of equals (Sennrich et al., 2016).
//
// Immutable and thread-safe. A word of n bytes takes O(n log n).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/vocabulary.h"

namespace fathom::model {

/// The bytes that a token's text stands for in GPT-2's alphabet of 256 printable characters; characters outside that
/// alphabet stand for themselves.
std::string bytes_of_gpt2_text(std::string_view text);

/// The inverse: bytes in that alphabet.
std::string gpt2_text_of_bytes(std::string_view bytes);

class BytePairEncoder {
 public:
  /// `merges`: "left right" in order of rank. `whole_words`: a word that is a token is not merged. Control and
  /// user-defined tokens are never produced. A merge that is not two parts is skipped and counted in `bad_merges`.
  BytePairEncoder(const Vocabulary& vocabulary, std::span<const std::string_view> merges, bool whole_words);

  size_t bad_merges() const { return bad_merges_; }

  /// Buffers of one encoding, kept from word to word.
  struct Workspace {
    struct Node {
      int32_t symbol;
      int32_t previous, next;  // -1: none
    };
    struct Candidate {
      int32_t rank;
      int32_t left;                       // node
      int32_t left_symbol, right_symbol;  // as they were: a candidate is stale once they are not
      int32_t merged;
    };
    std::vector<Node> nodes;
    std::vector<Candidate> heap;
  };

  /// Appends the word's ids. Bytes for which the vocabulary has no token are left out, as other implementations do.
  /// REQUIRES: the word has fewer than 2^31 bytes.
  void encode(std::string_view word, std::vector<int32_t>& ids, Workspace& workspace) const;

 private:
  struct Merge {
    uint64_t pair = ~uint64_t{0};  // left symbol, right symbol; all ones: free
    int32_t rank = 0;
    int32_t merged = 0;
  };

  int32_t intern(const std::string& text);
  void add_merge(int32_t left, int32_t right, int32_t rank, int32_t merged);
  const Merge* find(int32_t left, int32_t right) const;
  void push_candidate(Workspace& work, int32_t left) const;
  void merge_all(Workspace& work) const;

  size_t vocabulary_size_;
  bool whole_words_;
  size_t bad_merges_ = 0;
  // Symbols are token ids and, from vocabulary_size_ on, texts that only merges know.
  std::unordered_map<std::string, int32_t> symbols_;  // in GPT-2's alphabet; empty once made
  std::vector<std::string> extra_;
  int32_t byte_symbol_[256];
  std::unordered_map<std::string, int32_t> words_;  // bytes to id, where whole_words_
  std::vector<Merge> table_;                        // open addressing, a power of two
};

}  // namespace fathom::model
