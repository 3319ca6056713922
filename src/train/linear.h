// Products of activations with matrices of parameters, one or several side by side that read the same rows, with their
// biases and low-rank adapters (Hu et al., 2021).
//
// Views of the parameters; thread-safe as such.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "train/pass.h"

namespace fathom::train {

class Linear {
 public:
  Linear() = default;
  /// `stems` as "blk.0.attn_q"; with `biased` every one has a ".bias" too.
  Linear(const Binder& bind, const std::vector<std::string>& stems, bool biased);

  /// y [rows, out] = x [rows, in] W^T + b, of all matrices together.
  void forward(const Pass& pass, const float* x, size_t rows, float* y) const;
  /// Both gradients.
  void backward(const Pass& pass, const float* x, const float* dy, size_t rows, float* dx, bool add) const;
  /// dx [rows, in] = dy W, or with `add` += it.
  void input_gradient(const Pass& pass, const float* dy, size_t rows, float* dx, bool add) const;
  /// Adds to the gradients of all that is not frozen.
  void weight_gradient(const Pass& pass, const float* x, const float* dy, size_t rows) const;

 private:
  /// Matrices that lie one after another are one.
  struct Block {
    const float* w;  // [out, in]
    float* dw;       // null: frozen
    size_t column;   // of y, where it begins
    size_t out;
  };
  struct Bias {
    const float* b;
    float* db;
    size_t column;
    size_t out;
  };
  struct Adapter {
    const float *a, *b;  // [rank, in], [out, rank]
    float *da, *db;
    size_t rank;
    float scale;
    size_t column, out;
  };

  void add_matrix(const float* w, float* dw, size_t out);
  void add_adapter(const Binder& bind, const std::string& name, size_t out);
  void adapt(const Pass& pass, const Adapter& adapter, const float* x, size_t rows, float* y) const;
  void adapter_gradient(const Pass& pass, const Adapter& adapter, const float* x, const float* dy,
                        size_t rows) const;
  float* middle(const Pass& pass, const Adapter& adapter, const float* x, size_t rows) const;
  float* middle_gradient(const Pass& pass, const Adapter& adapter, const float* dy, size_t rows) const;
  void bias_gradient(const Pass& pass, const float* dy, size_t rows) const;

  size_t in_ = 0, out_ = 0;
  std::vector<Block> blocks_;
  std::vector<Bias> biases_;
  std::vector<Adapter> adapters_;
};

}  // namespace fathom::train
