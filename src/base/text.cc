#include "base/text.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

struct Lead {
  int continuation;   // bytes that follow
  uint8_t first_low;  // bounds of the first continuation byte (shuts out overlong forms and surrogates)
  uint8_t first_high;
};

Lead classify(uint8_t b) {
  if (b >= 0xC2 && b <= 0xDF) return {1, 0x80, 0xBF};
  if (b == 0xE0) return {2, 0xA0, 0xBF};
  if (b == 0xED) return {2, 0x80, 0x9F};
  if (b >= 0xE1 && b <= 0xEF) return {2, 0x80, 0xBF};
  if (b == 0xF0) return {3, 0x90, 0xBF};
  if (b >= 0xF1 && b <= 0xF3) return {3, 0x80, 0xBF};
  if (b == 0xF4) return {3, 0x80, 0x8F};
  return {-1, 0, 0};
}

/// Returns the number of bytes of the maximal well-formed prefix at `at`, and whether it is a whole character.
size_t scan(std::string_view text, size_t at, bool& whole) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  whole = true;
  if (byte(at) < 0x80) return 1;
  const Lead lead = classify(byte(at));
  whole = false;
  if (lead.continuation < 0) return 1;
  size_t length = 1;
  for (; length <= static_cast<size_t>(lead.continuation); ++length) {
    if (at + length >= text.size()) return length;
    const uint8_t b = byte(at + length);
    const uint8_t low = length == 1 ? lead.first_low : uint8_t{0x80};
    const uint8_t high = length == 1 ? lead.first_high : uint8_t{0xBF};
    if (b < low || b > high) return length;
  }
  whole = true;
  return length;
}

}  // namespace

char32_t decode_utf8(std::string_view text, size_t& at) {
  bool whole = false;
  const size_t length = scan(text, at, whole);
  const size_t begin = at;
  at += length;
  if (!whole) return kReplacement;
  const auto first = static_cast<uint8_t>(text[begin]);
  if (length == 1) return first;
  char32_t value = first & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) value = (value << 6) | (static_cast<uint8_t>(text[begin + i]) & 0x3F);
  return value;
}

void append_utf8(std::string& out, char32_t c) {
  if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) c = kReplacement;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    bool whole = false;
    at += scan(text, at, whole);
    if (!whole) return false;
  }
  return true;
}

std::string sanitize_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    bool whole = false;
    const size_t length = scan(text, at, whole);
    if (whole) {
      out.append(text.substr(at, length));
    } else {
      append_utf8(out, kReplacement);
    }
    at += length;
  }
  return out;
}

size_t incomplete_utf8_tail(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto b = static_cast<uint8_t>(text[text.size() - back]);
    if ((b & 0xC0) == 0x80) continue;  // a continuation byte: look further back for its lead
    if (b < 0x80) return 0;
    bool whole = false;
    const size_t length = scan(text, text.size() - back, whole);
    return !whole && length == back && classify(b).continuation >= static_cast<int>(back) ? back : 0;
  }
  return 0;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::string to_lower_ascii(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

bool equals_ignore_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  for (;;) {
    const size_t end = text.find(separator);
    pieces.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

}  // namespace fathom
