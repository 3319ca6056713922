// POST /v1/completions: the language model goes on from a text or from tokens.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "server/api_error.h"
#include "server/chat_response.h"
#include "server/completions_request.h"
#include "server/context.h"
#include "server/event_stream.h"
#include "server/generation.h"
#include "server/logprobs_json.h"
#include "server/model_names.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

// Logits of a prompt whose log probabilities are asked for, computed in one go.
constexpr size_t kMaxPromptLogits = size_t{64} << 20;

/// One prompt of the request, as text and tokens.
struct Begun {
  std::string text;
  std::vector<int32_t> tokens;
};

/// One choice as it grows.
struct Choice {
  std::string text;
  std::vector<infer::TokenChoice> tokens;
  size_t offset = 0;  // code points before the next token, for streamed log probabilities
  infer::FinishReason finish = infer::FinishReason::kStop;
};

Begun begin_with(const infer::Engine& engine, const Prompt& prompt, const std::string& param) {
  Begun out;
  if (const auto* tokens = std::get_if<std::vector<int32_t>>(&prompt)) {
    for (const int32_t token : *tokens) {
      if (static_cast<size_t>(token) >= engine.info().vocabulary)
        throw ApiError(
            400,
            fmt::format("{} has token {}; the model has {} tokens", param, token, engine.info().vocabulary),
            "invalid_value", param);
    }
    out.tokens = *tokens;
    out.text = engine.detokenize(*tokens);
    return out;
  }
  out.text = std::get<std::string>(prompt);
  if (const auto bos = engine.bos()) out.tokens.push_back(*bos);
  const auto tokens = engine.tokenize(out.text);
  out.tokens.insert(out.tokens.end(), tokens.begin(), tokens.end());
  if (out.tokens.empty()) throw ApiError(400, fmt::format("{} is empty", param), "invalid_value", param);
  return out;
}

/// The log probability of `token` in a row of logits, and the `most` likeliest.
infer::TokenChoice scored(std::span<const float> logits, int32_t token, size_t most) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - highest));
  const float norm = highest + static_cast<float>(std::log(sum));
  infer::TokenChoice out{token, logits[static_cast<size_t>(token)] - norm, {}};
  std::vector<int32_t> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  most = std::min(most, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                    [&](int32_t a, int32_t b) {
                      const float left = logits[static_cast<size_t>(a)],
                                  right = logits[static_cast<size_t>(b)];
                      return left != right ? left > right : a < b;
                    });
  for (size_t i = 0; i < most; ++i)
    out.top.emplace_back(order[i], logits[static_cast<size_t>(order[i])] - norm);
  return out;
}

/// Has a turn, and gives it back when it goes.
class TurnHold {
 public:
  /// Error: ApiError 503 when stopped.
  TurnHold(Turn& turn, const std::stop_token& stop) : turn_(turn) {
    if (stop.stop_requested() || !turn_.take(stop))
      throw ApiError(503, "the request was stopped before its end", "cancelled");
  }
  TurnHold(const TurnHold&) = delete;
  TurnHold& operator=(const TurnHold&) = delete;
  ~TurnHold() { turn_.give_back(); }

 private:
  Turn& turn_;
};

/// The prompt's own tokens with their log probabilities; the first has none.
std::vector<infer::TokenChoice> score_prompt(infer::Engine& engine, const Begun& prompt, int alternatives) {
  const size_t vocabulary = engine.info().vocabulary;
  if (prompt.tokens.size() * vocabulary > kMaxPromptLogits)
    throw ApiError(400,
                   fmt::format("logprobs with echo take prompts of up to {} tokens of this model",
                               kMaxPromptLogits / std::max<size_t>(vocabulary, 1)),
                   "context_length_exceeded", "prompt");
  const auto logits = engine.logits(prompt.tokens, 0);
  std::vector<infer::TokenChoice> out{{prompt.tokens.front(), std::numeric_limits<float>::quiet_NaN(), {}}};
  for (size_t i = 1; i < prompt.tokens.size(); ++i)
    out.push_back(scored(std::span(logits).subspan((i - 1) * vocabulary, vocabulary), prompt.tokens[i],
                         static_cast<size_t>(alternatives)));
  return out;
}

class Completion {
 public:
  Completion(const Context& context, CompletionRequest request, std::shared_ptr<Reply> reply)
      : context_(context),
        engine_(*context.services.engine),
        request_(std::move(request)),
        reply_(reply),
        events_(std::move(reply)),
        created_(unix_seconds(context.services.clock)),
        hold_(take_slots(context, request_.prompts.size() * request_.choices)) {
    check_logit_bias(request_.sampling, engine_.info().vocabulary);
    for (size_t i = 0; i < request_.prompts.size(); ++i) {
      const std::string param = request_.prompts.size() == 1 ? "prompt" : fmt::format("prompt[{}]", i);
      prompts_.push_back(begin_with(engine_, request_.prompts[i], param));
      room_.push_back(require_room(engine_, prompts_.back().tokens.size(), param, param));
    }
    choices_.resize(prompts_.size() * request_.choices);
    if (request_.echo) echo();
  }

  void whole() {
    const json usage = generate({});
    json choices = json::array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      size_t offset = 0;
      choices.push_back(
          choice_json(i, choices_[i].text, choices_[i].tokens, offset, finish_reason(choices_[i].finish)));
    }
    json out = head_json(std::move(choices));
    out["usage"] = usage;
    reply_->send(json_response(out));
  }

  void stream(const std::string& request_id) {
    events_.open();
    try {
      for (size_t i = 0; i < choices_.size() && request_.echo; ++i)
        send(i, choices_[i].text, choices_[i].tokens, "");
      const json usage =
          generate([this](size_t choice, std::string_view text, std::span<const infer::TokenChoice> tokens,
                          std::string_view finish) { return send(choice, text, tokens, finish); });
      if (request_.include_usage) {
        json last = head_json(json::array());
        last["usage"] = usage;
        events_.send(last);
      }
      events_.done();
    } catch (const std::exception& error) {
      events_.send(error_json(to_api_error(error, request_id)));
      events_.finish();
    }
  }

 private:
  using Tell = std::function<bool(size_t choice, std::string_view text,
                                  std::span<const infer::TokenChoice> tokens, std::string_view finish)>;

  void echo() {
    for (size_t p = 0; p < prompts_.size(); ++p) {
      std::vector<infer::TokenChoice> scores;
      if (request_.logprobs) {
        const TurnHold turn(context_.scoring, reply_->stop());
        scores = score_prompt(engine_, prompts_[p], *request_.logprobs);
      }
      for (size_t i = 0; i < request_.choices; ++i) {
        Choice& choice = choices_[p * request_.choices + i];
        choice.text = prompts_[p].text;
        choice.tokens = scores;
      }
    }
  }

  std::vector<infer::GenerateRequest> jobs() const {
    infer::Sampling defaults;
    defaults.seed = fresh_seed();
    const infer::Sampling sampling = request_.sampling.over(std::move(defaults));
    const auto grammar = make_grammar(request_.format);
    std::vector<infer::GenerateRequest> out(choices_.size());
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t prompt = i / request_.choices;
      out[i].prompt = prompts_[prompt].tokens;
      out[i].max_tokens = std::min(request_.max_tokens, room_[prompt]);
      out[i].stop = request_.stop;
      out[i].logprobs = request_.logprobs;
      out[i].sampling = sampling;
      out[i].sampling.seed = choice_seed(sampling.seed, i % request_.choices);
      out[i].grammar = grammar;
    }
    return out;
  }

  /// Fills the choices; returns the usage.
  json generate(const Tell& tell) {
    const auto started = SteadyClock::now();
    size_t prompt = 0, cached = 0, completion = 0;
    for (const auto& begun : prompts_) prompt += begun.tokens.size();
    if (request_.max_tokens > 0) {
      const auto results = generate_all(context_, jobs(), request_.choices, events(tell), reply_->stop());
      for (size_t i = 0; i < results.size(); ++i) {
        completion += results[i].completion_tokens;
        if (i % request_.choices == 0) cached += results[i].cached_tokens;
      }
    } else {
      for (size_t i = 0; i < choices_.size(); ++i) {
        choices_[i].finish = infer::FinishReason::kLength;
        if (tell) tell(i, "", {}, "length");
      }
    }
    const std::chrono::duration<double> taken = SteadyClock::now() - started;
    context_.metrics.answer("model", taken.count(), prompt, cached, completion);
    return completion_usage_json(prompt, cached, completion, 0);
  }

  GenerationEvents events(const Tell& tell) {
    GenerationEvents out;
    out.on_text = [this, tell](size_t job, std::string_view text,
                               std::span<const infer::TokenChoice> tokens) {
      Choice& choice = choices_[job];
      choice.text += text;
      choice.tokens.insert(choice.tokens.end(), tokens.begin(), tokens.end());
      return tell ? tell(job, text, tokens, "") : !reply_->stop().stop_requested();
    };
    out.on_end = [this, tell](size_t job, const infer::GenerateResult& result) {
      choices_[job].finish = result.finish;
      if (tell) tell(job, "", {}, finish_reason(result.finish));
    };
    return out;
  }

  json head_json(json choices) const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_},
            {"model", request_.model},
            {"system_fingerprint", fingerprint(context_)},
            {"choices", std::move(choices)}};
  }

  json choice_json(size_t index, std::string_view text, std::span<const infer::TokenChoice> tokens,
                   size_t& offset, std::string_view finish) const {
    return {
        {"index", index},
        {"text", text},
        {"logprobs", request_.logprobs ? completion_logprobs_json(engine_, tokens, offset) : json(nullptr)},
        {"finish_reason", finish.empty() ? json(nullptr) : json(finish)}};
  }

  bool send(size_t choice, std::string_view text, std::span<const infer::TokenChoice> tokens,
            std::string_view finish) {
    json chunk = head_json(json::array({choice_json(choice, text, tokens, choices_[choice].offset, finish)}));
    if (request_.include_usage) chunk["usage"] = nullptr;
    return events_.send(chunk);
  }

  const Context& context_;
  infer::Engine& engine_;
  const CompletionRequest request_;
  std::shared_ptr<Reply> reply_;
  EventStream events_;
  const std::string id_ = "cmpl-" + random_hex();
  const int64_t created_;
  const Slots::Hold hold_;
  std::vector<Begun> prompts_;
  std::vector<size_t> room_;  // tokens that the context leaves, by prompt
  std::vector<Choice> choices_;
};

void handle_completion(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  if (request.body.empty()) throw ApiError(415, "the body is empty; send a JSON object", "empty_body");
  CompletionRequest asked = parse_completion_request(request.body);
  require_language_model(asked.model, context.services, "completes texts");
  const bool stream = asked.stream;
  Completion completion(context, std::move(asked), reply);
  stream ? completion.stream(request.id) : completion.whole();
}

}  // namespace

void add_completion_routes(Router& router, const Context& context) {
  router.add({.method = "POST",
              .pattern = "/v1/completions",
              .name = "completions",
              .lane = Lane::kAnswers,
              .max_body = context.options.limits.chat_body_bytes,
              .json_body = true,
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                handle_completion(context, request, reply);
              }});
}

}  // namespace fathom::server
