// Texts as sequences of words that a segment knows by number: what its records are written in before zstd sees them.
//
// A text is cut into runs of word bytes (letters, digits, _ ' # @ and all outside ASCII) and runs of the others; one space
// between two words goes without saying. A run is a code of one to three bytes, short for what is frequent, or its own bytes. So a
// dictionary of tens of thousands of words is shared by all blocks, however small they are (the word-based dense codes of
// Brisaboa et al., 2007), and zstd, whose window cannot hold one, finds what is left.
//
// Codes: 0 ends a text; 1: a run as it is, its size as a varint, its bytes; 2..191: words 0..189; 192..239 and a byte: the next
// 12,288; 240..255 and two bytes: the rest. The section: the words' sizes (a byte each), then their bytes, packed by zstd.
//
// WordCodes: immutable, any thread. WordEncoder: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "live/concurrent.h"
#include "live/segment/format.h"

namespace fathom::live {

/// The words by number.
class WordCodes {
 public:
  /// False when the bytes are not such a section. An empty one has no words.
  bool read(Bytes section);
  /// Appends the next text; false when the codes are damaged or it would grow past `most` bytes.
  bool decode(ByteReader& in, std::string& out, size_t most) const;

 private:
  std::string bytes_;
  std::vector<uint32_t> begins_;  // of each word in bytes_, and the end
};

class WordEncoder {
 public:
  /// Counts the words of a text of a sample.
  void learn(std::string_view text);
  /// Ends the learning; the section of the words that pay.
  std::string choose();
  /// Appends a text's codes.
  void encode(std::string_view text, std::string& out) const;

 private:
  struct Counted {
    std::string word;
    uint64_t count = 0;
  };

  std::vector<Counted> counted_{1};    // number 0 stands for none
  HashIndex known_;                    // into counted_
  std::vector<std::string> words_;     // chosen
  std::unique_ptr<HashIndex> chosen_;  // a word's number + 1
};

}  // namespace fathom::live
