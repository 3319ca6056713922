#include "model/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>

#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "model/sentence_piece.h"

namespace fathom::model {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// Bytes of what is replaced, and of what replaces it: far more than Unicode's longest, so that no map makes a text's work or
// size run away.
constexpr size_t kLongest = 1024;

[[noreturn]] void corrupt(const char* what) {
  throw Error(ErrorCode::kCorrupt, std::string("the tokenizer's precompiled_charsmap ") + what +
                                       "; download or convert the model again");
}

// A unit of darts-clone's double array.
uint32_t label_of(uint32_t unit) { return unit & (0x80000000u | 0xFFu); }
size_t offset_of(uint32_t unit) { return static_cast<size_t>(unit >> 10) << ((unit & (1u << 9)) >> 6); }
bool has_value(uint32_t unit) { return (unit >> 8 & 1u) != 0; }
size_t value_of(uint32_t unit) { return unit & 0x7FFFFFFFu; }

/// Whether a piece is one white space character.
bool is_space(std::string_view piece) {
  if (piece.empty()) return false;
  size_t end = 0;
  const char32_t c = decode_utf8(piece, end);
  return end == piece.size() && u_isUWhiteSpace(static_cast<UChar32>(c));
}

}  // namespace

CharsMap::CharsMap(std::string_view bytes) {
  if (bytes.empty()) return;
  uint32_t size = 0;
  if (bytes.size() < sizeof(size)) corrupt("is cut off");
  std::memcpy(&size, bytes.data(), sizeof(size));
  bytes.remove_prefix(sizeof(size));
  if (size > bytes.size() || size % sizeof(uint32_t) != 0 || size == 0)
    corrupt("has a trie that does not fit");
  units_.resize(size / sizeof(uint32_t));
  std::memcpy(units_.data(), bytes.data(), size);
  replacements_ = bytes.substr(size);
  if (!replacements_.empty() && replacements_.back() != '\0') replacements_ += '\0';
  for (size_t begin = 0; begin < replacements_.size();) {
    const size_t end = replacements_.find('\0', begin);
    if (end - begin > kLongest) corrupt("replaces a character by too long a text");
    if (!is_valid_utf8(std::string_view(replacements_).substr(begin, end - begin))) corrupt("is not UTF-8");
    begin = end + 1;
  }
}

CharsMap::Match CharsMap::longest(std::string_view text, size_t at) const {
  Match best;
  if (units_.empty()) return best;
  size_t value = 0;
  size_t node = offset_of(units_[0]);
  const size_t end = text.size() - at > kLongest ? at + kLongest : text.size();
  for (size_t i = at; i < end; ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (node >= units_.size()) break;
    if (!has_value(unit)) continue;
    best.size = i + 1 - at;
    value = value_of(units_[node]);
  }
  // A place within a character or past the end, as only a damaged map has, gives nothing.
  if (best.size == 0 || value >= replacements_.size()) return best;
  best.replacement = std::string_view(replacements_.c_str() + value);
  if ((static_cast<uint8_t>(best.replacement.empty() ? 0 : best.replacement[0]) & 0xC0) == 0x80)
    best.replacement = {};
  return best;
}

void SpaceNormalizer::begin(State& state, std::string& out) const {
  if (!state.begun && options_.add_prefix) out += kPieceSpace;
  state.begun = true;
}

void SpaceNormalizer::append(std::string_view text, State& state, std::string& out) const {
  for (size_t at = 0; at < text.size();) {
    CharsMap::Match match = map_.longest(text, at);
    if (match.size == 0) {
      size_t end = at;
      const bool bad = decode_utf8(text, end) == 0xFFFD && text.substr(at, end - at) != kReplacement;
      match = bad ? CharsMap::Match{1, kReplacement} : CharsMap::Match{end - at, text.substr(at, end - at)};
    }
    at += match.size;
    std::string_view piece = match.replacement;
    if (options_.any_space && is_space(piece)) piece = " ";
    while (options_.remove_extra && state.after_space && piece.starts_with(' ')) piece.remove_prefix(1);
    if (piece.empty()) continue;
    begin(state, out);
    for (const char c : piece) {
      if (c == ' ')
        out += kPieceSpace;
      else
        out += c;
    }
    state.after_space = piece.back() == ' ';
  }
}

void SpaceNormalizer::append_before_token(State& state, std::string& out) const {
  begin(state, out);
  state.after_space = false;
}

void SpaceNormalizer::finish(std::string& out) const {
  if (!options_.remove_extra) return;
  while (out.ends_with(kPieceSpace)) out.resize(out.size() - kPieceSpace.size());
}

std::string to_nfc(std::string_view text) {
  FATHOM_CHECK(text.size() < (size_t{1} << 31));
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  if (U_SUCCESS(status))
    nfc->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr,
                       status);
  if (U_FAILURE(status))
    throw Error(ErrorCode::kInternal, std::string("ICU cannot normalise a text: ") + u_errorName(status));
  return out;
}

std::string replace_bad_bytes(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = decode_utf8(text, at);
    const std::string_view part = text.substr(begin, at - begin);
    if (c != 0xFFFD || part == kReplacement) {
      out += part;
    } else {
      for (size_t i = 0; i < part.size(); ++i) out += kReplacement;
    }
  }
  return out;
}

}  // namespace fathom::model
