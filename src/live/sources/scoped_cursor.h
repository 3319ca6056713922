// Cursors that name what they belong to: the options of a source may change under its name, and a place in one feed means
// nothing in another. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace fathom::live {

/// `scope` names the feed and what was asked of it; `place` has no line feed.
inline std::string scoped_cursor(std::string_view scope, std::string_view place) {
  return std::string(place) + '\n' + std::string(scope);
}

/// Empty when the cursor belongs to something else, or is none.
inline std::string_view place_of_cursor(std::string_view cursor, std::string_view scope) {
  const size_t end = cursor.find('\n');
  if (end == std::string_view::npos || cursor.substr(end + 1) != scope) return {};
  return cursor.substr(0, end);
}

}  // namespace fathom::live
