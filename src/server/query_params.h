// Reading the query of a URL, with errors that name the parameter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server/http.h"

namespace fathom::server {

/// Errors: ApiError 400 "invalid_value". An empty value counts as absent.
std::optional<std::string> text_param(const Request& request, std::string_view name);
std::optional<uint64_t> number_param(const Request& request, std::string_view name, uint64_t low,
                                     uint64_t high);
/// RFC 3339 or a date.
std::optional<Time> time_param(const Request& request, std::string_view name);
/// "1", "true" and the bare name are true; "0" and "false" are not.
std::optional<bool> flag_param(const Request& request, std::string_view name);
/// All values of all occurrences, split at commas.
std::vector<std::string> list_param(const Request& request, std::string_view name);

/// Digits alone, no sign, no overflow.
std::optional<uint64_t> parse_number(std::string_view text);

}  // namespace fathom::server
