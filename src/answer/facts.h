// Numbers, amounts, times and dates in a text, in one normal form: what an answer must never have unless its post has it.
//
// "1,200", "1200", "1.2 thousand" and "twelve hundred" are one fact; "7 pm" and "19:00" are one; "15 April" and
// "April 15th" are one. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "answer/words.h"
#include "base/clock.h"

namespace fathom::answer {

enum class FactKind { kNumber, kPercent, kMoney, kTime, kDate, kYear };

struct Fact {
  FactKind kind = FactKind::kNumber;
  std::string key;  // "n:1200", "p:12", "m$:50600000000", "t:19:00", "d:04-15", "n:2013"
  Span span;        // with sign and unit
  size_t word = 0;  // index of its first word in `words`
  double value = 0;
};

/// The facts of a text, in order. "one" alone is no number here. `words` is split_words(text).
std::vector<Fact> find_facts(std::string_view text, const std::vector<Word>& words);

/// Results of matches: "2-2", "27:29", "3 - 1"; key "s:2-2". They are no part of find_facts: "20:18" may be a time of day.
std::vector<Fact> find_scores(std::string_view text, const std::vector<Word>& words);

/// Everything that a post with these facts, written at `when`, may be said to state: also the bare number of an amount, the
/// date and time of the post itself.
std::unordered_set<std::string> known_facts(const std::vector<Fact>& facts, Time when);

/// "Apr", "april" -> 4; 0 for other words.
int month_number(std::string_view folded);
/// "monday" -> 1 ... "sunday" -> 7; 0 for other words.
int weekday_number(std::string_view folded);

std::string_view month_name(int month);      // 1..12, "April"
std::string_view weekday_name(int weekday);  // 1..7, "Monday"

}  // namespace fathom::answer
