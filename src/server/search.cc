// GET /v1/search.
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>

#include "live/vectors/vectors.h"
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

/// A decimal number from 0 to `high`.
std::optional<double> decimal_param(const Request& request, const std::string& name, double high) {
  const auto text = text_param(request, name);
  if (!text) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size() || !(value >= 0 && value <= high))
    throw ApiError(400, fmt::format("{} must be a number from 0 to {}", name, high), "invalid_value", name);
  return value;
}

live::RankWeights weights_params(const Request& request) {
  constexpr double kMost = 1e6;
  live::RankWeights weights;
  weights.recency = decimal_param(request, "recency_weight", 1).value_or(weights.recency);
  weights.half_life_hours =
      decimal_param(request, "half_life_hours", kMost).value_or(weights.half_life_hours);
  weights.engagement = decimal_param(request, "engagement_weight", kMost).value_or(weights.engagement);
  weights.author = decimal_param(request, "author_weight", kMost).value_or(weights.author);
  return weights;
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
  query.after = number_param(request, "after", 0, UINT64_MAX);
  query.through = number_param(request, "through", 0, UINT64_MAX);
  query.expand = flag_param(request, "expand").value_or(false);
  query.exact_count = flag_param(request, "exact_count").value_or(false);
  query.weights = weights_params(request);
  return query;
}

/// "words", "meaning" or "both"; both where there is an embedding model.
std::string mode_param(const Request& request, const Services& services) {
  const std::string mode =
      text_param(request, "mode").value_or(services.vectors == nullptr ? "words" : "both");
  if (mode != "words" && mode != "meaning" && mode != "both")
    throw ApiError(400, "mode must be \"words\", \"meaning\" or \"both\"", "invalid_value", "mode");
  if (mode != "words" && services.vectors == nullptr)
    throw ApiError(
        404,
        "no embedding model is loaded: search with mode=words, or start the server with --embedding-model",
        "model_not_found", "mode");
  return mode;
}

live::SearchResult search(const std::string& mode, const live::Query& query, const Services& services,
                          const std::stop_token& stop) {
  if (mode == "words") return services.store.search(query);
  if (mode == "both") return live::search_hybrid(services.store, services.vectors, query, stop);
  return live::search_meaning(services.store, *services.vectors, query, stop);
}

json hit_json(const live::Hit& hit) {
  return {{"post", post_json(hit.post)},  {"sequence", hit.sequence},           {"score", hit.score},
          {"text_score", hit.text_score}, {"matched_terms", hit.matched_terms}, {"folded", hit.folded}};
}

}  // namespace

void add_search_routes(Router& router, const Context& context) {
  const auto handle = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
    const live::Query query = parse_query(request);
    const std::string mode = mode_param(request, context.services);
    const live::SearchResult result = search(mode, query, context.services, reply->stop());
    json hits = json::array();
    for (const auto& hit : result.hits) hits.push_back(hit_json(hit));
    json terms = json::array();
    for (const auto& [term, posts] : result.terms) terms.push_back({{"term", term}, {"posts", posts}});
    reply->send(json_response({{"query", query.text},
                               {"mode", mode},
                               {"as_of", format_time(result.as_of)},
                               {"matched", result.matched},
                               {"matched_exact", result.matched_exact},
                               {"terms", std::move(terms)},
                               {"expansion", result.expansion},
                               {"missing", result.missing},
                               {"hits", std::move(hits)}}));
  };
  router.add({.method = "GET", .pattern = "/v1/search", .name = "search", .handler = handle});
}

}  // namespace fathom::server
