// POST /v1/posts (NDJSON or JSON in, acknowledged once durable), GET /v1/posts/{key}.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/json_body.h"
#include "server/posts_body.h"
#include "server/query_params.h"

namespace fathom::server {
namespace {

using nlohmann::json;

void handle_post(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  auto posts = parse_posts(request.body, is_json(request), context.services.clock.now());
  live::Store& store = context.services.store;
  live::IngestResult result;
  try {
    result = store.ingest(std::move(posts));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted) throw;
    throw ApiError(507, "the posts were not stored: the server's disk is full", "disk_full");
  }
  context.metrics.ingest(result);
  reply->send(json_response({{"added", result.added},
                             {"replaced", result.replaced},
                             {"duplicates", result.duplicates},
                             {"deleted", result.deleted},
                             {"last_sequence", store.stats().last_sequence}}));
}

void handle_get(const Context& context, const Request& request, const std::shared_ptr<Reply>& reply) {
  const std::string& key = *find_field(request.captures, "key");
  // A replica asks another for what that one has itself, so that two never ask each other in a circle.
  const bool own = flag_param(request, "own").value_or(false) && context.services.own_share != nullptr;
  const live::Store& store = own ? *context.services.own_share : context.services.store;
  const auto post = store.find(key);
  if (!post)
    throw ApiError(404,
                   fmt::format("there is no post \"{}\"; keys have the form source:id", key.substr(0, 200)),
                   "post_not_found", "key");
  reply->send(json_response(post_json(*post)));
}

}  // namespace

json post_json(const live::Post& post) {
  json out = live::to_json(post);
  out["key"] = post.key();
  return out;
}

void add_post_routes(Router& router, const Context& context) {
  router.add({.method = "POST",
              .pattern = "/v1/posts",
              .name = "posts_write",
              .role = Role::kPoster,
              .max_body = context.options.limits.posts_body_bytes,
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                handle_post(context, request, reply);
              }});
  router.add({.method = "GET",
              .pattern = "/v1/posts/{key}",
              .name = "posts_read",
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                handle_get(context, request, reply);
              }});
}

}  // namespace fathom::server
