// The mixture of experts of a layer (Shazeer et al., 2017), with the dense feed-forward beside it where there is one.
//
// Rows of tokens are gathered by expert, so that each expert is one product over all of its rows. Where ranks hold the
// experts together, rows go to the ranks that hold theirs and come back, all to all (Lepikhin et al., 2021); a rank then
// has a run of rows for each pair of sender and expert. Under tensor parallelism all ranks of a group route all tokens,
// and each computes its part of every expert's width.
//
// Views of parameters; scratch is the pass's. Not thread-safe.
#pragma once

#include <optional>
#include <vector>

#include "train/feed_forward.h"
#include "train/router.h"

namespace fathom::train {

class Mixture {
 public:
  Mixture(const Binder& bind, const model::ModelConfig& config, const Shape& shape, Communicator& experts,
          size_t layer);

  /// product [tokens, d_model] = this rank's part of the feed-forward of m.h2, all of whose rows are there. Fills what m has
  /// of a mixture.
  LossSums forward(const Pass& pass, const LayerMemory& m, float* product);
  /// scratch.d_h from d_product [tokens, d_model], all but what comes through the router.
  void backward(const Pass& pass, const LayerMemory& m, const float* d_product, const LossScale& scale);
  /// What comes through the router to this rank's rows d_h [rows, d_model]: after `backward`.
  void router_backward(const Pass& pass, const LayerMemory& m, float* d_h) const;

 private:
  /// Rows of one expert that lie together.
  struct Run {
    size_t expert;  // of this rank's
    size_t begin;   // row
    size_t rows;
  };
  /// One matrix of every expert.
  struct Matrices {
    const float* w = nullptr;
    float* dw = nullptr;
    size_t out = 0, in = 0;
    Matrices() = default;
    Matrices(const Binder& bind, const std::string& name);
  };
  /// A matrix with one row, or one a thing to choose between, that meets this rank's rows.
  struct Scores {
    const float* w = nullptr;  // [width, d_model]
    float* dw = nullptr;
    size_t width = 0;
  };

  /// Whether this rank has all experts.
  bool alone() const { return group_->size() == 1; }
  void score(const Pass& pass, const Scores& w, const float* h, float* out) const;
  void score_backward(const Pass& pass, const Scores& w, const float* h, const float* d_out,
                      float* d_h) const;
  LossSums route(const Pass& pass, const LayerMemory& m);
  void plan(const Pass& pass);
  void exchange(const float* from, bool back, float* to) const;
  void dispatch(const Pass& pass, const LayerMemory& m);
  void product(const Pass& pass, const Matrices& w, const float* x, float* y, size_t y_stride) const;
  void input_gradient(const Pass& pass, const Matrices& w, const float* dy, size_t dy_stride, float* dx,
                      bool add) const;
  void weight_gradient(const Pass& pass, const Matrices& w, const float* dy, size_t dy_stride,
                       const float* x) const;
  void forward_experts(const Pass& pass, const LayerMemory& m, float* out) const;
  void backward_experts(const Pass& pass, const LayerMemory& m, const float* d_out, float* d_act,
                        float* d_in) const;
  void forward_beside(const Pass& pass, const LayerMemory& m, float* product) const;
  const float* unscaled(const Pass& pass, const float* d_product) const;
  void backward_beside(const Pass& pass, const LayerMemory& m, const float* d_product);
  void backward_route(const Pass& pass, const LayerMemory& m, const float* d_product, const LossScale& scale);

  model::BesideExperts kind_;
  Communicator* group_;
  size_t width_;  // d_model
  Scores router_, beside_scores_;
  Matrices gate_, up_, down_;
  std::optional<FeedForward> beside_;
  std::vector<float> counts_;           // of all ranks of the group and all experts
  std::vector<size_t> send_, receive_;  // floats a rank
  std::vector<Run> runs_;
  size_t sent_ = 0, received_ = 0;  // rows
  float* d_router_ = nullptr;       // between `backward` and `router_backward`
  float* d_beside_scores_ = nullptr;
};

}  // namespace fathom::train
