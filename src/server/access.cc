#include "server/access.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "server/listener.h"

namespace fathom::server {
namespace {

/// "localhost:8080" -> "localhost", "[::1]:8080" -> "[::1]", in lower case; a trailing dot goes.
std::string host_name(std::string_view authority) {
  const size_t close = authority.rfind(']');
  const size_t colon = authority.rfind(':');
  if (colon != std::string_view::npos && (close == std::string_view::npos || colon > close))
    authority = authority.substr(0, colon);
  if (!authority.empty() && authority.back() == '.') authority.remove_suffix(1);
  return to_lower_ascii(authority);
}

ApiError unauthorised(const std::string& message) {
  ApiError error(401, message, "invalid_api_key");
  error.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"fathom\"");
  return error;
}

bool changes_state(std::string_view method) {
  return method != "GET" && method != "HEAD" && method != "OPTIONS";
}

}  // namespace

Access::Access(const ServerOptions& options) : keys_(options.api_keys, options.key_file) {
  for (const auto& key : options.api_keys)
    if (trim(key).empty())
      throw Error(ErrorCode::kInvalidArgument, "an API key is empty; give it at least one character");
  if (!is_loopback(options.address)) {
    if (keys_.empty())
      throw Error(ErrorCode::kInvalidArgument, "address " + options.address +
                                                   " can be reached by other machines: make an API key with "
                                                   "'fathom keys add', or listen on 127.0.0.1");
    return;  // whoever has the key may use any name for this machine
  }
  hosts_ = {"localhost", "127.0.0.1", "[::1]", to_lower_ascii(options.address)};
  if (options.address.find(':') != std::string::npos)
    hosts_.push_back("[" + to_lower_ascii(options.address) + "]");
  for (const auto& host : options.allowed_hosts) hosts_.push_back(host_name(host));
}

std::optional<ApiError> Access::refusal(const Request& request) const {
  if (auto error = host_refusal(request)) return error;
  return origin_refusal(request);
}

/// A page of another site whose name was made to point here (DNS rebinding) still sends its own name.
std::optional<ApiError> Access::host_refusal(const Request& request) const {
  const auto* host = request.header("host");
  const auto is_host = [](const auto& field) { return field.first == "host"; };
  if (std::count_if(request.headers.begin(), request.headers.end(), is_host) > 1)
    return ApiError(400, "the request has more than one Host header", "bad_request");
  if (host == nullptr || hosts_.empty()) return std::nullopt;
  if (std::find(hosts_.begin(), hosts_.end(), host_name(*host)) != hosts_.end()) return std::nullopt;
  return ApiError(
      403,
      "this server is not reached under the name in the Host header; use its address as printed at start",
      "host_not_allowed");
}

/// Browsers name the page's site on every request that changes something; no other site's page may make one.
std::optional<ApiError> Access::origin_refusal(const Request& request) const {
  const auto* origin = request.header("origin");
  if (origin == nullptr || !changes_state(request.method)) return std::nullopt;
  const auto* host = request.header("host");
  if (host != nullptr &&
      (equals_ignore_case(*origin, "http://" + *host) || equals_ignore_case(*origin, "https://" + *host)))
    return std::nullopt;
  return ApiError(403, "requests from pages of other sites are not taken", "origin_not_allowed");
}

Access::Caller Access::identify(const Request& request, Role role) {
  Caller caller;
  if (keys_.empty()) return caller;
  const auto* header = request.header("authorization");
  constexpr size_t kScheme = 7;  // "Bearer "
  if (header == nullptr) {
    caller.refusal = unauthorised("an API key is needed: send the header \"Authorization: Bearer KEY\"");
  } else if (!equals_ignore_case(std::string_view(*header).substr(0, kScheme), "bearer ")) {
    caller.refusal = unauthorised("the Authorization header must have the form \"Bearer KEY\"");
  } else {
    caller.holder = keys_.find(trim(std::string_view(*header).substr(kScheme)));
    if (!caller.holder) caller.refusal = unauthorised("the API key is not one of this server's");
  }
  if (caller.refusal) return caller;
  const ApiKey& key = caller.holder->key;
  if (caller.holder->limit) caller.rate = caller.holder->limit->take(std::chrono::steady_clock::now());
  if (!caller.rate.allowed) {
    ApiError error(429, fmt::format("the key's {} requests a minute are used up", caller.rate.limit),
                   "rate_limit_exceeded");
    const int64_t seconds = (caller.rate.wait.count() + 999) / 1000;
    error.headers.emplace_back("Retry-After", std::to_string(seconds));
    caller.refusal = error;
  } else if (key.role < role) {
    caller.refusal = ApiError(403,
                              fmt::format("the key '{}' has the role {}; this needs {}", key.name,
                                          to_string(key.role), to_string(role)),
                              "permission_denied");
  }
  return caller;
}

}  // namespace fathom::server
