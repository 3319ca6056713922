// From a folded word to its stem, the stem's hash and whether it is a stop word: a small exact cache before Snowball.
//
// Words follow Zipf's law, so a table of the words seen last answers nearly all of them; an entry holds its whole word, so a
// wrong answer is impossible. Words whose last letter ends no ending that Snowball's rules for English know are their own
// stems and need no table. Owned by one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "live/analysis.h"
#include "live/concurrent.h"
#include "live/hash.h"

struct sb_stemmer;

namespace fathom::live {

/// "the", "of", "what", ...; written without apostrophes, as the analyser joins "don't" to "dont".
bool is_stop_word(std::string_view word);

class WordTable {
 public:
  struct Answer {
    uint64_t hash;  // of the stem
    size_t size;    // of the stem
    bool stop;
  };
  static constexpr size_t kMaxCached = 16;
  static constexpr size_t kRoom = kMaxTermBytes + 8;

  WordTable();
  ~WordTable();
  WordTable(const WordTable&) = delete;
  WordTable& operator=(const WordTable&) = delete;

  /// Writes the stem to `out`, which has kRoom bytes. REQUIRES: `word` of at most kMaxTermBytes.
  Answer look_up(std::string_view word, char* out);

  /// The same for a word of 1 to kMaxCached bytes that may be read up to kMaxCached.
  Answer look_up_padded(const char* word, size_t size, char* out) {
    const PaddedBytes padded = load_padded(word, size);
    if (size == kMaxCached || can_change(padded, word[size - 1])) return look_up_cached(padded, size, out);
    std::memcpy(out, &padded.low, 8);
    std::memcpy(out + 8, &padded.high, 8);
    return {hash_padded(padded, size, seed_), size, size < 8 && is_stop(padded.low)};
  }

  /// Asks for the memory that `look_up_padded` will want.
  void prefetch(const char* word, size_t size) const {
    if (size > kMaxCached) return;
    const PaddedBytes padded = load_padded(word, size);
    __builtin_prefetch(&sets_[can_change(padded, word[size - 1]) ? place(padded) : 0]);
  }

 private:
  static constexpr int kBits = 15;

  /// 32 bytes. A stem is the beginning of its word and at most four bytes more.
  struct Entry {
    PaddedBytes word;
    uint64_t hash;
    char suffix[4];
    uint8_t kept, stem_size;
    bool stop;

    bool holds(const PaddedBytes& other) const { return word.low == other.low && word.high == other.high; }
  };
  static_assert(sizeof(Entry) == 32);

  /// A cache line: two words that share a place, the one seen last before the other.
  struct alignas(64) Set {
    Entry entries[2];
  };

  /// False only for words that are their own stems: ASCII, and a last letter with which no ending of Snowball's rules for
  /// English ends. (What is no letter may count as any: the table knows.)
  static bool can_change(const PaddedBytes& word, char last) {
    constexpr uint64_t kNotAscii = 0x8080808080808080ull;
    constexpr uint32_t kLast = [] {
      uint32_t letters = 0;
      for (const char letter : std::string_view("cdegilmnrsty")) letters |= 1u << (letter - 'a');
      return letters;
    }();
    const uint32_t bit = (kLast >> (static_cast<uint32_t>(last - 'a') & 31u)) & 1u;
    return bit != 0 || ((word.low | word.high) & kNotAscii) != 0;
  }

  Answer look_up_cached(const PaddedBytes& word, size_t size, char* out) {
    Set& set = sets_[place(word)];
    if (!set.entries[0].holds(word)) {
      std::swap(set.entries[0], set.entries[1]);
      if (!set.entries[0].holds(word)) fill(set.entries[0], word, size);
    }
    const Entry& entry = set.entries[0];
    std::memcpy(out, &entry.word.low, 8);
    std::memcpy(out + 8, &entry.word.high, 8);
    std::memcpy(out + entry.kept, entry.suffix, sizeof entry.suffix);
    return {entry.hash, entry.stem_size, entry.stop};
  }

  static size_t place(const PaddedBytes& word) {
    const uint64_t mixed = (word.low ^ (word.high * 0x9E3779B97F4A7C15ull)) * 0xD6E8FEB86659FD93ull;
    return static_cast<size_t>(mixed >> (64 - kBits));
  }

  static bool is_stop(uint64_t padded_word);
  void fill(Entry& entry, const PaddedBytes& padded, size_t size);
  std::string_view stem(std::string_view word);

  struct StemmerDelete {
    void operator()(sb_stemmer* stemmer) const;
  };
  using Stemmer = std::unique_ptr<sb_stemmer, StemmerDelete>;
  static Stemmer make_stemmer(const char* language);

  Stemmer english_, russian_;
  const uint64_t seed_;  // of term_hash
  HugeMemory memory_;    // zeros: no words
  Set* sets_;
};

}  // namespace fathom::live
