// A query's text in two: what is looked for, and what filters. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace fathom::live {

struct QueryParts {
  std::string words;    // plain words, phrases and required words as text: what is embedded
  std::string filters;  // -excluded, +required, "phrases" and name:value, as they stand
};

QueryParts split_query(std::string_view text);

}  // namespace fathom::live
