#include "live/segment/record_code.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxStrings = size_t{1} << 16, kMaxStringBytes = 48;
constexpr uint32_t kLeastCount = 3;  // in the sample
constexpr int kLevel = 9;            // of the section: small, written once
constexpr size_t kMaxSectionBytes = size_t{64} << 20;
constexpr size_t kOfTexts = 0, kOfValues = 1;  // purposes of spelling

constexpr std::array<bool, 256> kWordBytes = [] {
  std::array<bool, 256> table{};
  for (size_t c = 0; c < table.size(); ++c)
    table[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '\'' || c == '#' || c == '@' || c >= 0x80;
  return table;
}();

constexpr std::array<uint8_t, 256> kSpellingKinds = [] {
  std::array<uint8_t, 256> table{};
  for (size_t c = 0; c < table.size(); ++c) {
    table[c] = 1;
    if (c >= 'a' && c <= 'z') table[c] = 2;
    if (c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u') table[c] = 3;
    if (c >= 'A' && c <= 'Z') table[c] = 4;
    if (c >= '0' && c <= '9') table[c] = 5;
    if (c >= 0x80 && c < 0xC0) table[c] = 6;
    if (c >= 0xC0) table[c] = 7;
  }
  return table;
}();

bool is_word(std::string_view run) { return kWordBytes[static_cast<uint8_t>(run.front())]; }

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

/// Appends the lengths of the code and makes it.
SymbolEncoder describe(std::span<const uint64_t> counts, std::string& section) {
  const std::vector<uint8_t> lengths = code_lengths(counts);
  section.append(lengths.begin(), lengths.end());
  return SymbolEncoder(lengths);
}

bool read_code(ByteReader& in, size_t symbols, SymbolDecoder& code) {
  const std::string_view lengths = in.string(symbols);
  return in.ok() && code.build({reinterpret_cast<const uint8_t*>(lengths.data()), lengths.size()});
}

/// Whether a value that the segment does not know is cut into words.
bool is_prose(ValueKind kind) {
  return kind == ValueKind::kName || kind == ValueKind::kUrl || kind == ValueKind::kLink ||
         kind == ValueKind::kTag;
}

std::string pack(const std::string& all) {
  std::string packed(ZSTD_compressBound(all.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), all.data(), all.size(), kLevel);
  FATHOM_CHECK(ZSTD_isError(size) == 0, "zstd has room for its worst case");
  packed.resize(size);
  return packed;
}

}  // namespace

size_t Spelling::kind_after(unsigned char byte) { return kSpellingKinds[byte]; }

StringTable::Key::Key(std::string_view string) {
  const char* end = string.data() + string.size();
  if (string.size() >= sizeof first) {
    uint32_t last = 0;
    std::memcpy(&first, string.data(), sizeof first);
    std::memcpy(&last, end - sizeof last, sizeof last);
    last_and_size = last & 0xFFFFFF00U;
  } else {
    std::memcpy(&first, string.data(), string.size());
  }
  last_and_size |= static_cast<uint8_t>(string.size());
}

/// Where the string is, or the free slot for it. REQUIRES: there is one.
size_t StringTable::slot_of(std::string_view string, uint64_t hash) const {
  const Key key(string);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.entry == 0) return at;
    if (slot.first != key.first || slot.last_and_size != key.last_and_size) continue;
    if (string.size() <= kKeyBytes || view(entries_[slot.entry - 1]) == string) return at;
  }
}

void StringTable::index(size_t slots) {
  slots_.assign(slots, Slot());
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    const std::string_view string = view(entries_[i]);
    const Key key(string);
    slots_[slot_of(string, term_hash(string))] = {key.first, key.last_and_size, i + 1};
  }
}

void StringTable::learn(std::string_view string) {
  if (string.size() > kMaxStringBytes || string.empty()) return;
  if (2 * entries_.size() >= slots_.size()) index(std::max<size_t>(64, 4 * entries_.size()));
  Slot& slot = slots_[slot_of(string, term_hash(string))];
  if (slot.entry == 0) {
    const Key key(string);
    entries_.push_back({static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(string.size()), 0});
    bytes_ += string;
    slot = {key.first, key.last_and_size, static_cast<uint32_t>(entries_.size())};
  }
  ++entries_[slot.entry - 1].count;
}

template <class Left>
void StringTable::choose(std::string& section, Left&& left) {
  std::sort(entries_.begin(), entries_.end(), [&](const Entry& a, const Entry& b) {
    return a.count != b.count ? a.count > b.count : view(a) < view(b);
  });
  size_t kept = 0;
  while (kept < std::min(entries_.size(), kMaxStrings) && entries_[kept].count >= kLeastCount) ++kept;
  std::vector<uint64_t> counts = {0, ends_};
  for (size_t i = kept; i < entries_.size(); ++i) {
    counts[kSpelled] += entries_[i].count;
    left(view(entries_[i]), entries_[i].count);
  }
  entries_.resize(kept);
  std::string bytes;
  put_varint(section, kept);
  for (Entry& entry : entries_) {
    const auto begin = static_cast<uint32_t>(bytes.size());
    bytes += view(entry);
    entry.begin = begin;
    section += static_cast<char>(entry.size);
    counts.push_back(entry.count);
  }
  bytes_ = std::move(bytes);
  section += bytes_;
  encoder_ = describe(counts, section);
  index(std::bit_ceil(2 * kept + 1));
}

uint32_t StringTable::find(std::string_view string, uint64_t hash) const {
  const uint32_t entry = string.size() > kMaxStringBytes ? 0 : slots_[slot_of(string, hash)].entry;
  return entry == 0 ? kSpelled : entry - 1 + kFirst;
}

std::string RecordEncoder::choose() {
  learning_ = false;
  std::string strings;
  for (size_t kind = 0; kind < kValueKinds; ++kind)
    values_[kind].choose(strings, [&](std::string_view value, uint64_t count) {
      if (is_prose(static_cast<ValueKind>(kind)))
        for (uint64_t i = 0; i < count; ++i) learn_text(value);
      else
        learn_spelling(kOfValues, value, count);
    });
  words_.choose(strings,
                [&](std::string_view word, uint64_t count) { learn_spelling(kOfTexts, word, count); });
  std::string section;
  for (size_t purpose = 0; purpose < spelled_.size(); ++purpose)
    for (size_t kind = 0; kind < Spelling::kKinds; ++kind)
      spelling_codes_[purpose][kind] = describe(spelled_[purpose][kind], section);
  for (size_t kind = 0; kind < kNumberKinds; ++kind) number_codes_[kind] = describe(widths_[kind], section);
  return pack(section + strings);
}

void RecordEncoder::learn_spelling(size_t purpose, std::string_view string, uint64_t count) {
  size_t kind = 0;
  for (const char c : string) {
    const auto byte = static_cast<unsigned char>(c);
    spelled_[purpose][kind][byte] += count;
    kind = Spelling::kind_after(byte);
  }
  spelled_[purpose][kind][Spelling::kEnd] += count;
}

void RecordEncoder::number(NumberKind kind, uint64_t value) {
  const auto k = static_cast<size_t>(kind);
  const unsigned width = bits_for(value);
  if (learning_) {
    ++widths_[k][width];
    return;
  }
  number_codes_[k].put(width, out_);
  if (width < 2) return;  // its highest bit goes without saying
  unsigned left = width - 1;
  if (left > 32) {
    left -= 32;
    out_.put((value >> 32) & ((uint64_t{1} << left) - 1), left);
    left = 32;
  }
  out_.put(value & ((uint64_t{1} << left) - 1), left);
}

void RecordEncoder::value(ValueKind kind, std::string_view value) {
  StringTable& table = values_[static_cast<size_t>(kind)];
  if (learning_) return table.learn(value);
  const uint32_t symbol = table.find(value);
  table.put(symbol, out_);
  if (symbol != StringTable::kSpelled) return;
  if (is_prose(kind))
    put_text(value);
  else
    spell(kOfValues, value);
}

void RecordEncoder::text(std::string_view text) {
  if (learning_)
    learn_text(text);
  else
    put_text(text);
}

void RecordEncoder::learn_text(std::string_view text) {
  for_each_run(text, [&](std::string_view run) { words_.learn(run); });
  words_.learn_end();
}

/// The table of words is larger than the near cache: all words of the text are asked for at once.
void RecordEncoder::put_text(std::string_view text) {
  runs_.clear();
  for_each_run(text, [&](std::string_view run) {
    runs_.push_back({run, term_hash(run)});
    words_.prefetch(runs_.back().hash);
  });
  for (const Run& run : runs_) {
    const uint32_t symbol = words_.find(run.bytes, run.hash);
    words_.put(symbol, out_);
    if (symbol == StringTable::kSpelled) spell(kOfTexts, run.bytes);
  }
  words_.put(StringTable::kEnd, out_);
}

void RecordEncoder::spell(size_t purpose, std::string_view string) {
  const auto& codes = spelling_codes_[purpose];
  size_t kind = 0;
  for (const char c : string) {
    const auto byte = static_cast<unsigned char>(c);
    codes[kind].put(byte, out_);
    kind = Spelling::kind_after(byte);
  }
  codes[kind].put(Spelling::kEnd, out_);
}

bool RecordDecoder::Strings::read(ByteReader& in) {
  const uint64_t count = in.varint();
  const std::string_view sizes = in.string(count);
  if (!in.ok() || count > kMaxStrings) return false;
  begins.assign(1, 0);
  for (const char size : sizes) {
    if (size == 0) return false;
    begins.push_back(begins.back() + static_cast<unsigned char>(size));
  }
  bytes = in.string(begins.back());
  return read_code(in, count + StringTable::kFirst, code);
}

bool RecordDecoder::read(Bytes section) {
  const uint64_t size = ZSTD_getFrameContentSize(section.data(), section.size());
  if (size > kMaxSectionBytes) return false;
  std::string all(size, '\0');
  const size_t got = ZSTD_decompress(all.data(), all.size(), section.data(), section.size());
  if (ZSTD_isError(got) != 0 || got != size) return false;
  const auto* begin = reinterpret_cast<const uint8_t*>(all.data());
  ByteReader in(begin, begin + all.size());
  for (auto& purpose : spelling_codes_)
    for (auto& code : purpose)
      if (!read_code(in, Spelling::kSymbols, code)) return false;
  for (auto& code : number_codes_)
    if (!read_code(in, kWidths, code)) return false;
  for (auto& table : values_)
    if (!table.read(in)) return false;
  return words_.read(in) && in.left() == 0;
}

uint64_t RecordDecoder::number(NumberKind kind, CodeReader& in) const {
  const uint32_t width = number_codes_[static_cast<size_t>(kind)].read(in);
  if (width < 2) return width;
  unsigned left = width - 1;
  uint64_t value = 1;
  if (left > 32) {
    value = value << (left - 32) | in.bits(left - 32);
    left = 32;
  }
  return value << left | in.bits(left);
}

bool RecordDecoder::value(ValueKind kind, CodeReader& in, std::string& out, size_t most) const {
  const Strings& table = values_[static_cast<size_t>(kind)];
  const uint32_t symbol = table.code.read(in);
  if (symbol == StringTable::kSpelled)
    return is_prose(kind) ? text(in, out, most) : spelled(kOfValues, in, out, most);
  if (symbol == StringTable::kEnd || out.size() > most) return false;
  out += table[symbol];
  return in.ok();
}

bool RecordDecoder::text(CodeReader& in, std::string& out, size_t most) const {
  bool after_word = false;
  for (;;) {
    const uint32_t symbol = words_.code.read(in);
    if (symbol == StringTable::kEnd) return in.ok();
    if (!in.ok() || out.size() > most) return false;
    const size_t begin = out.size();
    if (symbol != StringTable::kSpelled) {
      const std::string_view run = words_[symbol];
      const bool word = is_word(run);
      if (word && after_word) out += ' ';
      out += run;
      after_word = word;
      continue;
    }
    out += ' ';
    if (!spelled(kOfTexts, in, out, most) || out.size() == begin + 1) return false;
    const bool word = kWordBytes[static_cast<uint8_t>(out[begin + 1])];
    if (!word || !after_word) out.erase(begin, 1);
    after_word = word;
  }
}

bool RecordDecoder::spelled(size_t purpose, CodeReader& in, std::string& out, size_t most) const {
  size_t kind = 0;
  for (;;) {
    const uint32_t symbol = spelling_codes_[purpose][kind].read(in);
    if (symbol == Spelling::kEnd) return in.ok();
    if (!in.ok() || out.size() > most) return false;
    out += static_cast<char>(symbol);
    kind = Spelling::kind_after(static_cast<unsigned char>(symbol));
  }
}

}  // namespace fathom::live
