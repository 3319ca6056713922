// Every operation of tensor/device_ops.h in its plainest form, in double: what kernels are held against. Gradients here
// are themselves held against finite differences. (Products and attention have theirs in gemm.h and attention.h.)
//
// Tensors are contiguous vectors; shapes follow from their sizes. Slow on purpose; used by tests. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/device_ops.h"

namespace fathom::tensor::grad::reference {

using Doubles = std::vector<double>;
using Indices = std::span<const int32_t>;

/// [n]: the sums over rows of x [rows, n].
Doubles column_sums(const Doubles& x, size_t n);

/// [tokens, n] from table [vocab, n] of the tokens from `first` on.
Doubles embed(const Doubles& table, Indices tokens, size_t first, size_t n, double scale);
/// d_table [vocab, n].
Doubles embed_backward(const Doubles& d_out, Indices tokens, size_t first, size_t vocab, size_t n,
                       double scale);

/// [rows, n] from x [rows, n] and weight [n].
Doubles rms_norm(const Doubles& x, const Doubles& weight, double eps);
/// [rows].
Doubles inverse_rms(const Doubles& x, size_t n, double eps);
struct NormGradient {
  Doubles dx;
  Doubles d_weight;
};
NormGradient rms_norm_backward(const Doubles& dy, const Doubles& x, const Doubles& weight, double eps);

/// x: [tokens, heads, head_dim]; cos_sin: [positions, dims].
Doubles rope(const Doubles& x, size_t head_dim, size_t dims, bool halves, const Doubles& cos_sin,
             Indices position, bool inverse);

Doubles gate(GateActivation act, const Doubles& gate, const Doubles& up);
struct GateGradient {
  Doubles d_gate;
  Doubles d_up;
};
GateGradient gate_backward(GateActivation act, const Doubles& gate, const Doubles& up, const Doubles& d_out);

/// Of logits [rows, vocab], all columns.
double cross_entropy(const CrossEntropyShape& shape, const Doubles& logits, Indices targets);
Doubles cross_entropy_gradient(const CrossEntropyShape& shape, const Doubles& logits, Indices targets);

/// `weight` may be empty, for ones.
Doubles gather_rows(const Doubles& x, Indices index, const Doubles& weight, size_t n);
/// [index / fan, n]: what combine_rows adds.
Doubles combine_rows(const Doubles& x, Indices index, const Doubles& weight, size_t fan, size_t n);
Doubles combine_rows_weights(const Doubles& x, Indices index, const Doubles& d_out, size_t fan, size_t n);

/// One step, in place.
void adamw(const AdamWArgs& args, Doubles& w, const Doubles& g, Doubles& m, Doubles& v);

}  // namespace fathom::tensor::grad::reference
