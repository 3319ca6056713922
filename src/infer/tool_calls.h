// Tool calls in the model's own format: which it is, the grammar that enforces it, and a parser of what the model wrote.
//
// Formats, told apart by what the chat template writes for a call:
//   kHermes   <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>, one block a call (Hermes, Qwen 2.5 and 3, and
//             every template that knows no tools: those get the tools in a system message)
//   kLlama3   {"name": "f", "parameters": {...}} as the whole text, perhaps after <|python_tag|>; several are separated by
//             "; " (Llama 3.1 and later)
//   kMistral  [TOOL_CALLS] [{"name": "f", "arguments": {...}}, ...] (Mistral 7B v0.3 and later)
//
// Arguments are JSON of the tool's schema by construction where the grammar is given to the generation. Without it, or
// where the model stops half way, the parser loses nothing: what is no call is content.
//
// A ToolFormat is immutable and thread-safe; a ToolCallParser belongs to one answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/grammar.h"

namespace fathom::infer {

/// OpenAI's tool_choice. kNone needs no grammar and no parser.
struct ToolChoice {
  enum class Mode { kAuto, kRequired, kNamed };
  Mode mode = Mode::kAuto;
  std::string name;  // kNamed: of the function
};

class ToolFormat {
 public:
  enum class Style { kHermes, kLlama3, kMistral };

  /// `chat_template`: Engine::chat_template(), perhaps empty.
  static ToolFormat detect(std::string_view chat_template);

  Style style() const { return style_; }

  /// What the text must be. kAuto: any text, in which a call that is begun must be finished right; kRequired: one call, more
  /// if `parallel`; kNamed: exactly one call of that function. `tools`: as in ChatRequest. Errors: kInvalidArgument (not
  /// tools, a name that is not among them, a schema that is none; names the JSON pointer), kUnsupported,
  /// kResourceExhausted: as Grammar::json_schema.
  std::shared_ptr<const Grammar> grammar(const nlohmann::ordered_json& tools, const ToolChoice& choice,
                                         bool parallel) const;

  /// The format is written with control tokens: generate with `keep_special`, else its markers cannot be seen.
  bool needs_special_tokens() const;

  /// Strings after which nothing of use can come, for GenerateRequest::stop.
  std::vector<std::string> stops() const;

  /// The template takes `tools` by itself. If not, `system_message` describes them and ChatRequest::tools stays null.
  bool template_takes_tools() const { return template_takes_tools_; }

  /// What to put before the conversation (or at the end of its own system message) for a template without tools: a message
  /// {"role": "system", "content": ...}; none where the template takes tools.
  std::optional<nlohmann::ordered_json> system_message(const nlohmann::ordered_json& tools) const;

  /// The conversation as the template takes it. One without tools: calls of earlier turns and results of tools become text
  /// in the form that `system_message` teaches, which is put in front (`tools` null or empty: nothing is). One with tools:
  /// arguments that are JSON in a string become objects, null content becomes empty, ids get the form that Mistral's
  /// templates insist on. Errors: kInvalidArgument (not messages).
  nlohmann::ordered_json messages(const nlohmann::ordered_json& messages,
                                  const nlohmann::ordered_json* tools) const;

 private:
  ToolFormat() = default;

  Style style_ = Style::kHermes;
  bool template_takes_tools_ = false;
  bool template_takes_system_ = true;
};

/// A piece of what an answer consists of, in order.
struct ToolEvent {
  enum class Kind {
    kContent,    // text for the reader
    kCallBegin,  // a call: index, id, name
    kArguments,  // a further piece of the arguments' JSON text of call `index`
    kCallEnd,    // the arguments of call `index` are complete
  };
  Kind kind = Kind::kContent;
  size_t index = 0;  // of the call, from 0
  std::string id;    // kCallBegin: unique in the answer
  std::string name;  // kCallBegin
  std::string text;  // kContent, kArguments
};

/// Splits a streamed answer into content and calls. Nothing that may still become a call's marker is given out as content;
/// what turns out to be none comes out with the next push or finish. The parts of a call come as they are certain: its
/// arguments stream. Text in pieces of any size gives the same events, joined.
class ToolCallParser {
 public:
  /// `names`: the functions that may be called; text that calls another is content. Empty: any. `seed`: of the calls' ids;
  /// 0: ids that no other parser gives.
  explicit ToolCallParser(const ToolFormat& format, std::vector<std::string> names = {}, uint64_t seed = 0);
  ~ToolCallParser();
  ToolCallParser(ToolCallParser&&) noexcept;
  ToolCallParser& operator=(ToolCallParser&&) noexcept;

  std::vector<ToolEvent> push(std::string_view piece);
  /// The text is over: what was held back. A call whose arguments have begun but are not complete keeps them as they are,
  /// without kCallEnd (the generation was cut short). The same holds where arguments stop being JSON; the text from there on
  /// is content. Under a grammar neither happens but for want of tokens.
  std::vector<ToolEvent> finish();

  /// Calls that have begun.
  size_t calls() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fathom::infer
