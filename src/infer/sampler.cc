#include "infer/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/error.h"
#include "infer/grammar.h"
#include "tensor/ops.h"

namespace fathom::infer {
namespace {

constexpr size_t kBlock = 64;  // logits a block; its maximum stands for it
constexpr size_t kLanes = 16;  // independent maxima and sums, so that compilers use vectors
constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr float kMost = std::numeric_limits<float>::max();

void require(bool good, std::string_view field, std::string_view range, double value) {
  if (good) return;
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{} is {}; it must be {}", field, value, range));
}

/// After a mask: the greatest logit that it left.
void require_choice(float greatest) {
  if (greatest > kNone) return;
  throw Error(ErrorCode::kUnsupported,
              "the model has no token that goes on as the grammar wants it, and none that ends a text; ask "
              "without a grammar or take another model");
}

/// Likelier first; on a tie the lower id.
template <class Candidate>
bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Four floats at once in what every x86-64 and Arm has: the sums are the same on each, and need no dispatch.
using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
constexpr size_t kWidth = 4;

Floats load(const float* x) {
  Floats v;
  std::memcpy(&v, x, sizeof(v));
  return v;
}

/// e^x for x <= 0, within 1e-5 of its value; 0 below -87.
inline Floats exp_nonpositive(Floats x) {
  constexpr float kLeast = -87.0f;
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Ints inside = x >= kLeast;       // all bits or none
  const Floats y = reinterpret_cast<Floats>(reinterpret_cast<Ints>(x) & inside) * 1.44269504f;
  const Floats shifted = y + kShift;
  const Floats f = y - (shifted - kShift);  // -0.5..0.5
  Floats p = f * 1.5403530e-4f + 1.3333558e-3f;
  p = p * f + 9.6181291e-3f;
  p = p * f + 5.5504109e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  p = p * f + 1.0f;
  const Ints exponent = reinterpret_cast<Ints>(shifted) - std::bit_cast<int32_t>(kShift);
  const Floats e = reinterpret_cast<Floats>((exponent + 127) * (1 << 23)) * p;
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(e) & inside);
}

inline float exp_nonpositive(float x) { return exp_nonpositive(Floats{x, x, x, x})[0]; }

float max_of(const float* x, size_t n) {
  float best = kNone;
  if (n < kLanes) {
    for (size_t i = 0; i < n; ++i) best = x[i] > best ? x[i] : best;
    return best;
  }
  float lane[kLanes];
  std::copy_n(x, kLanes, lane);
  size_t i = kLanes;
  for (; i + kLanes <= n; i += kLanes)
    for (size_t j = 0; j < kLanes; ++j) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
  for (; i < n; ++i) lane[0] = x[i] > lane[0] ? x[i] : lane[0];
  for (const float v : lane) best = v > best ? v : best;
  return best;
}

float sum_of(const float* x, size_t n) {
  float lane[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (size_t j = 0; j < kLanes; ++j) lane[j] += x[i + j];
  for (; i < n; ++i) lane[0] += x[i];
  float sum = 0;
  for (const float v : lane) sum += v;
  return sum;
}

/// The sum of e^((x - max) * scale); each term to out[i] where out is not null.
double sum_exp(const float* x, size_t n, float max, float scale, float* out) {
  double total = 0;
  size_t at = 0;
  float terms[kBlock];
  for (; at + kBlock <= n; at += kBlock) {
    for (size_t j = 0; j < kBlock; j += kWidth) {
      const Floats e = exp_nonpositive((load(x + at + j) - max) * scale);
      std::memcpy(terms + j, &e, sizeof(e));
    }
    if (out != nullptr) std::copy_n(terms, kBlock, out + at);
    total += static_cast<double>(sum_of(terms, kBlock));
  }
  for (size_t j = 0; at + j < n; ++j) terms[j] = exp_nonpositive((x[at + j] - max) * scale);
  if (out != nullptr) std::copy_n(terms, n - at, out + at);
  return total + static_cast<double>(sum_of(terms, n - at));
}

/// The `k` likeliest of the logits, in order; fewer where others are -infinity. REQUIRES: k > 0.
template <class Candidate>
void select_top(std::span<const float> logits, size_t k, std::vector<float>& maxima,
                std::vector<Candidate>& out) {
  out.clear();
  const size_t n = logits.size();
  const size_t blocks = (n + kBlock - 1) / kBlock;
  maxima.resize(2 * blocks);
  for (size_t b = 0; b < blocks; ++b)
    maxima[b] = max_of(logits.data() + b * kBlock, std::min(kBlock, n - b * kBlock));
  // The k-th greatest block maximum has k logits at least as great: no logit below it is among the first k.
  float least = kNone;
  if (k < blocks) {
    const auto sorted = maxima.begin() + static_cast<ptrdiff_t>(blocks);
    std::copy_n(maxima.begin(), blocks, sorted);
    std::nth_element(sorted, sorted + static_cast<ptrdiff_t>(k - 1), maxima.end(), std::greater<>());
    least = sorted[static_cast<ptrdiff_t>(k - 1)];
  }
  for (size_t b = 0; b < blocks; ++b) {
    if (maxima[b] < least || maxima[b] == kNone) continue;
    for (size_t i = b * kBlock; i < std::min(n, (b + 1) * kBlock); ++i)
      if (logits[i] >= least && logits[i] > kNone) out.push_back({logits[i], static_cast<int32_t>(i)});
  }
  if (k < out.size()) {
    std::nth_element(out.begin(), out.begin() + static_cast<ptrdiff_t>(k), out.end(), before<Candidate>);
    out.resize(k);
  }
  std::sort(out.begin(), out.end(), before<Candidate>);
}

}  // namespace

void check_sampling(const Sampling& s, size_t vocabulary) {
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
  for (const auto& [token, bias] : s.logit_bias) {
    const bool known = token >= 0 && (vocabulary == 0 || static_cast<size_t>(token) < vocabulary);
    require(known, "a token of logit_bias",
            vocabulary == 0 ? std::string("0 or greater") : fmt::format("from 0 to {}", vocabulary - 1),
            token);
    require(std::abs(bias) <= 100, "a value of logit_bias", "from -100 to 100", bias);
  }
}

TokenChoice describe(std::span<const float> logits, int32_t token, int top) {
  FATHOM_CHECK(top >= 0 && token >= 0 && static_cast<size_t>(token) < logits.size());
  struct Candidate {
    float logit;
    int32_t id;
  };
  const float max = max_of(logits.data(), logits.size());
  // In doubles: a logarithm of a difference must not lose what is left.
  const double norm =
      static_cast<double>(max) + std::log(sum_exp(logits.data(), logits.size(), max, 1.0f, nullptr));
  const auto logprob = [&](float logit) { return static_cast<float>(static_cast<double>(logit) - norm); };
  TokenChoice out;
  out.token = token;
  out.logprob = logprob(logits[static_cast<size_t>(token)]);
  if (top == 0) return out;
  std::vector<float> maxima;
  std::vector<Candidate> best;
  select_top(logits, static_cast<size_t>(top), maxima, best);
  out.top.reserve(best.size());
  for (const auto& c : best) out.top.emplace_back(c.id, logprob(c.logit));
  return out;
}

Sampler::Sampler(const Sampling& sampling) : sampling_(sampling), random_(sampling.seed) {
  // So cold that nothing but the likeliest has weight, and its inverse is still a number.
  if (sampling_.temperature > 0) sampling_.temperature = std::max(sampling_.temperature, 1e-6f);
}

/// REQUIRES: no counts are left.
void Sampler::count(std::span<const int32_t> tokens, size_t vocabulary) {
  if (counts_.size() < vocabulary) counts_.resize(vocabulary);
  for (const int32_t token : tokens)
    if (counts_[static_cast<size_t>(token)]++ == 0) counted_.push_back(token);
}

void Sampler::forget_counts() {
  for (const int32_t token : counted_) counts_[static_cast<size_t>(token)] = 0;
  counted_.clear();
}

void Sampler::penalise(std::span<float> logits, std::span<const int32_t> history, size_t prompt_tokens) {
  const auto& s = sampling_;
  for (const auto& [token, bias] : s.logit_bias)
    if (static_cast<size_t>(token) < logits.size()) logits[static_cast<size_t>(token)] += bias;
  if (s.repetition_penalty != 1) {
    count(history.last(std::min(history.size(), static_cast<size_t>(s.repeat_window))), logits.size());
    for (const int32_t token : counted_) {
      float& logit = logits[static_cast<size_t>(token)];
      logit = logit > 0 ? logit / s.repetition_penalty : logit * s.repetition_penalty;
      logit = std::clamp(logit, -kMost, kMost);  // infinity would leave no token a weight
    }
    forget_counts();
  }
  if (s.frequency_penalty != 0 || s.presence_penalty != 0) {
    count(history.subspan(std::min(history.size(), prompt_tokens)), logits.size());
    for (const int32_t token : counted_) {
      const auto times = static_cast<float>(counts_[static_cast<size_t>(token)]);
      logits[static_cast<size_t>(token)] -= s.presence_penalty + s.frequency_penalty * times;
    }
    forget_counts();
  }
}

/// Candidates: the top_k likeliest, in order.
void Sampler::keep_top_k(std::span<const float> logits) {
  select_top(logits, static_cast<size_t>(sampling_.top_k), scratch_, candidates_);
}

/// Candidates: the likeliest whose probabilities first add up to top_p (Holtzman et al., 2020). Of all logits
/// where there are no candidates yet.
void Sampler::keep_top_p(std::span<const float> logits) {
  const float scale = 1.0f / sampling_.temperature;
  if (!candidates_.empty()) {
    const float max = candidates_.front().logit;
    double total = 0;
    for (const auto& c : candidates_) total += static_cast<double>(exp_nonpositive((c.logit - max) * scale));
    return cut_nucleus(total * static_cast<double>(sampling_.top_p), max);
  }
  const float max = max_of(logits.data(), logits.size());
  const double wanted =
      sum_exp(logits.data(), logits.size(), max, scale, nullptr) * static_cast<double>(sampling_.top_p);
  // The nucleus is small next to the vocabulary: ever more of the tail is looked at, until it is within.
  for (const float depth : {5.0f, 10.0f, 20.0f, 90.0f}) {
    const float least = max - depth * sampling_.temperature;
    candidates_.clear();
    double sum = 0;
    for (size_t at = 0; at < logits.size(); at += kBlock) {
      const size_t end = std::min(logits.size(), at + kBlock);
      if (max_of(logits.data() + at, end - at) < least) continue;
      for (size_t i = at; i < end; ++i) {
        if (logits[i] < least || logits[i] == kNone) continue;
        candidates_.push_back({logits[i], static_cast<int32_t>(i)});
        sum += static_cast<double>(exp_nonpositive((logits[i] - max) * scale));
      }
    }
    if (sum >= wanted) break;
  }
  cut_nucleus(wanted, max);
}

/// Keeps the likeliest candidates that first weigh `wanted` together, the likeliest of all in front. Halves where the cut
/// must lie, so that nothing is sorted.
void Sampler::cut_nucleus(double wanted, float max) {
  const float scale = 1.0f / sampling_.temperature;
  size_t kept = 0;
  for (size_t left = candidates_.size(); left > 0;) {
    const size_t half = (left + 1) / 2;
    const auto from = candidates_.begin() + static_cast<ptrdiff_t>(kept);
    const auto middle = from + static_cast<ptrdiff_t>(half);
    const auto to = from + static_cast<ptrdiff_t>(left);
    if (middle != to) std::nth_element(from, middle, to, before<Candidate>);
    double sum = 0;
    for (auto it = from; it != middle; ++it)
      sum += static_cast<double>(exp_nonpositive((it->logit - max) * scale));
    if (sum < wanted) {  // all of these, and more
      wanted -= sum;
      kept += half;
      left -= half;
    } else if (half == 1) {
      kept += 1;
      break;
    } else {
      left = half;
    }
  }
  candidates_.resize(kept);
  std::iter_swap(candidates_.begin(),
                 std::min_element(candidates_.begin(), candidates_.end(), before<Candidate>));
}

/// Those at least min_p times as likely as the likeliest (Nguyen et al., 2024).
void Sampler::keep_min_p() {
  const float least = candidates_.front().logit + sampling_.temperature * std::log(sampling_.min_p);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < least; });
}

/// REQUIRES: the likeliest candidate is the first.
int32_t Sampler::draw() {
  const float max = candidates_.front().logit;
  const float scale = 1.0f / sampling_.temperature;
  double total = 0;
  for (auto& c : candidates_) {
    c.logit = exp_nonpositive((c.logit - max) * scale);
    total += static_cast<double>(c.logit);
  }
  double left = random_.uniform() * total;
  for (const auto& c : candidates_) {
    left -= static_cast<double>(c.logit);
    if (left < 0) return c.id;
  }
  return candidates_.front().id;  // rounding ate the rest
}

/// From all tokens, by their weights.
int32_t Sampler::draw_any(std::span<const float> logits) {
  scratch_.resize(logits.size());
  const float max = max_of(logits.data(), logits.size());
  const double total =
      sum_exp(logits.data(), logits.size(), max, 1.0f / sampling_.temperature, scratch_.data());
  double left = random_.uniform() * total;
  int32_t last = 0;
  for (size_t at = 0; at < scratch_.size(); at += kBlock) {
    const size_t end = std::min(scratch_.size(), at + kBlock);
    const float sum = sum_of(scratch_.data() + at, end - at);
    if (sum <= 0) continue;
    if (left >= static_cast<double>(sum)) {
      left -= static_cast<double>(sum);
      last = static_cast<int32_t>(at);
      continue;
    }
    for (size_t i = at; i < end; ++i) {
      if (scratch_[i] <= 0) continue;
      last = static_cast<int32_t>(i);
      left -= static_cast<double>(scratch_[i]);
      if (left < 0) return last;
    }
  }
  // Rounding ate the rest: `last` lies in the last block that has any probability.
  while (scratch_[static_cast<size_t>(last)] <= 0) ++last;
  return last;
}

int32_t Sampler::sample(std::span<float> logits, std::span<const int32_t> history, size_t prompt_tokens,
                        GrammarMatcher* matcher) {
  return *sample(logits, history, prompt_tokens, matcher, std::chrono::steady_clock::time_point::max());
}

std::optional<int32_t> Sampler::sample(std::span<float> logits, std::span<const int32_t> history,
                                       size_t prompt_tokens, GrammarMatcher* matcher,
                                       std::chrono::steady_clock::time_point until) {
  if (!underway_) penalise(logits, history, prompt_tokens);
  underway_ = false;
  if (sampling_.temperature == 0) {
    // Mostly the model wants what it may: then no mask is needed.
    const auto best = static_cast<int32_t>(tensor::argmax(logits.data(), logits.size()));
    if (matcher == nullptr || matcher->allows(best)) return best;
  }
  if (matcher != nullptr && !matcher->prepare(until)) {
    underway_ = true;
    return std::nullopt;
  }
  return choose(logits, matcher);
}

int32_t Sampler::choose(std::span<float> logits, GrammarMatcher* matcher) {
  if (matcher != nullptr) {
    matcher->mask(logits);
    require_choice(max_of(logits.data(), logits.size()));
  }
  if (sampling_.temperature == 0) return static_cast<int32_t>(tensor::argmax(logits.data(), logits.size()));
  candidates_.clear();
  const auto k = static_cast<size_t>(sampling_.top_k);
  if (k > 0 && k < logits.size()) keep_top_k(logits);
  if (sampling_.top_p < 1) keep_top_p(logits);
  if (candidates_.empty() && sampling_.min_p > 0) {
    const float least =
        max_of(logits.data(), logits.size()) + sampling_.temperature * std::log(sampling_.min_p);
    float best = kNone;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] < least) continue;
      candidates_.push_back({logits[i], static_cast<int32_t>(i)});
      // The first is the likeliest.
      if (logits[i] > best) std::swap(candidates_.front(), candidates_.back());
      best = std::max(best, logits[i]);
    }
    return draw();
  }
  if (candidates_.empty()) return draw_any(logits);
  if (sampling_.min_p > 0) keep_min_p();
  return draw();
}

}  // namespace fathom::infer
