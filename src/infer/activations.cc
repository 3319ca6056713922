#include "infer/activations.h"

namespace fathom::infer {

using tensor::ActivationForm;

Activations::Activations(size_t max_tokens, size_t max_cols)
    : max_cols_((max_cols + 63) / 64 * 64),
      q8_memory_(max_tokens * max_cols_ + max_tokens * (max_cols_ / 32) * 12),
      plain_memory_(3 * max_tokens * max_cols_ * sizeof(float)),
      plain_size_(max_tokens * max_cols_) {
  const size_t blocks = max_tokens * (max_cols_ / 32);
  q_ = q8_memory_.as<int8_t>();
  scale_ = reinterpret_cast<float*>(q_ + max_tokens * max_cols_);
  scaled_sum_ = scale_ + blocks;
  sum_ = reinterpret_cast<int32_t*>(scaled_sum_ + blocks);
}

void Activations::begin(size_t tokens, size_t cols, Forms forms) {
  tokens_ = tokens;
  cols_ = cols;
  forms_ = forms;
  q8_ = {tokens, cols, q_, scale_, scaled_sum_, sum_};
}

float* Activations::plain(ActivationForm form) const {
  return plain_memory_.as<float>() + static_cast<size_t>(form) * plain_size_;
}

void Activations::set_row(size_t token, const float* x) {
  if (forms_.has(ActivationForm::kQ8)) tensor::quantise_row_q8(x, q8_, token);
  for (const auto form : {ActivationForm::kF32, ActivationForm::kF16, ActivationForm::kBF16})
    if (forms_.has(form)) tensor::round_row(form, x, plain(form) + token * cols_, cols_);
}

void Activations::multiply(const tensor::PackedMatrix& w, size_t group_begin, size_t group_end,
                           const tensor::MatmulOut& out) const {
  const ActivationForm form = tensor::activation_form(w.dtype);
  if (form == ActivationForm::kQ8)
    tensor::matmul_q8(w, q8_, group_begin, group_end, out);
  else
    tensor::matmul_float(w, plain(form), cols_, tokens_, group_begin, group_end, out);
}

}  // namespace fathom::infer
