#include "model/pretokenizer.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>

#include "base/text.h"

namespace fathom::model {
namespace {

enum class Kind : uint8_t { kLetter, kNumber, kSpace, kOther };

struct Char {
  char32_t code = 0;
  Kind kind = Kind::kOther;
  uint32_t category = 0;  // bit mask of ICU
  size_t end = 0;         // in bytes
};

Kind kind_of(char32_t code, uint32_t mask) {
  if ((mask & U_GC_L_MASK) != 0) return Kind::kLetter;
  if ((mask & U_GC_N_MASK) != 0) return Kind::kNumber;
  if (u_isUWhiteSpace(static_cast<UChar32>(code))) return Kind::kSpace;
  return Kind::kOther;
}

std::vector<Char> decode(std::string_view text) {
  std::vector<Char> chars;
  chars.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t code = decode_utf8(text, at);
    const uint32_t category = U_MASK(u_charType(static_cast<UChar32>(code)));
    chars.push_back({code, kind_of(code, category), category, at});
  }
  return chars;
}

bool is_newline(const Char& c) { return c.code == '\r' || c.code == '\n'; }

/// A stretch of characters; what lies outside it is not seen, as a regular expression sees its subject.
using Region = std::span<const Char>;

/// How many characters from `at` on are of this kind.
size_t run(Region text, size_t at, Kind kind) {
  size_t end = at;
  while (end < text.size() && text[end].kind == kind) ++end;
  return end - at;
}

char32_t lower_ascii(char32_t c) { return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; }

/// 's|'t|'re|'ve|'m|'ll|'d
size_t contraction(Region text, size_t at, bool any_case) {
  if (text[at].code != '\'' || at + 1 == text.size()) return 0;
  const auto letter = [&](size_t i) {
    if (i >= text.size()) return char32_t{0};
    return any_case ? lower_ascii(text[i].code) : text[i].code;
  };
  const char32_t first = letter(at + 1), second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const bool two =
      (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return two ? 3 : 0;
}

/// ` ?X+`
size_t spaced_run(Region text, size_t at, Kind kind) {
  const size_t space = text[at].code == ' ' ? 1 : 0;
  const size_t length = run(text, at + space, kind);
  return length == 0 ? 0 : space + length;
}

/// `\s+(?!\S)|\s+`: all white space up to the end, else all but the last, else the last.
size_t white_space(Region text, size_t at) {
  const size_t length = run(text, at, Kind::kSpace);
  const bool to_the_end = at + length == text.size();
  return to_the_end || length < 2 ? length : length - 1;
}

size_t match_gpt2(Region text, size_t at) {
  if (const size_t n = contraction(text, at, false)) return n;
  for (const Kind kind : {Kind::kLetter, Kind::kNumber, Kind::kOther})
    if (const size_t n = spaced_run(text, at, kind)) return n;
  return white_space(text, at);
}

/// `[^\r\n\p{L}\p{N}]?\p{L}+`
size_t led_letters(Region text, size_t at) {
  const bool lead = text[at].kind != Kind::kLetter;
  if (lead && (is_newline(text[at]) || text[at].kind == Kind::kNumber)) return 0;
  const size_t length = run(text, at + (lead ? 1 : 0), Kind::kLetter);
  return length == 0 ? 0 : length + (lead ? 1 : 0);
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n]*`
size_t symbols_and_newlines(Region text, size_t at) {
  size_t length = spaced_run(text, at, Kind::kOther);
  if (length == 0) return 0;
  while (at + length < text.size() && is_newline(text[at + length])) ++length;
  return length;
}

/// `\s*[\r\n]+`: to the last newline of the white space.
size_t up_to_newline(Region text, size_t at) {
  size_t length = run(text, at, Kind::kSpace);
  while (length > 0 && !is_newline(text[at + length - 1])) --length;
  return length;
}

size_t match_llama3(Region text, size_t at, size_t digits) {
  if (const size_t n = contraction(text, at, true)) return n;
  if (const size_t n = led_letters(text, at)) return n;
  if (const size_t n = run(text, at, Kind::kNumber)) return std::min(n, digits);
  if (const size_t n = symbols_and_newlines(text, at)) return n;
  if (const size_t n = up_to_newline(text, at)) return n;
  return white_space(text, at);
}

// The two classes of letters of kTekken and kGpt4o, which overlap.
constexpr uint32_t kCaseless = U_GC_LM_MASK | U_GC_LO_MASK | U_GC_M_MASK;
bool is_upper(const Char& c) { return (c.category & (U_GC_LU_MASK | U_GC_LT_MASK | kCaseless)) != 0; }
bool is_lower(const Char& c) { return (c.category & (U_GC_LL_MASK | kCaseless)) != 0; }

template <class In>
size_t run_of(Region text, size_t at, In in) {
  size_t end = at;
  while (end < text.size() && in(text[end])) ++end;
  return end - at;
}

/// `[U]*[L]+`, greedy: where no L follows the U's, they give back up to the last one that is an L too.
size_t capitals_then_small(Region text, size_t at) {
  size_t end = at + run_of(text, at, is_upper);
  if (const size_t small = run_of(text, end, is_lower)) return end + small - at;
  while (end > at && !is_lower(text[end - 1])) --end;
  return end - at;
}

/// `[U]+[L]*`
size_t capitals(Region text, size_t at) {
  const size_t length = run_of(text, at, is_upper);
  return length == 0 ? 0 : length + run_of(text, at + length, is_lower);
}

size_t cased_word(Region text, size_t at) {
  const bool may_lead =
      !is_newline(text[at]) && text[at].kind != Kind::kLetter && text[at].kind != Kind::kNumber;
  for (const auto word : {capitals_then_small, capitals}) {
    if (may_lead)
      if (const size_t n = word(text, at + 1)) return n + 1;
    if (const size_t n = word(text, at)) return n;
  }
  return 0;
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n/]*`
size_t symbols_and_slashes(Region text, size_t at) {
  const size_t length = spaced_run(text, at, Kind::kOther);
  const auto follows = [](const Char& c) { return is_newline(c) || c.code == '/'; };
  return length == 0 ? 0 : length + run_of(text, at + length, follows);
}

size_t match_cased(Region text, size_t at, size_t digits, bool contractions) {
  if (const size_t n = cased_word(text, at)) {
    const bool more = contractions && at + n < text.size();
    return n + (more ? contraction(text, at + n, true) : 0);
  }
  if (const size_t n = run(text, at, Kind::kNumber)) return std::min(n, digits);
  if (const size_t n = symbols_and_slashes(text, at)) return n;
  if (const size_t n = up_to_newline(text, at)) return n;
  return white_space(text, at);
}

bool is_ascii_letter(const Char& c) { return c.code < 0x80 && c.kind == Kind::kLetter; }
bool is_ascii_punctuation(const Char& c) { return c.code > ' ' && c.code < 0x7F && c.kind == Kind::kOther; }
bool is_sign(const Char& c) { return (c.category & (U_GC_P_MASK | U_GC_S_MASK)) != 0; }
bool is_word_part(const Char& c) { return (c.category & (U_GC_L_MASK | U_GC_M_MASK)) != 0; }
bool is_kana_or_han(const Char& c) {
  return (c.code >= 0x4E00 && c.code <= 0x9FA5) || (c.code >= 0x3040 && c.code <= 0x30FF);
}

/// `[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+`
size_t led_word(Region text, size_t at) {
  const bool may_lead = !is_newline(text[at]) && text[at].kind != Kind::kLetter && !is_sign(text[at]);
  if (may_lead)
    if (const size_t n = run_of(text, at + 1, is_word_part)) return n + 1;
  return run_of(text, at, is_word_part);
}

/// The last expression of kDeepSeekV3; 0 where it matches nothing.
size_t match_deepseek_word(Region text, size_t at) {
  if (is_ascii_punctuation(text[at]))
    if (const size_t n = run_of(text, at + 1, is_ascii_letter)) return n + 1;
  if (const size_t n = led_word(text, at)) return n;
  const size_t space = text[at].code == ' ' ? 1 : 0;
  if (const size_t n = run_of(text, at + space, is_sign))
    return space + n + run_of(text, at + space + n, is_newline);
  if (const size_t n = up_to_newline(text, at)) return n;
  return white_space(text, at);
}

/// What an expression that need not match everywhere makes of a region: what lies between matches is one word.
size_t match_or_gap(Region text, size_t at, size_t (*match)(Region, size_t)) {
  if (const size_t n = match(text, at)) return n;
  size_t end = at + 1;
  while (end < text.size() && match(text, end) == 0) ++end;
  return end - at;
}

/// Cuts a region into words by `match`, each handed to `emit`.
template <class Match, class Emit>
void cut(Region text, Match match, Emit emit) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = match(text, at);
    emit(text.subspan(at, length));
    at += length;
  }
}

/// A stretch for which `in` holds, or one for which it does not.
template <class In>
auto stretches(In in) {
  return [in](Region text, size_t at) {
    size_t end = at + 1;
    while (end < text.size() && in(text[end]) == in(text[at])) ++end;
    return end - at;
  };
}

bool is_number(const Char& c) { return c.kind == Kind::kNumber; }
bool is_ascii_digit(const Char& c) { return c.code >= '0' && c.code <= '9'; }

bool is_punctuation(const Char& c) {
  constexpr std::u32string_view kSymbols = U"$+<=>^~|";
  return kSymbols.find(c.code) != std::u32string_view::npos || (c.category & U_GC_P_MASK) != 0;
}
bool is_falcon_punctuation(const Char& c) { return is_punctuation(c) || c.code == '`'; }

size_t match_smollm_digits(Region text, size_t at) {
  return is_number(text[at]) ? 1 : stretches(is_number)(text, at);
}

/// `[0-9][0-9][0-9]` and what lies between.
size_t match_digit_triples(Region text, size_t at) {
  const auto triple = [&](size_t i) {
    return i + 3 <= text.size() && is_ascii_digit(text[i]) && is_ascii_digit(text[i + 1]) &&
           is_ascii_digit(text[i + 2]);
  };
  if (triple(at)) return 3;
  size_t end = at + 1;
  while (end < text.size() && !triple(end)) ++end;
  return end - at;
}

template <class Emit>
void cut_default(Region text, Emit emit) {
  cut(text, stretches(is_punctuation), [&](Region part) {
    cut(part, match_gpt2, [&](Region word) {
      cut(word, stretches(is_number), [&](Region piece) { cut(piece, match_digit_triples, emit); });
    });
  });
}

template <class Emit>
void cut_falcon(Region text, Emit emit) {
  cut(text, stretches(is_falcon_punctuation), [&](Region part) {
    cut(part, match_gpt2, [&](Region word) { cut(word, match_digit_triples, emit); });
  });
}

size_t match_number_triples(Region text, size_t at) {
  return is_number(text[at]) ? std::min<size_t>(run(text, at, Kind::kNumber), 3)
                             : stretches(is_number)(text, at);
}

template <class Emit>
void cut_deepseek(Region text, Emit emit) {
  const auto word = [](Region region, size_t at) { return match_or_gap(region, at, match_deepseek_word); };
  cut(text, match_number_triples, [&](Region part) {
    cut(part, stretches(is_kana_or_han), [&](Region script) { cut(script, word, emit); });
  });
}

}  // namespace

std::optional<PreTokenizer> pre_tokenizer_from_name(std::string_view name) {
  constexpr std::pair<std::string_view, PreTokenizer> kNames[] = {
      {"default", PreTokenizer::kDefault},
      {"gpt-2", PreTokenizer::kGpt2},
      {"phi-2", PreTokenizer::kGpt2},
      {"mpt", PreTokenizer::kGpt2},
      {"olmo", PreTokenizer::kGpt2},
      {"roberta-bpe", PreTokenizer::kGpt2},
      {"jais", PreTokenizer::kGpt2},
      {"jina-v1-en", PreTokenizer::kGpt2},
      {"jina-v2-en", PreTokenizer::kGpt2},
      {"jina-v2-es", PreTokenizer::kGpt2},
      {"jina-v2-de", PreTokenizer::kGpt2},
      {"gigachat", PreTokenizer::kGpt2},
      {"exaone4", PreTokenizer::kGpt2},
      {"trillion", PreTokenizer::kGpt2},
      {"a.x-4.0", PreTokenizer::kGpt2},
      {"mellum", PreTokenizer::kGpt2},
      {"llama-bpe", PreTokenizer::kLlama3},
      {"llama3", PreTokenizer::kLlama3},
      {"llama-v3", PreTokenizer::kLlama3},
      {"falcon3", PreTokenizer::kLlama3},
      {"pixtral", PreTokenizer::kLlama3},
      {"midm-2.0", PreTokenizer::kLlama3},
      {"lfm2", PreTokenizer::kLlama3},
      {"dbrx", PreTokenizer::kLlama3},
      {"smaug-bpe", PreTokenizer::kLlama3},
      {"glm4", PreTokenizer::kLlama3},
      {"chatglm-bpe", PreTokenizer::kLlama3},
      {"qwen2", PreTokenizer::kQwen2},
      {"deepseek-r1-qwen", PreTokenizer::kQwen2},
      {"grok-2", PreTokenizer::kQwen2},
      {"stablelm2", PreTokenizer::kQwen2},
      {"hunyuan", PreTokenizer::kQwen2},
      {"megrez", PreTokenizer::kQwen2},
      {"bailingmoe", PreTokenizer::kQwen2},
      {"llada-moe", PreTokenizer::kQwen2},
      {"solar-open", PreTokenizer::kQwen2},
      {"smollm", PreTokenizer::kSmolLm},
      {"starcoder", PreTokenizer::kSmolLm},
      {"refact", PreTokenizer::kSmolLm},
      {"command-r", PreTokenizer::kSmolLm},
      {"exaone", PreTokenizer::kSmolLm},
      {"codeshell", PreTokenizer::kSmolLm},
      {"minerva-7b", PreTokenizer::kSmolLm},
      {"falcon", PreTokenizer::kFalcon},
      {"tekken", PreTokenizer::kTekken},
      {"gpt-4o", PreTokenizer::kGpt4o},
      {"llama4", PreTokenizer::kGpt4o},
      {"deepseek-v3", PreTokenizer::kDeepSeekV3},
      {"hunyuan-dense", PreTokenizer::kDeepSeekV3},
  };
  for (const auto& [known, kind] : kNames)
    if (known == name) return kind;
  return std::nullopt;
}

bool is_llama3_vocabulary(std::string_view name) {
  constexpr std::string_view kOthers[] = {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"};
  return pre_tokenizer_from_name(name) == PreTokenizer::kLlama3 &&
         std::ranges::find(kOthers, name) == std::end(kOthers);
}

std::vector<size_t> split_words(PreTokenizer kind, std::string_view text) {
  const std::vector<Char> chars = decode(text);
  std::vector<size_t> ends;
  ends.reserve(chars.size() / 4 + 1);
  const auto emit = [&](Region word) { ends.push_back(word.back().end); };
  switch (kind) {
    case PreTokenizer::kGpt2: cut(chars, match_gpt2, emit); break;
    case PreTokenizer::kDefault: cut_default(chars, emit); break;
    case PreTokenizer::kLlama3:
      cut(
          chars, [](Region region, size_t at) { return match_llama3(region, at, 3); }, emit);
      break;
    case PreTokenizer::kQwen2:
      cut(
          chars, [](Region region, size_t at) { return match_llama3(region, at, 1); }, emit);
      break;
    case PreTokenizer::kSmolLm:
      cut(chars, match_smollm_digits, [&](Region part) { cut(part, match_gpt2, emit); });
      break;
    case PreTokenizer::kFalcon: cut_falcon(chars, emit); break;
    case PreTokenizer::kTekken:
      cut(
          chars, [](Region region, size_t at) { return match_cased(region, at, 1, false); }, emit);
      break;
    case PreTokenizer::kGpt4o:
      cut(
          chars, [](Region region, size_t at) { return match_cased(region, at, 3, true); }, emit);
      break;
    case PreTokenizer::kDeepSeekV3: cut_deepseek(chars, emit); break;
  }
  return ends;
}

}  // namespace fathom::model
