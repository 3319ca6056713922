// Products of packed Q5_0, Q5_1 and IQ4_NL weights with 8-bit activations: what matmul_q8 (matmul.h) calls for them.
#pragma once

#include "tensor/matmul.h"

namespace fathom::tensor {

/// As matmul_q8. REQUIRES: w is Q5_0, Q5_1 or IQ4_NL.
void matmul_q5(const PackedMatrix& w, const Q8Rows& x, size_t group_begin, size_t group_end,
               const MatmulOut& out);

}  // namespace fathom::tensor
