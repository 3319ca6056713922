// Prefix codes of a few to a hundred thousand symbols, and the bits that they are written in.
//
// Huffman's codes (1952) in their canonical form: the lengths alone tell them, a shorter code is below a longer one, and those of one
// length rise with their symbols. Bits are written from the highest down, so that codes compare as numbers. A code of one symbol
// takes no bits.
//
// CodeWriter: one thread. The others are immutable once they are built: any thread. A reader takes any bytes: past the end everything is
// 0 and `ok` is false.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "live/segment/format.h"

namespace fathom::live {

inline constexpr unsigned kMaxCodeBits = 20;
inline constexpr size_t kMaxSymbols = size_t{1} << 17;

class CodeWriter {
 public:
  /// REQUIRES: value < 2^width, width at most 32.
  void put(uint64_t value, unsigned width) {
    pending_ = pending_ << width | value;
    filled_ += width;
    if (filled_ < 32) return;
    filled_ -= 32;
    const uint32_t word = __builtin_bswap32(static_cast<uint32_t>(pending_ >> filled_));
    store(out_, word);
  }
  uint64_t bits() const { return uint64_t{out_.size()} * 8 + filled_; }
  /// Fills the last byte up.
  void finish();
  /// The bytes so far; keeps its memory when it is cleared.
  std::string& bytes() { return out_; }

 private:
  std::string out_;
  uint64_t pending_ = 0;
  unsigned filled_ = 0;  // of pending_, from its lowest bit; below 32 between calls
};

class CodeReader {
 public:
  /// 16 bytes behind the end may be read.
  explicit CodeReader(Bytes bytes, uint64_t bit = 0)
      : bytes_(bytes.data()), bit_(bit), end_(uint64_t{bytes.size()} * 8) {
    skip(0);
  }

  /// The next 32 bits in the low half.
  uint64_t peek() const {
    return (__builtin_bswap64(load<uint64_t>(bytes_ + (bit_ >> 3))) << (bit_ & 7)) >> 32;
  }
  void skip(unsigned bits) {
    bit_ += bits;
    if (bit_ > end_) fail();
  }
  /// REQUIRES: width at most 32.
  uint64_t bits(unsigned width) {
    const uint64_t value = peek() >> (32 - width);
    skip(width);
    return ok_ ? value : 0;
  }
  void fail() {
    ok_ = false;
    bit_ = end_;
  }
  bool ok() const { return ok_; }
  uint64_t bit() const { return bit_; }

 private:
  const uint8_t* bytes_;
  uint64_t bit_, end_;
  bool ok_ = true;
};

/// The lengths of the code that takes the fewest bits; every symbol gets one. REQUIRES: up to kMaxSymbols.
std::vector<uint8_t> code_lengths(std::span<const uint64_t> counts);

class SymbolEncoder {
 public:
  SymbolEncoder() = default;
  explicit SymbolEncoder(std::span<const uint8_t> lengths);
  void put(size_t symbol, CodeWriter& out) const { out.put(codes_[symbol].first, codes_[symbol].second); }

 private:
  std::vector<std::pair<uint32_t, uint8_t>> codes_;  // and their lengths
};

class SymbolDecoder {
 public:
  /// False unless the lengths are those of a code that leaves no sequence of bits without a symbol.
  bool build(std::span<const uint8_t> lengths);

  uint32_t read(CodeReader& in) const {
    const uint64_t window = in.peek();
    const uint32_t entry = table_[window >> (32 - table_bits_)];
    if (entry == kLonger) return read_long(in, window);
    in.skip(entry & 31);
    return entry >> 5;
  }

 private:
  static constexpr unsigned kTableBits = 11;
  static constexpr uint32_t kLonger = UINT32_MAX;

  uint32_t read_long(CodeReader& in, uint64_t window) const;

  std::vector<uint32_t> table_;  // by the next bits: symbol and length
  unsigned table_bits_ = 0;
  std::vector<uint32_t> symbols_;                   // by code
  std::array<uint64_t, kMaxCodeBits + 1> limit_{};  // of codes of a length, as 32 bits: the first above
  std::array<uint32_t, kMaxCodeBits + 1> first_symbol_{};  // of each length, in symbols_
};

}  // namespace fathom::live
