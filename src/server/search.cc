// GET /v1/search.
#include <nlohmann/json.hpp>

#include "server/api_error.h"
#include "server/context.h"
#include "server/query_params.h"

namespace fathom::server {
namespace {

using nlohmann::json;

constexpr size_t kMaxQueryBytes = 4096;
constexpr uint64_t kMaxHits = 200;

live::Query::Order order_param(const Request& request) {
  const std::string order = text_param(request, "order").value_or("relevance");
  if (order == "relevance") return live::Query::Order::kRelevance;
  if (order == "newest") return live::Query::Order::kNewest;
  throw ApiError(400, "order must be \"relevance\" or \"newest\"", "invalid_value", "order");
}

std::optional<int64_t> count_param(const Request& request, std::string_view name) {
  const auto value = number_param(request, name, 0, INT64_MAX);
  return value ? std::optional<int64_t>(static_cast<int64_t>(*value)) : std::nullopt;
}

live::Query parse_query(const Request& request) {
  live::Query query;
  const auto text = text_param(request, "q");
  if (!text) throw ApiError(400, "q is missing: the words to search for", "missing_value", "q");
  if (text->size() > kMaxQueryBytes) throw ApiError(400, "q is longer than 4096 bytes", "invalid_value", "q");
  query.text = *text;
  query.order = order_param(request);
  query.limit = static_cast<size_t>(number_param(request, "limit", 1, kMaxHits).value_or(query.limit));
  query.require_all = flag_param(request, "all").value_or(false);
  query.fold = flag_param(request, "fold").value_or(true);
  query.since = time_param(request, "since");
  query.until = time_param(request, "until");
  query.authors = list_param(request, "from");
  query.sources = list_param(request, "source");
  query.langs = list_param(request, "lang");
  query.min_likes = count_param(request, "min_likes");
  query.min_views = count_param(request, "min_views");
  return query;
}

json hit_json(const live::Hit& hit) {
  return {{"post", post_json(hit.post)},  {"sequence", hit.sequence},           {"score", hit.score},
          {"text_score", hit.text_score}, {"matched_terms", hit.matched_terms}, {"folded", hit.folded}};
}

}  // namespace

void add_search_routes(Router& router, const Context& context) {
  const auto handle = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
    const live::Query query = parse_query(request);
    const live::SearchResult result = context.services.store.search(query);
    json hits = json::array();
    for (const auto& hit : result.hits) hits.push_back(hit_json(hit));
    json terms = json::array();
    for (const auto& [term, posts] : result.terms) terms.push_back({{"term", term}, {"posts", posts}});
    reply->send(json_response({{"query", query.text},
                               {"as_of", format_time(result.as_of)},
                               {"matched", result.matched},
                               {"matched_exact", result.matched_exact},
                               {"terms", std::move(terms)},
                               {"hits", std::move(hits)}}));
  };
  router.add({.method = "GET", .pattern = "/v1/search", .name = "search", .handler = handle});
}

}  // namespace fathom::server
