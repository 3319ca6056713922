#include "server/json_body.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace fathom::server {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxMembers = 4096;  // finding one of an ordered object's takes a walk over all
constexpr size_t kMaxValues = 1'000'000;
constexpr size_t kMaxEntryEvents = 4096;
constexpr size_t kMaxNoteBytes = 200;

/// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ..." -> from "syntax error" on.
std::string parser_note(const json::exception& error) {
  const std::string_view what = error.what();
  const size_t at = what.find(": ");
  return std::string((at == std::string_view::npos ? what : what.substr(at + 2)).substr(0, kMaxNoteBytes));
}

[[noreturn]] void refuse_json(const std::string& what) { throw ApiError(400, what, "invalid_json"); }

[[noreturn]] void refuse_bytes(size_t byte, const json::exception& error) {
  if (dynamic_cast<const json::parse_error*>(&error) == nullptr)
    refuse_json("the body is not valid JSON: a number is out of range");
  refuse_json(fmt::format("the body is not valid JSON: byte {}: {}", byte, parser_note(error)));
}

void check_depth(size_t depth) {
  if (depth > kMaxDepth) refuse_json(fmt::format("the JSON body is nested deeper than {} levels", kMaxDepth));
}

/// Reads JSON without keeping it and refuses what would take too much to keep. (The library's own parser with a callback
/// walks over all siblings at the end of each object: time without bounds for a list of many.)
class Limits final : public nlohmann::json_sax<ordered_json> {
 public:
  bool null() override { return count(); }
  bool boolean(bool) override { return count(); }
  bool number_integer(number_integer_t) override { return count(); }
  bool number_unsigned(number_unsigned_t) override { return count(); }
  bool number_float(number_float_t, const string_t&) override { return count(); }
  bool string(string_t&) override { return count(); }
  bool binary(binary_t&) override { return count(); }
  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t&) override {
    if (++members_.back() > kMaxMembers)
      refuse_json(fmt::format("an object in the JSON body has more than {} members", kMaxMembers));
    return true;
  }
  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception& error) override {
    refuse_bytes(byte, error);
  }

 private:
  bool count() {
    if (++values_ > kMaxValues) refuse_json(fmt::format("the JSON body has more than {} values", kMaxValues));
    return true;
  }
  bool open() {
    members_.push_back(0);
    check_depth(members_.size());
    return count();
  }
  bool close() {
    members_.pop_back();
    return true;
  }

  size_t values_ = 0;
  std::vector<size_t> members_;  // of the objects and arrays that are open
};

}  // namespace

ordered_json parse_json(std::string_view body) {
  Limits limits;
  ordered_json::sax_parse(body.begin(), body.end(), &limits);
  return ordered_json::parse(body.begin(), body.end());
}

void parse_json_entries(std::string_view body, const std::function<void(const json&)>& on_entry) {
  size_t values = 0;  // of the entry; see Limits for what they cost
  const auto on_event = [&](int depth, json::parse_event_t event, json& parsed) {
    check_depth(static_cast<size_t>(depth));
    values = depth <= 1 ? 0 : values + 1;
    if (values > kMaxEntryEvents) refuse_json("an entry of the JSON body has too many values");
    const bool complete = event == json::parse_event_t::object_end ||
                          event == json::parse_event_t::array_end || event == json::parse_event_t::value;
    if (depth != 1 || !complete) return true;
    on_entry(parsed);
    return false;  // not kept
  };
  try {
    const json rest = json::parse(body.begin(), body.end(), on_event);
  } catch (const json::parse_error& error) {
    refuse_bytes(error.byte, error);
  } catch (const json::exception& error) {
    refuse_bytes(0, error);
  }
}

JsonFields::JsonFields(const ordered_json& object, std::string path)
    : object_(object), path_(std::move(path)) {
  if (object.is_object()) return;
  if (path_.empty()) throw ApiError(400, "the body must be a JSON object", "invalid_type");
  throw ApiError(400, fmt::format("{} must be an object", path_), "invalid_type", path_);
}

const ordered_json* JsonFields::find(std::string_view name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::string> JsonFields::text(std::string_view name) const {
  const ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse_type(name, "a string");
  return value->get<std::string>();
}

std::optional<bool> JsonFields::boolean(std::string_view name) const {
  const ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse_type(name, "true or false");
  return value->get<bool>();
}

std::optional<int64_t> JsonFields::integer(std::string_view name, int64_t low, int64_t high) const {
  const ordered_json* value = find(name);
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
  const ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse_type(name, "a number");
  const double number = value->get<double>();
  if (!(number >= low && number <= high)) refuse(name, fmt::format("must be between {} and {}", low, high));
  return number;
}

std::vector<std::string> JsonFields::texts(std::string_view name, size_t most) const {
  const ordered_json* value = find(name);
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

std::string JsonFields::required_text(std::string_view name) const {
  auto value = text(name);
  if (!value || value->empty()) refuse(name, "is missing", 400, "missing_value");
  return std::move(*value);
}

std::string JsonFields::param(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void JsonFields::refuse(std::string_view name, const std::string& what, int status,
                        const std::string& code) const {
  throw ApiError(status, fmt::format("{} {}", param(name), what), code, param(name));
}

void JsonFields::refuse_unsupported(std::string_view name, std::string_view why) const {
  refuse(name, fmt::format("is not supported: {}", why), 400, "unsupported");
}

void JsonFields::refuse_type(std::string_view name, std::string_view wanted) const {
  refuse(name, fmt::format("must be {}", wanted), 400, "invalid_type");
}

}  // namespace fathom::server
