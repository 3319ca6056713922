// Which experts the tokens of a micro-batch go to, with what weights, and what the choice costs: the small arithmetic of a
// mixture, done on the host from the router's logits.
//
// A choice is a token's k-th expert, by falling logit. Choices that found a place (see train/decoder.h on capacity) are
// sorted by expert, and by token within one: they are the rows that experts compute.
//
// Owned by a decoder, whose layers use it in turn; memory is allocated at construction. Not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "train/batch.h"
#include "train/communicator.h"
#include "train/shape.h"

namespace fathom::train {

class Router {
 public:
  Router(const model::ModelConfig& config, const Shape& shape, float balance_weight);

  // Host copies of a layer's arrays (train/activations.h), by the caller to and from the device.
  std::span<float> logits() { return logits_; }           // [tokens, experts], capped by `choose`
  std::span<int32_t> choice_expert() { return expert_; }  // [tokens, used]
  std::span<float> choice_weight() { return weight_; }    // [tokens, used]
  std::span<int32_t> choice_row() { return row_; }        // [tokens, used]: -1 where there was no place left
  std::span<int32_t> row_token() { return row_token_; }   // [choices]
  std::span<float> row_weight() { return row_weight_; }   // [choices]
  std::span<float> weight_gradients() { return d_weight_; }  // [tokens, used]: of choice_weight()
  // Of the one feed-forward beside the experts: its shares, and their gradients.
  std::span<float> token_scores() { return token_scores_; }        // [tokens]
  std::span<float> token_gradients() { return token_gradients_; }  // [tokens]

  /// Makes all of these from the router's products in logits().
  LossSums choose();
  /// Gradients [tokens, experts] of the router's products, from logits(), choice_expert() and weight_gradients(), and from
  /// the balance times `sequence_scale`.
  std::span<const float> gradient(float sequence_scale);

  /// Choices with a place, of each expert of the model.
  const std::vector<size_t>& counts() const { return counts_; }
  /// counts() again from choice_expert() and choice_row().
  void recount();

 private:
  void choose_experts(size_t token);
  void give_places(size_t sequence);
  void sort_rows();
  double balance(size_t sequence, std::vector<double>& fraction, std::vector<double>& mean);
  void probabilities(size_t token, std::vector<float>& out) const;
  void weight_gradient(size_t token);
  void balance_gradient(size_t sequence, float sequence_scale);

  model::ExpertsConfig experts_;
  Shape shape_;
  float balance_weight_;
  std::vector<float> logits_, d_logits_, weight_, d_weight_, row_weight_;
  std::vector<float> token_scores_, token_gradients_;
  std::vector<int32_t> expert_, row_, row_token_;
  std::vector<size_t> counts_, next_;
  std::vector<float> probability_, left_;  // of one token
  std::vector<double> fraction_, mean_;    // of one sequence
};

}  // namespace fathom::train
