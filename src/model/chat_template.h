// A model's chat template: the Jinja text of its file, run over messages.
//
// The language is the part of Jinja 3.1 that chat templates use, with Hugging Face's environment: trim_blocks,
// lstrip_blocks, break and continue, tojson without escapes, raise_exception, strftime_now. Statements: if, for, set,
// macro, filter, with, raw, break, continue, generation. Values are immutable but for namespaces. What is not in it is
// kUnsupported with its line.
//
// Provenance: every byte of output is the template's own or came from the input (messages, tools, extra), through any
// number of string operations. A template may be hostile: nesting, iterations, memory and output are bounded
// (kResourceExhausted).
//
// A parsed template is immutable and thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "model/segment.h"

namespace fathom::model {

struct ChatTurn {
  std::string role;  // system, user, assistant, tool
  std::string content;
};

struct ChatOptions {
  bool add_generation_prompt = true;
  std::string bos, eos;                           // `bos_token`, `eos_token`: the template's own text
  const nlohmann::ordered_json* tools = nullptr;  // `tools`; null: none
  const nlohmann::ordered_json* extra = nullptr;  // an object: further variables, each by its name
  const Clock* clock = nullptr;                   // of strftime_now; null: not defined
};

class ChatTemplate {
 public:
  /// Errors: kInvalidArgument (not a template: names the line), kUnsupported (names line and construct).
  static ChatTemplate parse(std::string_view text);
  /// <|im_start|>role\ncontent<|im_end|>\n, for models that bring no template.
  static ChatTemplate chatml();
  /// Its text, for a model's file.
  static std::string_view chatml_text();
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// Neighbouring segments differ in origin; none is empty. Errors: kInvalidArgument (the template refused the messages,
  /// or an operation does not fit its operands: names the line), kUnsupported, kResourceExhausted.
  std::vector<Segment> render(std::span<const ChatTurn> messages, const ChatOptions& options) const;
  /// `messages` is an array of objects as the chat completions API has them (tool calls, content parts).
  std::vector<Segment> render(const nlohmann::ordered_json& messages, const ChatOptions& options) const;

  /// Internal: the parsed form.
  struct Program;

 private:
  explicit ChatTemplate(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

}  // namespace fathom::model
