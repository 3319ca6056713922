// The plan: what a question asks, about what, by whom and since when; by rules, without a model.
//
// Pure functions. A follow-up ("and how many were hurt?", "what did she say?") takes over names and subject of the turns
// before it. Expressions of time are relative to the feed's clock, in UTC.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "answer/words.h"
#include "base/clock.h"
#include "infer/engine.h"

namespace fathom::answer {

enum class Ask {
  kSmallTalk,  // a greeting, thanks, "who are you"
  kDigest,     // "what is going on?"
  kWho,
  kWhoSaid,  // "who reported ...": the author is the answer
  kWhen,
  kWhere,
  kHowMany,
  kHowMuch,  // an amount, a percentage, a magnitude, a length ...
  kWhy,
  kYesNo,
  kWhat,  // what, which, how, and everything else
};

/// The unit of the number that is asked for; kNone for counts and for what cannot be told.
enum class Unit {
  kNone,
  kMoney,
  kPercent,
  kSpeed,
  kLength,
  kDuration,
  kDegrees,
  kWeight,
  kAge,
  kMagnitude,
  kScore
};

struct Term {
  Word word;
  bool name = false;     // a post that answers must have it
  bool weak = false;     // "people", "city": helps to find, need not be there
  bool focus = false;    // the noun that is counted or asked for
  bool carried = false;  // from an earlier turn
  int run = 0;           // words of one name ("Port Lund") share a run; 0 for others
};

/// The time that a question names.
struct Window {
  std::optional<Time> since, until;  // since <= t < until
  bool hard =
      false;  // "in the last two hours": nothing older counts; else a post that names the date counts too
  std::vector<std::string> keys;  // facts (facts.h) that name it
};

struct Plan {
  Ask ask = Ask::kWhat;
  std::string question;  // as asked
  std::string resolved;  // with what was carried over from earlier turns
  std::vector<Term> terms;
  std::vector<std::string> phrases;   // quoted in the question
  std::vector<std::string> speakers;  // handles, folded, whose words are asked for
  std::vector<Word> speaker_names;    // or names, where no handle was given
  Window window;
  Unit unit = Unit::kNone;
  bool strict = false;    // only a number answers: "how many", "how much", or a unit is asked for
  bool past = false;      // "when did", "who was"
  bool latest = false;    // "latest", "currently", "so far"
  bool earliest = false;  // "first", "initially", "originally"
  bool overview = false;  // "what happened in ...": several posts make the answer
  bool either = false;    // "A or B": whoever tells of one of the names tells something
  bool carried = false;
};

/// The plan for the last user message. REQUIRES: there is one.
Plan make_plan(const std::vector<infer::ChatMessage>& messages, Time now);

/// The plan for one question, without what came before it.
Plan plan_question(std::string_view question, Time now);

}  // namespace fathom::answer
