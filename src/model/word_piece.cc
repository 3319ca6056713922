#include "model/word_piece.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/sentence_piece.h"

namespace fathom::model {
namespace {

/// The general category as of Unicode 8, which Hugging Face's tables have: what came later is a letter to it.
uint32_t category(char32_t c) {
  if (c < 0x80) return U_MASK(u_charType(static_cast<UChar32>(c)));
  switch (c) {  // of another category since
    case 0x166D:
    case 0x111C9: return U_GC_PO_MASK;
    case 0x1734: return U_GC_MN_MASK;
    case 0x1885:
    case 0x1886: return U_GC_LO_MASK;
    case 0xA9BD: return U_GC_MC_MASK;
    default: break;
  }
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] > 8 ? U_GC_LO_MASK : U_MASK(u_charType(static_cast<UChar32>(c)));
}

/// White space in the way of Hugging Face's cleaning and cutting.
bool is_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)); }

bool is_removed(char32_t c) {
  if (c == 0 || c == 0xFFFD) return true;
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return (category(c) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return c > ' ' && c < 0x7F && !u_isalnum(static_cast<UChar32>(c));
  return (category(c) & U_GC_P_MASK) != 0;
}

/// The blocks of ideographs that BERT keeps apart.
bool is_cjk(char32_t c) {
  constexpr std::pair<char32_t, char32_t> kBlocks[] = {
      {0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
      {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
  return std::ranges::any_of(kBlocks,
                             [c](const auto& block) { return c >= block.first && c <= block.second; });
}

/// Cleaned text, ideographs between spaces.
std::string cleaned(std::string_view text, const WordPieceOptions& options) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    if (options.clean && is_removed(c)) continue;
    const bool apart = options.separate_cjk && is_cjk(c);
    if (apart) out += ' ';
    append_utf8(out, options.clean && is_space(c) ? U' ' : c);
    if (apart) out += ' ';
  }
  return out;
}

std::string without_accents(const std::string& text) {
  if (std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; })) return text;
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfd = icu::Normalizer2::getNFDInstance(status);
  icu::UnicodeString apart;
  if (U_SUCCESS(status)) apart = nfd->normalize(icu::UnicodeString::fromUTF8(text), status);
  if (U_FAILURE(status))
    throw Error(ErrorCode::kInternal, std::string("ICU cannot normalise a text: ") + u_errorName(status));
  std::string out;
  out.reserve(text.size());
  for (int32_t at = 0; at < apart.length(); at = apart.moveIndex32(at, 1)) {
    const auto c = static_cast<char32_t>(apart.char32At(at));
    if ((category(c) & U_GC_MN_MASK) == 0) append_utf8(out, c);
  }
  return out;
}

void append_lower(std::string& out, char32_t c) {
  if (c == 0x130) {  // the one character that becomes two
    out += "i\xCC\x87";
  } else {
    append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
  }
}

/// How much of a long text is worked on at once: up to a space, which no word crosses, or else up to some character.
size_t part_size(std::string_view text) {
  constexpr size_t kPart = size_t{1} << 20;
  if (text.size() <= kPart) return text.size();
  const size_t space = text.rfind(' ', kPart - 1);
  if (space != std::string_view::npos) return space + 1;
  size_t size = kPart;
  while (size > kPart - 4 && (static_cast<uint8_t>(text[size]) & 0xC0) == 0x80) --size;
  return size;
}

}  // namespace

std::string bert_words(std::string_view text, const WordPieceOptions& options) {
  std::string clean = cleaned(text, options);
  if (options.strip_accents) clean = without_accents(clean);
  std::string out;
  out.reserve(clean.size() + clean.size() / 4);
  const auto end_word = [&] {
    if (!out.empty() && out.back() != ' ') out += ' ';
  };
  for (size_t at = 0; at < clean.size();) {
    const char32_t c = decode_utf8(clean, at);
    if (is_space(c)) {
      end_word();
      continue;
    }
    const bool apart = is_punctuation(c);
    if (apart) end_word();
    if (options.lowercase)
      append_lower(out, c);
    else
      append_utf8(out, c);
    if (apart) end_word();
  }
  end_word();
  return out;
}

WordPieceEncoder::WordPieceEncoder(const Vocabulary& vocabulary, std::optional<int32_t> unknown,
                                   WordPieceOptions options)
    : unknown_(unknown), options_(options) {
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.types[id] != TokenType::kNormal) continue;
    std::string_view text = vocabulary.texts[id];
    const bool begins = text.starts_with(kPieceSpace);
    if (begins) text.remove_prefix(kPieceSpace.size());
    if (text.empty()) continue;
    (begins ? beginnings_ : continuations_).insert_or_assign(text, static_cast<int32_t>(id));
    longest_piece_ = std::max(longest_piece_, text.size());
  }
}

void WordPieceEncoder::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  const auto is_begin = [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; };
  const size_t before = ids.size();
  bool known = static_cast<size_t>(std::ranges::count_if(word, is_begin)) <= options_.longest;
  for (size_t at = 0; known && at < word.size();) {
    const Pieces& pieces = at == 0 ? beginnings_ : continuations_;
    size_t size = std::min(word.size() - at, longest_piece_);
    auto found = pieces.end();
    for (; size > 0; --size) {
      if (at + size < word.size() && !is_begin(word[at + size])) continue;
      found = pieces.find(word.substr(at, size));
      if (found != pieces.end()) break;
    }
    known = size > 0;
    if (known) ids.push_back(found->second);
    at += size;
  }
  if (known) return;
  ids.resize(before);
  if (unknown_) ids.push_back(*unknown_);
}

void WordPieceEncoder::encode(std::string_view text, std::vector<int32_t>& ids) const {
  while (!text.empty()) {
    const std::string_view part = text.substr(0, part_size(text));
    text.remove_prefix(part.size());
    const std::string words = bert_words(part, options_);
    for (size_t begin = 0; begin < words.size();) {
      const size_t end = words.find(' ', begin);
      encode_word(std::string_view(words).substr(begin, end - begin), ids);
      begin = end + 1;
    }
  }
}

}  // namespace fathom::model
