#include "live/vectors/query_parts.h"

#include <algorithm>

#include "live/query.h"

namespace fathom::live {
namespace {

bool is_space(char c) { return static_cast<unsigned char>(c) <= 0x20; }

/// Cuts the next part off: a run without spaces, or a quotation with the sign before it.
std::string_view next_part(std::string_view& rest) {
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  const size_t sign = !rest.empty() && (rest.front() == '-' || rest.front() == '+') ? 1 : 0;
  size_t end = sign;
  if (end < rest.size() && rest[end] == '"') {
    end = std::min(rest.find('"', end + 1), rest.size() - 1) + 1;
  } else {
    while (end < rest.size() && !is_space(rest[end]) && rest[end] != '"') ++end;
  }
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end);
  return part;
}

void append(std::string& text, std::string_view part) {
  if (!text.empty()) text += ' ';
  text += part;
}

/// The query language itself tells what a part is: a filter has no term that scores.
bool scores(std::string_view part) {
  Query query;
  query.text = part;
  return !parse_query(query).scored.empty();
}

}  // namespace

QueryParts split_query(std::string_view text) {
  QueryParts parts;
  for (std::string_view part = next_part(text); !part.empty(); part = next_part(text)) {
    const bool sign = part.size() > 1 && (part.front() == '-' || part.front() == '+');
    const bool quoted = part[sign ? 1 : 0] == '"';
    const bool looked_for = scores(part);
    if (sign || quoted || !looked_for) append(parts.filters, part);
    if (!looked_for) continue;
    part.remove_prefix(sign ? 1 : 0);
    std::string word(part);
    if (quoted) std::erase(word, '"');
    append(parts.words, word);
  }
  return parts;
}

}  // namespace fathom::live
