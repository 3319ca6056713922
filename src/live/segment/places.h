// Where the terms of posts stand in their texts, gathered post by post and taken term by term.
//
// Sealing walks posts once, for their records, and terms once, for their lists. The table has a stretch for each list, as long as the
// list's frequencies say, that fills up in order of documents and is taken from its end back, as lists are walked. A place takes four
// bytes: the document and, in the bits that are left, the place; one that does not fit is kept aside. One thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "live/analysis.h"
#include "live/concurrent.h"
#include "live/index.h"

namespace fathom::live {

class PlaceTable {
 public:
  /// Reads the index's lists. Nothing may be added to it any more.
  explicit PlaceTable(const Index& index);

  /// Takes the text of the next document.
  void add(uint32_t document, std::string_view text);
  /// The values (positions.h) of a posting of the i-th term of the index. Documents of a term fall from call to call; all of them
  /// have been added.
  void take(uint32_t term, uint32_t document, uint32_t frequency, std::vector<uint32_t>& values);
  /// Asks for what `take` will read.
  void prefetch(uint32_t term) const {
    __builtin_prefetch(&ends_[term]);
    __builtin_prefetch(&begins_[term]);
  }

 private:
  struct Known {
    uint64_t hash = 0;
    uint32_t term = 0;  // + 1; 0: free
  };
  struct Aside {
    uint32_t term = 0, document = 0, place = 0;
    auto operator<=>(const Aside&) const = default;
  };

  Known& find(uint64_t hash) const;
  uint32_t most_place() const { return (uint32_t{1} << place_bits_) - 1; }
  void take_aside(uint32_t term, uint32_t document);

  size_t known_mask_;  // of known_; equal hashes are equal terms, as in PreparedBatch
  HugeMemory known_memory_, places_memory_;
  Known* known_;
  std::vector<uint32_t> begins_, ends_;  // of each term, in places_
  uint32_t* places_ = nullptr;
  std::vector<Aside> aside_;
  bool aside_sorted_ = false;
  unsigned place_bits_ = 0;
  TokenList tokens_;
  std::vector<uint32_t> found_;
};

}  // namespace fathom::live
