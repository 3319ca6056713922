#include "server/model_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "infer/reasoning_split.h"
#include "infer/tool_calls.h"
#include "server/api_error.h"
#include "server/generation.h"
#include "server/http.h"

namespace fathom::server {
namespace {

using SteadyClock = std::chrono::steady_clock;

bool is_space(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }

/// Makes deltas of one choice's text, and the whole choice of its deltas.
class ChoiceReader {
 public:
  /// `format`: the text may hold calls in it; else null.
  ChoiceReader(infer::ReasoningSplit::Start start, const infer::ToolFormat* format) : split_(start) {
    if (format != nullptr) calls_.emplace(*format);
  }

  ModelDelta push(std::string_view text, std::span<const infer::TokenChoice> tokens) {
    return take(split_.push(text), tokens, false);
  }

  ModelDelta finish(infer::FinishReason finish) {
    whole_.finish = finish;
    return take(split_.finish(), {}, true);
  }

  ModelChoice& whole() { return whole_; }

 private:
  ModelDelta take(infer::ReasoningSplit::Parts parts, std::span<const infer::TokenChoice> tokens, bool last) {
    ModelDelta delta;
    delta.tokens.assign(tokens.begin(), tokens.end());
    delta.reasoning = std::move(parts.reasoning);
    if (calls_) {
      take_events(calls_->push(parts.content), delta);
      if (last) take_events(without_cut_marker(calls_->finish()), delta);
    } else {
      delta.content = std::move(parts.content);
    }
    whole_.reasoning += delta.reasoning;
    whole_.content += delta.content;
    whole_.tokens.insert(whole_.tokens.end(), tokens.begin(), tokens.end());
    return delta;
  }

  void take_events(const std::vector<infer::ToolEvent>& events, ModelDelta& delta) {
    using Kind = infer::ToolEvent::Kind;
    for (const auto& event : events) {
      if (event.kind == Kind::kContent) {
        take_content(event.text, delta);
      } else if (event.kind == Kind::kCallBegin) {
        space_.clear();
        whole_.calls.push_back({"call_" + random_hex().substr(0, 24), event.name, "", false});
        delta.calls.push_back({event.index, whole_.calls.back()});
      } else if (event.kind == Kind::kArguments && event.index < whole_.calls.size()) {
        whole_.calls[event.index].arguments += event.text;
        piece_of(event.index, delta).arguments += event.text;
      } else if (event.kind == Kind::kCallEnd && event.index < whole_.calls.size()) {
        whole_.calls[event.index].complete = piece_of(event.index, delta).complete = true;
      }
    }
  }

  /// Where a further call was cut off by the limit of tokens, what there is of its marker is no text for the reader.
  std::vector<infer::ToolEvent> without_cut_marker(std::vector<infer::ToolEvent> events) const {
    const bool cut = whole_.finish == infer::FinishReason::kLength && !whole_.calls.empty();
    if (cut)
      std::erase_if(events, [](const auto& event) { return event.kind == infer::ToolEvent::Kind::kContent; });
    return events;
  }

  /// White space around calls belongs to their format.
  void take_content(const std::string& text, ModelDelta& delta) {
    space_ += text;
    if (is_space(space_)) return;
    delta.content += std::exchange(space_, {});
  }

  static ToolCall& piece_of(size_t call, ModelDelta& delta) {
    if (delta.calls.empty() || delta.calls.back().index != call) delta.calls.push_back({call, {}});
    return delta.calls.back().piece;
  }

  infer::ReasoningSplit split_;
  std::optional<infer::ToolCallParser> calls_;
  std::string space_;  // held back
  ModelChoice whole_;
};

infer::ToolChoice tool_choice(const ToolsRequest& tools) {
  using Mode = infer::ToolChoice::Mode;
  if (tools.choice == ToolsRequest::Choice::kRequired) return {Mode::kRequired, {}};
  if (tools.choice == ToolsRequest::Choice::kNamed) return {Mode::kNamed, tools.name};
  return {Mode::kAuto, {}};
}

/// Errors of what the client's own tools and messages are made of, as ApiError 400 about `param`.
template <class Call>
auto blaming(const std::string& param, Call call) {
  try {
    return call();
  } catch (const Error& error) {
    const bool unsupported = error.code() == ErrorCode::kUnsupported;
    if (!unsupported && error.code() != ErrorCode::kInvalidArgument &&
        error.code() != ErrorCode::kResourceExhausted)
      throw;
    throw ApiError(400, error.what(), unsupported ? "unsupported" : "invalid_value", param);
  }
}

/// The prompt; tools and what became of them go through the model's own format.
std::vector<int32_t> render(const infer::Engine& engine, const ModelQuestion& question,
                            const infer::ToolFormat& format) {
  const nlohmann::ordered_json* tools = question.tools.active() ? question.tools.tools.get() : nullptr;
  if (tools == nullptr && question.conversation.tool_param.empty())
    return blaming(question.messages_param,
                   [&] { return engine.tokenize_chat(question.conversation.plain); });
  return blaming(question.messages_param, [&] {
    const auto messages = format.messages(*question.conversation.messages, tools);
    infer::ChatRequest chat;
    chat.messages = &messages;
    if (format.template_takes_tools()) chat.tools = tools;
    return engine.apply_template(chat);
  });
}

}  // namespace

struct ModelAnswerer::Prepared {
  explicit Prepared(Slots::Hold&& slots) : hold(std::move(slots)) {}

  Slots::Hold hold;
  infer::GenerateRequest request;
  size_t choices = 1;
  infer::ReasoningSplit::Start start = infer::ReasoningSplit::Start::kUnknown;
  std::optional<infer::ToolFormat> format;  // the answer may hold calls in it

  void hold_to_tools(const ToolsRequest& tools, infer::ToolFormat with);
};

void ModelAnswerer::Prepared::hold_to_tools(const ToolsRequest& tools, infer::ToolFormat with) {
  request.grammar =
      blaming("tools", [&] { return with.grammar(*tools.tools, tool_choice(tools), tools.parallel); });
  request.keep_special = with.needs_special_tokens();
  for (auto& stop : with.stops()) request.stop.push_back(std::move(stop));
  if (tools.choice != ToolsRequest::Choice::kAuto) start = infer::ReasoningSplit::Start::kAnswer;
  format = std::move(with);
}

ModelAnswerer::ModelAnswerer(const Context& context, const ModelQuestion& question)
    : context_(context), prepared_(std::make_unique<Prepared>(take_slots(context, question.choices))) {
  const infer::Engine& engine = *context.services.engine;
  infer::GenerateRequest& request = prepared_->request;
  check_logit_bias(question.sampling, engine.info().vocabulary);
  auto format = infer::ToolFormat::detect(engine.chat_template());
  request.prompt = render(engine, question, format);
  const size_t room =
      require_room(engine, request.prompt.size(), question.messages_param, "the conversation");
  request.max_tokens = std::min(question.max_tokens.value_or(kAnswerTokens), room);
  request.stop = question.stop;
  request.logprobs = question.logprobs;
  infer::Sampling defaults;
  defaults.seed = fresh_seed();
  request.sampling = question.sampling.over(std::move(defaults));
  prepared_->choices = question.choices;
  if (infer::prompt_thinks(engine, request.prompt))
    prepared_->start = infer::ReasoningSplit::Start::kThinking;
  if (question.tools.active()) {
    if (question.format.kind != TextFormat::Kind::kText &&
        question.tools.choice == ToolsRequest::Choice::kAuto)
      throw ApiError(
          400,
          "response_format is not supported together with tools that may or may not be called; set "
          "tool_choice to \"none\" or \"required\"",
          "unsupported", "response_format");
    prepared_->hold_to_tools(question.tools, std::move(format));
  } else if (auto grammar = make_grammar(question.format)) {
    request.grammar = std::move(grammar);
    prepared_->start = infer::ReasoningSplit::Start::kAnswer;
  }
}

ModelAnswerer::~ModelAnswerer() = default;

ModelAnswer ModelAnswerer::run(const Events& events, const std::stop_token& stop) {
  const auto started = SteadyClock::now();
  std::vector<ChoiceReader> readers;
  for (size_t i = 0; i < prepared_->choices; ++i)
    readers.emplace_back(prepared_->start, prepared_->format ? &*prepared_->format : nullptr);
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
