// GET /v1/trends, /v1/stories and /v1/stories/{id}: what is rising now.
#include "live/trends/trends.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/query_params.h"

namespace fathom::server {
namespace {

using nlohmann::json;

constexpr uint64_t kMostTrends = 100;
constexpr size_t kMostFilters = 50;
constexpr size_t kMostKeys = 20;

live::TrendFilter parse_filter(const Request& request) {
  live::TrendFilter filter;
  filter.sources = list_param(request, "source");
  filter.langs = list_param(request, "lang");
  for (const auto& [name, list] : {std::pair("source", &filter.sources), std::pair("lang", &filter.langs)})
    if (list->size() > kMostFilters)
      throw ApiError(400, fmt::format("{} has more than {} values", name, kMostFilters), "invalid_value",
                     name);
  filter.limit = static_cast<size_t>(number_param(request, "limit", 1, kMostTrends).value_or(filter.limit));
  return filter;
}

json counts_json(const std::vector<std::pair<std::string, uint64_t>>& counts, const char* name) {
  json out = json::array();
  for (const auto& [what, posts] : counts) out.push_back({{name, what}, {"posts", posts}});
  return out;
}

json trend_json(const live::Trend& trend) {
  return {{"text", trend.text},
          {"query", trend.query},
          {"score", trend.score},
          {"posts", trend.posts},
          {"authors", trend.authors},
          {"expected", trend.expected},
          {"first_seen", format_time(trend.first_seen)},
          {"volume", trend.volume}};
}

json story_json(const live::Story& story) {
  json terms = json::array();
  for (const live::Trend& term : story.terms) terms.push_back(trend_json(term));
  return {{"id", story.id},
          {"headline", story.headline},
          {"post", post_json(story.post)},
          {"terms", std::move(terms)},
          {"query", story.query},
          {"score", story.score},
          {"posts", story.posts},
          {"authors", story.authors},
          {"sources", counts_json(story.sources, "source")},
          {"languages", counts_json(story.languages, "lang")},
          {"keys", story.keys},
          {"volume", story.volume},
          {"began", format_time(story.began)},
          {"updated", format_time(story.updated)}};
}

json about_json(const Context& context, const live::TrendResult& about) {
  return {{"as_of", format_time(about.as_of)},
          {"bucket_seconds", std::chrono::seconds(about.bucket).count()},
          {"sampled", about.sampled},
          {"young", about.young},
          {"fiction", context.services.fiction_feed}};
}

Response trends_response(const Context& context, const Request& request) {
  live::TrendResult about;
  json list = json::array();
  for (const live::Trend& trend : context.services.trends->trends(parse_filter(request), &about))
    list.push_back(trend_json(trend));
  json out = about_json(context, about);
  out["trends"] = std::move(list);
  return json_response(out);
}

Response stories_response(const Context& context, const Request& request) {
  live::TrendResult about;
  json list = json::array();
  for (const live::Story& story : context.services.trends->stories(parse_filter(request), &about))
    list.push_back(story_json(story));
  json out = about_json(context, about);
  out["stories"] = std::move(list);
  return json_response(out);
}

/// One story with its leading posts whole.
Response story_response(const Context& context, const Request& request) {
  const std::string& id = *find_field(request.captures, "id");
  const auto story = context.services.trends->story(id);
  if (!story)
    throw ApiError(404,
                   fmt::format("there is no story \"{}\"; a story is kept for a day after its last post",
                               sanitize_utf8(id.substr(0, 64))),
                   "story_not_found", "id");
  json out = story_json(*story);
  json posts = json::array();
  for (size_t i = 0; i < std::min(kMostKeys, story->keys.size()); ++i)
    if (const auto post = context.services.store.find(story->keys[i])) posts.push_back(post_json(*post));
  out["leading_posts"] = std::move(posts);
  return json_response(out);
}

using Answer = Response (*)(const Context&, const Request&);

Handler answer_with(const Context& context, Answer answer) {
  return [&context, answer](const Request& request, const std::shared_ptr<Reply>& reply) {
    if (context.services.trends == nullptr)
      throw ApiError(404, "this server does not follow trends", "no_trends");
    reply->send(answer(context, request));
  };
}

}  // namespace

void add_trend_routes(Router& router, const Context& context) {
  router.add({.method = "GET",
              .pattern = "/v1/trends",
              .name = "trends",
              .handler = answer_with(context, trends_response)});
  router.add({.method = "GET",
              .pattern = "/v1/stories",
              .name = "stories",
              .handler = answer_with(context, stories_response)});
  router.add({.method = "GET",
              .pattern = "/v1/stories/{id}",
              .name = "story",
              .handler = answer_with(context, story_response)});
}

}  // namespace fathom::server
