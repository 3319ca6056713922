#include "live/word_table.h"

#include <libstemmer.h>

#include <algorithm>
#include <random>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "live/concurrent.h"
#include "live/fold_text.h"

namespace fathom::live {
namespace {

// Sorted. Written without apostrophes, as the analyser joins "don't" to "dont".
constexpr std::string_view kStopWords[] = {
    "a",      "about", "after",  "all",   "also",  "am",    "an",    "and",    "any",   "are",   "as",
    "at",     "be",    "been",   "being", "but",   "by",    "can",   "cant",   "could", "did",   "didnt",
    "do",     "does",  "doesnt", "doing", "dont",  "for",   "from",  "had",    "has",   "hasnt", "have",
    "having", "he",    "her",    "here",  "hers",  "him",   "his",   "how",    "i",     "if",    "im",
    "in",     "into",  "is",     "isnt",  "it",    "its",   "ive",   "just",   "me",    "my",    "no",
    "not",    "of",    "on",     "or",    "our",   "ours",  "she",   "should", "so",    "some",  "than",
    "that",   "the",   "their",  "them",  "then",  "there", "these", "they",   "this",  "those", "to",
    "too",    "us",    "very",   "was",   "wasnt", "we",    "were",  "what",   "when",  "where", "which",
    "who",    "whom",  "whose",  "why",   "will",  "with",  "wont",  "would",  "you",   "your",  "yours",
};

constexpr size_t kLongestStopWord = 6;

static_assert(std::is_sorted(std::begin(kStopWords), std::end(kStopWords)));
static_assert(std::all_of(std::begin(kStopWords), std::end(kStopWords),
                          [](std::string_view word) { return word.size() <= kLongestStopWord; }));

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) ^ device();
}

/// Whether Snowball's rules for English touch any word with this last letter. Each rule asks for an ending, and no ending has
/// one of the letters left out.
bool can_change(char last) { return std::string_view("cdegilmnrsty").find(last) != std::string_view::npos; }

}  // namespace

bool is_stop_word(std::string_view word) {
  return word.size() <= kLongestStopWord &&
         std::binary_search(std::begin(kStopWords), std::end(kStopWords), word);
}

uint64_t term_hash(std::string_view term) {
  static const uint64_t seed = random_seed();
  return hash_bytes(term, seed);
}

void WordTable::StemmerDelete::operator()(sb_stemmer* stemmer) const { sb_stemmer_delete(stemmer); }

WordTable::Stemmer WordTable::make_stemmer(const char* language) {
  Stemmer stemmer(sb_stemmer_new(language, "UTF_8"));
  if (!stemmer)
    throw Error(ErrorCode::kInternal, std::string("the Snowball stemmer '") + language + "' is missing");
  return stemmer;
}

WordTable::WordTable()
    : english_(make_stemmer("english")), russian_(make_stemmer("russian")), entries_(size_t{1} << kBits) {}

WordTable::~WordTable() = default;

WordTable::Answer WordTable::look_up(std::string_view word, char* out) {
  if (word.size() <= kMaxCached) {
    char padded[kMaxCached] = {};
    std::memcpy(padded, word.data(), word.size());
    return look_up_padded(padded, word.size(), out);
  }
  const std::string_view stemmed = stem(word).substr(0, kMaxTermBytes);
  std::memcpy(out, stemmed.data(), stemmed.size());
  return {term_hash(stemmed), stemmed.size(), false};
}

std::string_view WordTable::stem(std::string_view word) {
  const bool ascii = std::all_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  size_t at = 0;
  const bool cyrillic = !ascii && !word.empty() && is_cyrillic(decode_utf8(word, at));
  if ((!ascii && !cyrillic) || word.size() < 3) return word;
  if (ascii && !can_change(word.back())) return word;
  sb_stemmer* stemmer = (ascii ? english_ : russian_).get();
  const auto* stemmed = sb_stemmer_stem(stemmer, reinterpret_cast<const sb_symbol*>(word.data()),
                                        static_cast<int>(word.size()));
  if (stemmed == nullptr) return word;
  return {reinterpret_cast<const char*>(stemmed), static_cast<size_t>(sb_stemmer_length(stemmer))};
}

void WordTable::fill(Entry& entry, uint64_t low, uint64_t high, size_t size) {
  char bytes[kMaxCached];
  std::memcpy(bytes, &low, 8);
  std::memcpy(bytes + 8, &high, 8);
  const std::string_view word(bytes, size);
  std::string_view stemmed = stem(word);
  const auto differs = std::mismatch(word.begin(), word.end(), stemmed.begin(), stemmed.end());
  const auto kept = static_cast<size_t>(differs.first - word.begin());
  if (stemmed.size() - kept > sizeof entry.suffix) stemmed = word;  // no stemmer does this
  entry.low = low;
  entry.high = high;
  entry.hash = term_hash(stemmed);
  entry.kept = static_cast<uint8_t>(std::min(kept, stemmed.size()));
  entry.stem_size = static_cast<uint8_t>(stemmed.size());
  entry.stop = is_stop_word(word);
  std::memset(entry.suffix, 0, sizeof entry.suffix);
  std::memcpy(entry.suffix, stemmed.data() + entry.kept, stemmed.size() - entry.kept);
}

}  // namespace fathom::live
