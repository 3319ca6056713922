// Reading JSON that a client sent: parsing with its limits, and fields with errors that name them.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"

namespace fathom::server {

/// Parses `body` whole; objects keep the order of their members, which schemas and tools have a meaning for. Errors:
/// ApiError 400 "invalid_json" naming the byte; also for anything nested beyond 64 levels, objects of more than 4096
/// members and bodies of more than a million values.
nlohmann::ordered_json parse_json(std::string_view body);

/// Parses a JSON array and hands over its entries one by one, so that memory holds one of them. Errors: as parse_json.
/// REQUIRES: `body` begins with '['.
void parse_json_entries(std::string_view body, const std::function<void(const nlohmann::json&)>& on_entry);

/// The fields of one object; `path` ("search_parameters.sources[0]") leads the `param` of every error. A null field counts
/// as absent. Errors: ApiError 400 "invalid_type" for the wrong type, "invalid_value" outside the bounds.
class JsonFields {
 public:
  /// Error: ApiError 400 when `object` is not an object.
  JsonFields(const nlohmann::ordered_json& object, std::string path);

  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Null when absent. The pointee lives as long as the object.
  const nlohmann::ordered_json* find(std::string_view name) const;

  std::optional<std::string> text(std::string_view name) const;
  std::optional<bool> boolean(std::string_view name) const;
  std::optional<int64_t> integer(std::string_view name, int64_t low, int64_t high) const;
  std::optional<double> number(std::string_view name, double low, double high) const;
  /// At most `most` strings.
  std::vector<std::string> texts(std::string_view name, size_t most) const;

  std::string param(std::string_view name) const;
  /// The text of a field that must be there and not be empty.
  std::string required_text(std::string_view name) const;

  [[noreturn]] void refuse(std::string_view name, const std::string& what, int status = 400,
                           const std::string& code = "invalid_value") const;
  [[noreturn]] void refuse_unsupported(std::string_view name, std::string_view why) const;
  [[noreturn]] void refuse_type(std::string_view name, std::string_view wanted) const;

 private:
  const nlohmann::ordered_json& object_;
  std::string path_;
};

}  // namespace fathom::server
