// What the tools of tool_arguments.h find: over the live store, within the request's SearchParameters, whatever the model asks
// for. A result has two forms: posts for the reading, and a short text for the model.
//
// Ownership: store, trends and parameters outlive the Tools. Thread safety: const methods may run on any number of threads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "answer/assistant.h"
#include "answer/tool_arguments.h"
#include "live/store.h"
#include "live/trends/trends.h"

namespace fathom::answer {

struct ToolResult {
  Step step;                      // as it is shown; step.read is left to who reads the posts
  std::string text;               // for the model: one numbered line a post; or why there is nothing
  std::vector<live::Post> posts;  // in the order of the lines
};

class Tools {
 public:
  /// `trends` may be null: then get_trends tells the posts that most people engaged with.
  Tools(const live::Store& store, const live::Trends* trends, const SearchParameters& parameters);

  ToolResult run(const ToolArguments& arguments) const;

  /// Parses and runs. A call that cannot be parsed, or a search that the store refuses, is a result whose text says so.
  ToolResult call(std::string_view tool, std::string_view arguments) const;

 private:
  ToolResult search(const SearchPosts& wanted) const;
  ToolResult thread(const GetThread& wanted) const;
  ToolResult trends(const GetTrends& wanted) const;
  ToolResult author(const GetAuthor& wanted) const;
  void add(live::Post post, ToolResult& result, std::string_view relation = {}) const;

  const live::Store& store_;
  const live::Trends* trends_;
  const SearchParameters& parameters_;
};

}  // namespace fathom::answer
