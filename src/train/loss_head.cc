#include "train/loss_head.h"

#include <algorithm>
#include <cmath>

#include "tensor/ops.h"

namespace fathom::train {

using tensor::GemmArgs;
using tensor::SoftmaxPart;

namespace {

/// Parts of a softmax cross devices and ranks as floats.
constexpr size_t kPartFloats = sizeof(SoftmaxPart) / sizeof(float);
static_assert(sizeof(SoftmaxPart) == 3 * sizeof(float));

std::span<float> floats(SoftmaxPart* parts, size_t count) {
  return {reinterpret_cast<float*>(parts), count * kPartFloats};
}

}  // namespace

LossHead::LossHead(const Parameters& parameters, const Parameter& matrix, const Shape& shape,
                   Communicator& group, float z_loss)
    : group_(&group),
      weight_(parameters.value(matrix)),
      d_weight_(parameters.gradient(matrix)),
      vocab_(shape.vocab),
      first_(shape.vocab_begin),
      z_loss_(z_loss),
      host_(shape.loss_rows * (1 + group.size())) {}

tensor::CrossEntropyShape LossHead::shape_of(const Pass& pass, size_t rows) const {
  tensor::CrossEntropyShape shape;
  shape.rows = rows;
  shape.vocab = vocab_;
  shape.first = first_;
  shape.logit_scale = pass.config.logit_scale;
  shape.softcap = pass.config.final_softcap;
  shape.z_loss = z_loss_;
  return shape;
}

void LossHead::products(const Pass& pass, const float* h, size_t rows, float* out) const {
  const size_t width = pass.shape.d_model;
  GemmArgs args;
  args.m = rows, args.n = vocab_, args.k = width;
  args.a = h, args.a_stride = width;
  args.b = weight_, args.b_stride = width, args.b_transposed = true;
  args.c = out, args.c_stride = vocab_;
  args.precision = pass.precision;
  pass.ops.gemm(args);
}

void LossHead::backward_products(const Pass& pass, const float* h, const float* d_logits, size_t rows,
                                 const Gradient& gradient, size_t row) const {
  const size_t width = pass.shape.d_model;
  GemmArgs args;
  args.n = width, args.alpha = gradient.scale, args.precision = pass.precision;
  args.a = d_logits, args.a_stride = vocab_, args.b_stride = width, args.c_stride = width;
  args.m = rows, args.k = vocab_, args.b = weight_, args.c = gradient.d_h + row * width;
  pass.ops.gemm(args);
  if (d_weight_ == nullptr) return;
  args.a_transposed = true, args.add = true;
  args.m = vocab_, args.k = rows, args.b = h, args.c = d_weight_;
  pass.ops.gemm(args);
}

void LossHead::merge(const Pass& pass, SoftmaxPart* parts, size_t rows) {
  if (group_->size() == 1) return;
  SoftmaxPart* own = host_.data();
  SoftmaxPart* all = own + rows;
  pass.ops.to_host(floats(parts, rows).data(), floats(own, rows));
  group_->all_gather(floats(own, rows), floats(all, rows * group_->size()));
  for (size_t r = 0; r < rows; ++r) {
    own[r] = all[r];
    for (size_t g = 1; g < group_->size(); ++g) own[r] = tensor::merge(own[r], all[g * rows + r]);
  }
  pass.ops.to_device(floats(own, rows), floats(parts, rows).data());
}

double LossHead::loss_of(const Pass& pass, const SoftmaxPart* parts, std::span<const int32_t> targets) {
  const std::span host = floats(host_.data(), targets.size());
  pass.ops.to_host(reinterpret_cast<const float*>(parts), host);
  double sum = 0;
  for (size_t r = 0; r < targets.size(); ++r) {
    if (targets[r] < 0) continue;
    const double log_sum = static_cast<double>(host_[r].max) + std::log(static_cast<double>(host_[r].sum));
    sum += log_sum - static_cast<double>(host_[r].target) + static_cast<double>(z_loss_) * log_sum * log_sum;
  }
  return sum;
}

LossSums LossHead::compute(const Pass& pass, const float* h, std::span<const int32_t> targets,
                           const float* device_targets, const Gradient* gradient) {
  const Shape& s = pass.shape;
  Workspace& memory = pass.scratch.workspace;
  memory.reset();
  float* logits = memory.take(s.loss_rows * s.vocab);
  auto* parts = reinterpret_cast<SoftmaxPart*>(memory.take(s.loss_rows * kPartFloats));
  LossSums sums;
  for (size_t row = 0; row < targets.size(); row += s.loss_rows) {
    const std::span block = targets.subspan(row, std::min(s.loss_rows, targets.size() - row));
    const auto wanted = std::count_if(block.begin(), block.end(), [](int32_t t) { return t >= 0; });
    sums.tokens += static_cast<double>(wanted);
    if (wanted == 0) {
      if (gradient != nullptr) pass.ops.fill(gradient->d_h + row * s.d_model, 0, block.size() * s.d_model);
      continue;
    }
    const float* rows = h + row * s.d_model;
    const int32_t* wants = as_ints(device_targets) + row;
    const tensor::CrossEntropyShape shape = shape_of(pass, block.size());
    products(pass, rows, block.size(), logits);
    pass.ops.cross_entropy_part(shape, logits, wants, parts);
    merge(pass, parts, block.size());
    if (gradient == nullptr) {
      sums.loss += loss_of(pass, parts, block);
      continue;
    }
    sums.loss += pass.ops.cross_entropy_gradient(shape, logits, wants, parts);
    backward_products(pass, rows, logits, block.size(), *gradient, row);
  }
  return sums;
}

void LossHead::logits(const Pass& pass, const float* h, size_t rows, std::span<float> out) const {
  Workspace& memory = pass.scratch.workspace;
  memory.reset();
  float* block = memory.take(pass.shape.loss_rows * vocab_);
  for (size_t row = 0; row < rows; row += pass.shape.loss_rows) {
    const size_t count = std::min(pass.shape.loss_rows, rows - row);
    products(pass, h + row * pass.shape.d_model, count, block);
    pass.ops.to_host(block, out.subspan(row * vocab_, count * vocab_));
  }
  tensor::scale(out.data(), pass.config.logit_scale, out.size());
  if (pass.config.final_softcap != 0) tensor::softcap(out.data(), pass.config.final_softcap, out.size());
}

}  // namespace fathom::train
