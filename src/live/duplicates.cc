#include "live/duplicates.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/text.h"
#include "live/hash.h"

namespace fathom::live {
namespace {

constexpr size_t kBands = 8;
constexpr uint64_t kSeed = 0x5DEECE66D;
constexpr size_t kFewestWords = 3;  // shorter texts are alike only when equal
constexpr double kSizeRatio = 0.6;  // the longer text may add two thirds
constexpr double kPairsShared = 0.8;

// Stems (analysis.h). Sorted.
constexpr std::string_view kTurning[] = {
    "although",  "aren",      "arent",   "but",   "contrari", "correct", "debunk", "deni",      "denial",
    "didnt",     "doesnt",    "exagger", "fake",  "fals",     "hasnt",   "hoax",   "incorrect", "isnt",
    "misinform", "mislead",   "never",   "no",    "nobodi",   "none",    "not",    "retract",   "rumor",
    "rumour",    "unconfirm", "untru",   "wasnt", "wont",     "wrong"};

static_assert(std::is_sorted(std::begin(kTurning), std::end(kTurning)));

bool counts(const Token& token, std::string_view term) {
  if (token.extra || token.kind == TermKind::kDomain || token.kind == TermKind::kMention) return false;
  return term.size() != 2 || term[0] != 'r' || term[1] != 't';
}

/// REQUIRES: a term of a TokenList, which may be read beyond its end.
uint64_t word_hash(std::string_view term) {
  if (term[0] == '#' || term[0] == '$') term.remove_prefix(1);
  if (term.size() >= PaddedBytes::kMost) return hash_bytes(term, kSeed);
  return hash_padded(load_padded(term.data(), term.size()), term.size(), kSeed);
}

void sort_unique(std::vector<uint64_t>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

size_t shared(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  size_t count = 0;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    if (*x < *y)
      ++x;
    else if (*y < *x)
      ++y;
    else
      ++count, ++x, ++y;
  }
  return count;
}

bool ends_in_ellipsis(std::string_view text) {
  text = trim(text);
  // A cut address often follows or precedes the mark of the cut.
  return text.ends_with("\xE2\x80\xA6") || text.ends_with("...");
}

}  // namespace

uint64_t sketch(const TokenList& tokens) {
  constexpr std::array<uint64_t, kBands> kPermutations = {
      0x9E3779B97F4A7C15ull, 0xBF58476D1CE4E5B9ull, 0x94D049BB133111EBull, 0xD6E8FEB86659FD93ull,
      0xA0761D6478BD642Full, 0xE7037ED1A0B428DBull, 0x8EBC6AF09C88C6E3ull, 0x589965CC75374CC3ull};
  std::array<uint64_t, kBands> least;
  least.fill(UINT64_MAX);
  for (const Token& token : tokens.tokens) {
    const std::string_view term = tokens.term(token);
    if (!counts(token, term)) continue;
    const uint64_t hash = word_hash(term) | 1;
    for (size_t band = 0; band < kBands; ++band)
      least[band] = std::min(least[band], hash * kPermutations[band]);
  }
  if (least[0] == UINT64_MAX) return 0;
  uint64_t result = 0;
  // The top bits of a minimum are nearly all zero; the middle ones tell sets apart.
  for (size_t band = 0; band < kBands; ++band) result |= ((least[band] >> 24) & 0xFF) << (8 * band);
  return result == 0 ? 1 : result;
}

size_t sketch_agreement(uint64_t a, uint64_t b) {
  if (a == 0 || b == 0) return 0;
  const uint64_t difference = a ^ b;
  size_t equal = 0;
  for (size_t band = 0; band < kBands; ++band) equal += ((difference >> (8 * band)) & 0xFF) == 0 ? 1 : 0;
  return equal;
}

Statement::Statement(std::string_view text) {
  thread_local TokenList tokens;
  analyze(text, tokens);
  uint64_t before = 0;
  for (const Token& token : tokens.tokens) {
    const std::string_view term = tokens.term(token);
    if (!counts(token, term)) continue;
    const uint64_t hash = word_hash(term);
    words_.push_back(hash);
    if (before != 0) pairs_.push_back(before * 3 + hash);
    if (token.kind == TermKind::kNumber) numbers_.push_back(hash);
    if (std::binary_search(std::begin(kTurning), std::end(kTurning), term)) turning_.push_back(hash);
    before = hash;
  }
  if (before != 0 && ends_in_ellipsis(text)) last_ = before;
  sort_unique(words_);
  sort_unique(pairs_);
  sort_unique(numbers_);
  sort_unique(turning_);
}

bool Statement::same_as(const Statement& other) const {
  const bool this_is_shorter = words_.size() <= other.words_.size();
  const Statement& a = this_is_shorter ? *this : other;  // the shorter
  const Statement& b = this_is_shorter ? other : *this;
  if (a.words_.empty()) return false;
  if (a.turning_ != b.turning_) return false;
  const size_t common = shared(a.words_, b.words_);
  if (a.words_.size() < kFewestWords) return common == b.words_.size();
  const bool cut = a.last_ != 0 && !std::binary_search(b.words_.begin(), b.words_.end(), a.last_);
  if (common + (cut ? 1 : 0) < a.words_.size()) return false;
  if (static_cast<double>(a.words_.size()) < kSizeRatio * static_cast<double>(b.words_.size())) return false;
  if (!cut && a.last_ == 0 && a.numbers_ != b.numbers_) return false;
  return static_cast<double>(shared(a.pairs_, b.pairs_)) >=
         kPairsShared * static_cast<double>(a.pairs_.size()) - 1;
}

bool is_repost_text(std::string_view text) { return text.starts_with("RT @"); }

}  // namespace fathom::live
