// Rotary positions of training (Su et al., 2021): pairs of elements turned by their position's angles, and back.
//
// Single-threaded; the caller splits tokens among threads. All memory is the caller's; nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fathom::tensor::grad {

/// x: `heads` vectors of head_dim a token, `stride` floats from token to token, turned in place: their first `dims`
/// elements, in pairs (2i, 2i + 1) or with `halves` (i, i + dims / 2). cos_sin: [positions, dims], cosine and sine of pair
/// after pair; position[t] chooses the row. `inverse` turns the other way.
void rope(float* x, size_t stride, size_t tokens, size_t heads, size_t head_dim, size_t dims, bool halves,
          const float* cos_sin, const int32_t* position, bool inverse);

}  // namespace fathom::tensor::grad
