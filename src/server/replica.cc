// POST /v1/search: a whole query as JSON, answered from this replica's share alone. For other replicas.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "live/query_json.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/json_body.h"

namespace fathom::server {
namespace {

constexpr size_t kMostHits = 2000;
constexpr size_t kMostBytes = 256 * 1024;

}  // namespace

void add_replica_routes(Router& router, const Context& context) {
  const auto handle = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
    const Services& services = context.services;
    const live::Store& own = services.own_share != nullptr ? *services.own_share : services.store;
    live::Query query;
    try {
      query = live::query_from_json(nlohmann::json(parse_json(request.body)));
    } catch (const Error& error) {
      throw ApiError(400, error.what(), "invalid_value");
    }
    query.limit = std::min(query.limit, kMostHits);
    reply->send(json_response(live::result_to_json(own.search(query))));
  };
  router.add({.method = "POST",
              .pattern = "/v1/search",
              .name = "replica_search",
              .max_body = kMostBytes,
              .json_body = true,
              .handler = handle});
}

}  // namespace fathom::server
