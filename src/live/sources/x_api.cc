#include "live/sources/x_api.h"

#include <fmt/format.h>

#include "base/error.h"
#include "live/sources/x_json.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxAnswerBytes = size_t{16} << 20;

std::string_view header(const HttpResponse& response, const char* name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? std::string_view() : found->second;
}

std::string_view hint_of(int status) {
  switch (status) {
    case 401: return "check its bearer token";
    case 402: return "the account's credits are used up";
    case 403: return "the account's plan does not include this";
    case 400: return "check its rules or its query";
    default: return "check its options";
  }
}

ErrorCode code_of(int status) {
  switch (status) {
    case 401: return ErrorCode::kUnauthenticated;
    case 402:
    case 403: return ErrorCode::kPermissionDenied;
    case 404: return ErrorCode::kNotFound;
    default: return ErrorCode::kInvalidArgument;
  }
}

}  // namespace

HttpRequest XApi::request(std::string_view target) const {
  HttpRequest request;
  request.url = options_.api_url + std::string(target);
  request.headers["Authorization"] = "Bearer " + options_.bearer_token;
  request.timeout = options_.timeout;
  request.max_bytes = kMaxAnswerBytes;
  return request;
}

HttpResponse XApi::fetch(const HttpRequest& request, const std::stop_token& stop) {
  try {
    return transport_.fetch(request, stop);
  } catch (const Error&) {
    rethrow(false);
  }
}

HttpResponse XApi::get(std::string_view target, const std::stop_token& stop) {
  HttpResponse response = fetch(request(target), stop);
  check(response);
  return response;
}

HttpResponse XApi::post(std::string_view target, std::string body, const std::stop_token& stop) {
  HttpRequest order = request(target);
  order.method = "POST";
  order.headers["Content-Type"] = "application/json";
  order.body = std::move(body);
  HttpResponse response = fetch(order, stop);
  check(response);
  return response;
}

void XApi::check(const HttpResponse& response) {
  const int status = response.status;
  if (status >= 200 && status < 300) return;
  const std::string said = x_problem_sentence(response.body);
  const std::string what =
      fmt::format("X answered with status {}{}{}", status, said.empty() ? "" : ": ", said);
  if (status == 429)
    throw RetryAfter(ErrorCode::kResourceExhausted, what,
                     backoff_.after_rate_limit(now(), reset_time(response)));
  const bool final = status >= 400 && status < 500 && status != 408 && status != 420;
  if (!final) throw RetryAfter(ErrorCode::kNetwork, what, backoff_.after_refusal());
  throw Error(code_of(status), fmt::format("{}; {}", what, hint_of(status)));
}

std::optional<Time> XApi::reset_time(const HttpResponse& response) const {
  const uint64_t seconds = parse_x_id(header(response, "x-rate-limit-reset"));
  if (seconds == 0 || seconds > 253402300799) return {};  // the year 9999
  return Time(std::chrono::seconds(seconds));
}

std::optional<Time> XApi::exhausted_until(const HttpResponse& response) const {
  if (header(response, "x-rate-limit-remaining") != "0") return {};
  const auto reset = reset_time(response);
  return reset && *reset <= now() + std::chrono::hours(1) ? reset : std::nullopt;
}

std::string XApi::fields() const {
  constexpr std::string_view kCommon =
      "author_id,conversation_id,created_at,entities,in_reply_to_user_id,lang,possibly_sensitive,public_"
      "metrics";
  const std::string_view word = new_spelling_ ? "post" : "tweet";
  return fmt::format(
      "{0}.fields={1},edit_history_{0}_ids,note_{0},referenced_{0}s"
      "&expansions=author_id,referenced_{0}s.id,referenced_{0}s.id.author_id"
      "&user.fields=name,public_metrics,username,verified",
      word, kCommon);
}

bool XApi::try_other_spelling(const HttpResponse& response) {
  if (response.status >= 200 && response.status < 300) spelling_known_ = true;
  if (response.status != 400 || spelling_known_) return false;
  spelling_known_ = true;  // asked once
  new_spelling_ = !new_spelling_;
  return true;
}

void XApi::rethrow(bool healthy) {
  try {
    throw;
  } catch (const RetryAfter&) {
    throw;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNetwork && error.code() != ErrorCode::kDeadlineExceeded) throw;
    const auto wait = healthy ? std::chrono::milliseconds(0) : backoff_.after_network_failure();
    throw RetryAfter(error.code(), error.what(), wait);
  }
}

}  // namespace fathom::live
