// Where the terms of posts stand in their texts, gathered post by post and taken term by term.
//
// Sealing walks posts once, for their records, and terms once, for their lists. The table holds each post's places in the order
// of its terms' bytes; since terms are walked in that order too, every post's next value is the one that is asked for next,
// and no list has to be found from a post. About one byte a word. One thread.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "live/analysis.h"
#include "live/post.h"
#include "live/prepare.h"

namespace fathom::live {

/// The first eight bytes of a term as a number that compares as they do: most terms are told apart by it.
struct TermHead {
  TermHead() = default;
  explicit TermHead(std::string_view term) {
    std::memcpy(&bytes, term.data(), term.size() < sizeof bytes ? term.size() : sizeof bytes);
    bytes = __builtin_bswap64(bytes);
  }
  uint64_t bytes = 0;
};

class PlaceTable {
 public:
  /// Takes the next post; the first is number 1. A tombstone has no terms.
  void add(const Post& post, bool tombstone);
  /// The values (positions.h) of the post's next term. REQUIRES: `frequency` is what the index has.
  void next(uint32_t number, uint32_t frequency, std::vector<uint32_t>& values);

 private:
  struct Placed {
    TermHead head;
    std::string_view term;
    uint32_t place = 0;  // of a token; of a term: its frequency
  };
  static void sort(std::vector<Placed>& terms);

  std::string bytes_;              // varints
  std::vector<uint64_t> next_{0};  // of each post, in bytes_
  PreparedBatch batch_;
  TokenList tokens_;
  std::vector<Placed> terms_, words_;
  std::vector<uint32_t> places_, values_;
};

}  // namespace fathom::live
