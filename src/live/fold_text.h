// Unicode folding and word breaking through ICU, as the analyser needs them. One object a thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::live {

class UnicodeFolder {
 public:
  UnicodeFolder();
  ~UnicodeFolder();
  UnicodeFolder(const UnicodeFolder&) = delete;
  UnicodeFolder& operator=(const UnicodeFolder&) = delete;

  /// Appends the folded form of `word`: NFKC case folding, accents off, a decimal digit of any script as ASCII.
  void fold(std::string_view word, std::string& out);

  /// The words of a run of text in scripts without spaces, as byte ranges within `run`, in order.
  void segment(std::string_view run, std::vector<std::pair<uint32_t, uint32_t>>& words);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Letter, mark or decimal digit: what words are made of.
bool is_word_character(char32_t c);

/// Of a script that is written without spaces.
bool is_unspaced(char32_t c);

/// Han, Kana or Hangul: indexed by pairs of characters as well.
bool is_cjk(char32_t c);

bool is_cyrillic(char32_t c);

}  // namespace fathom::live
