// A text in ASCII lower case, and where in it words and marks begin and end, found sixteen bytes at a time.
//
// The analyser asks "where does the next thing begin" and "where does this run of letters and digits end" for every word of
// every post; as bits of 64-byte blocks the answers are a shift and a count of zeros. Reused from text to text; one thread.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace fathom::live {

class ByteClasses {
 public:
  /// How many zeros follow the lowered text.
  static constexpr size_t kPadding = 64;

  void read(std::string_view text) {
    size_ = text.size();
    const size_t blocks = size_ / 64 + 1;
    if (lowered_.size() > kMostKept && blocks * 64 + kPadding < kMostKept) std::vector<char>().swap(lowered_);
    if (lowered_.size() < blocks * 64 + kPadding) lowered_.resize(blocks * 64 + kPadding);
    if (starts_.size() < blocks + 1) starts_.resize(blocks + 1), alnum_.resize(blocks + 1);
    if (!text.empty()) std::memcpy(lowered_.data(), text.data(), size_);
    std::memset(lowered_.data() + size_, 0, blocks * 64 + kPadding - size_);
    for (size_t block = 0; block < blocks; ++block)
      classify(lowered_.data() + 64 * block, starts_[block], alnum_[block]);
    starts_[blocks] = alnum_[blocks] = 0;
    blocks_ = blocks;
  }

  const char* lowered() const { return lowered_.data(); }

  /// The first byte from `at` on that begins a word or a mark: a letter, a digit, one of "#@$&" or a byte outside ASCII. The
  /// text's size if there is none.
  size_t next_start(size_t at) const {
    size_t block = at / 64;
    uint64_t bits = starts_[block] >> (at % 64) << (at % 64);
    while (bits == 0 && ++block < blocks_) bits = starts_[block];
    return bits == 0 ? size_ : 64 * block + static_cast<size_t>(std::countr_zero(bits));
  }

  /// The first byte from `at` on that is neither an ASCII letter nor a digit.
  size_t alnum_end(size_t at) const {
    size_t block = at / 64;
    uint64_t others = ~alnum_[block] >> (at % 64) << (at % 64);
    while (others == 0) others = ~alnum_[++block];
    return 64 * block + static_cast<size_t>(std::countr_zero(others));
  }

 private:
  static constexpr size_t kMostKept = size_t{1} << 20;  // one giant does not stay resident

#if defined(__SSE2__)
  /// Bytes from `first` on, `count` of them, as a mask.
  static __m128i within(__m128i bytes, char first, char count) {
    const __m128i moved = _mm_add_epi8(bytes, _mm_set1_epi8(static_cast<char>(-128 - first)));
    return _mm_cmplt_epi8(moved, _mm_set1_epi8(static_cast<char>(-128 + count)));
  }

  static void classify(char* block, uint64_t& starts, uint64_t& alnum) {
    starts = alnum = 0;
    for (int i = 0; i < 4; ++i) {
      auto* at = reinterpret_cast<__m128i*>(block + 16 * i);
      __m128i bytes = _mm_loadu_si128(at);
      const __m128i upper = within(bytes, 'A', 26);
      bytes = _mm_or_si128(bytes, _mm_and_si128(upper, _mm_set1_epi8(0x20)));
      _mm_storeu_si128(at, bytes);
      const __m128i word = _mm_or_si128(within(bytes, 'a', 26), within(bytes, '0', 10));
      __m128i start = _mm_or_si128(word, bytes);  // the sign bit: outside ASCII
      start = _mm_or_si128(start, within(bytes, '#', 2));
      start = _mm_or_si128(start, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('&')));
      start = _mm_or_si128(start, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('@')));
      const auto bits = [&](__m128i mask) {
        return static_cast<uint64_t>(static_cast<uint16_t>(_mm_movemask_epi8(mask)));
      };
      alnum |= bits(word) << (16 * i);
      starts |= bits(start) << (16 * i);
    }
  }
#else
  static void classify(char* block, uint64_t& starts, uint64_t& alnum) {
    starts = alnum = 0;
    for (int i = 0; i < 64; ++i) {
      char& c = block[i];
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
      const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
      const bool start =
          word || static_cast<unsigned char>(c) >= 0x80 || c == '#' || c == '@' || c == '$' || c == '&';
      alnum |= uint64_t{word} << i;
      starts |= uint64_t{start} << i;
    }
  }
#endif

  std::vector<char> lowered_;
  std::vector<uint64_t> starts_, alnum_;  // a bit a byte
  size_t size_ = 0, blocks_ = 0;
};

}  // namespace fathom::live
