#include "answer/scope.h"

#include <algorithm>

#include "base/text.h"

namespace fathom::answer {
namespace {

std::string_view bare(std::string_view handle) { return handle.starts_with('@') ? handle.substr(1) : handle; }

bool among(const std::vector<std::string>& handles, std::string_view handle) {
  return std::ranges::any_of(handles, [&](const std::string& other) { return same_handle(other, handle); });
}

}  // namespace

bool same_handle(std::string_view a, std::string_view b) { return equals_ignore_case(bare(a), bare(b)); }

bool admits_author(const SearchParameters& parameters, std::string_view handle) {
  if (!parameters.handles.empty() && !among(parameters.handles, handle)) return false;
  return !among(parameters.not_handles, handle);
}

bool admits(const SearchParameters& parameters, const live::Post& post) {
  if (!admits_author(parameters, post.author.handle)) return false;
  if (parameters.from && post.created_at < *parameters.from) return false;
  if (parameters.to && post.created_at >= *parameters.to) return false;
  if (parameters.min_likes && post.metrics.likes.value_or(0) < *parameters.min_likes) return false;
  if (parameters.min_views && post.metrics.views.value_or(0) < *parameters.min_views) return false;
  return parameters.sources.empty() ||
         std::ranges::any_of(parameters.sources, [&](const std::string& source) {
           return equals_ignore_case(source, post.source);
         });
}

live::Query base_query(const SearchParameters& parameters) {
  live::Query query;
  query.since = parameters.from;
  query.until = parameters.to;
  query.authors = parameters.handles;
  query.not_authors = parameters.not_handles;
  query.sources = parameters.sources;
  query.min_likes = parameters.min_likes;
  query.min_views = parameters.min_views;
  return query;
}

std::optional<Time> later(std::optional<Time> a, std::optional<Time> b) {
  return a && b ? std::max(*a, *b) : a ? a : b;
}
std::optional<Time> earlier(std::optional<Time> a, std::optional<Time> b) {
  return a && b ? std::min(*a, *b) : a ? a : b;
}

}  // namespace fathom::answer
