#include "server/query_params.h"

#include <fmt/format.h>

#include <charconv>

#include "base/text.h"
#include "server/api_error.h"

namespace fathom::server {
namespace {

[[noreturn]] void refuse(std::string_view name, const std::string& what) {
  throw ApiError(400, fmt::format("{} {}", name, what), "invalid_value", std::string(name));
}

}  // namespace

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

std::optional<std::string> text_param(const Request& request, std::string_view name) {
  const auto* value = request.param(name);
  if (value == nullptr || value->empty()) return std::nullopt;
  return sanitize_utf8(*value);
}

std::optional<uint64_t> number_param(const Request& request, std::string_view name, uint64_t low,
                                     uint64_t high) {
  const auto text = text_param(request, name);
  if (!text) return std::nullopt;
  const auto number = parse_number(*text);
  if (!number || *number < low || *number > high)
    refuse(name, high == UINT64_MAX ? fmt::format("must be a whole number of at least {}", low)
                                    : fmt::format("must be a whole number between {} and {}", low, high));
  return number;
}

std::optional<Time> time_param(const Request& request, std::string_view name) {
  const auto text = text_param(request, name);
  if (!text) return std::nullopt;
  const auto time = parse_time(*text);
  if (!time) refuse(name, "must be a time such as 2026-11-23T06:35:00Z, or a date");
  return time;
}

std::optional<bool> flag_param(const Request& request, std::string_view name) {
  const auto* value = request.param(name);
  if (value == nullptr) return std::nullopt;
  if (value->empty() || *value == "1" || *value == "true") return true;
  if (*value == "0" || *value == "false") return false;
  refuse(name, "must be true or false");
}

std::vector<std::string> list_param(const Request& request, std::string_view name) {
  std::vector<std::string> out;
  for (const auto& [key, value] : request.query) {
    if (key != name) continue;
    for (const auto piece : split(value, ',')) {
      if (!trim(piece).empty()) out.emplace_back(trim(piece));
    }
  }
  return out;
}

}  // namespace fathom::server
