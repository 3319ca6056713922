#include "live/world/wording.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace fathom::live::world {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool is_address(std::string_view word) { return word.starts_with("http://") || word.starts_with("https://"); }

bool is_fixed(std::string_view word) {
  return word.starts_with('@') || word.starts_with('#') || is_address(word);
}

bool happens(uint32_t thousandths, Random& random) { return random.below(1000) < thousandths; }

// Length of the letters (and inner apostrophes) at the start of a word.
size_t core_length(std::string_view word) {
  size_t end = 0;
  while (end < word.size() && (is_letter(word[end]) || word[end] == '\'')) ++end;
  return end;
}

std::string replace_slang(std::string_view word, const Slang& slang) {
  const size_t core = core_length(word);
  for (const auto& [from, to] : slang) {
    if (equals_ignore_case(word.substr(0, core), from)) return to + std::string(word.substr(core));
  }
  return std::string(word);
}

// One slip inside a word of small letters: two letters swapped, one left out or one doubled.
std::string misspell(std::string_view word, Random& random) {
  const size_t core = core_length(word);
  std::string out(word);
  if (core < 5 || !std::all_of(word.begin(), word.begin() + static_cast<ptrdiff_t>(core), is_lower)) {
    return out;
  }
  const size_t at = 1 + random.below(core - 2);
  switch (random.below(3)) {
    case 0: std::swap(out[at], out[at + 1 < core ? at + 1 : at - 1]); break;
    case 1: out.erase(at, 1); break;
    default: out.insert(at, 1, out[at]); break;
  }
  return out;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (const std::string_view word : split(text, ' ')) words.emplace_back(word);
  return words;
}

void end_as_typed(std::string& text, const Habits& habits, Random& random) {
  if (!text.ends_with('.') || text.ends_with("..")) return;
  if (habits.no_full_stop) {
    text.pop_back();
  } else if (happens(habits.shout, random)) {
    text.back() = '!';
  }
}

}  // namespace

std::string with_article(std::string_view text) {
  constexpr std::array<std::string_view, 8> kConsonantSound = {"uni", "use", "usu",  "uk",
                                                               "eu",  "one", "once", "ur"};
  constexpr std::array<std::string_view, 3> kSilent = {"hour", "honest", "heir"};
  const std::string small = to_lower_ascii(text.substr(0, 8));
  const auto begins = [&](std::string_view start) { return std::string_view(small).starts_with(start); };
  bool vowel = !small.empty() && std::string_view("aeiou").find(small[0]) != std::string_view::npos;
  if (std::any_of(kConsonantSound.begin(), kConsonantSound.end(), begins)) vowel = false;
  if (std::any_of(kSilent.begin(), kSilent.end(), begins)) vowel = true;
  if (begins("8") || ((begins("11") || begins("18")) && (small.size() < 3 || !is_digit(small[2])))) {
    vowel = true;
  }
  return (vowel ? "an " : "a ") + std::string(text);
}

void capitalise(std::string& text) {
  if (!text.empty() && is_lower(text[0]) && !is_address(text)) {
    text[0] = static_cast<char>(text[0] - 32);
  }
}

std::string tidy(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == ' ' && (out.empty() || out.back() == ' ' || out.back() == '\n')) continue;
    const bool closes = c == ',' || c == '.' || c == ';' || c == '!' || c == '?' || c == ':';
    const bool ends = i + 1 == text.size() || text[i + 1] == ' ' || text[i + 1] == '.';
    if (closes && ends && !out.empty() && out.back() == ' ') out.pop_back();
    if (c == '.' && ends && !out.empty() && (out.back() == '?' || out.back() == '!')) continue;
    out += c;
  }
  while (!out.empty() && (out.back() == ' ' || out.back() == '\n')) out.pop_back();
  return out;
}

std::vector<std::string> find_tags(std::string_view text) {
  std::vector<std::string> tags;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '#' || (i > 0 && (is_letter(text[i - 1]) || is_digit(text[i - 1])))) continue;
    size_t end = i + 1;
    while (end < text.size() && (is_letter(text[end]) || is_digit(text[end]) || text[end] == '_')) ++end;
    std::string tag(text.substr(i + 1, end - i - 1));
    if (!tag.empty() && is_letter(tag[0]) && std::find(tags.begin(), tags.end(), tag) == tags.end()) {
      tags.push_back(std::move(tag));
    }
  }
  return tags;
}

std::vector<std::string> find_links(std::string_view text) {
  std::vector<std::string> links;
  for (const std::string_view word : split(text, ' ')) {
    if (!is_address(word)) continue;
    size_t end = word.size();
    while (end > 0 && std::string_view(".,!?)").find(word[end - 1]) != std::string_view::npos) --end;
    links.emplace_back(word.substr(0, end));
  }
  return links;
}

bool contains_ignore_case(std::string_view text, std::string_view words) {
  return std::search(text.begin(), text.end(), words.begin(), words.end(),
                     [](char a, char b) { return lower(a) == lower(b); }) != text.end();
}

std::string apply_habits(std::string_view text, const Habits& habits, const Slang& slang,
                         const std::vector<std::string>& emoji, Random& random) {
  std::vector<std::string> words = words_of(text);
  for (std::string& word : words) {
    if (is_fixed(word)) continue;
    if (happens(habits.slang, random)) word = replace_slang(word, slang);
    if (habits.lower_case) word = to_lower_ascii(word);
  }
  if (happens(habits.typo, random)) {
    std::string& word = words[random.below(words.size())];
    if (!is_fixed(word)) word = misspell(word, random);
  }
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  end_as_typed(out, habits, random);
  if (!emoji.empty() && happens(habits.emoji, random)) {
    out += " " + emoji[random.below(emoji.size())];
  }
  return out;
}

uint64_t hash_text(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return hash;
}

}  // namespace fathom::live::world
