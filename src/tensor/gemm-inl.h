// The innermost part of products of matrices, on each target: a tile of c in registers, and the words that panels are made
// of. Shared by gemm.cc and the attention of training. Included once for each target, after simd.h.
//
// A word is 32 bits of a panel: one float, or two neighbours along the depth of the product in BF16, which the processor's
// BF16 products take together. A tile multiplies `depth` words of each of its rows of a with as many rows of b.
#if defined(FATHOM_TENSOR_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_TENSOR_GEMM_INL_H_
#undef FATHOM_TENSOR_GEMM_INL_H_
#else
#define FATHOM_TENSOR_GEMM_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "tensor/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

// As many sums as registers hold beside two vectors of b and an element of a. Eight rows or more keep the multipliers of
// an AVX-512 processor busy, so that rows may be shared out evenly among tiles instead of leaving a small rest.
constexpr size_t kTileVectors = 2;
constexpr size_t kTileCols = kTileVectors * kN;
constexpr size_t kTileRows = HWY_CAP_GE512 ? 14 : HWY_TARGET == HWY_NEON ? 12 : 6;
constexpr size_t kRowStep =
    (kTileRows + kN - 1) / kN * kN;  // words from one depth of a panel of a to the next

/// What a tile reads and writes.
struct Tile {
  const float* a = nullptr;
  const float* b = nullptr;
  size_t b_step = kTileCols;  // words from one depth to the next
  size_t depth = 0;
  float* c = nullptr;
  size_t c_stride = 0;
  size_t cols = kTileCols;  // of c
  float alpha = 1.0f;
  bool add = false;  // to what c holds
};

struct FloatProducts {
  static HWY_INLINE void add(VF& sum, VF a, VF b) { sum = hn::MulAdd(a, b, sum); }
};

#if HWY_TARGET == HWY_AVX3_DL
/// Of processors with AVX512_BF16, which Highway 1.0 does not know: two products of each lane. Denormals count as zero.
struct PairProducts {
  static HWY_INLINE void add(VF& sum, VF a, VF b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  }
};
#endif

/// c = alpha * sums [+ c], for one row of a whole tile.
HWY_INLINE void store_row(const VF* sums, const Tile& t, float* c) {
  const DF df;
  const VF alpha = hn::Set(df, t.alpha);
  FATHOM_UNROLL
  for (size_t v = 0; v < kTileVectors; ++v) {
    const VF before = t.add ? hn::LoadU(df, c + v * kN) : hn::Zero(df);
    hn::StoreU(hn::MulAdd(sums[v], alpha, before), df, c + v * kN);
  }
}

/// The same of a tile at the edge of c.
inline HWY_NOINLINE void store_some(const float* sums, const Tile& t, size_t rows) {
  for (size_t r = 0; r < rows; ++r) {
    float* c = t.c + r * t.c_stride;
    for (size_t i = 0; i < t.cols; ++i) c[i] = sums[r * kTileCols + i] * t.alpha + (t.add ? c[i] : 0.0f);
  }
}

/// c [kRows, cols] of a tile; kAcross and kAlong are words from one row of a to the next, and from one depth to the next.
template <class Products, size_t kRows, size_t kAcross, size_t kAlong>
HWY_NOINLINE void multiply_tile(const Tile& t) {
  const DF df;
  VF sums[kRows * kTileVectors];
  FATHOM_UNROLL
  for (size_t i = 0; i < kRows * kTileVectors; ++i) sums[i] = hn::Zero(df);
  FATHOM_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    __builtin_prefetch(t.c + r * t.c_stride, 1, 3);
    __builtin_prefetch(t.c + r * t.c_stride + t.cols - 1, 1, 3);
  }
  const float* a = t.a;
  const float* b = t.b;
  const size_t b_step = t.b_step;
  for (size_t p = t.depth; p != 0; --p) {
    VF column[kTileVectors];
    FATHOM_UNROLL
    for (size_t v = 0; v < kTileVectors; ++v) column[v] = hn::LoadU(df, b + v * kN);
    FATHOM_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      const VF element = hn::Set(df, a[r * kAcross]);
      FATHOM_UNROLL
      for (size_t v = 0; v < kTileVectors; ++v) Products::add(sums[r * kTileVectors + v], element, column[v]);
    }
    a += kAlong;
    b += b_step;
  }
  if (t.cols == kTileCols) {
    FATHOM_UNROLL
    for (size_t r = 0; r < kRows; ++r) store_row(sums + r * kTileVectors, t, t.c + r * t.c_stride);
    return;
  }
  HWY_ALIGN float all[kRows * kTileCols];
  FATHOM_UNROLL
  for (size_t i = 0; i < kRows * kTileVectors; ++i) hn::Store(sums[i], df, all + i * kN);
  store_some(all, t, kRows);
}

using MultiplyTile = void (*)(const Tile&);

template <class Products, size_t kAcross, size_t kAlong, size_t... kRows>
constexpr std::array<MultiplyTile, sizeof...(kRows) + 1> tiles_of(std::index_sequence<kRows...>) {
  return {nullptr, &multiply_tile<Products, kRows + 1, kAcross, kAlong>...};
}

/// multiply_tile for each number of rows.
template <class Products, size_t kAcross = 1, size_t kAlong = kRowStep>
constexpr auto kMultiplyTile = tiles_of<Products, kAcross, kAlong>(std::make_index_sequence<kTileRows>());

/// r becomes its transpose.
HWY_INLINE void transpose(VF (&r)[kN]) {
  const DF df;
  const hn::Repartition<uint64_t, DF> d64;
  FATHOM_UNROLL
  for (size_t i = 0; i < kN; i += 4) {  // blocks of four by four
    const auto a = hn::BitCast(d64, hn::InterleaveLower(df, r[i], r[i + 1]));
    const auto b = hn::BitCast(d64, hn::InterleaveUpper(df, r[i], r[i + 1]));
    const auto c = hn::BitCast(d64, hn::InterleaveLower(df, r[i + 2], r[i + 3]));
    const auto d = hn::BitCast(d64, hn::InterleaveUpper(df, r[i + 2], r[i + 3]));
    r[i] = hn::BitCast(df, hn::InterleaveLower(d64, a, c));
    r[i + 1] = hn::BitCast(df, hn::InterleaveUpper(d64, a, c));
    r[i + 2] = hn::BitCast(df, hn::InterleaveLower(d64, b, d));
    r[i + 3] = hn::BitCast(df, hn::InterleaveUpper(d64, b, d));
  }
#if HWY_CAP_GE512
  FATHOM_UNROLL
  for (size_t i = 0; i < 4; ++i) {  // the blocks, four by four
    const VF even01 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(r[i + 4]), r[i]);
    const VF odd01 = hn::OddEvenBlocks(r[i + 4], hn::SwapAdjacentBlocks(r[i]));
    const VF even23 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(r[i + 12]), r[i + 8]);
    const VF odd23 = hn::OddEvenBlocks(r[i + 12], hn::SwapAdjacentBlocks(r[i + 8]));
    r[i] = hn::ConcatLowerLower(df, even23, even01);
    r[i + 4] = hn::ConcatLowerLower(df, odd23, odd01);
    r[i + 8] = hn::ConcatUpperUpper(df, even23, even01);
    r[i + 12] = hn::ConcatUpperUpper(df, odd23, odd01);
  }
#elif HWY_TARGET == HWY_AVX2
  FATHOM_UNROLL
  for (size_t i = 0; i < 4; ++i) {
    const VF low = hn::ConcatLowerLower(df, r[i + 4], r[i]);
    r[i + 4] = hn::ConcatUpperUpper(df, r[i + 4], r[i]);
    r[i] = low;
  }
#endif
}

/// The first n floats at `at`, then zeros.
HWY_INLINE VF load_at_most(const float* at, size_t n) {
  if (n >= kN) return hn::LoadU(DF(), at);
  HWY_ALIGN float lanes[kN] = {};
  for (size_t i = 0; i < n; ++i) lanes[i] = at[i];
  return hn::Load(DF(), lanes);
}

/// Words of floats, as they are.
struct FloatWords {
  using Products = FloatProducts;
  static constexpr size_t kElements = 1;  // of each word
  /// The next kN words of one row, of which n elements are left.
  static HWY_INLINE VF along(const float* at, size_t n) { return load_at_most(at, n); }
  /// Words of kN columns, n of which are there; `rows` are left.
  static HWY_INLINE VF across(const float* at, size_t /*stride*/, size_t /*rows*/, size_t n) {
    return load_at_most(at, n);
  }
};

/// Words of floats, rounded to BF16, to nearest even.
struct RoundedWords {
  using Products = FloatProducts;
  static constexpr size_t kElements = 1;
  static HWY_INLINE VF along(const float* at, size_t n) { return round(load_at_most(at, n)); }
  static HWY_INLINE VF across(const float* at, size_t /*stride*/, size_t /*rows*/, size_t n) {
    return round(load_at_most(at, n));
  }

 private:
  static HWY_INLINE VF round(VF v) {
    const DF df;
    const hn::RebindToUnsigned<DF> du;
    const auto bits = hn::BitCast(du, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
    const auto up = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF)));
    const VF rounded = hn::BitCast(df, hn::And(up, hn::Set(du, 0xFFFF0000)));
    return hn::IfThenElse(hn::Eq(v, v), rounded, v);  // what is not a number stays so
  }
};

#if HWY_TARGET == HWY_AVX3_DL
/// Words of two BF16, for processors with AVX512_BF16.
struct PairWords {
  using Products = PairProducts;
  static constexpr size_t kElements = 2;
  static HWY_INLINE VF along(const float* at, size_t n) {
    return pack(load_at_most(at, n), load_at_most(at + kN, n > kN ? n - kN : 0));
  }
  static HWY_INLINE VF across(const float* at, size_t stride, size_t rows, size_t n) {
    const VF first = load_at_most(at, n);
    const VF second = rows > 1 ? load_at_most(at + stride, n) : hn::Zero(DF());
    alignas(64) static constexpr uint16_t kInterleave[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                             21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                             11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return VF{_mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(kInterleave),
                                                           _mm512_castps_si512(pack(first, second).raw)))};
  }

 private:
  /// The elements of `low`, then those of `high`.
  static HWY_INLINE VF pack(VF low, VF high) {
    VF out;
    asm("vcvtne2ps2bf16 %2, %1, %0" : "=v"(out.raw) : "v"(high.raw), "v"(low.raw));
    return out;
  }
};
#endif

/// A panel of lines that are each contiguous: word w of line i goes to to[w * step + i]; lines that are missing from `step`
/// become 0. REQUIRES: step is a multiple of kN.
template <class Words>
HWY_INLINE void pack_along(const float* from, size_t stride, size_t lines, size_t elements, size_t step,
                           float* to) {
  const size_t words = (elements + Words::kElements - 1) / Words::kElements;
  for (size_t w = 0; w < words; w += kN, to += kN * step) {
    const size_t at = w * Words::kElements;
    for (size_t first = 0; first < step; first += kN) {
      VF r[kN];
      FATHOM_UNROLL
      for (size_t i = 0; i < kN; ++i)
        r[i] = first + i < lines ? Words::along(from + (first + i) * stride + at, elements - at)
                                 : hn::Zero(DF());
      transpose(r);
      const size_t left = words - w;
      FATHOM_UNROLL
      for (size_t i = 0; i < kN; ++i)
        if (i < left) hn::StoreU(r[i], DF(), to + i * step + first);
    }
  }
}

constexpr size_t kAhead = 256;  // floats, of the panels that come next

/// The same of lines that are neighbours at each depth, `lines` of them from `from` on.
template <class Words>
HWY_INLINE void pack_across(const float* from, size_t stride, size_t lines, size_t elements, size_t step,
                            float* to) {
  for (size_t at = 0; at < elements; at += Words::kElements, to += step) {
    const float* row = from + at * stride;
    for (size_t first = 0; first < step; first += kN) {
      __builtin_prefetch(row + first + kAhead, 0, 3);
      hn::StoreU(Words::across(row + first, stride, elements - at, lines - std::min(lines, first)), DF(),
                 to + first);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#endif
