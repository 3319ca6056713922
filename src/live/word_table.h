// From a folded word to its stem, the stem's hash and whether it is a stop word: a small exact cache before Snowball.
//
// Words follow Zipf's law, so a table of the words seen last answers nearly all of them; an entry holds its whole word, so a
// wrong answer is impossible. Owned by one thread.
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

  /// The same for a word of at most kMaxCached bytes that may be read up to kMaxCached.
  Answer look_up_padded(const char* word, size_t size, char* out) {
    const auto [low, high] = padded_word(word, size);
    Entry& entry = entries_[place(low, high)];
    if (entry.low != low || entry.high != high) fill(entry, low, high, size);
    std::memcpy(out, &entry.low, 8);
    std::memcpy(out + 8, &entry.high, 8);
    std::memcpy(out + entry.kept, entry.suffix, sizeof entry.suffix);
    return {entry.hash, entry.stem_size, entry.stop};
  }

  /// Asks for the memory that `look_up_padded` will want.
  void prefetch(const char* word, size_t size) const {
    if (size > kMaxCached) return;
    const auto [low, high] = padded_word(word, size);
    __builtin_prefetch(&entries_[place(low, high)]);
  }

 private:
  static constexpr int kBits = 15;

  /// 32 bytes: two a cache line. A stem is the beginning of its word and at most four bytes more.
  struct Entry {
    uint64_t low = 0, high = 0;  // the word, padded with zeros
    uint64_t hash = 0;
    char suffix[4] = {};
    uint8_t kept = 0, stem_size = 0;
    bool stop = false;
  };
  static_assert(sizeof(Entry) == 32);

  static uint64_t low_bytes(size_t n) { return n >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * n)) - 1; }

  static std::pair<uint64_t, uint64_t> padded_word(const char* word, size_t size) {
    uint64_t low = 0, high = 0;
    std::memcpy(&low, word, 8);
    std::memcpy(&high, word + 8, 8);
    return {low & low_bytes(size), high & low_bytes(size < 8 ? 0 : size - 8)};
  }

  static size_t place(uint64_t low, uint64_t high) {
    const uint64_t mixed = (low ^ (high * 0x9E3779B97F4A7C15ull)) * 0xD6E8FEB86659FD93ull;
    return static_cast<size_t>(mixed >> (64 - kBits));
  }

  void fill(Entry& entry, uint64_t low, uint64_t high, size_t size);
  std::string_view stem(std::string_view word);

  struct StemmerDelete {
    void operator()(sb_stemmer* stemmer) const;
  };
  using Stemmer = std::unique_ptr<sb_stemmer, StemmerDelete>;
  static Stemmer make_stemmer(const char* language);

  Stemmer english_, russian_;
  std::vector<Entry> entries_;
};

}  // namespace fathom::live
