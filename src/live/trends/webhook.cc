#include "live/trends/webhook.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/error.h"
#include "base/public_address.h"
#include "base/text.h"
#include "base/url.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr auto kAnswerWithin = std::chrono::milliseconds(15'000);
constexpr size_t kMaxSecret = 256, kMaxAddress = 2048;

[[noreturn]] void refuse(const std::string& sentence) { throw Error(ErrorCode::kInvalidArgument, sentence); }

/// The same for the same posts, so that a receiver can tell a repeat.
std::string delivery_id(const std::string& query_id, uint64_t place) {
  Digest digest(DigestKind::kSha256);
  digest.update(fmt::format("{}/{}", query_id, place));
  return digest.finish().substr(0, 32);
}

std::string delivery_body(const StandingQuery& query, const StandingMatch& match, const std::string& id) {
  json posts = json::array();
  for (const Hit& hit : match.hits) {
    json post = to_json(hit.post);
    post["key"] = hit.post.key();
    post["sequence"] = hit.sequence;
    posts.push_back(std::move(post));
  }
  const json body = {{"id", id},
                     {"query", {{"id", query.id}, {"name", query.name}, {"q", query.query.text}}},
                     {"sequence", match.sequence},
                     {"posts", std::move(posts)}};
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

void check_webhook(const StandingQuery& query, bool allow_private) {
  if (query.webhook.empty()) {
    if (!query.webhook_secret.empty()) refuse("a secret signs what goes to a webhook: give a webhook too");
    return;
  }
  if (query.webhook.size() > kMaxAddress) refuse("the webhook's address is longer than 2048 bytes");
  if (query.webhook_secret.size() > kMaxSecret) refuse("the webhook's secret is longer than 256 bytes");
  Url url;
  try {
    url = parse_url(query.webhook);
  } catch (const Error&) {
    refuse("the webhook must be an address that begins with http:// or https://");
  }
  const bool literal = url.host.find(':') != std::string::npos ||
                       url.host.find_first_not_of("0123456789.") == std::string::npos;
  if (!allow_private &&
      (equals_ignore_case(url.host, "localhost") || (literal && !is_public_address(url.host))))
    refuse("the webhook leads to this machine or a private network, which this server does not allow");
}

std::string deliver(Transport& transport, const StandingQuery& query, uint64_t place,
                    const StandingMatch& match, bool allow_private, const std::stop_token& stop) {
  const std::string id = delivery_id(query.id, place);
  HttpRequest request;
  request.method = "POST";
  request.url = query.webhook;
  request.body = delivery_body(query, match, id);
  request.headers = {
      {"Content-Type", "application/json"}, {"X-Fathom-Delivery", id}, {"X-Fathom-Query", query.id}};
  if (!query.webhook_secret.empty())
    request.headers["X-Fathom-Signature"] = "sha256=" + hmac_sha256(query.webhook_secret, request.body);
  request.timeout = kAnswerWithin;
  request.max_bytes = size_t{64} << 10;
  request.follow_redirects = false;
  request.public_only = !allow_private;
  const int status = transport.fetch(request, stop).status;
  if (status >= 200 && status < 300) return {};
  return fmt::format("the webhook answered with status {}", status);
}

}  // namespace fathom::live
