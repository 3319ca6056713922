// A 64-bit hash of short byte strings by multiply and fold (as in wyhash, Wang Yi 2019), eight bytes a step. Not for secrets;
// the seed keeps strangers from choosing collisions.
//
// Strings under 16 bytes, as nearly all words are, have a form without loops or branches: words follow each other with any
// lengths, and a processor that guesses the length wrong loses more time than the hash takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace fathom::live {

/// Up to 16 bytes as two little-endian numbers, zeros behind them.
struct PaddedBytes {
  static constexpr size_t kMost = 16;
  uint64_t low = 0, high = 0;
};

/// REQUIRES: `size` at most 16, and memory that may be read up to 16 bytes.
inline PaddedBytes load_padded(const char* bytes, size_t size) {
  const auto keep = [](size_t n) { return n >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * n)) - 1; };
  PaddedBytes padded;
  std::memcpy(&padded.low, bytes, 8);
  std::memcpy(&padded.high, bytes + 8, 8);
  padded.low &= keep(size);
  padded.high &= keep(size < 8 ? 0 : size - 8);
  return padded;
}

namespace hash_detail {

inline constexpr uint64_t kA = 0xA0761D6478BD642Full, kB = 0xE7037ED1A0B428DBull;

inline uint64_t fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

/// `last`: the `left` bytes behind the whole steps, padded.
inline uint64_t finish(uint64_t h, uint64_t last, size_t left, size_t size) {
  h = fold(h ^ last ^ (uint64_t{left} << 56), kB);
  return fold(h ^ size, kA);
}

}  // namespace hash_detail

/// What `hash_bytes` gives for these bytes. REQUIRES: `size` below 16.
inline uint64_t hash_padded(const PaddedBytes& bytes, size_t size, uint64_t seed) {
  using namespace hash_detail;
  const bool step = size >= 8;
  const uint64_t begin = seed ^ kA;
  const uint64_t stepped = fold(begin ^ bytes.low, kB);
  return finish(step ? stepped : begin, step ? bytes.high : bytes.low, step ? size - 8 : size, size);
}

inline uint64_t hash_bytes(std::string_view bytes, uint64_t seed) {
  using namespace hash_detail;
  uint64_t h = seed ^ kA;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, 8);
    h = fold(h ^ word, kB);
  }
  uint64_t last = 0;  // the bytes left, without a loop
  if (left >= 4) {
    uint32_t low = 0, high = 0;
    std::memcpy(&low, at, 4);
    std::memcpy(&high, at + left - 4, 4);
    last = low | (uint64_t{high} << (8 * (left - 4)));
  } else if (left > 0) {
    const auto byte = [&](size_t i) { return uint64_t{static_cast<unsigned char>(at[i])} << (8 * i); };
    last = byte(0) | byte(left / 2) | byte(left - 1);
  }
  return finish(h, last, left, bytes.size());
}

}  // namespace fathom::live
