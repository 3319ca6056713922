// Tells what a model thinks aloud, between <think> and </think>, from what it answers. One object a choice; used on one
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "infer/engine.h"

namespace fathom::infer {

class ReasoningSplit {
 public:
  enum class Start {
    kUnknown,   // the text says it: it begins with <think>, or it is all answer
    kThinking,  // the prompt ended with <think>
    kAnswer,    // all of it is answer
  };
  explicit ReasoningSplit(Start start);

  struct Parts {
    std::string reasoning, content;
  };
  /// What is certain with `piece`: never the beginning of a mark.
  Parts push(std::string_view piece);
  /// What was held back.
  Parts finish();

 private:
  enum class State { kStart, kThinking, kAfter, kAnswer };

  bool step(Parts& out);
  void skip_space();

  State state_;
  std::string held_;
};

/// The model knows how to think aloud: its chat template tells of the mark.
bool thinks(const Engine& engine);

/// The prompt ends inside of a thought: what is generated goes on with it.
bool prompt_thinks(const Engine& engine, const std::vector<int32_t>& prompt);

}  // namespace fathom::infer
