#include "server/responses_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/response_items.h"
#include "server/search_parameters.h"

namespace fathom::server {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxTools = 128;

/// Moves a tool's member into the search parameters under their name.
void take(const ordered_json& tool, const char* from, ordered_json& to, const char* name) {
  if (const auto found = tool.find(from); found != tool.end() && !found->is_null()) to[name] = *found;
}

/// xAI's search tools in the words of `search_parameters`, so that both are read by the same rules.
class SearchTools {
 public:
  void add_x(const ordered_json& tool) {
    ordered_json source = {{"type", "x"}};
    take(tool, "allowed_x_handles", source, "included_x_handles");
    take(tool, "excluded_x_handles", source, "excluded_x_handles");
    take(tool, "from_date", parameters_, "from_date");
    take(tool, "to_date", parameters_, "to_date");
    sources_.push_back(std::move(source));
  }

  void add_web(const ordered_json& tool) {
    ordered_json source = {{"type", "web"}};
    const auto filters = tool.find("filters");
    for (const ordered_json* holder : {&tool, filters != tool.end() ? &*filters : &tool}) {
      if (!holder->is_object()) continue;
      take(*holder, "allowed_domains", source, "allowed_websites");
      take(*holder, "excluded_domains", source, "excluded_websites");
    }
    sources_.push_back(std::move(source));
  }

  /// Error: ApiError; its `param` says "tools".
  std::optional<answer::SearchParameters> parameters() const {
    if (sources_.empty()) return std::nullopt;
    ordered_json all = parameters_;
    all["sources"] = sources_;
    try {
      return parse_search_parameters(all);
    } catch (const ApiError& error) {
      throw ApiError(error.status, fmt::format("tools: {}", error.what()), error.code, "tools");
    }
  }

 private:
  ordered_json parameters_ = ordered_json::object();
  ordered_json sources_ = ordered_json::array();
};

void read_tool_list(const JsonFields& fields, ResponseRequest& out) {
  const ordered_json* tools = fields.find("tools");
  if (tools == nullptr) return;
  if (!tools->is_array()) fields.refuse_type("tools", "a list");
  if (tools->size() > kMaxTools) fields.refuse("tools", fmt::format("has more than {} entries", kMaxTools));
  std::vector<const ordered_json*> functions;
  SearchTools search;
  for (size_t i = 0; i < tools->size(); ++i) {
    const JsonFields tool((*tools)[i], fmt::format("tools[{}]", i));
    const std::string type = tool.required_text("type");
    if (type == "function") {
      functions.push_back(&(*tools)[i]);
    } else if (type == "x_search") {
      search.add_x((*tools)[i]);
      out.x_search = true;
    } else if (type.starts_with("web_search")) {  // web_search_preview and its dated versions too
      search.add_web((*tools)[i]);
    } else {
      tool.refuse_unsupported(
          "type", fmt::format("\"{}\"; there are functions, x_search and web_search", type.substr(0, 40)));
    }
  }
  out.tools.tools = nest_functions(functions, "tools");
  out.search = search.parameters();
}

/// `tool_choice`: one that forces a search, or one of functions.
void read_choice(const JsonFields& fields, ResponseRequest& out) {
  const ordered_json* choice = fields.find("tool_choice");
  const bool required = choice != nullptr && *choice == "required";
  const bool named_search = choice != nullptr && choice->is_object() && choice->contains("type") &&
                            ((*choice)["type"] == "x_search" || (*choice)["type"] == "web_search");
  if (out.search && (required || named_search)) {
    out.search->mode = answer::SearchMode::kOn;
    out.tools.choice = ToolsRequest::Choice::kAuto;
    return;
  }
  read_tool_choice(fields, false, out.tools);
  if (out.search && out.tools.choice == ToolsRequest::Choice::kNone)
    out.search->mode = answer::SearchMode::kOff;
}

void read_include(const JsonFields& fields, ResponseRequest& out) {
  const auto top = fields.integer("top_logprobs", 0, kMaxTopLogprobs);
  if (top) out.logprobs = static_cast<int>(*top);
  for (const auto& entry : fields.texts("include", 32)) {
    if (entry == "no_inline_citations") out.inline_citations = false;
    if (entry == "message.output_text.logprobs" && !out.logprobs) out.logprobs = 0;
  }
}

void refuse_what_is_not_done(const JsonFields& fields) {
  if (fields.boolean("background").value_or(false))
    fields.refuse_unsupported("background", "responses are made while the client waits");
  if (fields.has("prompt")) fields.refuse_unsupported("prompt", "give the conversation in \"input\"");
  const std::string truncation = fields.text("truncation").value_or("disabled");
  if (truncation == "auto")
    fields.refuse_unsupported("truncation", "\"auto\"; what is too long is refused, not cut");
  if (truncation != "disabled") fields.refuse("truncation", "must be \"disabled\"");
}

std::shared_ptr<const ordered_json> read_echo(const JsonFields& fields, const ResponseRequest& request) {
  ordered_json out = {{"background", false},
                      {"instructions", nullptr},
                      {"max_output_tokens", nullptr},
                      {"metadata", ordered_json::object()},
                      {"parallel_tool_calls", true},
                      {"previous_response_id", nullptr},
                      {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
                      {"service_tier", "default"},
                      {"store", request.store},
                      {"temperature", 1.0},
                      {"text", {{"format", {{"type", "text"}}}}},
                      {"tool_choice", "auto"},
                      {"tools", ordered_json::array()},
                      {"top_logprobs", 0},
                      {"top_p", 1.0},
                      {"truncation", "disabled"},
                      {"user", nullptr}};
  for (auto& [name, value] : out.items()) {
    if (name == "background" || name == "service_tier" || name == "store") continue;
    if (const ordered_json* given = fields.find(name)) value = *given;
  }
  return std::make_shared<const ordered_json>(std::move(out));
}

std::optional<std::string> read_effort(const JsonFields& fields) {
  const ordered_json* reasoning = fields.find("reasoning");
  return reasoning == nullptr ? std::nullopt : JsonFields(*reasoning, "reasoning").text("effort");
}

}  // namespace

ResponseRequest parse_response_request(std::string_view body) {
  const ordered_json document = parse_json(body);
  const JsonFields fields(document, "");
  ResponseRequest out;
  out.model = fields.required_text("model");
  out.input = std::make_shared<const ordered_json>(read_input(fields));
  out.instructions = fields.text("instructions").value_or("");
  out.previous_id = fields.text("previous_response_id").value_or("");
  out.stream = fields.boolean("stream").value_or(false);
  out.store = fields.boolean("store").value_or(true);
  if (const auto most = fields.integer("max_output_tokens", 1, kMaxTokens))
    out.max_tokens = static_cast<size_t>(*most);
  out.sampling = read_sampling(fields);
  read_include(fields, out);
  out.format = read_text_format(fields);
  read_tool_list(fields, out);
  read_choice(fields, out);
  refuse_what_is_not_done(fields);
  if (const ordered_json* metadata = fields.find("metadata"); metadata != nullptr && !metadata->is_object())
    fields.refuse_type("metadata", "an object");
  out.feed = read_feed_request(fields, read_effort(fields));
  require_search(fields, out.feed, out.search);
  out.kept = read_conversation_choice(fields);
  if (out.kept && !out.previous_id.empty())
    fields.refuse("conversation", "and previous_response_id exclude each other; give one of them", 400,
                  "mutually_exclusive_parameters");
  out.echo = read_echo(fields, out);
  return out;
}

}  // namespace fathom::server
