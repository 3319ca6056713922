#include "answer/tools.h"

#include <fmt/format.h>

#include <algorithm>

#include "answer/compose.h"
#include "answer/scope.h"
#include "answer/thread.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kLongestPost = 280;  // bytes of a post that the model is shown
constexpr size_t kThreadPosts = 20;
constexpr size_t kAuthorPosts = 10;
constexpr size_t kStories = 10;

/// What both lists allow; an empty list allows all. Nothing where they have nothing in common.
template <class Same>
std::optional<std::vector<std::string>> both(const std::vector<std::string>& a,
                                             const std::vector<std::string>& b, Same same) {
  if (a.empty() || b.empty()) return a.empty() ? b : a;
  std::vector<std::string> out;
  for (const std::string& one : a) {
    if (std::ranges::any_of(b, [&](const std::string& other) { return same(one, other); }))
      out.push_back(one);
  }
  return out.empty() ? std::nullopt : std::optional(std::move(out));
}

/// The query of what the request admits, narrowed to what the call asks for.
std::optional<live::Query> narrowed(const SearchParameters& parameters, const SearchPosts& wanted) {
  live::Query query = base_query(parameters);
  auto authors = both(query.authors, wanted.handles, same_handle);
  auto sources = both(query.sources, wanted.sources,
                      [](std::string_view a, std::string_view b) { return equals_ignore_case(a, b); });
  if (!authors || !sources) return std::nullopt;
  query.authors = std::move(*authors);
  query.sources = std::move(*sources);
  query.not_authors.insert(query.not_authors.end(), wanted.not_handles.begin(), wanted.not_handles.end());
  query.since = later(query.since, wanted.from);
  query.until = earlier(query.until, wanted.to);
  if (query.since && query.until && *query.since >= *query.until) return std::nullopt;
  return query;
}

/// The call as a step shows it: in the query language.
std::string shown(const SearchPosts& wanted) {
  std::string out = wanted.query;
  for (const std::string& handle : wanted.handles) out += " from:" + handle;
  for (const std::string& handle : wanted.not_handles) out += " -from:" + handle;
  for (const std::string& source : wanted.sources) out += " source:" + source;
  if (wanted.from) out += " since:" + format_time(*wanted.from);
  if (wanted.to) out += " until:" + format_time(*wanted.to);
  return out;
}

void say_if_nothing(ToolResult& result) {
  if (result.posts.empty()) result.text = "Nothing was found.";
}

}  // namespace

Tools::Tools(const live::Store& store, const live::Trends* trends, const SearchParameters& parameters)
    : store_(store), trends_(trends), parameters_(parameters) {}

void Tools::add(live::Post post, ToolResult& result, std::string_view relation) const {
  if (!admits(parameters_, post)) return;
  result.text +=
      fmt::format("[{}] {}{} ({}), {}: {}\n", result.posts.size() + 1, relation, as_data(post.key(), 200),
                  as_data(author_label(post), 120), written_time(post.created_at, store_.feed_time()),
                  as_data(post.text, kLongestPost));
  result.posts.push_back(std::move(post));
}

ToolResult Tools::search(const SearchPosts& wanted) const {
  ToolResult out;
  out.step.query = shown(wanted);
  if (auto query = narrowed(parameters_, wanted)) {
    query->text = wanted.query;
    query->limit = wanted.limit;
    if (wanted.newest) query->order = live::Query::Order::kNewest;
    live::SearchResult found = store_.search(*query);
    out.step.found = found.matched;
    out.step.found_exact = found.matched_exact;
    for (live::Hit& hit : found.hits) add(std::move(hit.post), out);
  }
  say_if_nothing(out);
  return out;
}

ToolResult Tools::thread(const GetThread& wanted) const {
  ToolResult out;
  out.step.tool = "get_thread";
  out.step.query = wanted.key;
  if (auto thread = read_thread(store_, wanted.key, parameters_, kThreadPosts)) {
    for (live::Post& post : thread->above) add(std::move(post), out, "before: ");
    add(std::move(thread->post), out);
    for (live::Post& post : thread->below) add(std::move(post), out, "answers: ");
  }
  out.step.found = out.posts.size();
  say_if_nothing(out);
  return out;
}

ToolResult Tools::trends(const GetTrends& wanted) const {
  ToolResult out;
  out.step.tool = "get_trends";
  out.step.query = fmt::format("last {} hours", wanted.window.count());
  const Time since = store_.feed_time() - wanted.window;
  if (trends_ != nullptr) {
    live::TrendFilter filter;
    filter.sources = parameters_.sources;
    for (live::Story& story : trends_->stories(filter)) {
      if (story.updated >= since && out.posts.size() < kStories)
        add(std::move(story.post), out, fmt::format("{} posts, led by ", story.posts));
    }
  }
  if (out.posts.empty()) {
    live::Query query = base_query(parameters_);
    const live::Query going_on = live::what_is_going_on(since, kStories);
    query.since = later(query.since, going_on.since);
    query.weights = going_on.weights;
    query.limit = going_on.limit;
    for (live::Hit& hit : store_.search(query).hits) add(std::move(hit.post), out);
  }
  out.step.found = out.posts.size();
  say_if_nothing(out);
  return out;
}

ToolResult Tools::author(const GetAuthor& wanted) const {
  ToolResult out;
  out.step.tool = "get_author";
  out.step.query = "@" + wanted.handle;
  if (admits_author(parameters_, wanted.handle)) {
    live::Query query = base_query(parameters_);
    query.authors = {wanted.handle};
    query.order = live::Query::Order::kNewest;
    query.limit = kAuthorPosts;
    live::SearchResult found = store_.search(query);
    out.step.found = found.matched;
    out.step.found_exact = found.matched_exact;
    for (live::Hit& hit : found.hits) add(std::move(hit.post), out);
  }
  say_if_nothing(out);
  return out;
}

ToolResult Tools::run(const ToolArguments& arguments) const {
  struct Runner {
    const Tools& tools;
    ToolResult operator()(const SearchPosts& wanted) const { return tools.search(wanted); }
    ToolResult operator()(const GetThread& wanted) const { return tools.thread(wanted); }
    ToolResult operator()(const GetTrends& wanted) const { return tools.trends(wanted); }
    ToolResult operator()(const GetAuthor& wanted) const { return tools.author(wanted); }
  };
  return std::visit(Runner{*this}, arguments);
}

ToolResult Tools::call(std::string_view tool, std::string_view arguments) const {
  try {
    return run(parse_tool_arguments(tool, arguments));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) throw;
    ToolResult out;
    out.step.tool = std::string(tool);
    out.text = as_data(error.what(), 300);
    return out;
  }
}

}  // namespace fathom::answer
