// Rows of activations in the forms that the weights of a model meet them in (tensor/matmul.h).
//
// Owns memory for a fixed number of rows of a fixed width. `begin` chooses shape and forms, `set_row` fills one row (rows
// may be filled by different threads), `multiply` reads them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "infer/weights.h"
#include "tensor/buffer.h"
#include "tensor/matmul.h"

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
  Activations(size_t max_tokens, size_t max_cols);

  void begin(size_t tokens, size_t cols, Forms forms);
  void set_row(size_t token, const float* x);
  void multiply(const tensor::PackedMatrix& w, size_t group_begin, size_t group_end,
                const tensor::MatmulOut& out) const;

 private:
  float* plain(tensor::ActivationForm form) const;

  size_t max_cols_;
  tensor::Buffer q8_memory_;
  tensor::Buffer plain_memory_;  // f32, f16, bf16, each [max_tokens, max_cols]
  size_t plain_size_;
  Forms forms_;
  tensor::Q8Rows q8_;
  int8_t* q_;
  float* scale_;
  float* scaled_sum_;
  int32_t* sum_;
  size_t tokens_ = 0;
  size_t cols_ = 0;
};

}  // namespace fathom::infer
