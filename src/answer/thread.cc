#include "answer/thread.h"

#include <algorithm>
#include <unordered_set>

#include "answer/scope.h"
#include "base/error.h"

namespace fathom::answer {
namespace {

constexpr size_t kCandidates = 500;  // posts that one search for replies looks at

/// The id of the post that this one stands under; empty when under none.
const std::string& parent_of(const live::Post& post) {
  if (!post.reply_to.empty()) return post.reply_to;
  return post.quote_of.empty() ? post.repost_of : post.quote_of;
}

std::vector<live::Post> read_above(const live::Store& store, const live::Post& post,
                                   const SearchParameters& parameters, size_t most) {
  std::vector<live::Post> out;
  std::unordered_set<std::string> seen{post.id};
  std::string next = parent_of(post);
  while (!next.empty() && out.size() < most && seen.insert(next).second) {
    auto parent = store.find(post.source + ':' + next);
    if (!parent) break;
    next = parent_of(*parent);
    if (admits(parameters, *parent)) out.push_back(std::move(*parent));
  }
  std::ranges::reverse(out);
  return out;
}

/// A handle that a search can be made for: one that is a single word of the query language.
bool searchable(std::string_view handle) {
  return !handle.empty() && handle.size() <= 64 &&
         handle.find_first_of(" \t\r\n\":") == std::string_view::npos;
}

std::vector<live::Post> candidates(const live::Store& store, const live::Post& post,
                                   const SearchParameters& parameters) {
  std::vector<live::Post> out;
  std::unordered_set<std::string> seen{post.id};
  std::vector<std::string> texts = {"is:reply", ""};
  if (searchable(post.author.handle)) texts.insert(texts.begin(), "to:" + post.author.handle);
  for (const std::string& text : texts) {
    live::Query query = base_query(parameters);
    query.text = text;
    query.sources = {post.source};
    query.since = later(query.since, post.created_at);
    query.order = live::Query::Order::kNewest;
    query.limit = kCandidates;
    query.fold = false;
    for (live::Hit& hit : store.search(query).hits) {
      if (!parent_of(hit.post).empty() && admits(parameters, hit.post) && seen.insert(hit.post.id).second)
        out.push_back(std::move(hit.post));
    }
  }
  std::ranges::stable_sort(
      out, [](const live::Post& a, const live::Post& b) { return a.created_at < b.created_at; });
  return out;
}

/// A reply is not older than what it answers, so that one pass in the order of time finds replies to replies too.
/// Without those `above` it: ids can go round in a circle.
std::vector<live::Post> read_below(const live::Store& store, const live::Post& post,
                                   const std::vector<live::Post>& above, const SearchParameters& parameters,
                                   size_t most) {
  std::vector<live::Post> out;
  std::unordered_set<std::string> thread{post.id}, others;
  for (const live::Post& other : above) others.insert(other.id);
  for (live::Post& candidate : candidates(store, post, parameters)) {
    if (out.size() >= most) break;
    const bool quotes = candidate.quote_of == post.id;
    if (others.contains(candidate.id) || (!quotes && !thread.contains(candidate.reply_to))) continue;
    thread.insert(candidate.id);
    out.push_back(std::move(candidate));
  }
  return out;
}

}  // namespace

std::optional<Thread> read_thread(const live::Store& store, std::string_view key,
                                  const SearchParameters& parameters, size_t most) {
  auto post = store.find(key);
  if (!post || !admits(parameters, *post)) return std::nullopt;
  Thread out;
  out.above = read_above(store, *post, parameters, most);
  out.below = read_below(store, *post, out.above, parameters, most - out.above.size());
  out.post = std::move(*post);
  return out;
}

}  // namespace fathom::answer
