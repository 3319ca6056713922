// The gated feed-forward of training (Shazeer, 2020), forward and backward: out = act(gate) * up over rows of n, act(x) =
// x * sigmoid(x) (SiLU) or x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) (GELU: Hendrycks and Gimpel, 2016).
//
// Single-threaded; the caller splits rows among threads. All memory is the caller's; nothing is allocated.
#pragma once

#include <cstddef>

#include "tensor/device_ops.h"

namespace fathom::tensor::grad {

/// gate, up: rows of n, `in_stride` floats apart; out: [rows, n].
void gate(GateActivation act, const float* gate, const float* up, size_t in_stride, float* out, size_t rows,
          size_t n);

/// d_gate, d_up: as gate and up, which they may be; d_out: [rows, n]; out: [rows, n], may be d_out; null: not wanted.
void gate_backward(GateActivation act, const float* gate, const float* up, size_t in_stride,
                   const float* d_out, float* d_gate, float* d_up, float* out, size_t rows, size_t n);

}  // namespace fathom::tensor::grad
