#include "train/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fathom::train {
namespace {

constexpr float kLeast = std::numeric_limits<float>::lowest();

}  // namespace

Router::Router(const model::ModelConfig& config, const Shape& shape, float balance_weight)
    : experts_(config.experts),
      shape_(shape),
      balance_weight_(balance_weight),
      logits_(shape.tokens * shape.experts),
      d_logits_(shape.tokens * shape.experts),
      weight_(shape.choices),
      d_weight_(shape.choices),
      row_weight_(shape.choices),
      token_scores_(shape.gated_beside ? shape.tokens : 0),
      token_gradients_(token_scores_.size()),
      expert_(shape.choices),
      row_(shape.choices),
      row_token_(shape.choices),
      counts_(shape.experts),
      next_(shape.experts),
      probability_(shape.experts),
      left_(shape.experts),
      fraction_(shape.experts),
      mean_(shape.experts) {}

/// Softmax over all experts of a token's capped logits.
void Router::probabilities(size_t token, std::vector<float>& out) const {
  const float* l = logits_.data() + token * shape_.experts;
  const float most = *std::max_element(l, l + shape_.experts);
  float sum = 0;
  for (size_t i = 0; i < shape_.experts; ++i) sum += out[i] = std::exp(l[i] - most);
  for (float& p : out) p /= sum;
}

/// The experts with the largest logits, of equal ones the first, and their weights.
void Router::choose_experts(size_t token) {
  float* l = logits_.data() + token * shape_.experts;
  const float cap = experts_.router_softcap;
  if (cap != 0)
    for (size_t i = 0; i < shape_.experts; ++i) l[i] = cap * std::tanh(l[i] / cap);
  probabilities(token, probability_);
  // Whatever the logits are, the experts of a token are different ones: what is not a number is the least of all.
  std::transform(l, l + shape_.experts, left_.begin(), [](float x) { return std::max(kLeast, x); });
  float chosen = 0;
  for (size_t k = token * shape_.used; k < (token + 1) * shape_.used; ++k) {
    const auto best = std::max_element(left_.begin(), left_.end());
    expert_[k] = static_cast<int32_t>(best - left_.begin());
    weight_[k] = probability_[static_cast<size_t>(expert_[k])];
    chosen += weight_[k];
    *best = -INFINITY;
  }
  for (size_t k = token * shape_.used; k < (token + 1) * shape_.used; ++k)
    weight_[k] *= experts_.weight_scale / (experts_.normalise ? chosen : 1.0f);
}

/// Marks the choices of a sequence that find a place with row 0, the others with -1.
void Router::give_places(size_t sequence) {
  std::fill(next_.begin(), next_.end(), 0);
  const size_t first = sequence * shape_.length * shape_.used;
  for (size_t k = first; k < first + shape_.length * shape_.used; ++k) {
    size_t& taken = next_[static_cast<size_t>(expert_[k])];
    row_[k] = shape_.capacity != 0 && taken == shape_.capacity ? -1 : 0;
    if (row_[k] == 0) ++taken;
  }
}

void Router::recount() {
  std::fill(counts_.begin(), counts_.end(), 0);
  for (size_t k = 0; k < shape_.choices; ++k)
    if (row_[k] >= 0) ++counts_[static_cast<size_t>(expert_[k])];
}

void Router::sort_rows() {
  recount();
  std::exclusive_scan(counts_.begin(), counts_.end(), next_.begin(), size_t{0});
  for (size_t k = 0; k < shape_.choices; ++k) {
    if (row_[k] < 0) continue;
    const size_t row = next_[static_cast<size_t>(expert_[k])]++;
    row_[k] = static_cast<int32_t>(row);
    row_token_[row] = static_cast<int32_t>(k / shape_.used);
    row_weight_[row] = weight_[k];
  }
}

/// Of one sequence: each expert's share of the choices, and its mean probability; returns the unweighted loss.
double Router::balance(size_t sequence, std::vector<double>& fraction, std::vector<double>& mean) {
  std::fill(fraction.begin(), fraction.end(), 0.0);
  std::fill(mean.begin(), mean.end(), 0.0);
  const double tokens = static_cast<double>(shape_.length);
  for (size_t t = sequence * shape_.length; t < (sequence + 1) * shape_.length; ++t) {
    probabilities(t, probability_);
    for (size_t i = 0; i < shape_.experts; ++i) mean[i] += static_cast<double>(probability_[i]) / tokens;
    for (size_t k = t * shape_.used; k < (t + 1) * shape_.used; ++k)
      fraction[static_cast<size_t>(expert_[k])] += 1.0 / (tokens * static_cast<double>(shape_.used));
  }
  return static_cast<double>(shape_.experts) *
         std::inner_product(fraction.begin(), fraction.end(), mean.begin(), 0.0);
}

LossSums Router::choose() {
  LossSums sums;
  for (size_t t = 0; t < shape_.tokens; ++t) choose_experts(t);
  for (size_t s = 0; s < shape_.sequences; ++s) {
    give_places(s);
    if (balance_weight_ != 0)
      sums.balance += static_cast<double>(balance_weight_) * balance(s, fraction_, mean_);
  }
  sort_rows();
  const size_t placed = std::accumulate(counts_.begin(), counts_.end(), size_t{0});
  sums.choices = static_cast<double>(shape_.choices);
  sums.dropped = static_cast<double>(shape_.choices - placed);
  return sums;
}

/// d_logits of one token = the softmax's gradient of the chosen weights'.
void Router::weight_gradient(size_t token) {
  const float* d_weight = d_weight_.data() + token * shape_.used;
  float* d_logits = d_logits_.data() + token * shape_.experts;
  probabilities(token, probability_);
  const int32_t* chosen = expert_.data() + token * shape_.used;
  float total = 0, mean = 0;  // of the chosen probabilities; of the gradients, weighted by them
  for (size_t k = 0; k < shape_.used; ++k) {
    const float p = probability_[static_cast<size_t>(chosen[k])];
    total += p;
    mean += p * d_weight[k];
  }
  // Made to add up to 1, weights are a softmax over the chosen ones alone.
  if (experts_.normalise) mean /= total;
  for (size_t i = 0; i < shape_.experts; ++i)
    d_logits[i] = experts_.normalise ? 0.0f : -experts_.weight_scale * probability_[i] * mean;
  for (size_t k = 0; k < shape_.used; ++k) {
    const auto i = static_cast<size_t>(chosen[k]);
    if (experts_.normalise)
      d_logits[i] += experts_.weight_scale * probability_[i] / total * (d_weight[k] - mean);
    else
      d_logits[i] += experts_.weight_scale * probability_[i] * d_weight[k];
  }
}

void Router::balance_gradient(size_t sequence, float sequence_scale) {
  balance(sequence, fraction_, mean_);
  const float factor = sequence_scale * balance_weight_ * static_cast<float>(shape_.experts) /
                       static_cast<float>(shape_.length);
  for (size_t t = sequence * shape_.length; t < (sequence + 1) * shape_.length; ++t) {
    probabilities(t, probability_);
    float mean = 0;
    for (size_t i = 0; i < shape_.experts; ++i) mean += static_cast<float>(fraction_[i]) * probability_[i];
    for (size_t i = 0; i < shape_.experts; ++i)
      d_logits_[t * shape_.experts + i] +=
          factor * probability_[i] * (static_cast<float>(fraction_[i]) - mean);
  }
}

std::span<const float> Router::gradient(float sequence_scale) {
  for (size_t t = 0; t < shape_.tokens; ++t) weight_gradient(t);
  if (balance_weight_ != 0)
    for (size_t s = 0; s < shape_.sequences; ++s) balance_gradient(s, sequence_scale);
  const float cap = experts_.router_softcap;
  if (cap != 0)
    for (size_t i = 0; i < d_logits_.size(); ++i)
      d_logits_[i] *= 1.0f - (logits_[i] / cap) * (logits_[i] / cap);
  return d_logits_;
}

}  // namespace fathom::train
