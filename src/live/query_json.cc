#include "live/query_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr std::string_view kNewest = "newest", kRelevance = "relevance";

template <class T>
void put(json& out, const char* name, const std::optional<T>& value) {
  if (value) out[name] = *value;
}

void put(json& out, const char* name, const std::optional<Time>& value) {
  if (value) out[name] = format_time(*value);
}

/// Reads members of the type of what they are read into; absent ones leave it as it is.
class Members {
 public:
  Members(const json& object, ErrorCode code, std::string_view what)
      : object_(object), code_(code), what_(what) {
    if (!object.is_object()) fail("it is no object");
  }

  template <class T>
  void get(const char* name, T& value) const {
    const auto at = object_.find(name);
    if (at == object_.end() || at->is_null()) return;
    try {
      at->get_to(value);
    } catch (const json::exception&) {
      fail(fmt::format("'{}' is of another type", name));
    }
  }

  template <class T>
  void get(const char* name, std::optional<T>& value) const {
    if (!object_.contains(name)) return;
    T read{};
    get(name, read);
    value = read;
  }

  void get(const char* name, Time& value) const {
    std::string text;
    get(name, text);
    if (text.empty()) return;
    const auto time = parse_time(text);
    if (!time) fail(fmt::format("'{}' is no time", name));
    value = *time;
  }

  /// The entries of a list; none when absent.
  const json& list(const char* name) const {
    static const json kNone = json::array();
    const auto at = object_.find(name);
    if (at == object_.end()) return kNone;
    if (!at->is_array()) fail(fmt::format("'{}' is no list", name));
    return *at;
  }

  [[noreturn]] void fail(std::string_view why) const {
    throw Error(code_, fmt::format("{} cannot be read: {}", what_, why));
  }

 private:
  const json& object_;
  ErrorCode code_;
  std::string_view what_;
};

Hit hit_from_json(const json& entry, const Members& result) {
  const Members in(entry, ErrorCode::kCorrupt, "a replica's hit");
  if (!entry.contains("post")) result.fail("a hit has no post");
  Hit hit;
  try {
    hit.post = parse_post(entry["post"].dump(), Time{});
  } catch (const Error& error) {
    result.fail(error.what());
  }
  in.get("sequence", hit.sequence);
  in.get("score", hit.score);
  in.get("text_score", hit.text_score);
  in.get("matched_terms", hit.matched_terms);
  in.get("folded", hit.folded);
  return hit;
}

}  // namespace

json query_to_json(const Query& query) {
  json out = {{"text", query.text},
              {"order", query.order == Query::Order::kNewest ? kNewest : kRelevance},
              {"limit", query.limit},
              {"require_all", query.require_all},
              {"fold", query.fold},
              {"authors", query.authors},
              {"not_authors", query.not_authors},
              {"sources", query.sources},
              {"langs", query.langs},
              {"expand", query.expand},
              {"exact_count", query.exact_count},
              {"weights",
               {{"recency", query.weights.recency},
                {"half_life_hours", query.weights.half_life_hours},
                {"engagement", query.weights.engagement},
                {"author", query.weights.author}}}};
  put(out, "since", query.since);
  put(out, "until", query.until);
  put(out, "min_likes", query.min_likes);
  put(out, "min_views", query.min_views);
  put(out, "after", query.after);
  put(out, "through", query.through);
  return out;
}

Query query_from_json(const json& object) {
  const Members in(object, ErrorCode::kInvalidArgument, "the query");
  Query query;
  std::string order(kRelevance);
  in.get("text", query.text);
  in.get("order", order);
  if (order != kNewest && order != kRelevance) in.fail("'order' is neither relevance nor newest");
  if (order == kNewest) query.order = Query::Order::kNewest;
  in.get("limit", query.limit);
  in.get("require_all", query.require_all);
  in.get("fold", query.fold);
  in.get("authors", query.authors);
  in.get("not_authors", query.not_authors);
  in.get("sources", query.sources);
  in.get("langs", query.langs);
  in.get("expand", query.expand);
  in.get("exact_count", query.exact_count);
  in.get("since", query.since);
  in.get("until", query.until);
  in.get("min_likes", query.min_likes);
  in.get("min_views", query.min_views);
  in.get("after", query.after);
  in.get("through", query.through);
  if (const auto at = object.find("weights"); at != object.end()) {
    const Members weights(*at, ErrorCode::kInvalidArgument, "the query's weights");
    weights.get("recency", query.weights.recency);
    weights.get("half_life_hours", query.weights.half_life_hours);
    weights.get("engagement", query.weights.engagement);
    weights.get("author", query.weights.author);
  }
  return query;
}

json result_to_json(const SearchResult& result) {
  json hits = json::array(), terms = json::array();
  for (const Hit& hit : result.hits)
    hits.push_back({{"post", to_json(hit.post)},
                    {"sequence", hit.sequence},
                    {"score", hit.score},
                    {"text_score", hit.text_score},
                    {"matched_terms", hit.matched_terms},
                    {"folded", hit.folded}});
  for (const auto& [term, posts] : result.terms) terms.push_back({{"term", term}, {"posts", posts}});
  return {{"as_of", format_time(result.as_of)},
          {"matched", result.matched},
          {"matched_exact", result.matched_exact},
          {"query_terms", result.query_terms},
          {"terms", std::move(terms)},
          {"expansion", result.expansion},
          {"missing", result.missing},
          {"hits", std::move(hits)}};
}

SearchResult result_from_json(const json& object) {
  const Members in(object, ErrorCode::kCorrupt, "a replica's answer");
  SearchResult result;
  in.get("as_of", result.as_of);
  in.get("matched", result.matched);
  in.get("matched_exact", result.matched_exact);
  in.get("query_terms", result.query_terms);
  in.get("expansion", result.expansion);
  in.get("missing", result.missing);
  for (const json& entry : in.list("terms")) {
    const Members term(entry, ErrorCode::kCorrupt, "a replica's term");
    auto& [word, posts] = result.terms.emplace_back();
    term.get("term", word);
    term.get("posts", posts);
  }
  for (const json& entry : in.list("hits")) result.hits.push_back(hit_from_json(entry, in));
  return result;
}

}  // namespace fathom::live
