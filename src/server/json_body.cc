#include "server/json_body.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace fathom::server {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

constexpr size_t kMaxNoteBytes = 200;

/// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ..." -> from "syntax error" on.
std::string parser_note(const json::parse_error& error) {
  const std::string_view what = error.what();
  const size_t at = what.find(": ");
  return std::string((at == std::string_view::npos ? what : what.substr(at + 2)).substr(0, kMaxNoteBytes));
}

json parse_with(std::string_view body, const json::parser_callback_t& on_event) {
  const auto guarded = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxDepth)
      throw ApiError(400, fmt::format("the JSON body is nested deeper than {} levels", kMaxDepth),
                     "invalid_json");
    return !on_event || on_event(depth, event, parsed);
  };
  try {
    return json::parse(body.begin(), body.end(), guarded);
  } catch (const json::parse_error& error) {
    throw ApiError(400,
                   fmt::format("the body is not valid JSON: byte {}: {}", error.byte, parser_note(error)),
                   "invalid_json");
  } catch (const json::exception&) {  // a number beyond a double
    throw ApiError(400, "the body is not valid JSON: a number is out of range", "invalid_json");
  }
}

}  // namespace

json parse_json(std::string_view body) { return parse_with(body, nullptr); }

void parse_json_entries(std::string_view body, const std::function<void(const json&)>& on_entry) {
  parse_with(body, [&](int depth, json::parse_event_t event, json& parsed) {
    const bool complete = event == json::parse_event_t::object_end ||
                          event == json::parse_event_t::array_end || event == json::parse_event_t::value;
    if (depth != 1 || !complete) return true;
    on_entry(parsed);
    return false;  // not kept
  });
}

JsonFields::JsonFields(const json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (object.is_object()) return;
  if (path_.empty()) throw ApiError(400, "the body must be a JSON object", "invalid_type");
  throw ApiError(400, fmt::format("{} must be an object", path_), "invalid_type", path_);
}

const json* JsonFields::find(std::string_view name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::string> JsonFields::text(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse_type(name, "a string");
  return value->get<std::string>();
}

std::optional<bool> JsonFields::boolean(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse_type(name, "true or false");
  return value->get<bool>();
}

std::optional<int64_t> JsonFields::integer(std::string_view name, int64_t low, int64_t high) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) refuse_type(name, "a whole number");
  const bool too_large =
      value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  const int64_t number = too_large ? INT64_MAX : value->get<int64_t>();
  if (too_large || number < low || number > high)
    refuse(name, high == INT64_MAX ? fmt::format("must be at least {}", low)
                                   : fmt::format("must be between {} and {}", low, high));
  return number;
}

std::optional<double> JsonFields::number(std::string_view name, double low, double high) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse_type(name, "a number");
  const double number = value->get<double>();
  if (!(number >= low && number <= high)) refuse(name, fmt::format("must be between {} and {}", low, high));
  return number;
}

std::vector<std::string> JsonFields::texts(std::string_view name, size_t most) const {
  const json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_array()) refuse_type(name, "a list of strings");
  if (value->size() > most)
    refuse(name, fmt::format("has {} entries; at most {} are taken", value->size(), most));
  std::vector<std::string> out;
  for (const auto& entry : *value) {
    if (!entry.is_string()) refuse_type(name, "a list of strings");
    out.push_back(entry.get<std::string>());
  }
  return out;
}

std::string JsonFields::param(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void JsonFields::refuse(std::string_view name, const std::string& what, int status,
                        const std::string& code) const {
  throw ApiError(status, fmt::format("{} {}", param(name), what), code, param(name));
}

void JsonFields::refuse_type(std::string_view name, std::string_view wanted) const {
  refuse(name, fmt::format("must be {}", wanted), 400, "invalid_type");
}

}  // namespace fathom::server
