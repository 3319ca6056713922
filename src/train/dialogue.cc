#include "train/dialogue.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom::train {
namespace {

using Json = nlohmann::ordered_json;

class Encoder {
 public:
  Encoder(const model::Tokenizer& tokenizer, const model::ChatTemplate& chat)
      : tokenizer_(tokenizer), chat_(chat) {
    if (tokenizer.bos()) options_.bos = tokenizer.text(*tokenizer.bos());
    if (tokenizer.eos()) options_.eos = tokenizer.text(*tokenizer.eos());
  }

  std::vector<int32_t> encode(const Json& messages, bool prompt) {
    options_.add_generation_prompt = prompt;
    auto tokens = tokenizer_.encode(chat_.render(messages, options_));
    // As the engine that serves the model: a template need not write the beginning itself.
    const auto first = tokenizer_.add_bos() ? tokenizer_.bos() : std::nullopt;
    if (first && (tokens.empty() || tokens.front() != *first)) tokens.insert(tokens.begin(), *first);
    return tokens;
  }

 private:
  const model::Tokenizer& tokenizer_;
  const model::ChatTemplate& chat_;
  model::ChatOptions options_;
};

/// Each turn is encoded with all before it, so one hostile line must not take hours.
void check_turns(const Json& messages, size_t tokens) {
  if (messages.size() * tokens > (size_t{1} << 26))
    throw Error(ErrorCode::kInvalidArgument, "it has too many turns for its length");
}

/// How many tokens the two begin with in common.
size_t common_prefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

TokenDocument encode_text(const model::Tokenizer& tokenizer, std::string_view text) {
  TokenDocument document;
  if (tokenizer.add_bos() && tokenizer.bos()) document.tokens.push_back(*tokenizer.bos());
  const auto ids = tokenizer.encode(text);
  document.tokens.insert(document.tokens.end(), ids.begin(), ids.end());
  if (tokenizer.eos()) document.tokens.push_back(*tokenizer.eos());
  return document;
}

TokenDocument encode_dialogue(const model::Tokenizer& tokenizer, const model::ChatTemplate& chat,
                              const Json& messages, Learn learn) {
  Encoder encoder(tokenizer, chat);
  TokenDocument document;
  document.tokens = encoder.encode(messages, false);
  if (learn == Learn::kAll) return document;
  check_turns(messages, document.tokens.size());
  document.learn.assign(document.tokens.size(), 0);
  Json before = Json::array();
  for (const Json& message : messages) {
    const bool assistant = message.value("role", "") == "assistant";
    const size_t begin = assistant ? common_prefix(document.tokens, encoder.encode(before, true)) : 0;
    before.push_back(message);
    if (!assistant) continue;
    const bool last = before.size() == messages.size();
    const size_t end =
        last ? document.tokens.size() : common_prefix(document.tokens, encoder.encode(before, false));
    for (size_t i = begin; i < end; ++i) document.learn[i] = 1;
  }
  if (std::find(document.learn.begin(), document.learn.end(), 1) == document.learn.end())
    throw Error(ErrorCode::kInvalidArgument, "it has no assistant's turn to learn");
  return document;
}

}  // namespace fathom::train
