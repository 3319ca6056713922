#include "answer/cues.h"

#include <algorithm>
#include <array>

namespace fathom::answer {
namespace {

template <size_t N>
bool holds_any(std::string_view lower, const std::array<std::string_view, N>& cues) {
  return std::ranges::any_of(cues,
                             [&](std::string_view cue) { return lower.find(cue) != std::string_view::npos; });
}

constexpr auto kCorrections = std::to_array<std::string_view>(
    {"correction", "corrected", "revised",        "there was no", "there is no", "there has been no",
     "rumour",     "rumor",     "earlier report", "not true",     "false",       "denied",
     "denies",     "debunk",    "clarif",         "contrary to",  "retract",     "updated",
     "update:",    "in fact",   "is wrong",       "was wrong",    "no truth",    "has now risen",
     "rises to",   "now stands"});

constexpr auto kRefutations = std::to_array<std::string_view>(
    {"correction", "not true", "false", "denied", "denies", "debunk", "no truth", "retract", "hoax",
     "there was no", "there is no", "there has been no", "no evidence", "contrary to"});

constexpr auto kReassurances = std::to_array<std::string_view>({"still standing",
                                                                "goes ahead",
                                                                "going ahead",
                                                                "go ahead",
                                                                "as planned",
                                                                "intact",
                                                                "is safe",
                                                                "are safe",
                                                                "safe and",
                                                                "unharmed",
                                                                "unhurt",
                                                                "is fine",
                                                                "are fine",
                                                                "remains open",
                                                                "remain open",
                                                                "stays open",
                                                                "is open",
                                                                "are open",
                                                                "here to stay",
                                                                "stays",
                                                                "continues",
                                                                "business as usual",
                                                                "no danger",
                                                                "no risk",
                                                                "no evidence",
                                                                "no plans",
                                                                "no change",
                                                                "has enough",
                                                                "have enough",
                                                                "enough",
                                                                "alive and well",
                                                                "in stable",
                                                                "stable",
                                                                "result stands",
                                                                "decision stands",
                                                                "is present",
                                                                "is at home",
                                                                "never left",
                                                                "not affected",
                                                                "unaffected",
                                                                "under control",
                                                                "solvent",
                                                                "harmless",
                                                                "is genuine",
                                                                "it was a drill",
                                                                "exercise",
                                                                "safe to",
                                                                "läuft weiter",
                                                                "bleibt offen",
                                                                "wie geplant",
                                                                "findet statt",
                                                                "in sicherheit",
                                                                "keine gefahr",
                                                                "unversehrt",
                                                                "toujours",
                                                                "maintenu",
                                                                "en sécurité",
                                                                "hors de danger",
                                                                "sigue en pie",
                                                                "sigue abiert",
                                                                "a salvo",
                                                                "sin peligro",
                                                                "según lo previsto",
                                                                "regolarmente",
                                                                "al sicuro",
                                                                "stabile",
                                                                "come previsto",
                                                                "está viv",
                                                                "em segurança",
                                                                "como previsto",
                                                                "予定どおり",
                                                                "予定通り",
                                                                "無事",
                                                                "ていません",
                                                                "ではありません"});

constexpr auto kCauses = std::to_array<std::string_view>(
    {"because",    "due to",         "caused",     "cause of",        "the cause",     "reason",
     "triggered",  "sparked",        "led to",     "blame",           "why ",          "thanks to",
     "owing to",   "as a result of", "started by", "brought down by", "traced to",     "trace ",
     "in protest", "follows a",      "behind the", "how the",         "in response to"});

constexpr auto kPerhapsCauses =
    std::to_array<std::string_view>({"after ", "following", "amid", " as ", "over ", "following a"});

constexpr auto kAdvertising = std::to_array<std::string_view>(
    {"retweet + follow",   "follow + retweet",    "rt + follow",       "follow + rt",
     "retweet to win",     "rt to win",           "follow to win",     "retweet and follow",
     "follow and retweet", "like and retweet to", "to win!",           "claim your free",
     "get your free",      "claim your prize",    "you were picked",   "not financial advice",
     "free gift card",     "work from home",      "while you sleep",   "dm me to",
     "live free here",     "live free hd",        "watch free",        "singles in your area",
     "presale is live",    "double your money",   "no questions asked"});

bool is_denial(const Word& word) {
  if (word.folded.starts_with("cancel")) return false;  // that happened
  return is_negation(word.folded) || word.folded == "nobody" || word.folded == "nothing";
}

}  // namespace

bool corrects(std::string_view lower) { return holds_any(lower, kCorrections); }
bool refutes(std::string_view lower) { return holds_any(lower, kRefutations); }
bool reassures(std::string_view lower) { return holds_any(lower, kReassurances); }
bool explains(std::string_view lower) { return holds_any(lower, kCauses); }
bool may_explain(std::string_view lower) { return holds_any(lower, kPerhapsCauses); }
bool advertises(std::string_view lower) { return holds_any(lower, kAdvertising); }

bool denies(const Evidence& evidence, Span passage) {
  return std::ranges::any_of(evidence.words, [&](const Word& word) {
    return word.span.begin >= passage.begin && word.span.end <= passage.end && is_denial(word);
  });
}

bool denies_asked(const Plan& plan, const Evidence& evidence, Span passage) {
  constexpr size_t kReach = 3;  // words
  const std::vector<Word>& words = evidence.words;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].span.begin < passage.begin || words[i].span.end > passage.end || !is_denial(words[i]))
      continue;
    for (size_t k = i + 1; k < words.size() && k <= i + kReach; ++k) {
      if (words[k].span.end > passage.end) break;
      const bool asked = std::ranges::any_of(
          plan.terms, [&](const Term& term) { return !term.name && related(term.word, words[k]); });
      if (asked) return true;
    }
  }
  return false;
}

}  // namespace fathom::answer
