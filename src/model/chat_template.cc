#include "model/chat_template.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/jinja/interpreter.h"
#include "model/jinja/parser.h"

namespace fathom::model {
namespace {

constexpr std::string_view kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

jinja::Value own_text(const std::string& text) {
  return jinja::Value::text(jinja::Text(sanitize_utf8(text)));
}

/// Neighbouring bytes of one origin as one segment.
std::vector<Segment> segments_of(const jinja::Text& text) {
  std::vector<Segment> segments;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + 1;
    while (end < text.size() && text.from_input(end) == text.from_input(begin)) ++end;
    segments.push_back({text.bytes().substr(begin, end - begin), !text.from_input(begin)});
    begin = end;
  }
  return segments;
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Body body;

  std::vector<Segment> render(jinja::Value messages, const ChatOptions& options) const {
    jinja::Interpreter interpreter(options.clock);
    interpreter.define("messages", std::move(messages));
    interpreter.define("add_generation_prompt", jinja::Value::boolean(options.add_generation_prompt));
    interpreter.define("bos_token", own_text(options.bos));
    interpreter.define("eos_token", own_text(options.eos));
    interpreter.define("tools",
                       options.tools != nullptr ? jinja::from_json(*options.tools) : jinja::Value::none());
    interpreter.define("documents", jinja::Value::none());
    if (options.extra != nullptr)
      for (const auto& [name, value] : options.extra->items())
        interpreter.define(name, jinja::from_json(value));
    return segments_of(interpreter.render(body));
  }
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::parse(std::string_view text) {
  return ChatTemplate(std::unique_ptr<const Program>(new Program{jinja::parse(sanitize_utf8(text))}));
}

ChatTemplate ChatTemplate::chatml() { return parse(kChatMl); }

std::string_view ChatTemplate::chatml_text() { return kChatMl; }

std::vector<Segment> ChatTemplate::render(std::span<const ChatTurn> messages,
                                          const ChatOptions& options) const {
  std::vector<jinja::Value> values;
  for (const ChatTurn& turn : messages) {
    const auto input = [](const std::string& text) {
      return jinja::Value::text(jinja::Text(sanitize_utf8(text), true));
    };
    values.push_back(jinja::Value::dict(
        {{jinja::Text("role"), input(turn.role)}, {jinja::Text("content"), input(turn.content)}}));
  }
  return program_->render(jinja::Value::list(std::move(values)), options);
}

std::vector<Segment> ChatTemplate::render(const nlohmann::ordered_json& messages,
                                          const ChatOptions& options) const {
  return program_->render(jinja::from_json(messages), options);
}

}  // namespace fathom::model
