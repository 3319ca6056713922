// What goes wrong, in OpenAI's shape: {"error":{"message","type","param","code"}} with the status that its clients expect.
#pragma once

#include <exception>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/error.h"
#include "server/http.h"

namespace fathom::server {

/// An error with its place on the wire. `param` and `code` may be empty (null there). `extra` are further members of
/// the error object, as JSON text, or empty.
struct ApiError : std::runtime_error {
  ApiError(int http_status, const std::string& message, std::string error_code = "",
           std::string error_param = "")
      : std::runtime_error(message),
        status(http_status),
        code(std::move(error_code)),
        param(std::move(error_param)) {}

  int status;
  std::string code;
  std::string param;
  Fields headers;     // e.g. Retry-After, Allow
  std::string extra;  // {"lines":[...]}
};

/// The `type` of a status: invalid_request_error, authentication_error, permission_error, rate_limit_error, server_error.
std::string_view error_type(int status);

/// {"error":{...}}
nlohmann::json error_json(const ApiError& error);
Response error_response(const ApiError& error);

/// Any exception as an ApiError. What says something about the machine (paths, system errors, defects) is logged with
/// `request_id` and replaced by a sentence that gives nothing away but that id.
ApiError to_api_error(const std::exception& error, std::string_view request_id);

}  // namespace fathom::server
