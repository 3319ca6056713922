// The grammars of tool calls: what each format writes around the arguments, and free text that may turn into a call.
#include <fmt/format.h>

#include <array>
#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/error.h"
#include "infer/grammar/json_rules.h"
#include "infer/grammar/program.h"
#include "infer/grammar/schema.h"
#include "infer/tool_calls.h"

namespace fathom::infer {
namespace {

using grammar::Builder;
using grammar::JsonRules;
using grammar::SchemaCompiler;
using Json = nlohmann::ordered_json;
using Style = ToolFormat::Style;

constexpr uint32_t kMostCalls = 32;  // in one answer
constexpr size_t kMostTools = 256;
constexpr std::string_view kPythonTag = "<|python_tag|>";

[[noreturn]] void refuse(const std::string& place, std::string_view what) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("tools at {}: {}", place, what));
}

struct Tool {
  std::string name;
  Json parameters;    // a schema of objects
  std::string place;  // of the parameters
};

/// A function without parameters takes an empty object; arguments are always an object.
Json parameters_of(const Json& function, const std::string& place) {
  const auto it = function.find("parameters");
  if (it == function.end() || it->is_null()) return Json::parse(R"({"type": "object", "properties": {}})");
  if (!it->is_object()) refuse(place, "parameters must be a schema");
  Json out = *it;
  if (out.empty()) out["properties"] = Json::object();
  if (!out.contains("type") && !out.contains("$ref") && !out.contains("anyOf") && !out.contains("oneOf") &&
      !out.contains("allOf"))
    out["type"] = "object";
  return out;
}

std::deque<Tool> read_tools(const Json& tools) {
  if (!tools.is_array() || tools.empty()) refuse("#", "there must be a list of one at least");
  if (tools.size() > kMostTools)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("{} tools were given; {} are taken at most", tools.size(), kMostTools));
  std::deque<Tool> out;
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string place = fmt::format("#/{}", i);
    const Json& tool = tools[i];
    if (!tool.is_object() || !tool.contains("type") || tool["type"] != "function")
      refuse(place, "only tools of type function can be called");
    const bool nested = tool.contains("function");  // as chat completions have it; responses have it flat
    const Json& function = nested ? tool["function"] : tool;
    if (!function.is_object() || !function.contains("name") || !function["name"].is_string() ||
        function["name"].get_ref<const std::string&>().empty())
      refuse(place, "a function must have a name");
    const std::string at = place + (nested ? "/function/parameters" : "/parameters");
    const auto name = function["name"].get<std::string>();
    for (const auto& other : out)
      if (other.name == name) refuse(place, fmt::format("the name {} is there twice", name));
    out.push_back({name, parameters_of(function, at), at});
  }
  return out;
}

/// Writes one grammar.
class Writer {
 public:
  Writer(Style style, const std::deque<Tool>& tools, bool parallel)
      : style_(style), json_(out_), parallel_(parallel) {
    for (const auto& tool : tools) {
      SchemaCompiler schema(out_, json_, tool.parameters, tool.place);
      arguments_.emplace_back(tool.name, schema.compile());
    }
  }

  std::shared_ptr<const Grammar> required() {
    const uint32_t root = out_.declare();
    uint32_t at = json_.space(out_.begin(root));
    if (style_ == Style::kHermes) at = out_.text(at, "<tool_call>");
    if (style_ == Style::kMistral) at = out_.text(at, "[TOOL_CALLS]");
    if (style_ == Style::kLlama3) {
      const uint32_t tagged = out_.text(at, kPythonTag);
      out_.empty(at, tagged);
      at = tagged;
    }
    out_.end(calls(at));
    return std::make_shared<const Grammar>(out_.finish(root));
  }

  std::shared_ptr<const Grammar> free() {
    const uint32_t root = out_.declare();
    const uint32_t start = out_.begin(root);
    const uint32_t last = out_.state();
    if (style_ == Style::kLlama3)
      free_until_object(start, last);
    else
      out_.empty(calls(free_until(start, style_ == Style::kHermes ? "<tool_call>" : "[TOOL_CALLS]", last)),
                 last);
    out_.end(last);
    return std::make_shared<const Grammar>(out_.finish(root));
  }

 private:
  /// All calls of an answer, from behind the first one's marker.
  uint32_t calls(uint32_t from) {
    uint32_t at = json_.space(from);
    if (style_ == Style::kMistral) {
      at = list_of(json_.space(out_.byte(at, '[')), ",");
      return out_.byte(json_.space(at), ']');
    }
    if (style_ == Style::kLlama3) return list_of(at, ";");
    at = out_.text(json_.space(out_.call(at, object())), "</tool_call>");
    if (!parallel_) return at;
    const uint32_t more = out_.declare();
    uint32_t next = json_.space(out_.text(json_.space(out_.begin(more)), "<tool_call>"));
    out_.end(out_.text(json_.space(out_.call(next, object())), "</tool_call>"));
    return out_.repeat(at, more, 0, kMostCalls - 1);
  }

  uint32_t list_of(uint32_t from, std::string_view separator) {
    const uint32_t at = out_.call(from, object());
    if (!parallel_) return at;
    const uint32_t more = out_.declare();
    out_.end(out_.call(json_.space(out_.text(out_.begin(more), separator)), object()));
    return out_.repeat(at, more, 0, kMostCalls - 1);
  }

  /// {"name": "f", "arguments": {...}}
  uint32_t object() {
    if (object_) return *object_;
    object_ = out_.declare();
    const uint32_t start = out_.begin(*object_);
    out_.end(members(out_.text(json_.space(out_.byte(start, '{')), "\"name\"")));
    return *object_;
  }

  /// From behind "name" to behind the closing brace.
  uint32_t members(uint32_t from) {
    const uint32_t named = json_.small_space(out_.byte(from, ':'));
    const uint32_t last = out_.state();
    const std::string_view key = style_ == Style::kLlama3 ? "\"parameters\"" : "\"arguments\"";
    for (const auto& [name, arguments] : arguments_) {
      uint32_t at = json_.space(out_.byte(out_.text(named, grammar::json_text(name)), ','));
      at = json_.small_space(out_.byte(out_.text(at, key), ':'));
      at = out_.call(at, arguments);
      if (style_ == Style::kMistral) at = maybe_id(at);
      out_.empty(json_.space(at), last);
    }
    return out_.byte(last, '}');
  }

  /// , "id": "abcDEF123"
  uint32_t maybe_id(uint32_t from) {
    uint32_t at = json_.space(out_.byte(from, ','));
    at = out_.byte(json_.small_space(out_.byte(out_.text(at, "\"id\""), ':')), '"');
    for (int i = 0; i < 9; ++i) {
      const uint32_t next = out_.state();
      for (const auto& [low, high] : {std::pair{'0', '9'}, {'A', 'Z'}, {'a', 'z'}})
        out_.edge(at, static_cast<uint8_t>(low), static_cast<uint8_t>(high), next);
      at = next;
    }
    at = out_.byte(at, '"');
    out_.empty(from, at);
    return at;
  }

  /// Any bytes in which `marker` does not occur, ending at `last`; returns where the marker has just been read (Knuth,
  /// Morris and Pratt, 1977).
  uint32_t free_until(uint32_t from, std::string_view marker, uint32_t last) {
    std::vector<size_t> fallback(marker.size(), 0);
    for (size_t i = 1; i < marker.size(); ++i) {
      size_t k = fallback[i - 1];
      while (k > 0 && marker[i] != marker[k]) k = fallback[k - 1];
      fallback[i] = marker[i] == marker[k] ? k + 1 : 0;
    }
    std::vector<uint32_t> matched(marker.size() + 1);  // so many of its bytes are read
    for (auto& s : matched) s = out_.state();
    out_.empty(from, matched[0]);
    for (size_t i = 0; i < marker.size(); ++i) {
      out_.empty(matched[i], last);
      std::array<uint32_t, 256> to{};
      for (int b = 0; b < 256; ++b) {
        size_t k = i;
        while (k > 0 && b != static_cast<uint8_t>(marker[k])) k = fallback[k - 1];
        to[static_cast<size_t>(b)] = matched[b == static_cast<uint8_t>(marker[k]) ? k + 1 : 0];
      }
      edges(matched[i], to);
    }
    return matched.back();
  }

  /// Any bytes that do not begin with {"name", perhaps behind white space, or with the tag: those begin calls.
  void free_until_object(uint32_t from, uint32_t last) {
    const uint32_t anything = out_.state();
    out_.edge(anything, 0, 255, anything);
    out_.empty(anything, last);
    const auto blank = [](std::array<uint32_t, 256>& to, uint32_t target) {
      for (const char c : std::string_view(" \t\n\r")) to[static_cast<uint8_t>(c)] = target;
    };
    const uint32_t begin = out_.state();
    const uint32_t brace = out_.state();
    out_.empty(from, begin);
    const uint32_t name = path(brace, "\"name\"", anything, last, [&](auto& to) { blank(to, brace); });
    const uint32_t tag = path(begin, kPythonTag, anything, last, [&](auto& to) {
      blank(to, begin);
      to['{'] = brace;
    });
    // Behind the name of the first call's first member, or behind the tag, there is no way but on.
    const uint32_t first = out_.declare();
    out_.end(members(out_.begin(first)));
    const uint32_t behind = out_.call(name, first);
    out_.empty(behind, last);
    if (parallel_) {
      const uint32_t more = out_.declare();
      out_.end(out_.call(json_.space(out_.byte(out_.begin(more), ';')), object()));
      out_.empty(out_.repeat(behind, more, 0, kMostCalls - 1), last);
    }
    out_.empty(calls(tag), last);
  }

  /// The bytes of `text` one after the other; any other byte leads to `otherwise`. `from` has further ways, which `also`
  /// sets. Texts may end in between. Returns the state behind the text.
  template <class Also>
  uint32_t path(uint32_t from, std::string_view text, uint32_t otherwise, uint32_t last, Also also) {
    uint32_t at = from;
    for (size_t i = 0; i < text.size(); ++i) {
      std::array<uint32_t, 256> to;
      to.fill(otherwise);
      if (i == 0) also(to);
      const uint32_t next = out_.state();
      to[static_cast<uint8_t>(text[i])] = next;
      out_.empty(at, last);
      edges(at, to);
      at = next;
    }
    return at;
  }

  void edges(uint32_t from, const std::array<uint32_t, 256>& to) {
    for (size_t low = 0; low < 256;) {
      size_t high = low;
      while (high + 1 < 256 && to[high + 1] == to[low]) ++high;
      out_.edge(from, static_cast<uint8_t>(low), static_cast<uint8_t>(high), to[low]);
      low = high + 1;
    }
  }

  const Style style_;
  Builder out_;
  JsonRules json_;
  const bool parallel_;
  std::vector<std::pair<std::string, uint32_t>> arguments_;  // of each tool: the rule
  std::optional<uint32_t> object_;
};

}  // namespace

std::shared_ptr<const Grammar> ToolFormat::grammar(const Json& tools, const ToolChoice& choice,
                                                   bool parallel) const {
  auto known = read_tools(tools);
  if (choice.mode == ToolChoice::Mode::kNamed) {
    std::erase_if(known, [&](const Tool& t) { return t.name != choice.name; });
    if (known.empty())
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("tool_choice names the function {}, which is not among the tools", choice.name));
    parallel = false;
  }
  Writer writer(style_, known, parallel);
  return choice.mode == ToolChoice::Mode::kAuto ? writer.free() : writer.required();
}

}  // namespace fathom::infer
