#include "infer/reasoning_split.h"

#include <algorithm>

namespace fathom::infer {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";

/// Bytes at the end of `text` that may be the beginning of `mark`.
size_t held_tail(std::string_view text, std::string_view mark) {
  for (size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == mark.substr(0, n)) return n;
  }
  return 0;
}

ReasoningSplit::Parts joined(ReasoningSplit::Parts one, const ReasoningSplit::Parts& other) {
  one.reasoning += other.reasoning;
  one.content += other.content;
  return one;
}

}  // namespace

bool prompt_thinks(const Engine& engine, const std::vector<int32_t>& prompt) {
  std::string tail;
  for (size_t i = prompt.size() - std::min<size_t>(prompt.size(), 8); i < prompt.size(); ++i)
    tail += engine.token_text(prompt[i]);
  const size_t end = tail.find_last_not_of(" \t\r\n");
  return end != std::string::npos && std::string_view(tail).substr(0, end + 1).ends_with(kOpen);
}

bool thinks(const Engine& engine) { return engine.chat_template().find(kOpen) != std::string::npos; }

ReasoningSplit::ReasoningSplit(Start start)
    : state_(start == Start::kUnknown    ? State::kStart
             : start == Start::kThinking ? State::kThinking
                                         : State::kAnswer) {}

ReasoningSplit::Parts ReasoningSplit::push(std::string_view piece) {
  Parts out;
  held_ += piece;
  while (step(out)) {
  }
  return out;
}

ReasoningSplit::Parts ReasoningSplit::finish() {
  Parts out = push("");
  Parts rest;
  (state_ == State::kThinking ? rest.reasoning : rest.content) = std::move(held_);
  held_.clear();
  return joined(std::move(out), rest);
}

void ReasoningSplit::skip_space() {
  held_.erase(0, std::min(held_.find_first_not_of(" \t\r\n"), held_.size()));
}

/// One move from state to state, if what is held allows one.
bool ReasoningSplit::step(Parts& out) {
  switch (state_) {
    case State::kStart: {
      const size_t at = held_.find_first_not_of(" \t\r\n");
      if (at == std::string::npos) return false;
      const std::string_view text = std::string_view(held_).substr(at);
      if (text.size() < kOpen.size() && kOpen.substr(0, text.size()) == text) return false;
      const bool thinks = text.substr(0, kOpen.size()) == kOpen;
      if (thinks) held_.erase(0, at + kOpen.size());
      state_ = thinks ? State::kThinking : State::kAnswer;
      return true;
    }
    case State::kThinking: {
      const size_t end = held_.find(kClose);
      const size_t certain = end != std::string::npos ? end : held_.size() - held_tail(held_, kClose);
      out.reasoning += held_.substr(0, certain);
      held_.erase(0, end != std::string::npos ? end + kClose.size() : certain);
      if (end == std::string::npos) return false;
      state_ = State::kAfter;
      return true;
    }
    case State::kAfter:
      skip_space();
      if (held_.empty()) return false;
      state_ = State::kAnswer;
      return true;
    case State::kAnswer:
      out.content += held_;
      held_.clear();
      return false;
  }
  return false;
}

}  // namespace fathom::infer
