#include "live/word_table.h"

#include <libstemmer.h>

#include <algorithm>
#include <random>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "live/fold_text.h"
#include "live/hash.h"

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

constexpr uint64_t padded(std::string_view word) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < word.size(); ++i) bytes |= uint64_t{static_cast<unsigned char>(word[i])} << (8 * i);
  return bytes;
}

/// The stop words by hash: open addressing, a quarter full.
struct StopSlots {
  static constexpr int kBits = 9;

  static constexpr size_t place(uint64_t word) { return (word * 0x9E3779B97F4A7C15ull) >> (64 - kBits); }
  static constexpr size_t next(size_t slot) { return (slot + 1) % (size_t{1} << kBits); }

  constexpr StopSlots() {
    for (const std::string_view word : kStopWords) {
      size_t slot = place(padded(word));
      while (slots[slot] != 0) slot = next(slot);
      slots[slot] = padded(word);
    }
  }

  constexpr bool has(uint64_t word) const {
    size_t slot = place(word);
    while (slots[slot] != 0 && slots[slot] != word) slot = next(slot);
    return slots[slot] != 0;
  }

  std::array<uint64_t, size_t{1} << kBits> slots{};
};
constexpr StopSlots kStopSlots;

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) ^ device();
}

uint64_t term_seed() {
  static const uint64_t seed = random_seed();
  return seed;
}

}  // namespace

bool is_stop_word(std::string_view word) {
  return word.size() <= kLongestStopWord && kStopSlots.has(padded(word));
}

bool WordTable::is_stop(uint64_t word) { return kStopSlots.has(word); }

uint64_t term_hash(std::string_view term) { return hash_bytes(term, term_seed()); }

void WordTable::StemmerDelete::operator()(sb_stemmer* stemmer) const { sb_stemmer_delete(stemmer); }

WordTable::Stemmer WordTable::make_stemmer(const char* language) {
  Stemmer stemmer(sb_stemmer_new(language, "UTF_8"));
  if (!stemmer)
    throw Error(ErrorCode::kInternal, std::string("the Snowball stemmer '") + language + "' is missing");
  return stemmer;
}

WordTable::WordTable()
    : english_(make_stemmer("english")),
      russian_(make_stemmer("russian")),
      seed_(term_seed()),
      memory_((size_t{1} << kBits) * sizeof(Set)),
      sets_(reinterpret_cast<Set*>(memory_.data())) {}

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
  sb_stemmer* stemmer = (ascii ? english_ : russian_).get();
  const auto* stemmed = sb_stemmer_stem(stemmer, reinterpret_cast<const sb_symbol*>(word.data()),
                                        static_cast<int>(word.size()));
  if (stemmed == nullptr) return word;
  return {reinterpret_cast<const char*>(stemmed), static_cast<size_t>(sb_stemmer_length(stemmer))};
}

void WordTable::fill(Entry& entry, const PaddedBytes& padded, size_t size) {
  char bytes[kMaxCached];
  std::memcpy(bytes, &padded.low, 8);
  std::memcpy(bytes + 8, &padded.high, 8);
  const std::string_view word(bytes, size);
  std::string_view stemmed = stem(word);
  const auto differs = std::mismatch(word.begin(), word.end(), stemmed.begin(), stemmed.end());
  const auto kept = static_cast<size_t>(differs.first - word.begin());
  if (stemmed.size() - kept > sizeof entry.suffix) stemmed = word;  // no stemmer does this
  entry.word = padded;
  entry.hash = term_hash(stemmed);
  entry.kept = static_cast<uint8_t>(std::min(kept, stemmed.size()));
  entry.stem_size = static_cast<uint8_t>(stemmed.size());
  entry.stop = is_stop_word(word);
  std::memset(entry.suffix, 0, sizeof entry.suffix);
  std::memcpy(entry.suffix, stemmed.data() + entry.kept, stemmed.size() - entry.kept);
}

}  // namespace fathom::live
