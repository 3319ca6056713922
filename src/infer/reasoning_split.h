// Tells what a model thinks aloud, between <think> and </think>, from what it answers. One object a choice; used on one
// thread.
#pragma once

#include <string>
#include <string_view>

namespace fathom::server {

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

}  // namespace fathom::server
