#include "infer/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/error.h"
#include "tensor/ops.h"

namespace fathom::infer {
namespace {

void require(bool good, std::string_view field, std::string_view range, double value) {
  if (good) return;
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{} is {}; it must be {}", field, value, range));
}

/// Likelier first; on a tie the lower id.
template <class Candidate>
bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

}  // namespace

void check_sampling(const Sampling& s) {
  // Written so that a NaN fails.
  require(s.temperature >= 0 && s.temperature <= 100, "temperature", "from 0 to 100", s.temperature);
  require(s.top_k >= 0, "top_k", "0 (off) or greater", s.top_k);
  require(s.top_p > 0 && s.top_p <= 1, "top_p", "above 0 and at most 1", s.top_p);
  require(s.min_p >= 0 && s.min_p <= 1, "min_p", "from 0 to 1", s.min_p);
  require(s.repetition_penalty > 0 && s.repetition_penalty <= 100, "repetition_penalty",
          "above 0 and at most 100", s.repetition_penalty);
  require(std::abs(s.frequency_penalty) <= 100, "frequency_penalty", "from -100 to 100", s.frequency_penalty);
  require(std::abs(s.presence_penalty) <= 100, "presence_penalty", "from -100 to 100", s.presence_penalty);
  require(s.repeat_window >= 0, "repeat_window", "0 or greater", s.repeat_window);
}

Sampler::Sampler(const Sampling& sampling) : sampling_(sampling), random_(sampling.seed) {}

void Sampler::penalise(std::span<float> logits, std::span<const int32_t> history) {
  const auto& s = sampling_;
  if (s.repetition_penalty == 1 && s.frequency_penalty == 0 && s.presence_penalty == 0) return;
  const auto window = history.last(std::min(history.size(), static_cast<size_t>(s.repeat_window)));
  recent_.assign(window.begin(), window.end());
  std::sort(recent_.begin(), recent_.end());
  for (auto it = recent_.begin(); it != recent_.end();) {
    const auto next = std::upper_bound(it, recent_.end(), *it);
    float& logit = logits[static_cast<size_t>(*it)];
    logit = logit > 0 ? logit / s.repetition_penalty : logit * s.repetition_penalty;
    logit -= s.presence_penalty + s.frequency_penalty * static_cast<float>(std::distance(it, next));
    it = next;
  }
}

/// The candidates: all tokens, or the top_k likeliest in order; logits divided by the temperature.
void Sampler::keep_top_k(std::span<const float> logits) {
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    candidates_[i] = {logits[i] / sampling_.temperature, static_cast<int32_t>(i)};
  const auto k = static_cast<size_t>(sampling_.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(k), candidates_.end(),
                    before<Candidate>);
  candidates_.resize(k);
}

/// The likeliest candidates whose probabilities first add up to top_p (Holtzman et al., 2020).
void Sampler::keep_top_p() {
  if (sampling_.top_p >= 1) return;
  const float max = std::max_element(candidates_.begin(), candidates_.end(), [](auto& a, auto& b) {
                      return a.logit < b.logit;
                    })->logit;
  double total = 0;
  for (const auto& c : candidates_) total += std::exp(static_cast<double>(c.logit - max));
  const double wanted = total * sampling_.top_p;
  double sum = 0;
  // Sorts only as far as it must: the nucleus is small next to the vocabulary.
  size_t sorted = 0;
  for (size_t step = 64; sorted < candidates_.size(); step *= 4) {
    const size_t end = std::min(sorted + step, candidates_.size());
    std::partial_sort(candidates_.begin() + static_cast<ptrdiff_t>(sorted),
                      candidates_.begin() + static_cast<ptrdiff_t>(end), candidates_.end(),
                      before<Candidate>);
    for (; sorted < end; ++sorted) {
      sum += std::exp(static_cast<double>(candidates_[sorted].logit - max));
      if (sum < wanted) continue;
      candidates_.resize(sorted + 1);
      return;
    }
  }
}

/// Those at least min_p times as likely as the likeliest (Nguyen et al., 2024).
void Sampler::keep_min_p() {
  if (sampling_.min_p <= 0) return;
  float max = candidates_.front().logit;
  for (const auto& c : candidates_) max = std::max(max, c.logit);
  const float least = max + std::log(sampling_.min_p);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < least; });
}

int32_t Sampler::draw() {
  float max = candidates_.front().logit;
  for (const auto& c : candidates_) max = std::max(max, c.logit);
  double total = 0;
  for (auto& c : candidates_) {
    c.logit = std::exp(c.logit - max);
    total += static_cast<double>(c.logit);
  }
  double left = random_.uniform() * total;
  for (const auto& c : candidates_) {
    left -= static_cast<double>(c.logit);
    if (left < 0) return c.id;
  }
  // Rounding ate the rest: the last that has any probability.
  const auto last =
      std::find_if(candidates_.rbegin(), candidates_.rend(), [](auto& c) { return c.logit > 0; });
  return last->id;
}

int32_t Sampler::sample(std::span<float> logits, std::span<const int32_t> history) {
  penalise(logits, history);
  if (sampling_.temperature == 0) return static_cast<int32_t>(tensor::argmax(logits.data(), logits.size()));
  keep_top_k(logits);
  keep_top_p();
  keep_min_p();
  return draw();
}

}  // namespace fathom::infer
