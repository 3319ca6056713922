#include "server/api_error.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <typeinfo>

#include "base/log.h"

namespace fathom::server {
namespace {

nlohmann::json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

ApiError hidden(int status, const std::exception& error, std::string_view request_id) {
  log().error("request {}: {} ({})", request_id, error.what(), typeid(error).name());
  return ApiError(
      status,
      fmt::format("the server could not complete this request; its log has the reason under {}", request_id),
      "internal_error");
}

}  // namespace

std::string_view error_type(int status) {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

nlohmann::json error_json(const ApiError& error) {
  nlohmann::json body = {{"message", error.what()},
                         {"type", error_type(error.status)},
                         {"param", text_or_null(error.param)},
                         {"code", text_or_null(error.code)}};
  if (!error.extra.empty()) body.update(nlohmann::json::parse(error.extra));
  return {{"error", std::move(body)}};
}

Response error_response(const ApiError& error) {
  Response response = json_response(error_json(error), error.status);
  response.headers = error.headers;
  return response;
}

ApiError to_api_error(const std::exception& error, std::string_view request_id) {
  if (const auto* api = dynamic_cast<const ApiError*>(&error)) return *api;
  const auto* known = dynamic_cast<const Error*>(&error);
  if (known == nullptr) return hidden(500, error, request_id);
  switch (known->code()) {
    case ErrorCode::kInvalidArgument: return ApiError(400, known->what(), "invalid_value");
    case ErrorCode::kUnsupported: return ApiError(400, known->what(), "unsupported");
    case ErrorCode::kNotFound: return ApiError(404, known->what(), "not_found");
    case ErrorCode::kUnauthenticated: return ApiError(401, known->what(), "invalid_api_key");
    case ErrorCode::kPermissionDenied: return ApiError(403, known->what(), "permission_denied");
    case ErrorCode::kDeadlineExceeded: return ApiError(504, known->what(), "deadline_exceeded");
    case ErrorCode::kCancelled: return ApiError(503, "the request was cancelled", "cancelled");
    case ErrorCode::kResourceExhausted: return hidden(503, error, request_id);
    case ErrorCode::kCorrupt:
    case ErrorCode::kIo:
    case ErrorCode::kNetwork:
    case ErrorCode::kInternal: break;
  }
  return hidden(500, error, request_id);
}

}  // namespace fathom::server
