#include "infer/activations.h"

#include "base/error.h"

namespace fathom::infer {
namespace {

/// Bytes of a super-block of a row of Q8KRows.
constexpr size_t kSuperBlockBytes =
    tensor::kSuperBlock + sizeof(float) + tensor::Q8KRows::kSums * sizeof(int16_t);

}  // namespace

using tensor::ActivationForm;

Activations::Activations(size_t max_rows, size_t max_cols)
    : max_rows_(max_rows),
      max_cols_((max_cols + 63) / 64 * 64),
      q8_memory_(max_rows * max_cols_ + max_rows * (max_cols_ / 32) * 12),
      q8k_memory_(max_rows * (max_cols_ / tensor::kSuperBlock) * kSuperBlockBytes),
      plain_memory_(3 * max_rows * max_cols_ * sizeof(float)) {
  const size_t blocks = max_rows * (max_cols_ / 32);
  q_ = q8_memory_.as<int8_t>();
  scale_ = reinterpret_cast<float*>(q_ + max_rows * max_cols_);
  scaled_sum_ = scale_ + blocks;
  sum_ = reinterpret_cast<int32_t*>(scaled_sum_ + blocks);
  const size_t super_blocks = max_rows * (max_cols_ / tensor::kSuperBlock);
  k_q_ = q8k_memory_.as<int8_t>();
  k_scale_ = reinterpret_cast<float*>(k_q_ + super_blocks * tensor::kSuperBlock);
  k_sums_ = reinterpret_cast<int16_t*>(k_scale_ + super_blocks);
}

void Activations::begin(size_t cols, Forms forms) {
  FATHOM_CHECK(cols <= max_cols_);
  cols_ = cols;
  forms_ = forms;
}

float* Activations::plain(ActivationForm form) const {
  return plain_memory_.as<float>() + static_cast<size_t>(form) * max_rows_ * max_cols_;
}

/// A range has the memory that so many rows need, wherever it begins.
tensor::Q8Rows Activations::q8(Range range) const {
  const size_t block = range.first * (cols_ / 32);
  return {range.count, cols_, q_ + range.first * cols_, scale_ + block, scaled_sum_ + block, sum_ + block};
}

tensor::Q8KRows Activations::q8k(Range range) const {
  const size_t block = range.first * (cols_ / tensor::kSuperBlock);
  return {range.count, cols_, k_q_ + range.first * cols_, k_scale_ + block,
          k_sums_ + block * tensor::Q8KRows::kSums};
}

void Activations::set_row(Range range, size_t row, const float* x) {
  FATHOM_CHECK(row < range.count && range.first + range.count <= max_rows_);
  if (forms_.has(ActivationForm::kQ8)) tensor::quantise_row_q8(x, q8(range), row);
  if (forms_.has(ActivationForm::kQ8K)) tensor::quantise_row_q8k(x, q8k(range), row);
  for (const auto form : {ActivationForm::kF32, ActivationForm::kF16, ActivationForm::kBF16})
    if (forms_.has(form)) tensor::round_row(form, x, plain(form) + (range.first + row) * cols_, cols_);
}

void Activations::multiply(Range range, const tensor::PackedMatrix& w, size_t group_begin, size_t group_end,
                           const tensor::MatmulOut& out) const {
  const ActivationForm form = tensor::activation_form(w.dtype);
  if (form == ActivationForm::kQ8)
    tensor::matmul_q8(w, q8(range), group_begin, group_end, out);
  else if (form == ActivationForm::kQ8K)
    tensor::matmul_q8k(w, q8k(range), group_begin, group_end, out);
  else
    tensor::matmul_float(w, plain(form) + range.first * cols_, cols_, range.count, group_begin, group_end,
                         out);
}

}  // namespace fathom::infer
