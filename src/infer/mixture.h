// The experts of a block: routes tokens, computes each expert once over all of its tokens, and adds up.
//
// Tokens that chose the same expert are gathered into one matrix, so that its weights are read once for all of them and
// meet them in the dense kernels. What a token gets depends on its own row alone, bit for bit: a product's row does not
// depend on the rows beside it (tensor/matmul.h), and a token's experts are added in the order of their weights.
//
// Owns its scratch memory, allocated once; configuration and pool outlive it. Not thread-safe but for `add_to`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "infer/activations.h"
#include "infer/weights.h"
#include "model/config.h"
#include "tensor/buffer.h"

namespace fathom::infer {

/// out[i] = act(gate[i]) * up[i].
using GateFunction = void (*)(const float* gate, const float* up, float* out, size_t n);
GateFunction gate_function(model::Activation activation);

class Mixture {
 public:
  /// For batches of at most `max_tokens`. A model without experts costs nothing.
  Mixture(const model::ModelConfig& config, size_t max_tokens, ThreadPool& pool);
  ~Mixture();

  /// Where the router's products with the tokens go, [max_tokens, experts].
  float* router_logits() const { return logits_; }
  /// Chooses and computes the experts of rows h [tokens, d_model]. REQUIRES: router_logits are filled.
  void compute(const LayerWeights& w, size_t tokens, const float* h);
  /// y[d_model] += the weighted sum of the token's experts. Tokens may be added by different threads.
  void add_to(size_t token, float* y) const;

 private:
  struct Task {
    uint32_t expert;
    size_t group_begin, group_end;
  };

  void route(size_t token);
  void group(size_t tokens);
  void split(size_t groups);
  /// Runs all tasks: body(task) by whichever thread is free.
  template <class Body>
  void drain(Body body);
  void compute_one(const LayerWeights& w, const float* h);
  void compute_many(const LayerWeights& w, size_t tokens, const float* h);
  void expand(size_t thread, const GatedWeights& w, const Activations& in, Activations::Range from,
              const Task& task);
  void contract(const GatedWeights& w, const Activations& in, Activations::Range from, const Task& task);
  Activations::Range range(uint32_t expert) const { return {first_[expert], count_[expert]}; }

  const model::ModelConfig& config_;
  size_t max_tokens_;
  ThreadPool& pool_;
  GateFunction gate_function_;
  std::vector<uint32_t> chosen_;       // [tokens, used], experts by falling weight
  std::vector<float> share_;           // [tokens, used], their weights
  std::vector<uint32_t> row_;          // [tokens, used], their rows among those of all experts
  std::vector<uint32_t> token_;        // [rows], whose rows they are
  std::vector<size_t> first_, count_;  // [experts], rows of each
  std::vector<uint32_t> active_;       // experts with rows
  std::vector<Task> tasks_;
  std::vector<std::unique_ptr<Activations>> own_;  // of each thread, for a single token
  std::unique_ptr<Activations> in_, mid_;          // of many tokens, a range for each expert
  tensor::Buffer memory_;
  float* logits_ = nullptr;  // [max_tokens, experts]
  float* gate_ = nullptr;    // [rows, ffn], or wider
  float* up_ = nullptr;      // of each thread, for some groups of one expert at a time
  float* out_ = nullptr;     // [rows, d_model], in gate_ or up_
};

}  // namespace fathom::infer
