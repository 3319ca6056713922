#include "live/segment/words.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/error.h"

namespace fathom::live {
namespace {

constexpr uint8_t kEnd = 0, kLiteral = 1, kFirstShort = 2, kFirstPair = 192, kFirstTriple = 240;
constexpr uint32_t kShorts = kFirstPair - kFirstShort, kPairs = (kFirstTriple - kFirstPair) * 256;
constexpr size_t kMaxWords = size_t{1} << 16, kMaxWordBytes = 48;
constexpr uint64_t kLeastCount = 3;  // in the sample
constexpr int kLevel = 9;            // of the section: small, written once

constexpr std::array<bool, 256> kWordBytes = [] {
  std::array<bool, 256> table{};
  for (size_t c = 0; c < table.size(); ++c)
    table[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '\'' || c == '#' || c == '@' || c >= 0x80;
  return table;
}();

bool is_word(std::string_view run) { return kWordBytes[static_cast<uint8_t>(run.front())]; }

uint64_t hash(std::string_view run) { return hash_bytes(run, 0); }

/// Calls take(run) for every run but the single spaces between words.
template <class Take>
void for_each_run(std::string_view text, Take&& take) {
  for (size_t at = 0; at < text.size();) {
    const bool word = kWordBytes[static_cast<uint8_t>(text[at])];
    size_t end = at + 1;
    while (end < text.size() && kWordBytes[static_cast<uint8_t>(text[end])] == word) ++end;
    const bool said = word || at == 0 || end == text.size() || end - at != 1 || text[at] != ' ';
    if (said) take(text.substr(at, end - at));
    at = end;
  }
}

}  // namespace

bool WordCodes::read(Bytes section) {
  bytes_.clear();
  begins_.assign(1, 0);
  if (section.empty()) return true;
  const uint64_t size = ZSTD_getFrameContentSize(section.data(), section.size());
  if (size > kMaxWords * (kMaxWordBytes + 1)) return false;
  std::string all(size, '\0');
  const size_t got = ZSTD_decompress(all.data(), all.size(), section.data(), section.size());
  if (ZSTD_isError(got) != 0 || got != size) return false;
  size_t words = 0, total = 0;
  while (words < all.size() && all[words] != 0) {  // the sizes end with a 0
    total += static_cast<uint8_t>(all[words++]);
    begins_.push_back(static_cast<uint32_t>(total));
  }
  if (words == all.size() || all.size() - words - 1 != total) return false;
  bytes_ = all.substr(words + 1);
  return true;
}

bool WordCodes::decode(ByteReader& in, std::string& out, size_t most) const {
  bool after_word = false;
  for (;;) {
    const uint8_t code = in.byte();
    if (code == kEnd) return in.ok();
    std::string_view run;
    if (code == kLiteral) {
      run = in.string(in.varint());
    } else {
      uint32_t number = code - kFirstShort;
      if (code >= kFirstTriple) {
        const uint32_t high = in.byte();
        number = kShorts + kPairs + ((code - kFirstTriple) << 16 | high << 8 | in.byte());
      } else if (code >= kFirstPair) {
        number = kShorts + ((code - kFirstPair) << 8 | in.byte());
      }
      if (size_t{number} + 1 >= begins_.size()) return false;
      run = std::string_view(bytes_).substr(begins_[number], begins_[number + 1] - begins_[number]);
    }
    if (run.empty() || out.size() + run.size() >= most) return false;
    const bool word = is_word(run);
    if (word && after_word) out += ' ';
    out += run;
    after_word = word;
  }
}

void WordEncoder::learn(std::string_view text) {
  for_each_run(text, [&](std::string_view run) {
    if (run.size() > kMaxWordBytes) return;
    const uint64_t h = hash(run);
    uint32_t number = known_.find(h, [&](uint32_t n) { return counted_[n].word == run; });
    if (number == 0) {
      number = static_cast<uint32_t>(counted_.size());
      counted_.push_back({std::string(run), 0});
      known_.insert(h, number);
    }
    ++counted_[number].count;
  });
}

std::string WordEncoder::choose() {
  counted_.erase(counted_.begin());
  std::erase_if(counted_, [&](const Counted& c) { return c.count < kLeastCount; });
  std::sort(counted_.begin(), counted_.end(), [](const Counted& a, const Counted& b) {
    return a.count != b.count ? a.count > b.count : a.word < b.word;
  });
  if (counted_.size() > kMaxWords) counted_.resize(kMaxWords);
  std::string sizes, bytes;
  chosen_ = std::make_unique<HashIndex>();
  for (auto& counted : counted_) {
    sizes += static_cast<char>(counted.word.size());
    bytes += counted.word;
    words_.push_back(std::move(counted.word));
    chosen_->insert(hash(words_.back()), static_cast<uint32_t>(words_.size()));
  }
  std::vector<Counted>().swap(counted_);
  if (words_.empty()) return {};
  const std::string all = sizes + '\0' + bytes;
  std::string packed(ZSTD_compressBound(all.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), all.data(), all.size(), kLevel);
  FATHOM_CHECK(ZSTD_isError(size) == 0, "zstd has room for its worst case");
  packed.resize(size);
  return packed;
}

void WordEncoder::encode(std::string_view text, std::string& out) const {
  for_each_run(text, [&](std::string_view run) {
    uint32_t number =
        chosen_ == nullptr ? 0 : chosen_->find(hash(run), [&](uint32_t n) { return words_[n - 1] == run; });
    if (number-- == 0) {
      out += static_cast<char>(kLiteral);
      put_varint(out, run.size());
      out += run;
    } else if (number < kShorts) {
      out += static_cast<char>(kFirstShort + number);
    } else if ((number -= kShorts) < kPairs) {
      out += static_cast<char>(kFirstPair + (number >> 8));
      out += static_cast<char>(number);
    } else {
      number -= kPairs;
      out += static_cast<char>(kFirstTriple + (number >> 16));
      out += static_cast<char>(number >> 8);
      out += static_cast<char>(number);
    }
  });
  out += static_cast<char>(kEnd);
}

}  // namespace fathom::live
