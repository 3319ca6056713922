#include "server/search_parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/json_body.h"

namespace fathom::server {
namespace {

using answer::SearchMode;
using answer::SearchParameters;
using nlohmann::ordered_json;

constexpr size_t kMaxSites = 5;
constexpr size_t kMaxHandles = 10;
/// The store's sources that stand for xAI's "web", "news" and "rss": posts that point to pages.
const std::vector<std::string> kPageSources = {"hackernews", "rss"};

SearchMode parse_mode(const JsonFields& fields) {
  const std::string mode = fields.text("mode").value_or("auto");
  if (mode == "off") return SearchMode::kOff;
  if (mode == "auto") return SearchMode::kAuto;
  if (mode == "on") return SearchMode::kOn;
  fields.refuse("mode", "must be \"off\", \"auto\" or \"on\"");
}

std::optional<Time> parse_date(const JsonFields& fields, std::string_view name) {
  const auto text = fields.text(name);
  if (!text) return std::nullopt;
  const auto date = text->size() == 10 ? parse_time(*text) : std::nullopt;
  if (!date) fields.refuse(name, "must be a date of the form YYYY-MM-DD", 422, "invalid_format");
  return date;
}

void refuse_both(const JsonFields& fields, std::string_view one, std::string_view other) {
  if (fields.has(one) && fields.has(other))
    fields.refuse(one, fmt::format("and {} cannot both be given", other));
}

std::vector<std::string> parse_handles(const JsonFields& fields, std::string_view name) {
  auto handles = fields.texts(name, kMaxHandles);
  for (auto& handle : handles) {
    if (!handle.empty() && handle.front() == '@') handle.erase(0, 1);
    if (trim(handle).empty()) fields.refuse(name, "has an empty handle");
  }
  return handles;
}

void parse_x(const JsonFields& fields, SearchParameters& out) {
  refuse_both(fields, "included_x_handles", "excluded_x_handles");
  refuse_both(fields, "included_x_handles", "x_handles");
  refuse_both(fields, "x_handles", "excluded_x_handles");
  out.handles = parse_handles(fields, fields.has("x_handles") ? "x_handles" : "included_x_handles");
  out.not_handles = parse_handles(fields, "excluded_x_handles");
  out.min_likes = fields.integer("post_favorite_count", 0, INT64_MAX);
  out.min_views = fields.integer("post_view_count", 0, INT64_MAX);
}

/// web and news. Country and safe search are checked and have no effect on posts.
void parse_pages(const JsonFields& fields, bool web) {
  const auto country = fields.text("country");
  const auto is_letter = [](unsigned char c) { return std::isalpha(c) != 0; };
  if (country && (country->size() != 2 || !std::all_of(country->begin(), country->end(), is_letter)))
    fields.refuse("country", "must be a code of two letters", 422, "invalid_format");
  fields.boolean("safe_search");
  if (web) refuse_both(fields, "allowed_websites", "excluded_websites");
  for (const char* name : {"allowed_websites", "excluded_websites"}) {
    if (!fields.texts(name, kMaxSites).empty())
      fields.refuse(name, "is not supported: this server searches posts, not web sites", 400, "unsupported");
  }
}

void parse_rss(const JsonFields& fields) {
  if (fields.texts("links", 1).empty()) return;
  fields.refuse("links", "is not supported: this server reads the feeds that its configuration names", 400,
                "unsupported");
}

void parse_sources(const ordered_json& sources, SearchParameters& out) {
  if (!sources.is_array() || sources.empty())
    throw ApiError(400, "search_parameters.sources must be a list of at least one source", "invalid_type",
                   "search_parameters.sources");
  std::vector<std::string> seen;
  for (size_t i = 0; i < sources.size(); ++i) {
    const JsonFields fields(sources[i], fmt::format("search_parameters.sources[{}]", i));
    const std::string type = fields.text("type").value_or("");
    if (std::find(seen.begin(), seen.end(), type) != seen.end())
      fields.refuse("type", fmt::format("\"{}\" is given twice", type));
    if (type == "x") {
      parse_x(fields, out);
    } else if (type == "web" || type == "news") {
      parse_pages(fields, type == "web");
    } else if (type == "rss") {
      parse_rss(fields);
    } else {
      fields.refuse("type", "must be \"x\", \"web\", \"news\" or \"rss\"");
    }
    seen.push_back(type);
  }
  const bool all = std::find(seen.begin(), seen.end(), "x") != seen.end();
  if (!all) out.sources = kPageSources;
}

}  // namespace

SearchParameters parse_search_parameters(const ordered_json& object) {
  const JsonFields fields(object, "search_parameters");
  SearchParameters out;
  out.mode = parse_mode(fields);
  out.return_citations = fields.boolean("return_citations").value_or(true);
  out.from = parse_date(fields, "from_date");
  if (const auto last_day = parse_date(fields, "to_date")) out.to = *last_day + std::chrono::days(1);
  if (out.from && out.to && *out.from >= *out.to) fields.refuse("from_date", "is after to_date");
  out.max_results = static_cast<size_t>(fields.integer("max_search_results", 1, 50).value_or(20));
  if (const ordered_json* sources = fields.find("sources")) parse_sources(*sources, out);
  return out;
}

}  // namespace fathom::server
