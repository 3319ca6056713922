// How every matrix of packed blocks meets 8-bit activations, whatever its format: panels of weights that stay in the
// second-level cache while all tiles of tokens pass over them, groups of a panel, vectors of a group's rows, and as many
// tokens at a time as registers hold. Included once for each target, after simd.h.
//
// A Kernel says what happens there. It has
//   kFormat       the format of the weights, kColumns the columns of one of its blocks
//   kMostTokens   the tokens that a pass takes at most: 4, 8 or 16
//   Rows          the activations' form, of which `tile(i)` are the rows of a tile
//   pass<kTokens>(PassArgs<Rows>)    kTokens tokens times kN rows
#if defined(FATHOM_TENSOR_PANELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_TENSOR_PANELS_INL_H_
#undef FATHOM_TENSOR_PANELS_INL_H_
#else
#define FATHOM_TENSOR_PANELS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "tensor/block_format.h"
#include "tensor/matmul.h"
#include "tensor/packed.h"
#include "tensor/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

/// Weights that stay in the second-level cache.
constexpr size_t kPanelBytes = size_t{192} << 10;

/// Weights that come from memory are asked for this long before they are used. What the processor guesses by itself hides
/// little more than half of memory's delay here: at 8 tokens, twice the speed.
constexpr size_t kAheadBytes = 8192;

/// Bytes of a block of a whole group.
template <DType kFormat>
constexpr size_t kGroupBlockBytes =
    (block_format(kFormat).halves * 2 + block_format(kFormat).words * 4) * kGroupRows;

/// Asks for the bytes [at, at + kBytes) to be brought near, unless they begin past `limit`. Addresses, since they may lie
/// past the end of the weights.
template <size_t kBytes>
HWY_INLINE void fetch(uintptr_t at, uintptr_t limit) {
  if (at >= limit) return;
  FATHOM_UNROLL
  for (size_t i = 0; i < kBytes; i += 64) __builtin_prefetch(reinterpret_cast<const void*>(at + i), 0, 3);
}

/// Stores the rows of one vector; `rows` of them exist.
HWY_INLINE void store_rows(VF v, float* y, size_t rows, bool add) {
  const DF df;
  if (rows >= kN) [[likely]] {
    hn::StoreU(add ? hn::Add(hn::LoadU(df, y), v) : v, df, y);
    return;
  }
  HWY_ALIGN float lanes[kN];
  hn::Store(v, df, lanes);
  for (size_t i = 0; i < rows; ++i) y[i] = add ? y[i] + lanes[i] : lanes[i];
}

/// Calls pass(std::integral_constant<size_t, n>(), first) for tokens [first, first + n) until all `width` (at most 16) are
/// done; n is at most kMost.
template <size_t kMost, class Pass>
HWY_INLINE void each_pass(size_t width, const Pass& pass) {
  size_t t = 0;
  const auto passes = [&]<size_t kTokens>(std::integral_constant<size_t, kTokens> n) HWY_ATTR {
    for (; t + kTokens <= width; t += kTokens) pass(n, t);
  };
  if constexpr (kMost >= 16) passes(std::integral_constant<size_t, 16>());
  if constexpr (kMost >= 8) passes(std::integral_constant<size_t, 8>());
  passes(std::integral_constant<size_t, 4>());
  passes(std::integral_constant<size_t, 2>());
  passes(std::integral_constant<size_t, 1>());
}

/// What a pass multiplies and where the results go.
template <class Rows>
struct PassArgs {
  const std::byte* halves;  // of the first block
  const std::byte* words;
  size_t blocks;
  const Rows& tile;
  size_t first;  // token of the tile
  float* y;      // of the first token
  size_t stride;
  size_t rows;  // that exist
  bool add;
  uintptr_t ahead;  // where the weights that are to be asked for begin
  uintptr_t limit;  // and end
};

/// A tile of activations times one group of weights, which come from memory as far as `limit`; 0: they are in cache.
template <class Kernel>
HWY_NOINLINE void multiply_group(const std::byte* group, const typename Kernel::Rows& tile, float* y,
                                 size_t stride, size_t rows, bool add, uintptr_t limit) {
  const size_t words = packed_quants_offset(Kernel::kFormat, tile.cols);
  for (size_t part = 0; part < kParts && part * kN < rows; ++part) {
    each_pass<Kernel::kMostTokens>(
        tile.tokens, [&]<size_t kTokens>(std::integral_constant<size_t, kTokens>, size_t t) HWY_ATTR {
          const uintptr_t ahead = t + part == 0 ? reinterpret_cast<uintptr_t>(group) + kAheadBytes : limit;
          Kernel::template pass<kTokens>({group + part * kN * 2, group + words + part * kN * 4,
                                          tile.cols / Kernel::kColumns, tile, t, y + t * stride + part * kN,
                                          stride, rows - part * kN, add, ahead, limit});
        });
  }
}

/// Groups [group_begin, group_end) of `w` times all rows of `x`.
template <class Kernel>
void multiply_panels(const PackedMatrix& w, const typename Kernel::Rows& x, size_t group_begin,
                     size_t group_end, const MatmulOut& out) {
  const size_t panel = std::max<size_t>(1, kPanelBytes / w.group_bytes);
  for (size_t begin = group_begin; begin < group_end; begin += panel) {
    const size_t end = std::min(begin + panel, group_end);
    for (size_t first = 0; first < x.tokens; first += Kernel::Rows::kTile) {
      const auto tile = x.tile(first / Kernel::Rows::kTile);
      // What follows these groups is likely to be asked for next.
      const uintptr_t limit =
          first == 0 ? reinterpret_cast<uintptr_t>(w.data + w.groups() * w.group_bytes) : 0;
      for (size_t g = begin; g < end; ++g)
        multiply_group<Kernel>(w.data + g * w.group_bytes, tile, out.y + first * out.stride + g * kGroupRows,
                               out.stride, std::min(kGroupRows, w.rows - g * kGroupRows), out.add, limit);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#endif
