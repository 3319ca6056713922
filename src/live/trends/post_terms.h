// What of a post can be a trend: its words, hashtags and tickers, and pairs of neighbouring words.
//
// Terms are those of analysis.h, so that a trend's query finds what was counted. A pair is its two terms with a space
// between; stop words, mentions, addresses, numbers by themselves and very short words make no trend. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "live/analysis.h"

namespace fathom::live {

enum class TrendKind : uint8_t { kWord, kPair, kHashtag, kCashtag };

struct PostTerm {
  uint64_t hash = 0;                       // of the kind and the term
  uint32_t begin = 0, end = 0;             // bytes in the post's text
  uint32_t term_begin = 0, term_size = 0;  // in PostTerms::bytes
  TrendKind kind = TrendKind::kWord;
};

/// Reused from post to post.
struct PostTerms {
  std::vector<PostTerm> terms;  // distinct, in order of appearance
  std::string bytes;
  uint64_t sketch = 0;  // duplicates.h

  std::string_view term(const PostTerm& t) const {
    return std::string_view(bytes).substr(t.term_begin, t.term_size);
  }
};

/// Replaces what `out` held. At most `kMostPostTerms` terms are taken.
void find_terms(std::string_view text, PostTerms& out);
inline constexpr size_t kMostPostTerms = 120;

uint64_t trend_hash(std::string_view bytes);

}  // namespace fathom::live
