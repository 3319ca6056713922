#include "server/sampling_request.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

namespace fathom::server {
namespace {

constexpr size_t kMaxStops = 4;
constexpr size_t kMaxBiases = 1024;

std::optional<float> read_float(const JsonFields& fields, std::string_view name, double low, double high) {
  const auto value = fields.number(name, low, high);
  return value ? std::optional<float>(static_cast<float>(*value)) : std::nullopt;
}

int32_t token_id(const JsonFields& fields, const std::string& text) {
  int32_t id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0)
    fields.refuse("logit_bias",
                  fmt::format("has \"{}\", which is not the id of a token", text.substr(0, 40)));
  return id;
}

/// {"token id": -100 to 100}
std::vector<std::pair<int32_t, float>> read_logit_bias(const JsonFields& fields) {
  const auto* biases = fields.find("logit_bias");
  if (biases == nullptr) return {};
  if (!biases->is_object()) fields.refuse_type("logit_bias", "an object of token ids and numbers");
  if (biases->size() > kMaxBiases)
    fields.refuse("logit_bias",
                  fmt::format("has {} entries; at most {} are taken", biases->size(), kMaxBiases));
  std::vector<std::pair<int32_t, float>> out;
  const JsonFields inner(*biases, "logit_bias");
  for (const auto& [text, value] : biases->items()) {
    const int32_t id = token_id(fields, text);
    if (!value.is_number()) inner.refuse_type(text, "a number");
    out.emplace_back(id, static_cast<float>(inner.number(text, -100, 100).value_or(0)));
  }
  return out;
}

}  // namespace

infer::Sampling SamplingRequest::over(infer::Sampling defaults) const {
  infer::Sampling out = std::move(defaults);
  out.temperature = temperature.value_or(out.temperature);
  out.top_p = top_p.value_or(out.top_p);
  out.min_p = min_p.value_or(out.min_p);
  out.top_k = top_k.value_or(out.top_k);
  out.repetition_penalty = repetition_penalty.value_or(out.repetition_penalty);
  out.frequency_penalty = frequency_penalty;
  out.presence_penalty = presence_penalty;
  out.seed = seed.value_or(out.seed);
  if (!logit_bias.empty()) out.logit_bias = logit_bias;
  if (out.top_p <= 0) {  // no share of the probability: the likeliest token alone
    out.top_p = 1;
    out.temperature = 0;
  }
  return out;
}

SamplingRequest read_sampling(const JsonFields& fields) {
  SamplingRequest out;
  out.temperature = read_float(fields, "temperature", 0, 2);
  out.top_p = read_float(fields, "top_p", 0, 1);
  out.min_p = read_float(fields, "min_p", 0, 1);
  out.repetition_penalty = read_float(fields, "repetition_penalty", 0.1, 10);
  out.frequency_penalty = read_float(fields, "frequency_penalty", -2, 2).value_or(0);
  out.presence_penalty = read_float(fields, "presence_penalty", -2, 2).value_or(0);
  if (const auto top_k = fields.integer("top_k", 0, 1'000'000)) out.top_k = static_cast<int>(*top_k);
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) out.seed = static_cast<uint64_t>(*seed);
  out.logit_bias = read_logit_bias(fields);
  return out;
}

std::vector<std::string> read_stop(const JsonFields& fields) {
  const auto* value = fields.find("stop");
  if (value == nullptr) return {};
  auto stops = value->is_string() ? std::vector{value->get<std::string>()} : fields.texts("stop", kMaxStops);
  for (const auto& stop : stops) {
    if (stop.empty()) fields.refuse("stop", "has an empty string");
  }
  return stops;
}

void check_logit_bias(const SamplingRequest& sampling, size_t vocabulary) {
  for (const auto& [id, bias] : sampling.logit_bias) {
    if (static_cast<size_t>(id) >= vocabulary)
      throw ApiError(400, fmt::format("logit_bias has token {}; the model has {} tokens", id, vocabulary),
                     "invalid_value", "logit_bias");
  }
}

}  // namespace fathom::server
