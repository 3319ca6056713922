#include "model/special_tokens.h"

#include <algorithm>
#include <utility>

namespace fathom::model {
namespace {

bool is_markup(std::string_view text) {
  if (text.size() < 3) return false;
  return (text.front() == '<' && text.back() == '>') || (text.front() == '[' && text.back() == ']');
}

}  // namespace

void SpecialTokens::add(std::string text, size_t id, TokenType type) {
  if (text.empty() || text.size() > kLongest) return;
  const bool markup = is_markup(text);
  tokens_.push_back({std::move(text), static_cast<int32_t>(id), type != TokenType::kUserDefined, markup});
}

void SpecialTokens::sort() {
  // Of tokens with the same text the first in the vocabulary counts.
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const SpecialToken& a, const SpecialToken& b) { return a.text < b.text; });
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(),
                            [](const SpecialToken& a, const SpecialToken& b) { return a.text == b.text; }),
                tokens_.end());
  for (size_t i = 0; i < tokens_.size(); ++i) {
    Range& range = first_byte_[static_cast<uint8_t>(tokens_[i].text[0])];
    if (range.begin == range.end) range.begin = i;
    range.end = i + 1;
  }
}

SpecialTokens::Range SpecialTokens::narrowed(Range range, size_t length, char next) const {
  // char_traits compares bytes as unsigned; a token that ends here sorts first.
  const auto byte_at = [&](const SpecialToken& token) {
    return token.text.size() == length ? -1 : static_cast<int>(static_cast<uint8_t>(token.text[length]));
  };
  const auto wanted = static_cast<int>(static_cast<uint8_t>(next));
  const auto first = tokens_.begin() + static_cast<std::ptrdiff_t>(range.begin);
  const auto last = tokens_.begin() + static_cast<std::ptrdiff_t>(range.end);
  const auto low =
      std::partition_point(first, last, [&](const SpecialToken& t) { return byte_at(t) < wanted; });
  const auto high =
      std::partition_point(low, last, [&](const SpecialToken& t) { return byte_at(t) <= wanted; });
  return {static_cast<size_t>(low - tokens_.begin()), static_cast<size_t>(high - tokens_.begin())};
}

}  // namespace fathom::model
