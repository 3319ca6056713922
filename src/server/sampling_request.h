// How tokens are chosen, as all endpoints that generate take it: OpenAI's fields and those of its neighbours.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "infer/engine.h"
#include "server/json_body.h"

namespace fathom::server {

struct SamplingRequest {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  float frequency_penalty = 0, presence_penalty = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::optional<uint64_t> seed;

  /// What was asked for, over `defaults`.
  infer::Sampling over(infer::Sampling defaults) const;
};

/// temperature, top_p, top_k, min_p, repetition_penalty, frequency_penalty, presence_penalty, logit_bias, seed. Errors:
/// ApiError 400.
SamplingRequest read_sampling(const JsonFields& fields);

/// `stop`: a string, or at most four. Errors: ApiError 400.
std::vector<std::string> read_stop(const JsonFields& fields);

/// Error: ApiError 400 for a biased token that the model does not have.
void check_logit_bias(const SamplingRequest& sampling, size_t vocabulary);

/// Largest number of tokens that a request may ask for.
inline constexpr int64_t kMaxTokens = int64_t{1} << 20;
/// Alternatives a token whose log probabilities may be asked for.
inline constexpr int64_t kMaxTopLogprobs = 20;

}  // namespace fathom::server
