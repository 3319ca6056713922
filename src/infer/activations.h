// Rows of activations in the forms that the weights of a model meet them in (tensor/matmul.h).
//
// Owns memory for a fixed number of rows of a fixed width. `begin` chooses width and forms; then rows are filled and
// multiplied in ranges, each of which is a matrix of its own: all rows together, or those of one expert. Different threads
// may fill different rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "infer/weights.h"
#include "tensor/buffer.h"
#include "tensor/matmul.h"
#include "tensor/matmul_k.h"

namespace fathom::infer {

/// A set of ActivationForm.
class Forms {
 public:
  Forms() = default;
  Forms(std::initializer_list<const Linear*> matrices) {
    for (const Linear* m : matrices) add(tensor::activation_form(m->matrix.dtype));
  }
  explicit Forms(const tensor::PackedMatrix& matrix) { add(tensor::activation_form(matrix.dtype)); }
  void add(tensor::ActivationForm form) { bits_ |= bit(form); }
  bool has(tensor::ActivationForm form) const { return (bits_ & bit(form)) != 0; }

 private:
  static unsigned bit(tensor::ActivationForm form) { return 1u << static_cast<unsigned>(form); }
  unsigned bits_ = 0;
};

class Activations {
 public:
  /// Rows [first, first + count): filled and multiplied as one matrix. Ranges in use together do not overlap.
  struct Range {
    size_t first = 0;
    size_t count = 0;
  };

  Activations(size_t max_rows, size_t max_cols);

  /// REQUIRES: cols <= max_cols.
  void begin(size_t cols, Forms forms);
  /// Row `row` of the range's `count`.
  void set_row(Range range, size_t row, const float* x);
  void multiply(Range range, const tensor::PackedMatrix& w, size_t group_begin, size_t group_end,
                const tensor::MatmulOut& out) const;

  /// The same with one range for all rows.
  void begin(size_t rows, size_t cols, Forms forms) {
    all_ = {0, rows};
    begin(cols, forms);
  }
  void set_row(size_t row, const float* x) { set_row(all_, row, x); }
  void multiply(const tensor::PackedMatrix& w, size_t group_begin, size_t group_end,
                const tensor::MatmulOut& out) const {
    multiply(all_, w, group_begin, group_end, out);
  }

 private:
  float* plain(tensor::ActivationForm form) const;
  tensor::Q8Rows q8(Range range) const;
  tensor::Q8KRows q8k(Range range) const;

  size_t max_rows_;
  size_t max_cols_;
  tensor::Buffer q8_memory_;
  tensor::Buffer q8k_memory_;    // only where rows are whole super-blocks
  tensor::Buffer plain_memory_;  // f32, f16, bf16, each [max_rows, max_cols]
  Forms forms_;
  int8_t* q_;
  float* scale_;
  float* scaled_sum_;
  int32_t* sum_;
  int8_t* k_q_;
  float* k_scale_;
  int16_t* k_sums_;
  size_t cols_ = 0;
  Range all_;
};

}  // namespace fathom::infer
