// Posts for the live benchmark: synthetic ones whose figures are comparable with published engines' on short texts, and files.
//
// Synthetic: 14 words drawn by Zipf's law (s = 1.05) from 500,000, and in part of the posts a hashtag, a mention, an address:
// 15.7 tokens and about 110 bytes of text. Always the same for the same count.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/text.h"
#include "live/post.h"

namespace fathom::live {

class SyntheticPosts {
 public:
  static constexpr size_t kWords = 500'000;
  static constexpr int kWordsPerPost = 14;

  SyntheticPosts() {
    cumulative_.reserve(kWords);
    double sum = 0;
    for (size_t rank = 1; rank <= kWords; ++rank)
      cumulative_.push_back(sum += std::pow(static_cast<double>(rank), -1.05));
  }

  std::string text() {
    std::string text;
    for (int i = 0; i < kWordsPerPost; ++i) {
      text += word(draw());
      text += ' ';
    }
    if (random_.chance(0.25)) text += '#' + word(draw()) + ' ';
    if (random_.chance(0.20)) text += fmt::format("@user{} ", random_.below(200'000));
    if (random_.chance(0.30)) text += fmt::format("https://t.co/{:09x} ", random_.next() >> 28);
    text.pop_back();
    return text;
  }

  /// One JSON line, 100 ms after the one before.
  std::string line() {
    const auto created = start_ + std::chrono::milliseconds(100) * number_;
    return fmt::format(
        R"({{"id":"{}","source":"bench","author":"user{}","created_at":"{}","lang":"en","text":"{}","likes":{}}})",
        10'000'000 + number_++, random_.below(200'000), format_time(created), text(),
        random_.chance(0.2) ? random_.below(1000) : 0);
  }

 private:
  size_t draw() {
    const double at = random_.uniform() * cumulative_.back();
    return static_cast<size_t>(std::lower_bound(cumulative_.begin(), cumulative_.end(), at) -
                               cumulative_.begin());
  }

  /// Syllables that spell the rank: frequent words are short, as in any language.
  static std::string word(size_t rank) {
    constexpr std::string_view kOnset = "bcdfghjklmnprstvwz", kVowel = "aeiou";
    std::string word;
    for (size_t rest = rank + 18 * 5; rest > 0; rest /= 18 * 5) {
      word += kOnset[rest % 18];
      word += kVowel[rest / 18 % 5];
    }
    return word;
  }

  Random random_{1};
  std::vector<double> cumulative_;
  const Time start_ = std::chrono::sys_days{std::chrono::year{2026} / 1 / 1};
  size_t number_ = 0;
};

}  // namespace fathom::live
