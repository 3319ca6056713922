#include "live/fold_text.h"

#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uscript.h>
#include <unicode/ustring.h>

#include "base/error.h"
#include "base/text.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxRunUnits = 4096;  // of UTF-16 given to the word breaker at once

struct BreakClose {
  void operator()(UBreakIterator* iterator) const { ubrk_close(iterator); }
};

/// Letters that no decomposition takes apart and that people type without their stroke or ligature.
const char16_t* plain_form(char16_t c) {
  switch (c) {
    case 0x00E6: return u"ae";
    case 0x00F0: return u"d";
    case 0x00F8: return u"o";
    case 0x00FE: return u"th";
    case 0x0111: return u"d";
    case 0x0131: return u"i";
    case 0x0142: return u"l";
    case 0x0153: return u"oe";
    default: return nullptr;
  }
}

/// An accent that searchers leave out. The kana voicing marks and the breve that makes Cyrillic short i are letters'
/// parts; vowel signs of Indic scripts are letters.
bool is_accent(char16_t mark, char16_t base) {
  if (mark < 0x0300 || u_charType(mark) != U_NON_SPACING_MARK) return false;
  if (mark == 0x3099 || mark == 0x309A) return false;
  if (mark == 0x0306 && base == 0x0438) return false;
  UErrorCode status = U_ZERO_ERROR;
  const UScriptCode script = uscript_getScript(mark, &status);
  return script == USCRIPT_INHERITED || script == USCRIPT_HEBREW || script == USCRIPT_ARABIC;
}

void check_icu(UErrorCode status, const char* what) {
  if (U_FAILURE(status))
    throw Error(ErrorCode::kInternal, std::string("ICU cannot load its ") + what + ": " +
                                          u_errorName(status) + "; is its data package installed?");
}

}  // namespace

struct UnicodeFolder::Impl {
  const UNormalizer2* nfkc_cf = nullptr;
  const UNormalizer2* nfd = nullptr;
  const UNormalizer2* nfc = nullptr;
  std::unique_ptr<UBreakIterator, BreakClose> breaker;  // opened at the first text that needs it
  std::u16string a, b;
  std::vector<uint32_t> offsets;

  /// to = normalized(from).
  void normalize(const UNormalizer2* form, const std::u16string& from, std::u16string& to) const {
    to.resize(from.size() * 2 + 64);
    for (int attempt = 0; attempt < 2; ++attempt) {
      UErrorCode status = U_ZERO_ERROR;
      const int32_t size = unorm2_normalize(form, from.data(), static_cast<int32_t>(from.size()), to.data(),
                                            static_cast<int32_t>(to.size()), &status);
      if (status == U_BUFFER_OVERFLOW_ERROR) {
        to.resize(static_cast<size_t>(size));
        continue;
      }
      check_icu(status, "normalisation data");
      to.resize(static_cast<size_t>(size));
      return;
    }
  }

  void decode(std::string_view text) {
    a.clear();
    for (size_t at = 0; at < text.size();) {
      const char32_t c = decode_utf8(text, at);
      if (c >= 0x10000) a += static_cast<char16_t>(0xD7C0 + (c >> 10));
      a += static_cast<char16_t>(c >= 0x10000 ? (0xDC00 | (c & 0x3FF)) : c);
    }
  }

  /// b -> a without accents.
  void drop_accents() {
    a.clear();
    char16_t base = 0;
    for (const char16_t c : b) {
      if (is_accent(c, base)) continue;
      if (u_charType(c) != U_NON_SPACING_MARK) base = c;
      if (const char16_t* plain = plain_form(c))
        a += plain;
      else
        a += c;
    }
  }
};

UnicodeFolder::UnicodeFolder() : impl_(std::make_unique<Impl>()) {
  UErrorCode status = U_ZERO_ERROR;
  impl_->nfkc_cf = unorm2_getNFKCCasefoldInstance(&status);
  impl_->nfd = unorm2_getNFDInstance(&status);
  impl_->nfc = unorm2_getNFCInstance(&status);
  check_icu(status, "normalisation data");
}

UnicodeFolder::~UnicodeFolder() = default;

void UnicodeFolder::fold(std::string_view word, std::string& out) {
  Impl& m = *impl_;
  m.decode(word);
  m.normalize(m.nfkc_cf, m.a, m.b);
  m.normalize(m.nfd, m.b, m.a);
  m.b.swap(m.a);
  m.drop_accents();
  m.normalize(m.nfc, m.a, m.b);
  for (size_t at = 0; at < m.b.size();) {
    char32_t c = m.b[at++];
    if ((c & 0xFC00) == 0xD800 && at < m.b.size()) c = (c << 10) + m.b[at++] - 0x35FDC00;
    if (c >= 0x80 && u_charType(static_cast<UChar32>(c)) == U_DECIMAL_DIGIT_NUMBER)
      c = U'0' + static_cast<char32_t>(u_charDigitValue(static_cast<UChar32>(c)));
    append_utf8(out, c);
  }
}

void UnicodeFolder::segment(std::string_view run, std::vector<std::pair<uint32_t, uint32_t>>& words) {
  Impl& m = *impl_;
  words.clear();
  for (size_t at = 0; at < run.size();) {
    m.a.clear();
    m.offsets.clear();
    while (at < run.size() && m.a.size() < kMaxRunUnits) {
      const auto begin = static_cast<uint32_t>(at);
      const char32_t c = decode_utf8(run, at);
      if (c >= 0x10000) {
        m.a += static_cast<char16_t>(0xD7C0 + (c >> 10));
        m.offsets.push_back(begin);
      }
      m.a += static_cast<char16_t>(c >= 0x10000 ? (0xDC00 | (c & 0x3FF)) : c);
      m.offsets.push_back(begin);
    }
    m.offsets.push_back(static_cast<uint32_t>(at));
    UErrorCode status = U_ZERO_ERROR;
    const auto size = static_cast<int32_t>(m.a.size());
    if (!m.breaker)
      m.breaker.reset(ubrk_open(UBRK_WORD, "", m.a.data(), size, &status));
    else
      ubrk_setText(m.breaker.get(), m.a.data(), size, &status);
    check_icu(status, "word-break dictionaries");
    int32_t begin = ubrk_first(m.breaker.get());
    for (int32_t end = ubrk_next(m.breaker.get()); end != UBRK_DONE; end = ubrk_next(m.breaker.get())) {
      words.emplace_back(m.offsets[static_cast<size_t>(begin)], m.offsets[static_cast<size_t>(end)]);
      begin = end;
    }
  }
}

bool is_word_character(char32_t c) {
  constexpr uint32_t kWord = U_GC_L_MASK | U_GC_M_MASK | U_GC_ND_MASK;
  return (U_MASK(u_charType(static_cast<UChar32>(c))) & kWord) != 0;
}

bool is_unspaced(char32_t c) {
  if (c < 0x0E00) return false;
  return c <= 0x0EFF || (c >= 0x1000 && c <= 0x109F) || (c >= 0x1780 && c <= 0x17FF) ||
         (c >= 0x2E80 && c <= 0x2FDF) || (c >= 0x3005 && c <= 0x3007) ||
         (c >= 0x3041 && c <= 0x30FF && c != 0x30FB) || (c >= 0x31F0 && c <= 0x31FF) ||
         (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0xFF66 && c <= 0xFF9F) ||
         (c >= 0x20000 && c <= 0x3FFFF);
}

bool is_cjk(char32_t c) { return (c >= 0x2E80 && is_unspaced(c)) || (c >= 0xAC00 && c <= 0xD7A3); }

bool is_cyrillic(char32_t c) { return c >= 0x0400 && c <= 0x052F; }

}  // namespace fathom::live
