// Text analysis: what the index holds of a post's text and what a query asks for. Both sides call the same code.
//
// Steps: split into words (ASCII fast path; ICU for the rest; ICU's dictionaries for scripts without spaces: Han, Kana,
// Thai, Lao, Khmer, Burmese), fold (NFKC case folding, accents of Latin, Greek, Cyrillic, Hebrew and Arabic dropped),
// stem. The stemmer is chosen by script, never by a post's language tag: words in ASCII letters by Snowball 'english',
// Cyrillic ones by 'russian', others not at all. So a query, whose language nobody knows, always meets the same term.
//
// Besides words: "#tag", "@name", "$ticker", numbers kept whole ("7.2"; "1,200" is "1200"), domains of addresses
// ("example.com"), "at&t", "c++", and "u.s" for U.S. and US (else it would be the stop word "us").
//
// `extra` tokens help a post to be found and are never asked for by a query: the plain words of a hashtag or mention
// (#BostonMarathon: bostonmarathon, boston, marathon), the number in "5.2bn", the joined form of l'aquila, pairs of
// adjacent characters in Chinese, Japanese and Korean (so that a two-character word is found however ICU cut the text).
//
// Everything here is safe from any thread: state is per thread (caches and ICU iterators), results are the caller's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::live {

enum class TermKind : uint8_t { kWord, kNumber, kHashtag, kMention, kCashtag, kDomain };

struct Token {
  uint32_t begin = 0, end = 0;  // bytes in the analysed text
  uint32_t position = 0;        // counts words; a phrase is a run of consecutive positions
  uint32_t term_begin = 0;      // in TokenList::bytes()
  uint64_t hash = 0;            // term_hash(term)
  uint16_t term_size = 0;
  TermKind kind = TermKind::kWord;
  bool stop = false;   // "the", "of", "what", ...
  bool extra = false;  // for finding only, see above
};

/// Tokens whose terms lie in one buffer: reused from text to text, nothing is allocated once it has grown.
class TokenList {
 public:
  static constexpr size_t kSlack = 16;

  std::vector<Token> tokens;
  uint32_t words = 0;  // positions used

  /// May be read up to kSlack bytes beyond its end.
  std::string_view term(const Token& token) const {
    return bytes().substr(token.term_begin, token.term_size);
  }
  std::string_view bytes() const { return {buffer_.data(), used_}; }
  void clear();

  /// For the analyser: room for `most` bytes behind the last term, of which `keep` makes some its own.
  char* room(size_t most) {
    const size_t needed = used_ + most + kSlack;
    if (needed > buffer_.size()) buffer_.resize(2 * needed);
    return buffer_.data() + used_;
  }
  void keep(size_t size) { used_ += size; }

 private:
  std::string buffer_;
  size_t used_ = 0;
};

/// Longest term in bytes; a longer word is cut there, in index and query alike.
inline constexpr size_t kMaxTermBytes = 64;

/// Replaces what `out` held. Any bytes are taken; what is not UTF-8 separates words. Text past 1 GiB is ignored.
void analyze(std::string_view text, TokenList& out);

/// The same as self-contained values, for callers who keep them.
struct Term {
  std::string term;
  size_t begin = 0, end = 0;  // bytes in the text
  TermKind kind = TermKind::kWord;
  bool stop = false;
  bool extra = false;
};
std::vector<Term> analyze(std::string_view text);

/// The hash of a term everywhere in this process; seeded at random, so that strangers cannot choose collisions.
uint64_t term_hash(std::string_view term);

/// Folded but not stemmed, without splitting: for names and tags ("Café" and "CAFE" are equal).
std::string fold(std::string_view word);
void fold(std::string_view word, std::string& out);  // appends

}  // namespace fathom::live
