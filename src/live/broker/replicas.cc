#include "live/broker/replicas.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"
#include "live/duplicates.h"
#include "live/query_json.h"

namespace fathom::live {
namespace {

constexpr int kOk = 200, kNotFound = 404;

bool better(const Query& query, const Hit& a, const Hit& b) {
  if (query.order == Query::Order::kNewest && a.post.created_at != b.post.created_at)
    return a.post.created_at > b.post.created_at;
  if (query.order == Query::Order::kRelevance && a.score != b.score) return a.score > b.score;
  return a.post.key() < b.post.key();  // numbers of different replicas say nothing
}

/// The same post at two replicas (while shares change), or the same statement in two shares.
bool same_statement(const Hit& a, const Hit& b, bool fold) {
  if (a.post.key() == b.post.key()) return true;
  if (!fold) return false;
  const Post &x = a.post, &y = b.post;
  if (x.source == y.source && !(x.repost_of.empty() && y.repost_of.empty()) &&
      (x.repost_of == y.id || y.repost_of == x.id || x.repost_of == y.repost_of))
    return true;
  return Statement(x.text).same_as(Statement(y.text));
}

void add_folded(Hit& kept, Hit hit) {
  if (hit.post.key() != kept.post.key()) kept.folded.push_back(hit.post.key());
  for (auto& key : hit.folded)
    if (std::find(kept.folded.begin(), kept.folded.end(), key) == kept.folded.end())
      kept.folded.push_back(std::move(key));
}

}  // namespace

SearchResult merge_results(const Query& query, std::vector<std::optional<SearchResult>> results,
                           const std::vector<std::string>& urls) {
  SearchResult merged;
  std::vector<Hit> hits;
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) {
      merged.missing.push_back(urls[i]);
      continue;
    }
    SearchResult& result = *results[i];
    merged.matched += result.matched;
    merged.matched_exact = merged.matched_exact && result.matched_exact;
    merged.query_terms = std::max(merged.query_terms, result.query_terms);
    merged.as_of = std::max(merged.as_of, result.as_of);
    for (auto& term : result.expansion)
      if (std::find(merged.expansion.begin(), merged.expansion.end(), term) == merged.expansion.end())
        merged.expansion.push_back(std::move(term));
    for (auto& [term, posts] : result.terms) {
      const auto at = std::find_if(merged.terms.begin(), merged.terms.end(),
                                   [&name = term](const auto& known) { return known.first == name; });
      if (at == merged.terms.end())
        merged.terms.emplace_back(std::move(term), posts);
      else
        at->second += posts;
    }
    std::move(result.hits.begin(), result.hits.end(), std::back_inserter(hits));
  }
  if (!merged.missing.empty()) merged.matched_exact = false;
  std::sort(hits.begin(), hits.end(), [&](const Hit& a, const Hit& b) { return better(query, a, b); });
  for (Hit& hit : hits) {
    const auto same = std::find_if(merged.hits.begin(), merged.hits.end(),
                                   [&](const Hit& kept) { return same_statement(kept, hit, query.fold); });
    if (same != merged.hits.end())
      add_folded(*same, std::move(hit));
    else if (merged.hits.size() < query.limit)
      merged.hits.push_back(std::move(hit));
  }
  return merged;
}

Replicas::Replicas(Store& own, Transport& transport, const ReplicaOptions& options)
    : ForwardingStore(own), transport_(transport), options_(options) {
  for (const auto& url : options_.urls) parse_url(url);
}

SearchResult Replicas::ask(const std::string& url, const Query& query) const {
  HttpRequest request;
  request.method = "POST";
  request.url = url + "/v1/search";
  request.headers["Content-Type"] = "application/json";
  if (!options_.api_key.empty()) request.headers["Authorization"] = "Bearer " + options_.api_key;
  request.body = query_to_json(query).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  request.timeout = options_.patience;
  const HttpResponse response = transport_.fetch(request, {});
  const auto answer = nlohmann::json::parse(response.body, nullptr, false);
  if (response.status != kOk)
    throw Error(ErrorCode::kNetwork, fmt::format("{} answered {}", request.url, response.status));
  return result_from_json(answer);
}

SearchResult Replicas::search(const Query& query) const {
  std::vector<std::optional<SearchResult>> results(1 + options_.urls.size());
  std::vector<std::string> names = {"this replica"};
  names.insert(names.end(), options_.urls.begin(), options_.urls.end());
  {
    std::vector<std::jthread>
        asking;  // a search, not a step: the network takes far longer than a thread's start
    for (size_t i = 0; i < options_.urls.size(); ++i)
      asking.emplace_back([this, &query, &results, i] {
        try {
          results[i + 1] = ask(options_.urls[i], query);
        } catch (const std::exception& error) {
          log().warn("a replica did not answer: {}", error.what());
        }
      });
    results[0] = inner_.search(query);  // a query that cannot be read throws here
  }
  SearchResult merged = merge_results(query, std::move(results), names);
  const int64_t told = merged.as_of.time_since_epoch().count();
  for (int64_t known = newest_told_; told > known && !newest_told_.compare_exchange_weak(known, told);) {
  }
  return merged;
}

std::optional<Post> Replicas::find(std::string_view key) const {
  if (auto post = inner_.find(key)) return post;
  for (const auto& url : options_.urls) {
    HttpRequest request;
    request.url = fmt::format("{}/v1/posts/{}?own=true", url, percent_encode(key));
    if (!options_.api_key.empty()) request.headers["Authorization"] = "Bearer " + options_.api_key;
    request.timeout = options_.patience;
    try {
      const HttpResponse response = transport_.fetch(request, {});
      if (response.status == kOk) return parse_post(response.body, Time{});
      if (response.status != kNotFound) log().warn("{} answered {}", url, response.status);
    } catch (const Error& error) {
      log().warn("a replica did not answer: {}", error.what());
    }
  }
  return {};
}

Time Replicas::feed_time() const { return std::max(inner_.feed_time(), Time(Micros(newest_told_.load()))); }

}  // namespace fathom::live
