// Integers in as few bits as the largest of them needs.
//
// Two layouts. Horizontal: one value after another, least significant bits first; any of them is read alone. Vertical
// (Lemire and Boytsov, 2015, "Decoding billions of integers per second through vectorization"): 128 values over four
// lanes of 32 bits, value i in lane i mod 4, so that four are unpacked at once with the instructions that every x86-64
// has. Pure functions.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>

#include "live/segment/format.h"

namespace fathom::live {

inline unsigned bits_for(uint64_t value) { return static_cast<unsigned>(std::bit_width(value)); }

/// REQUIRES: width at most 57; the 8 bytes from the value's first byte on may be read.
inline uint64_t read_bits(const uint8_t* bytes, uint64_t bit, unsigned width) {
  const uint64_t word = load<uint64_t>(bytes + (bit >> 3)) >> (bit & 7);
  return word & ((uint64_t{1} << width) - 1);
}

/// The same up to 64 bits; 16 bytes may be read.
inline uint64_t read_wide_bits(const uint8_t* bytes, uint64_t bit, unsigned width) {
  if (width <= 57) return read_bits(bytes, bit, width);
  return read_bits(bytes, bit, 32) | (read_bits(bytes, bit + 32, width - 32) << 32);
}

/// Packs horizontally.
class BitWriter {
 public:
  /// REQUIRES: value < 2^width; width at most 64.
  void put(uint64_t value, unsigned width) {
    if (width > 32) {
      put(value & UINT32_MAX, 32);
      value >>= 32;
      width -= 32;
    }
    pending_ |= value << filled_;
    filled_ += width;
    if (filled_ < 32) return;
    store(out_, static_cast<uint32_t>(pending_));
    pending_ >>= 32;
    filled_ -= 32;
  }
  /// Fills the last byte up and appends all bytes; the writer is empty then.
  void flush_to(std::string& out);

 private:
  std::string out_;
  uint64_t pending_ = 0;
  unsigned filled_ = 0;  // of pending_, below 32 between calls
};

inline constexpr uint32_t kPostingsPerBlock = 128;
inline constexpr unsigned kMaxDocumentBits = 27;  // Index::kMaxDocuments

/// Appends 128 values vertically: 16 * width bytes. REQUIRES: each below 2^width, width at most 32.
void pack_block(std::span<const uint32_t, kPostingsPerBlock> values, unsigned width, std::string& out);

/// One value of a vertical block.
inline uint32_t read_packed(const uint8_t* block, uint32_t index, unsigned width) {
  if (width == 0) return 0;
  const uint32_t bit = (index >> 2) * width;
  const uint8_t* word = block + (bit >> 5) * 16 + (index & 3) * 4;
  const uint32_t shift = bit & 31;
  uint64_t value = load<uint32_t>(word);
  if (shift + width > 32) value |= uint64_t{load<uint32_t>(word + 16)} << 32;
  return static_cast<uint32_t>((value >> shift) & ((uint64_t{1} << width) - 1));
}

/// Unpacks differences less one of falling numbers: out[0] = base - 1 - v[0], out[i] = out[i - 1] - 1 - v[i].
/// REQUIRES: width at most kMaxDocumentBits; 16 * width bytes; `out` aligned to 16.
void unpack_falling(const uint8_t* block, unsigned width, uint32_t base, uint32_t* out);
/// The same in the plainest way: what the other is compared with.
void unpack_falling_reference(const uint8_t* block, unsigned width, uint32_t base, uint32_t* out);

}  // namespace fathom::live
