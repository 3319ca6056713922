#include "train/linear.h"

namespace fathom::train {

using tensor::GemmArgs;

Linear::Linear(const Binder& bind, const std::vector<std::string>& stems, bool biased) {
  for (const std::string& stem : stems) {
    const std::string name = stem + ".weight";
    const Parameter& p = bind.parameters.at(name);
    in_ = p.box.size[2];
    const size_t out = p.box.size[0] * p.box.size[1];
    if (biased) biases_.push_back({bind.value(stem + ".bias"), bind.gradient(stem + ".bias"), out_, out});
    if (bind.parameters.find(name + ".lora_a") != nullptr) add_adapter(bind, name, out);
    add_matrix(bind.value(name), bind.gradient(name), out);
  }
}

void Linear::add_matrix(const float* w, float* dw, size_t out) {
  Block* last = blocks_.empty() ? nullptr : &blocks_.back();
  const bool next = last != nullptr && w == last->w + last->out * in_ &&
                    (dw == nullptr ? last->dw == nullptr : dw == last->dw + last->out * in_);
  if (next)
    last->out += out;
  else
    blocks_.push_back({w, dw, out_, out});
  out_ += out;
}

void Linear::add_adapter(const Binder& bind, const std::string& name, size_t out) {
  const std::string a = name + ".lora_a", b = name + ".lora_b";
  const size_t rank = bind.lora.rank;
  adapters_.push_back({bind.value(a), bind.value(b), bind.gradient(a), bind.gradient(b), rank,
                       bind.lora.alpha / static_cast<float>(rank), out_, out});
}

void Linear::forward(const Pass& pass, const float* x, size_t rows, float* y) const {
  for (const Block& block : blocks_) {
    GemmArgs args;
    args.m = rows, args.n = block.out, args.k = in_;
    args.a = x, args.a_stride = in_;
    args.b = block.w, args.b_stride = in_, args.b_transposed = true;
    args.c = y + block.column, args.c_stride = out_;
    args.precision = pass.precision;
    pass.ops.gemm(args);
  }
  for (const Adapter& adapter : adapters_) adapt(pass, adapter, x, rows, y);
  if (biases_.empty()) return;
  for (const Bias& bias : biases_) pass.ops.copy(bias.b, pass.scratch.bias + bias.column, bias.out);
  pass.ops.add_bias(y, pass.scratch.bias, rows, out_);
}

void Linear::backward(const Pass& pass, const float* x, const float* dy, size_t rows, float* dx,
                      bool add) const {
  input_gradient(pass, dy, rows, dx, add);
  weight_gradient(pass, x, dy, rows);
}

void Linear::input_gradient(const Pass& pass, const float* dy, size_t rows, float* dx, bool add) const {
  GemmArgs args;
  args.m = rows, args.n = in_;
  args.a_stride = out_, args.b_stride = in_;
  args.c = dx, args.c_stride = in_;
  args.add = add, args.precision = pass.precision;
  for (const Block& block : blocks_) {
    args.k = block.out, args.a = dy + block.column, args.b = block.w;
    pass.ops.gemm(args);
    args.add = true;
  }
  for (const Adapter& adapter : adapters_) {
    args.k = adapter.rank, args.a_stride = adapter.rank;
    args.a = middle_gradient(pass, adapter, dy, rows), args.b = adapter.a;
    pass.ops.gemm(args);
  }
}

void Linear::weight_gradient(const Pass& pass, const float* x, const float* dy, size_t rows) const {
  GemmArgs args;
  args.n = in_, args.k = rows;
  args.a_stride = out_, args.a_transposed = true;
  args.b = x, args.b_stride = in_;
  args.c_stride = in_;
  args.add = true, args.precision = pass.precision;
  for (const Block& block : blocks_) {
    if (block.dw == nullptr) continue;
    args.m = block.out, args.a = dy + block.column, args.c = block.dw;
    pass.ops.gemm(args);
  }
  for (const Adapter& adapter : adapters_) adapter_gradient(pass, adapter, x, dy, rows);
  bias_gradient(pass, dy, rows);
}

void Linear::bias_gradient(const Pass& pass, const float* dy, size_t rows) const {
  if (biases_.empty() || biases_.front().db == nullptr) return;
  pass.ops.fill(pass.scratch.bias, 0, out_);
  pass.ops.bias_backward(dy, pass.scratch.bias, rows, out_);
  for (const Bias& bias : biases_) pass.ops.add(pass.scratch.bias + bias.column, bias.db, bias.out);
}

/// x A^T [rows, rank]. It is not kept: a hundredth of the product beside it.
float* Linear::middle(const Pass& pass, const Adapter& adapter, const float* x, size_t rows) const {
  GemmArgs args;
  args.m = rows, args.n = adapter.rank, args.k = in_;
  args.a = x, args.a_stride = in_;
  args.b = adapter.a, args.b_stride = in_, args.b_transposed = true;
  args.c = pass.scratch.low_rank, args.c_stride = adapter.rank;
  args.precision = pass.precision;
  pass.ops.gemm(args);
  return args.c;
}

/// scale * dy B [rows, rank].
float* Linear::middle_gradient(const Pass& pass, const Adapter& adapter, const float* dy, size_t rows) const {
  GemmArgs args;
  args.m = rows, args.n = adapter.rank, args.k = adapter.out;
  args.a = dy + adapter.column, args.a_stride = out_;
  args.b = adapter.b, args.b_stride = adapter.rank;
  args.c = pass.scratch.low_rank + aligned(pass.shape.tokens * adapter.rank), args.c_stride = adapter.rank;
  args.alpha = adapter.scale, args.precision = pass.precision;
  pass.ops.gemm(args);
  return args.c;
}

void Linear::adapt(const Pass& pass, const Adapter& adapter, const float* x, size_t rows, float* y) const {
  GemmArgs args;
  args.m = rows, args.n = adapter.out, args.k = adapter.rank;
  args.a = middle(pass, adapter, x, rows), args.a_stride = adapter.rank;
  args.b = adapter.b, args.b_stride = adapter.rank, args.b_transposed = true;
  args.c = y + adapter.column, args.c_stride = out_;
  args.alpha = adapter.scale, args.add = true, args.precision = pass.precision;
  pass.ops.gemm(args);
}

void Linear::adapter_gradient(const Pass& pass, const Adapter& adapter, const float* x, const float* dy,
                              size_t rows) const {
  GemmArgs args;
  args.k = rows, args.a_transposed = true, args.add = true, args.precision = pass.precision;
  args.m = adapter.out, args.n = adapter.rank, args.alpha = adapter.scale;
  args.a = dy + adapter.column, args.a_stride = out_;
  args.b = middle(pass, adapter, x, rows), args.b_stride = adapter.rank;
  args.c = adapter.db, args.c_stride = adapter.rank;
  pass.ops.gemm(args);  // dB += scale * dy^T middle
  args.m = adapter.rank, args.n = in_, args.alpha = 1.0f;
  args.a = middle_gradient(pass, adapter, dy, rows), args.a_stride = adapter.rank;
  args.b = x, args.b_stride = in_;
  args.c = adapter.da, args.c_stride = in_;
  pass.ops.gemm(args);  // dA += its gradient^T x
}

}  // namespace fathom::train
