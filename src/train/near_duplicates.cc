#include "train/near_duplicates.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "train/permutation.h"

namespace fathom::train {
namespace {

constexpr size_t kShingle = 5;  // words
constexpr size_t kHashes = std::tuple_size_v<MinHash> * sizeof(uint64_t);
/// Documents of one value of a band that are looked at: a common boilerplate must not make the search slow.
constexpr size_t kMostAlike = 8;

struct Permutations {
  std::array<uint32_t, kHashes> flip{}, factor{};

  Permutations() {
    Random random(0x5EED);
    for (size_t i = 0; i < kHashes; ++i) {
      flip[i] = static_cast<uint32_t>(random.next());
      factor[i] = static_cast<uint32_t>(random.next()) | 1;
    }
  }
};

const Permutations& permutations() {
  static const Permutations kPermutations;
  return kPermutations;
}

bool is_word_byte(char c) {
  return static_cast<uint8_t>(c) >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
         (c >= 'A' && c <= 'Z');
}

uint64_t word_hash(std::string_view word) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : word) {
    const bool upper = c >= 'A' && c <= 'Z';
    hash = (hash ^ static_cast<uint8_t>(upper ? c + ('a' - 'A') : c)) * 0x100000001B3u;  // FNV-1a
  }
  return mix64(hash);
}

/// Calls emit(hash) for each shingle.
template <class Emit>
void for_each_shingle(std::string_view text, Emit emit) {
  std::array<uint64_t, kShingle> last{};  // hashes of the last words, by their number
  size_t words = 0;
  const auto emit_last = [&](size_t count) {
    uint64_t hash = 0;
    for (size_t i = words - count; i < words; ++i) hash = mix64(hash + last[i % kShingle]);
    emit(static_cast<uint32_t>(hash >> 32));
  };
  for (size_t at = 0; at < text.size();) {
    while (at < text.size() && !is_word_byte(text[at])) ++at;
    const size_t begin = at;
    while (at < text.size() && is_word_byte(text[at])) ++at;
    if (at == begin) break;
    last[words++ % kShingle] = word_hash(text.substr(begin, at - begin));
    if (words >= kShingle) emit_last(kShingle);
  }
  if (words > 0 && words < kShingle) emit_last(words);
}

}  // namespace

std::optional<MinHash> min_hash(std::string_view text) {
  const Permutations& of = permutations();
  std::array<uint32_t, kHashes> least;
  least.fill(std::numeric_limits<uint32_t>::max());
  bool any = false;
  for_each_shingle(text, [&](uint32_t shingle) {
    any = true;
    for (size_t i = 0; i < kHashes; ++i) {
      uint32_t value = (shingle ^ of.flip[i]) * of.factor[i];
      value = (value ^ value >> 15) * 0x2C1B3C6Du;
      least[i] = std::min(least[i], value);
    }
  });
  if (!any) return std::nullopt;
  MinHash hash{};
  for (size_t i = 0; i < kHashes; ++i) hash[i / 8] |= uint64_t{least[i] & 0xFF} << (i % 8 * 8);
  return hash;
}

double similarity(const MinHash& a, const MinHash& b) {
  size_t same = 0;
  for (size_t band = 0; band < a.size(); ++band)
    for (uint64_t differ = a[band] ^ b[band], i = 0; i < 8; ++i, differ >>= 8)
      same += (differ & 0xFF) == 0 ? 1 : 0;
  // Of those that differ, one in 256 agrees in 8 bits by chance.
  const double share = static_cast<double>(same) / static_cast<double>(kHashes);
  return std::max(0.0, (share - 1.0 / 256) / (1 - 1.0 / 256));
}

bool NearDuplicates::add(const MinHash& hash) {
  if (is_known(hash)) return false;
  FATHOM_CHECK(documents_.size() < std::numeric_limits<uint32_t>::max());
  documents_.push_back(hash);
  if (documents_.size() * 3 > tables_[0].size() * 2) grow();
  const auto number = static_cast<uint32_t>(documents_.size());
  for (size_t band = 0; band < tables_.size(); ++band) insert(band, number);
  return true;
}

bool NearDuplicates::is_known(const MinHash& hash) const {
  for (size_t band = 0; band < tables_.size(); ++band) {
    const Table& table = tables_[band];
    const size_t mask = table.size() - 1;
    for (size_t at = mix64(hash[band]) & mask; !table.empty() && table[at] != 0; at = (at + 1) & mask) {
      const MinHash& other = documents_[table[at] - 1];
      if (other[band] == hash[band] && similarity(hash, other) >= threshold_) return true;
    }
  }
  return false;
}

void NearDuplicates::insert(size_t band, uint32_t document) {
  Table& table = tables_[band];
  const size_t mask = table.size() - 1;
  const uint64_t key = documents_[document - 1][band];
  size_t alike = 0, at = mix64(key) & mask;
  for (; table[at] != 0; at = (at + 1) & mask) {
    alike += documents_[table[at] - 1][band] == key ? 1 : 0;
    if (alike == kMostAlike) return;
  }
  table[at] = document;
}

/// Makes room and puts all but the newest document back.
void NearDuplicates::grow() {
  for (size_t band = 0; band < tables_.size(); ++band) {
    tables_[band].assign(std::max<size_t>(64, tables_[band].size() * 2), 0);
    for (uint32_t document = 1; document < documents_.size(); ++document) insert(band, document);
  }
}

}  // namespace fathom::train
