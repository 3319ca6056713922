#include "answer/tool_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongestArguments = 8 * 1024;  // bytes of JSON
constexpr size_t kLongestQuery = 300;
constexpr size_t kLongestName = 100;  // bytes of a handle or a source
constexpr size_t kLongestKey = 300;
constexpr size_t kMostNames = 10;
constexpr int64_t kMostPosts = 20;
constexpr int64_t kLongestWindow = 168;  // hours

[[noreturn]] void refuse(std::string_view what) {
  throw Error(ErrorCode::kInvalidArgument, std::string(what));
}

Json text_schema(std::string_view description, size_t longest) {
  return {{"type", "string"}, {"description", description}, {"minLength", 1}, {"maxLength", longest}};
}
Json list_schema(std::string_view description) {
  return {{"type", "array"},
          {"description", description},
          {"items", {{"type", "string"}, {"minLength", 1}, {"maxLength", 64}}},
          {"maxItems", kMostNames}};
}
Json number_schema(std::string_view description, int64_t most) {
  return {{"type", "integer"}, {"description", description}, {"minimum", 1}, {"maximum", most}};
}

Json tool(std::string_view name, std::string_view description, Json properties, const char* required) {
  Json parameters = {{"type", "object"},
                     {"properties", std::move(properties)},
                     {"required", Json::array()},
                     {"additionalProperties", false}};
  if (required != nullptr) parameters["required"].push_back(required);
  return {
      {"type", "function"},
      {"function", {{"name", name}, {"description", description}, {"parameters", std::move(parameters)}}}};
}

Json make_definitions() {
  const Json search = {
      {"query", text_schema("The words to look for, few and telling; \"a phrase\" in quotation marks, +word "
                            "for one that must occur, -word for one that must not",
                            120)},
      {"from", text_schema("Only posts from this date or time on: 2026-01-31 or 2026-01-31T12:00:00Z", 32)},
      {"to", text_schema("Only posts before this date or time", 32)},
      {"handles", list_schema("Only posts by these authors")},
      {"not_handles", list_schema("No posts by these authors")},
      {"sources", list_schema("Only posts of these sources, such as hackernews, bluesky, mastodon, rss")},
      {"limit", number_schema("How many posts; 10 if left out", kMostPosts)},
      {"order",
       {{"type", "string"}, {"enum", {"relevance", "newest"}}, {"description", "What comes first"}}}};
  return {
      tool("search_posts", "Search the posts of the feed.", search, "query"),
      tool("get_thread", "Read the conversation around a post: what it answers and what answers it.",
           {{"key", text_schema("The post's key as a search gave it, such as bluesky:3kabc", 120)}}, "key"),
      tool("get_trends", "The stories that are being posted about most.",
           {{"window", number_schema("Of the last so many hours; 24 if left out", kLongestWindow)}}, nullptr),
      tool("get_author", "The newest posts of one author.",
           {{"handle", text_schema("The author's handle, without @", 64)}}, "handle")};
}

/// The members of one call's arguments; says which of them is wrong.
class Arguments {
 public:
  Arguments(std::string_view tool, std::string_view json, std::initializer_list<std::string_view> known)
      : tool_(tool) {
    if (json.size() > kLongestArguments)
      refuse(fmt::format("{}: the arguments are longer than {} bytes", tool, kLongestArguments));
    object_ = Json::parse(json, nullptr, /*allow_exceptions=*/false);
    if (!object_.is_object()) refuse(fmt::format("{}: the arguments must be a JSON object", tool));
    for (const auto& member : object_.items()) {
      if (std::ranges::find(known, member.key()) == known.end())
        refuse(fmt::format("{}: there is no argument \"{}\"", tool, member.key().substr(0, 64)));
    }
  }

  std::optional<std::string> text(std::string_view name, size_t longest) const {
    const Json* value = find(name);
    if (value == nullptr) return std::nullopt;
    return text_of(name, *value, longest);
  }

  std::string required_text(std::string_view name, size_t longest) const {
    auto value = text(name, longest);
    if (!value) refuse(fmt::format("{}: {} is missing", tool_, name));
    return *value;
  }

  std::vector<std::string> names(std::string_view name) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    if (!value->is_array() || value->size() > kMostNames)
      wrong(name, fmt::format("must be a list of at most {} texts", kMostNames));
    std::vector<std::string> out;
    for (const Json& item : *value) out.push_back(name_of(name, text_of(name, item, kLongestName)));
    return out;
  }

  /// One word, without '@' in front.
  std::string name_of(std::string_view name, std::string text) const {
    if (text.starts_with('@')) text.erase(0, 1);
    if (text.empty() || text.find_first_of(" \t\r\n\"") != std::string::npos) wrong(name, "must be one word");
    return text;
  }

  std::optional<int64_t> number(std::string_view name, int64_t most) const {
    const Json* value = find(name);
    if (value == nullptr) return std::nullopt;
    const bool fits = value->is_number_unsigned() && value->get<uint64_t>() >= 1 &&
                      value->get<uint64_t>() <= static_cast<uint64_t>(most);
    if (!fits) wrong(name, fmt::format("must be a whole number from 1 to {}", most));
    return value->get<int64_t>();
  }

  std::optional<Time> time(std::string_view name) const {
    const auto written = text(name, 64);
    if (!written) return std::nullopt;
    const auto time = parse_time(*written);
    if (!time) wrong(name, "must be a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z");
    return time;
  }

  [[noreturn]] void wrong(std::string_view name, std::string_view why) const {
    refuse(fmt::format("{}: {} {}", tool_, name, why));
  }

 private:
  const Json* find(std::string_view name) const {
    const auto at = object_.find(name);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }

  std::string text_of(std::string_view name, const Json& value, size_t longest) const {
    if (!value.is_string()) wrong(name, "must be text");
    const std::string text(trim(value.get_ref<const std::string&>()));
    if (text.empty()) wrong(name, "is empty");
    if (text.size() > longest) wrong(name, fmt::format("is longer than {} bytes", longest));
    return text;
  }

  std::string_view tool_;
  Json object_;
};

/// Operators ("from:", "source:", "since:") have arguments of their own; in the words they would pass by them.
std::string without_operators(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return c == ':' || static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

SearchPosts parse_search(std::string_view json) {
  const Arguments given("search_posts", json,
                        {"query", "from", "to", "handles", "not_handles", "sources", "limit", "order"});
  SearchPosts out;
  out.query = without_operators(given.required_text("query", kLongestQuery));
  out.from = given.time("from");
  out.to = given.time("to");
  if (out.from && out.to && *out.from >= *out.to) given.wrong("from", "must be before to");
  out.handles = given.names("handles");
  out.not_handles = given.names("not_handles");
  out.sources = given.names("sources");
  out.limit = static_cast<size_t>(given.number("limit", kMostPosts).value_or(10));
  const auto order = given.text("order", kLongestName).value_or("relevance");
  if (order != "relevance" && order != "newest") given.wrong("order", "must be \"relevance\" or \"newest\"");
  out.newest = order == "newest";
  return out;
}

GetThread parse_thread(std::string_view json) {
  const Arguments given("get_thread", json, {"key"});
  GetThread out{given.required_text("key", kLongestKey)};
  if (out.key.find(':') == std::string::npos) given.wrong("key", "must have the form source:id");
  return out;
}

GetAuthor parse_author(std::string_view json) {
  const Arguments given("get_author", json, {"handle"});
  return {given.name_of("handle", given.required_text("handle", kLongestName))};
}

GetTrends parse_trends(std::string_view json) {
  const Arguments given("get_trends", json, {"window"});
  return {std::chrono::hours{given.number("window", kLongestWindow).value_or(24)}};
}

}  // namespace

const Json& tool_definitions() {
  static const Json definitions = make_definitions();
  return definitions;
}

ToolArguments parse_tool_arguments(std::string_view tool, std::string_view arguments) {
  if (tool == "search_posts") return parse_search(arguments);
  if (tool == "get_thread") return parse_thread(arguments);
  if (tool == "get_trends") return parse_trends(arguments);
  if (tool == "get_author") return parse_author(arguments);
  refuse(fmt::format("there is no tool \"{}\"", sanitize_utf8(tool.substr(0, 64))));
}

}  // namespace fathom::answer
