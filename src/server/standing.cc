// /v1/standing: searches that stay. POST makes one, GET lists or follows, DELETE removes.
#include "live/trends/standing.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/json_body.h"
#include "server/query_params.h"
#include "server/standing_feed.h"

namespace fathom::server {
namespace {

using nlohmann::json;

constexpr size_t kMaxBody = 64 * 1024;
constexpr size_t kMaxQueryBytes = 4096;
constexpr size_t kMostNames = 100;

live::StandingQueries& standing_of(const Context& context) {
  if (context.services.standing == nullptr)
    throw ApiError(404, "this server keeps no standing queries", "no_standing_queries");
  return *context.services.standing;
}

[[noreturn]] void throw_no_query(const std::string& id) {
  throw ApiError(404, fmt::format("there is no standing query \"{}\"", sanitize_utf8(id.substr(0, 64))),
                 "standing_query_not_found", "id");
}

std::optional<Time> time_field(const JsonFields& fields, std::string_view name) {
  const auto text = fields.text(name);
  if (!text) return std::nullopt;
  const auto time = parse_time(*text);
  if (!time) fields.refuse(name, "must be a time such as 2026-11-23T06:35:00Z, or a date");
  return time;
}

live::StandingQuery parse_standing(const Request& request) {
  const auto body = parse_json(request.body);
  const JsonFields fields(body, "");
  live::StandingQuery out;
  out.query.text = fields.required_text("q");
  if (out.query.text.size() > kMaxQueryBytes) fields.refuse("q", "is longer than 4096 bytes");
  out.name = fields.text("name").value_or("");
  out.query.require_all = fields.boolean("all").value_or(false);
  out.query.authors = fields.texts("from", kMostNames);
  out.query.sources = fields.texts("source", kMostNames);
  out.query.langs = fields.texts("lang", kMostNames);
  out.query.since = time_field(fields, "since");
  out.query.until = time_field(fields, "until");
  out.query.min_likes = fields.integer("min_likes", 0, INT64_MAX);
  out.query.min_views = fields.integer("min_views", 0, INT64_MAX);
  out.webhook = fields.text("webhook").value_or("");
  out.webhook_secret = fields.text("secret").value_or("");
  return out;
}

/// As it is shown: the secret never is.
json standing_json(const live::StandingQuery& standing) {
  const live::Query& query = standing.query;
  json out = {{"id", standing.id},
              {"name", standing.name},
              {"q", query.text},
              {"created", format_time(standing.created)},
              {"matched", standing.matched},
              {"webhook", nullptr},
              {"events", "/v1/standing/" + standing.id + "/events"}};
  if (query.require_all) out["all"] = true;
  if (!query.authors.empty()) out["from"] = query.authors;
  if (!query.sources.empty()) out["source"] = query.sources;
  if (!query.langs.empty()) out["lang"] = query.langs;
  if (query.since) out["since"] = format_time(*query.since);
  if (query.until) out["until"] = format_time(*query.until);
  if (query.min_likes) out["min_likes"] = *query.min_likes;
  if (query.min_views) out["min_views"] = *query.min_views;
  if (standing.webhook.empty()) return out;
  out["webhook"] = standing.webhook;
  out["signed"] = !standing.webhook_secret.empty();
  out["delivered"] = standing.delivered;
  out["failed"] = standing.failed;
  out["last_error"] = standing.last_error.empty() ? json(nullptr) : json(standing.last_error);
  return out;
}

Response add_one(const Context& context, const Request& request) {
  try {
    return json_response(standing_json(standing_of(context).add(parse_standing(request))), 201);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted) throw;
    throw ApiError(429, error.what(), "too_many_standing_queries");
  }
}

Response list_all(const Context& context, const Request&) {
  json list = json::array();
  for (const auto& standing : standing_of(context).list()) list.push_back(standing_json(standing));
  return json_response({{"standing", std::move(list)}});
}

Response show_one(const Context& context, const Request& request) {
  const std::string& id = *find_field(request.captures, "id");
  const auto standing = standing_of(context).find(id);
  if (!standing) throw_no_query(id);
  return json_response(standing_json(*standing));
}

Response remove_one(const Context& context, const Request& request) {
  const std::string& id = *find_field(request.captures, "id");
  if (!standing_of(context).remove(id)) throw_no_query(id);
  return json_response({{"id", id}, {"removed", true}});
}

/// After the last event that the client has seen, or as `after` says, or with what comes next.
uint64_t first_sequence(const Context& context, const Request& request) {
  const uint64_t last = standing_of(context).sequence();
  if (const auto* id = request.header("last-event-id"); id != nullptr && !id->empty()) {
    const auto seen = parse_number(*id);
    if (!seen)
      throw ApiError(400, "Last-Event-ID must be the id of an event of this stream", "invalid_value");
    return std::min(*seen, last);
  }
  return std::min(number_param(request, "after", 0, UINT64_MAX).value_or(last), last);
}

void follow(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  const std::string& id = *find_field(request.captures, "id");
  if (!standing_of(context).find(id)) throw_no_query(id);
  if (context.standing.add(reply, id, first_sequence(context, request))) return;
  ApiError error(429, "too many clients follow standing queries; try again later", "too_many_feed_clients");
  error.headers.emplace_back("Retry-After", "5");
  throw error;
}

using Answer = Response (*)(const Context&, const Request&);

Handler answer_with(const Context& context, Answer answer) {
  return [&context, answer](const Request& request, const std::shared_ptr<Reply>& reply) {
    reply->send(answer(context, request));
  };
}

}  // namespace

void add_standing_routes(Router& router, const Context& context) {
  const std::string all = "/v1/standing", one = "/v1/standing/{id}";
  router.add({.method = "POST",
              .pattern = all,
              .name = "standing_add",
              .role = Role::kPoster,
              .max_body = kMaxBody,
              .json_body = true,
              .handler = answer_with(context, add_one)});
  router.add(
      {.method = "GET", .pattern = all, .name = "standing_list", .handler = answer_with(context, list_all)});
  router.add({.method = "GET",
              .pattern = "/v1/standing/{id}/events",
              .name = "standing_events",
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                follow(context, request, reply);
              }});
  router.add(
      {.method = "GET", .pattern = one, .name = "standing_read", .handler = answer_with(context, show_one)});
  router.add({.method = "DELETE",
              .pattern = one,
              .name = "standing_remove",
              .role = Role::kPoster,
              .handler = answer_with(context, remove_one)});
}

}  // namespace fathom::server
