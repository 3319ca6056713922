#include "server/model_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "server/api_error.h"
#include "server/generation.h"
#include "server/reasoning_split.h"

namespace fathom::server {
namespace {

using SteadyClock = std::chrono::steady_clock;

/// Whether the model begins in the middle of its thoughts: some templates open them.
bool ends_with_think(const infer::Engine& engine, const std::vector<int32_t>& prompt) {
  std::string tail;
  for (size_t i = prompt.size() - std::min<size_t>(prompt.size(), 8); i < prompt.size(); ++i)
    tail += engine.token_text(prompt[i]);
  const size_t end = tail.find_last_not_of(" \t\r\n");
  return end != std::string::npos && std::string_view(tail).substr(0, end + 1).ends_with("<think>");
}

/// Makes deltas of one choice's text, and the whole choice of its deltas.
class ChoiceReader {
 public:
  explicit ChoiceReader(ReasoningSplit::Start start) : split_(start) {}

  ModelDelta push(std::string_view text, std::span<const infer::TokenChoice> tokens) {
    return take(split_.push(text), tokens);
  }

  ModelDelta finish(infer::FinishReason finish) {
    whole_.finish = finish;
    return take(split_.finish(), {});
  }

  ModelChoice& whole() { return whole_; }

 private:
  ModelDelta take(ReasoningSplit::Parts parts, std::span<const infer::TokenChoice> tokens) {
    ModelDelta delta;
    delta.tokens.assign(tokens.begin(), tokens.end());
    delta.reasoning = std::move(parts.reasoning);
    delta.content = std::move(parts.content);
    whole_.reasoning += delta.reasoning;
    whole_.content += delta.content;
    whole_.tokens.insert(whole_.tokens.end(), tokens.begin(), tokens.end());
    return delta;
  }

  ReasoningSplit split_;
  ModelChoice whole_;
};

}  // namespace

struct ModelAnswerer::Prepared {
  explicit Prepared(Slots::Hold&& slots) : hold(std::move(slots)) {}

  Slots::Hold hold;
  infer::GenerateRequest request;
  size_t choices = 1;
  ReasoningSplit::Start start = ReasoningSplit::Start::kUnknown;
};

ModelAnswerer::ModelAnswerer(const Context& context, const ModelQuestion& question)
    : context_(context), prepared_(std::make_unique<Prepared>(take_slots(context, question.choices))) {
  const infer::Engine& engine = *context.services.engine;
  infer::GenerateRequest& request = prepared_->request;
  check_logit_bias(question.sampling, engine.info().vocabulary);
  request.prompt = engine.tokenize_chat(question.conversation.plain);
  const size_t room =
      require_room(engine, request.prompt.size(), question.messages_param, "the conversation");
  request.max_tokens = std::min(question.max_tokens.value_or(kAnswerTokens), room);
  request.stop = question.stop;
  request.logprobs = question.logprobs;
  infer::Sampling defaults;
  defaults.seed = fresh_seed();
  request.sampling = question.sampling.over(std::move(defaults));
  request.grammar = make_grammar(question.format);
  prepared_->choices = question.choices;
  if (request.grammar) {
    prepared_->start = ReasoningSplit::Start::kAnswer;
  } else if (ends_with_think(engine, request.prompt)) {
    prepared_->start = ReasoningSplit::Start::kThinking;
  }
}

ModelAnswerer::~ModelAnswerer() = default;

ModelAnswer ModelAnswerer::run(const Events& events, const std::stop_token& stop) {
  const auto started = SteadyClock::now();
  std::vector<ChoiceReader> readers(prepared_->choices, ChoiceReader(prepared_->start));
  std::vector<infer::GenerateRequest> jobs(prepared_->choices, prepared_->request);
  for (size_t i = 0; i < jobs.size(); ++i) jobs[i].sampling.seed = choice_seed(jobs[i].sampling.seed, i);

  const auto tell = [&](size_t choice, const ModelDelta& delta) {
    return delta.empty() || !events.on_delta || events.on_delta(choice, delta);
  };
  GenerationEvents calls;
  calls.on_text = [&](size_t choice, std::string_view text, std::span<const infer::TokenChoice> tokens) {
    return tell(choice, readers[choice].push(text, tokens)) && !stop.stop_requested();
  };
  calls.on_end = [&](size_t choice, const infer::GenerateResult& result) {
    tell(choice, readers[choice].finish(result.finish));
    if (events.on_end) events.on_end(choice, readers[choice].whole());
  };
  const auto results = generate_all(context_, std::move(jobs), prepared_->choices, calls, stop);

  ModelAnswer answer;
  const infer::Engine& engine = *context_.services.engine;
  answer.usage.prompt = results.front().prompt_tokens;
  answer.usage.cached = results.front().cached_tokens;
  for (size_t i = 0; i < results.size(); ++i) {
    answer.usage.completion += results[i].completion_tokens;
    ModelChoice& choice = answer.choices.emplace_back(std::move(readers[i].whole()));
    if (!choice.reasoning.empty())
      answer.usage.reasoning +=
          std::min(engine.tokenize(choice.reasoning).size(), results[i].completion_tokens);
  }
  const std::chrono::duration<double> taken = SteadyClock::now() - started;
  context_.metrics.answer("model", taken.count(), answer.usage.prompt, answer.usage.cached,
                          answer.usage.completion);
  return answer;
}

}  // namespace fathom::server
