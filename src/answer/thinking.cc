#include "answer/thinking.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "infer/reasoning_split.h"

namespace fathom::answer {
namespace {

/// What templates that can be told call it.
constexpr std::string_view kSwitch = "enable_thinking";

/// Hands text on up to the first of some strings. It holds back what may be the beginning of one.
class UntilStop {
 public:
  UntilStop(std::vector<std::string> stops, const infer::TextSink& sink)
      : stops_(std::move(stops)), sink_(sink) {}

  /// False when no more is wanted.
  bool push(std::string_view piece) {
    held_ += piece;
    size_t end = std::string::npos, tail = 0;
    for (const std::string& stop : stops_) {
      end = std::min(end, held_.find(stop));
      tail = std::max(tail, held_tail(stop));
    }
    stopped_ = end != std::string::npos;
    const bool wanted = hand_on(stopped_ ? end : held_.size() - tail);
    return wanted && !stopped_;
  }

  void finish() {
    if (!stopped_ && !refused_) hand_on(held_.size());
  }

  bool stopped() const { return stopped_; }

 private:
  /// Bytes at the end that may begin `stop`.
  size_t held_tail(std::string_view stop) const {
    if (stop.empty()) return 0;
    for (size_t n = std::min(held_.size(), stop.size() - 1); n > 0; --n)
      if (std::string_view(held_).substr(held_.size() - n) == stop.substr(0, n)) return n;
    return 0;
  }

  bool hand_on(size_t bytes) {
    const std::string text = held_.substr(0, bytes);
    held_.erase(0, bytes);
    refused_ = refused_ || (!text.empty() && sink_ && !sink_(text));
    return !refused_;
  }

  std::vector<std::string> stops_;
  const infer::TextSink& sink_;
  std::string held_;
  bool stopped_ = false, refused_ = false;
};

}  // namespace

std::vector<int32_t> chat_prompt(const infer::Engine& engine, const std::vector<infer::ChatMessage>& messages,
                                 bool think) {
  if (!infer::thinks(engine) || engine.chat_template().find(kSwitch) == std::string::npos)
    return engine.tokenize_chat(messages);
  auto list = nlohmann::ordered_json::array();
  for (const infer::ChatMessage& message : messages)
    list.push_back({{"role", message.role}, {"content", message.content}});
  const nlohmann::ordered_json extra = {{std::string(kSwitch), think}};
  infer::ChatRequest chat;
  chat.messages = &list;
  chat.extra = &extra;
  return engine.apply_template(chat);
}

infer::GenerateResult generate_with_thoughts(infer::Engine& engine, infer::GenerateRequest request,
                                             const infer::TextSink& sink, const Events& events,
                                             Answer& answer, const std::stop_token& stop) {
  if (!infer::thinks(engine)) return engine.generate(request, sink, stop);
  using Split = infer::ReasoningSplit;
  Split split(infer::prompt_thinks(engine, request.prompt) ? Split::Start::kThinking
                                                           : Split::Start::kUnknown);
  UntilStop answered(std::move(request.stop), sink);
  request.stop.clear();
  const size_t context = engine.info().context;
  const size_t room = context > request.prompt.size() ? context - request.prompt.size() : 1;
  request.max_tokens = std::min(request.max_tokens + kThoughtTokens, std::max(room, size_t{1}));
  const auto take = [&](const Split::Parts& parts) {
    answer.reasoning += parts.reasoning;
    const bool heard = parts.reasoning.empty() || !events.on_thought || events.on_thought(parts.reasoning);
    return heard && (parts.content.empty() || answered.push(parts.content));
  };
  infer::GenerateResult result = engine.generate(
      request, [&](std::string_view piece) { return take(split.push(piece)); }, stop);
  if (result.finish != infer::FinishReason::kCancelled && take(split.finish())) answered.finish();
  if (answered.stopped()) result.finish = infer::FinishReason::kStop;
  return result;
}

}  // namespace fathom::answer
