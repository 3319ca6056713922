#include "answer/passage.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_set>

#include "answer/check_words.h"
#include "answer/cues.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kLongestQuote = 320;  // bytes
constexpr size_t kNear = 5;            // words between a number and what it counts
constexpr double kOtherOne = 0.4;      // taken from a sentence on the other of two

/// Words that tell one of two things of a kind from the other.
bool distinguishes(std::string_view folded) {
  return one_of(folded, {"men",     "women",    "men's",   "women's",  "man",      "woman",   "north",
                         "south",   "east",     "west",    "northern", "southern", "eastern", "western",
                         "first",   "last",     "highest", "lowest",   "best",     "worst",   "largest",
                         "biggest", "smallest", "fastest", "slowest",  "oldest",   "youngest"});
}

/// Scores the passages of one post for one question.
class Scorer {
 public:
  Scorer(const Plan& plan, const Relevance& relevance, const Evidence& evidence)
      : plan_(plan), relevance_(relevance), evidence_(evidence), text_(evidence.post.text) {}

  /// The best passage of the post: a sentence, or a few in a row.
  std::optional<Quote> best() const {
    const double whole = relevance_.coverage(evidence_);
    std::optional<Quote> out;
    const std::vector<Span>& sentences = evidence_.sentences;
    for (size_t first = 0; first < sentences.size() && first < 200; ++first) {
      for (size_t count = 1; count <= 3 && first + count <= sentences.size(); ++count) {
        const Span span{sentences[first].begin, sentences[first + count - 1].end};
        // A "[1]" between two sentences belongs to neither; a passage with one inside could pass for a mark of ours.
        if (count > 1 && (span.size() > kLongestQuote || holds_mark(slice(text_, span)))) break;
        std::optional<Quote> quote = score(span, whole, count);
        if (quote && (!out || quote->score > out->score)) out = std::move(quote);
      }
    }
    return out;
  }

 private:
  static bool holds_mark(std::string_view text) {
    for (size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at + 1)) {
      if (at + 1 < text.size() && text[at + 1] >= '0' && text[at + 1] <= '9') return true;
    }
    return false;
  }

  bool inside(Span part, Span whole) const { return part.begin >= whole.begin && part.end <= whole.end; }

  std::optional<Quote> score(Span span, double whole, size_t count) const {
    const Span passage = shorten(clean_span(text_, span));
    if (passage.size() == 0) return std::nullopt;
    Quote quote;
    quote.passage = passage;
    const double part = relevance_.coverage(evidence_, span);
    const std::string lower = to_lower_ascii(slice(text_, passage));
    double score = 0.55 * part + 0.25 * whole + 0.1 * evidence_.text_score + typed(passage, quote);
    score -= 0.02 * static_cast<double>(count - 1);
    const bool answers_no = plan_.ask == Ask::kYesNo && (refutes(lower) || reassures(lower));
    if (relevance_.primary(evidence_)) score += answers_no ? 0.2 : 0.1;
    if (plan_.ask == Ask::kYesNo && denies(evidence_, passage)) score += 0.1;
    if (!quote.value.empty()) quote.answers = true;
    score -= shape_penalty(passage, lower, !quote.value.empty());
    if (tells_of_the_other(passage)) score -= kOtherOne;
    quote.score = score * (0.5 + 0.5 * evidence_.trust);
    if (part < 0.25 && whole > 0 && !plan_.terms.empty()) return std::nullopt;
    return quote;
  }

  /// A sentence that is too long is cut at a word, from its end.
  Span shorten(Span span) const {
    if (span.size() <= kLongestQuote) return span;
    size_t end = span.begin + kLongestQuote;
    while (end > span.begin && text_[end] != ' ') --end;
    if (end == span.begin) {  // one endless word: at a character's boundary
      end = span.begin + kLongestQuote;
      while (end > span.begin && (static_cast<unsigned char>(text_[end]) & 0xC0) == 0x80) --end;
    }
    return {span.begin, end};
  }

  /// `tells`: it has the number or time that is asked for, so that it may be as short as it likes.
  double shape_penalty(Span passage, const std::string& lower, bool tells) const {
    size_t content = 0, plain = 0, first_person = 0;
    for (const Word& word : evidence_.words) {
      if (!inside(word.span, passage)) continue;
      content += is_content(word) ? 1 : 0;
      plain += word.kind == WordKind::kWord || word.kind == WordKind::kNumber ? 1 : 0;
      first_person += word.folded == "i" || word.folded == "my" || word.folded == "i'm" ||
                              word.folded == "lol" || word.folded == "omg" || word.folded == "pray" ||
                              word.folded == "prayers"
                          ? 1
                          : 0;
    }
    double penalty = 0;
    if (lower.back() == '?' || lower.find("? ") != std::string::npos) penalty += 0.35;
    if (content < 3 && !tells) penalty += 0.3;
    if (plain < 4 && !tells) penalty += 0.15;
    if (first_person > 0) penalty += asks_number(plan_.ask) ? 0.3 : 0.15;
    if (asks_number(plan_.ask) && tells_of_other_year(evidence_, passage)) penalty += 0.2;
    if (lower.find("http://") != std::string::npos || lower.find("https://") != std::string::npos)
      penalty += 0.03;
    if (lower.ends_with("...") || lower.ends_with("\xE2\x80\xA6")) penalty += 0.05;
    return penalty;
  }

  bool in_question(const Word& word) const {
    return std::ranges::any_of(plan_.terms, [&](const Term& term) { return term.word.stem == word.stem; });
  }

  double typed(Span passage, Quote& quote) const {
    const std::string lower = to_lower_ascii(slice(text_, passage));
    switch (plan_.ask) {
      case Ask::kHowMany:
      case Ask::kHowMuch: return number_bonus(passage, quote);
      case Ask::kWhen: return time_bonus(passage, quote);
      case Ask::kWhere: return (quote.answers = states_place(passage)) ? 0.25 : -0.05;
      case Ask::kWho: return person_bonus(passage, quote);
      case Ask::kWhy:
        quote.answers = explains(lower) || may_explain(lower);
        return explains(lower) ? 0.3 : quote.answers ? 0.1 : 0;
      default: return news_bonus(passage);
    }
  }

  /// "the women's race" where the men's is asked for.
  bool tells_of_the_other(Span passage) const {
    const auto among = [&](std::string_view folded, const std::vector<Word>& words, Span span) {
      return std::ranges::any_of(
          words, [&](const Word& word) { return inside(word.span, span) && word.folded == folded; });
    };
    return std::ranges::any_of(plan_.terms, [&](const Term& term) {
      if (!distinguishes(term.word.folded) || among(term.word.folded, evidence_.words, passage)) return false;
      return std::ranges::any_of(evidence_.words, [&](const Word& word) {
        return inside(word.span, passage) && opposes(term.word.folded, word.folded);
      });
    });
  }

  /// What the sentence says beyond the question.
  double news_bonus(Span passage) const {
    size_t fresh = 0;
    bool name = false;
    for (const Word& word : evidence_.words) {
      if (!inside(word.span, passage) || !is_content(word) || in_question(word)) continue;
      ++fresh;
      name = name || is_name(word) || word.kind == WordKind::kNumber;
    }
    return 0.02 * static_cast<double>(std::min<size_t>(fresh, 6)) + (name ? 0.06 : 0);
  }

  /// A time of day at which the post itself was written: "Count at 07:05", posted at 07:06.
  bool is_stamp(const Fact& fact) const {
    if (fact.kind != FactKind::kTime || plan_.past) return false;
    using std::chrono::minutes;
    const auto day = std::chrono::floor<std::chrono::days>(evidence_.post.created_at);
    const auto late = evidence_.post.created_at - (day + minutes{static_cast<int>(fact.value)});
    return late >= minutes{-2} && late <= minutes{20};
  }

  /// How near a word is to one of the question's that is no name: 0..0.15.
  double near_asked(size_t at, Span passage) const {
    double near = 0;
    for (size_t i = 0; i < evidence_.words.size(); ++i) {
      const size_t distance = i > at ? i - at : at - i;
      if (distance == 0 || distance > 2 * kNear || !inside(evidence_.words[i].span, passage)) continue;
      const bool asked = std::ranges::any_of(plan_.terms, [&](const Term& term) {
        return !term.name && !term.weak && related(term.word, evidence_.words[i]);
      });
      if (asked) near = std::max(near, 0.15 - 0.012 * static_cast<double>(distance));
    }
    return near;
  }

  /// A time or date, best near what is asked about.
  double time_bonus(Span passage, Quote& quote) const {
    static const std::unordered_set<std::string_view> kWhen = {
        "today",   "tomorrow", "tonight",  "yesterday", "morning", "afternoon",
        "evening", "noon",     "midnight", "weekend",   "ago"};
    double best = 0;
    const auto offer = [&](double bonus, std::string value) {
      if (bonus <= best) return;
      best = bonus;
      quote.value = std::move(value);
    };
    for (const Fact& fact : evidence_.facts) {
      const bool time =
          fact.kind == FactKind::kTime || fact.kind == FactKind::kDate || fact.kind == FactKind::kYear;
      if (!time || !inside(fact.span, passage) || is_stamp(fact)) continue;
      offer((fact.kind == FactKind::kYear ? 0.2 : 0.3) + near_asked(fact.word, passage), fact.key);
    }
    for (size_t i = 0; i < evidence_.words.size(); ++i) {
      const Word& word = evidence_.words[i];
      if (!inside(word.span, passage) || word.kind != WordKind::kWord) continue;
      const bool named = weekday_number(word.folded) > 0 || (word.capital && month_number(word.folded) > 0);
      if (named || kWhen.contains(word.folded)) offer(0.22 + near_asked(i, passage), "w:" + word.folded);
    }
    return best;
  }

  bool states_place(Span passage) const {
    static const std::unordered_set<std::string_view> kLead = {
        "in",     "at", "near", "on",   "outside", "from",   "off",  "to",    "into", "inside", "by",  "over",
        "around", "of", "im",   "am",   "an",      "bei",    "beim", "auf",   "zum",  "au",     "aux", "chez",
        "dans",   "en", "alla", "allo", "al",      "presso", "nel",  "nella", "na",   "no"};
    for (size_t i = 1; i < evidence_.words.size(); ++i) {
      const Word& word = evidence_.words[i];
      if (!inside(word.span, passage) || in_question(word)) continue;
      size_t before = i - 1;
      if (evidence_.words[before].folded == "the" && before > 0) --before;
      const std::string& lead = evidence_.words[before].folded;
      const bool spot =
          before + 1 < i && (lead == "at" || lead == "near" || lead == "outside" || lead == "inside");
      const bool place = spot || word.capital || word.kind == WordKind::kHashtag;
      if (place && kLead.contains(evidence_.words[before].folded) && month_number(word.folded) == 0 &&
          weekday_number(word.folded) == 0) {
        return true;
      }
    }
    return false;
  }

  bool next_is_capital(const Word& word) const {
    const auto next = std::ranges::find_if(
        evidence_.words, [&](const Word& other) { return other.span.begin > word.span.begin; });
    return next != evidence_.words.end() && next->capital && next->span.begin <= word.span.end + 2;
  }

  /// A name that the question does not have, best beside one of its words: "TSA officer Ann Lee". A result tells who won.
  double person_bonus(Span passage, Quote& quote) const {
    size_t run = 0, longest = 0, capitals = 0, plain = 0, since_term = 100;
    bool handle = false, beside = false, told = !has_verb();
    std::string_view called;
    for (size_t i = 0; i < evidence_.words.size(); ++i) {
      const Word& word = evidence_.words[i];
      if (!inside(word.span, passage)) continue;
      if (i > 0 && is_break(evidence_.words[i - 1], word)) {
        run = 0;
        since_term = 100;
      }
      const bool asked = in_question(word);
      told = told || is_asked_verb(word);
      handle = handle || (word.kind == WordKind::kHandle && !asked);
      plain += word.kind == WordKind::kWord && !is_stop_word(word.folded) ? 1 : 0;
      capitals += word.kind == WordKind::kWord && word.capital && !is_stop_word(word.folded) ? 1 : 0;
      const bool name = word.kind == WordKind::kWord && word.capital && !is_stop_word(word.folded) &&
                        !asked && (!word.opens || word.all_caps || next_is_capital(word)) &&
                        month_number(word.folded) == 0 && weekday_number(word.folded) == 0;
      run = name ? run + 1 : 0;
      const bool tied = run >= 2 && since_term <= 3;
      if (run > longest || (tied && !beside)) called = word.folded;
      longest = std::max(longest, run);
      beside = beside || (run >= 2 && since_term <= 3) ||
               ((asked || is_asked_verb(word)) && run == 0 && longest >= 2 && since_term > 3);
      since_term = asked || is_asked_verb(word) ? 0 : since_term + 1;
    }
    // In a headline every word has a capital: it tells nothing.
    const bool headline = plain >= 4 && capitals * 10 >= plain * 7;
    if (asks_winner() && has_score(passage)) return quote.answers = true, 0.25;
    quote.answers = told && (longest >= 1 || handle || doer_before_verb(passage));
    if (quote.answers && longest >= 1) quote.value = "w:" + std::string(called);
    if (longest >= 2) return (headline ? 0.1 : 0.2) + (beside && !headline ? 0.15 : 0);
    return longest == 1 || handle ? 0.1 : quote.answers ? 0.05 : -0.1;
  }

  /// A dash or colon between two words: "officer killed - Salt Lake Tribune".
  bool is_break(const Word& left, const Word& right) const {
    const std::string_view gap = text_.substr(left.span.end, right.span.begin - left.span.end);
    return gap.find_first_of(":|(") != std::string_view::npos || gap.find(" -") != std::string_view::npos;
  }

  bool has_verb() const {
    return std::ranges::any_of(plan_.terms, [](const Term& term) { return !term.name && !term.weak; });
  }
  bool is_asked_verb(const Word& word) const {
    return std::ranges::any_of(
        plan_.terms, [&](const Term& term) { return !term.name && !term.weak && related(term.word, word); });
  }

  bool asks_winner() const {
    static const Word kWin = split_words("won").front();
    return std::ranges::any_of(plan_.terms,
                               [](const Term& term) { return !term.name && related(term.word, kWin); });
  }
  bool has_score(Span passage) const {
    const std::vector<Fact> scores = find_scores(text_, evidence_.words);
    return std::ranges::any_of(scores, [&](const Fact& fact) { return inside(fact.span, passage); });
  }

  /// "The organist found ...", "found by a cleaner": a doer without a name.
  bool doer_before_verb(Span passage) const {
    const auto verb = std::ranges::find_if(plan_.terms, [](const Term& t) { return !t.name && !t.weak; });
    if (verb == plan_.terms.end()) return false;
    const std::vector<Word>& words = evidence_.words;
    for (size_t i = 0; i < words.size(); ++i) {
      if (!inside(words[i].span, passage) || !related(verb->word, words[i])) continue;
      const auto doer = [&](size_t k) {
        return k < words.size() && inside(words[k].span, passage) && words[k].kind == WordKind::kWord &&
               is_content(words[k]) && !in_question(words[k]);
      };
      const bool led = i >= 2 && (words[i - 2].folded == "the" || words[i - 2].folded == "a") && doer(i - 1);
      const bool by = i + 3 < words.size() && words[i + 1].folded == "by" && doer(i + 3);
      if (led || by) return true;
    }
    return false;
  }

  /// A number that the question does not have, near what is counted.
  double number_bonus(Span passage, Quote& quote) const {
    if (plan_.unit == Unit::kScore) return score_bonus(passage, quote);
    double best = -0.4;
    for (const Fact& fact : evidence_.facts) {
      if (!inside(fact.span, passage) || !is_quantity(fact) || stated_in_question(fact)) continue;
      if (is_total(fact)) continue;
      const bool fits = fits_unit(fact);
      const double near = tie(fact.word, passage);
      if (plan_.unit != Unit::kNone ? !fits : near < 0.15) continue;
      const double bonus = 0.1 + near + (plan_.unit != Unit::kNone ? 0.2 : 0) - oddness(fact);
      if (bonus <= best) continue;
      best = bonus;
      quote.value = fact.key;
    }
    if (quote.value.empty()) best = std::max(best, vague_bonus(passage, quote));
    return best;
  }

  /// The result of a match, but not the time at which it is told.
  double score_bonus(Span passage, Quote& quote) const {
    for (const Fact& fact : find_scores(text_, evidence_.words)) {
      if (!inside(fact.span, passage)) continue;
      const bool clock = std::ranges::any_of(
          evidence_.facts, [&](const Fact& other) { return other.span == fact.span && is_stamp(other); });
      if (clock) continue;
      quote.value = fact.key;
      return 0.5;
    }
    return -0.4;
  }

  /// The 9,000 of "3,200 of 9,000": what there are in all.
  bool is_total(const Fact& fact) const {
    if (fact.word < 2 || evidence_.words[fact.word - 1].folded != "of") return false;
    return std::ranges::any_of(evidence_.facts, [&](const Fact& other) {
      const size_t after = other.word + 1;
      return &other != &fact && other.span.end <= evidence_.words[fact.word - 1].span.begin &&
             is_quantity(other) &&
             (after == fact.word - 1 || (after == fact.word - 2 && evidence_.words[after].folded == "out"));
    });
  }

  /// "no tickets left" is a number; "half of all trains" and "1 in 5" are shares.
  double worded_bonus(Span passage, Quote& quote) const {
    static const std::unordered_set<std::string_view> kShares = {"half", "third", "thirds", "quarter",
                                                                 "quarters"};
    const std::vector<Word>& words = evidence_.words;
    for (size_t i = 0; i + 1 < words.size(); ++i) {
      if (!inside(words[i].span, passage) || !inside(words[i + 1].span, passage)) continue;
      const bool focus = std::ranges::any_of(
          plan_.terms, [&](const Term& t) { return t.focus && !t.name && related(t.word, words[i + 1]); });
      if (words[i].folded == "no" && focus && plan_.ask == Ask::kHowMany) return quote.value = "n:0", 0.35;
      if (plan_.unit != Unit::kPercent) continue;
      const bool one_in = i + 2 < words.size() && words[i + 1].folded == "in" &&
                          words[i].folded.size() <= 3 && words[i + 2].kind == WordKind::kNumber &&
                          (words[i].kind == WordKind::kNumber || words[i].folded == "one");
      if (!one_in && !kShares.contains(words[i].folded)) continue;
      quote.value = "v:" + words[i].folded + (one_in ? words[i + 2].folded : "");
      return 0.3 + tie(i, passage);
    }
    return 0;
  }

  /// "dozens of", "hundreds", "nobody": an answer, but a poor one.
  double vague_bonus(Span passage, Quote& quote) const {
    if (const double worded = worded_bonus(passage, quote); worded > 0) return worded;
    static const std::unordered_set<std::string_view> kVague = {"dozens", "hundreds", "thousands", "millions",
                                                                "nobody", "none",     "scores"};
    for (size_t i = 0; i < evidence_.words.size() && plan_.unit == Unit::kNone; ++i) {
      const Word& word = evidence_.words[i];
      if (!inside(word.span, passage) || !kVague.contains(word.folded) || tie(i, passage) < 0.15) continue;
      quote.value = "v:" + word.folded;
      return -0.05;
    }
    return -0.4;
  }

  double tie(size_t at, Span passage) const {
    double near = 0;
    for (size_t i = 0; i < evidence_.words.size(); ++i) {
      const size_t distance = i > at ? i - at : at - i;
      if (distance == 0 || distance > kNear || !inside(evidence_.words[i].span, passage)) continue;
      near = std::max(near, counted(evidence_.words[i], i > at) - 0.02 * static_cast<double>(distance));
    }
    return near;
  }

  std::string_view follower(const Fact& fact, size_t step) const {
    size_t next = fact.word;
    while (next < evidence_.words.size() && evidence_.words[next].span.begin < fact.span.end) ++next;
    next += step;
    return next < evidence_.words.size() ? std::string_view(evidence_.words[next].folded) : "";
  }

  static bool is_quantity(const Fact& fact) {
    return !fact.key.starts_with("w:") && fact.kind != FactKind::kTime && fact.kind != FactKind::kDate &&
           fact.kind != FactKind::kYear;
  }

  /// What makes a number unlikely to be a count: ages, ordinals, "24/7", "three-storey", spans of time.
  double oddness(const Fact& fact) const {
    const std::string_view after = text_.substr(fact.span.end);
    const std::string& digits = evidence_.words[fact.word].folded;
    double odd = 0;
    if (after.starts_with('/') || (fact.span.begin > 0 && text_[fact.span.begin - 1] == '/')) odd += 0.5;
    if (plan_.unit != Unit::kNone) return odd;
    if (after.size() > 1 && after[0] == '-' && after[1] >= 'a' && after[1] <= 'z') odd += 0.35;
    if (digits.ends_with("th") || digits.ends_with("st") || digits.ends_with("nd") || digits.ends_with("rd"))
      odd += 0.15;
    if (digits.ends_with('s')) odd += 0.4;
    if (digits.size() >= 6 && digits.find(',') == std::string::npos && fact.span.size() == digits.size())
      odd += 0.3;
    if (counts_other(fact)) odd += 0.1;
    if (follower(fact, 0) == "more" || follower(fact, 0) == "further") odd += 0.25;  // not the sum
    if (follower(fact, 1) == "old" || follower(fact, 1) == "ago") odd += 0.4;
    static const std::unordered_set<std::string_view> kSpans = {
        "hours", "hour", "hrs",   "minutes", "mins", "days", "weeks", "months", "years", "yrs",
        "mph",   "km",   "miles", "feet",    "day",  "week", "month", "year",   "minute"};
    const std::string_view next = follower(fact, 0);
    const bool asked =
        std::ranges::any_of(plan_.terms, [&](const Term& term) { return term.word.folded == next; });
    if (kSpans.contains(next) && !asked && plan_.ask == Ask::kHowMany) odd += 0.3;
    if (fact.kind == FactKind::kPercent && plan_.ask == Ask::kHowMany) odd += 0.3;
    if (fact.kind == FactKind::kMoney && plan_.ask == Ask::kHowMany) odd += 0.2;
    return odd;
  }

  /// "60 fires" where houses are counted.
  bool counts_other(const Fact& fact) const {
    for (const Word& word : evidence_.words) {
      if (word.span.begin < fact.span.end) continue;
      if (word.kind != WordKind::kWord || !is_content(word) || word.folded.back() != 's') return false;
      return std::ranges::none_of(plan_.terms, [&](const Term& term) { return related(term.word, word); });
    }
    return false;
  }

  bool stated_in_question(const Fact& fact) const {
    return std::ranges::any_of(plan_.terms, [&](const Term& term) {
      return term.word.kind == WordKind::kNumber && evidence_.words[fact.word].folded == term.word.folded;
    });
  }

  /// Whether the number bears the unit that was asked for.
  bool fits_unit(const Fact& fact) const {
    using Words = std::unordered_set<std::string_view>;
    static const Words kSpeed = {"mph",   "kph",        "kmh",        "km",   "knots",
                                 "miles", "kilometers", "kilometres", "kmph", "mi"};
    static const Words kLength = {"feet", "ft",         "foot",       "metres",  "meters", "metre", "meter",
                                  "m",    "cm",         "inches",     "inch",    "miles",  "light", "mile",
                                  "km",   "kilometres", "kilometers", "stories", "storeys"};
    static const Words kDuration = {"minutes", "minute", "mins",    "hours", "hour",   "hrs",
                                    "days",    "day",    "weeks",   "week",  "months", "month",
                                    "years",   "year",   "seconds", "secs"};
    static const Words kDegrees = {"degrees", "c", "f", "celsius", "fahrenheit", "deg"};
    static const Words kWeight = {"kg", "tons", "tonnes", "ton", "pounds", "lbs", "grams", "kilos"};
    static const Words kAge = {"year", "years", "yr", "yrs", "yo", "months"};
    const std::string_view next = follower(fact, 0);
    const std::string& own = evidence_.words[fact.word].folded;
    const auto in = [&](const Words& units) {
      const size_t letters = own.find_first_not_of("0123456789.,");
      return units.contains(next) ||
             (letters != std::string::npos && units.contains(std::string_view(own).substr(letters)));
    };
    switch (plan_.unit) {
      case Unit::kNone: return true;
      case Unit::kMoney: return fact.kind == FactKind::kMoney;
      case Unit::kPercent: return fact.kind == FactKind::kPercent;
      case Unit::kSpeed: return in(kSpeed);
      case Unit::kLength: return in(kLength);
      case Unit::kDuration: return in(kDuration);
      case Unit::kDegrees: return in(kDegrees);
      case Unit::kWeight: return in(kWeight);
      case Unit::kAge: return in(kAge) || own == "aged";
      case Unit::kScore: return false;  // score_bonus
      case Unit::kMagnitude:
        return fact.kind == FactKind::kNumber && fact.value >= 1 && fact.value < 10 && near_magnitude(fact);
    }
    return true;
  }

  bool near_magnitude(const Fact& fact) const {
    for (size_t i = 0; i < evidence_.words.size(); ++i) {
      const size_t distance = i > fact.word ? i - fact.word : fact.word - i;
      const std::string& word = evidence_.words[i].folded;
      if (distance <= 3 && (word == "magnitude" || word == "mag" || word == "richter" ||
                            word.starts_with("earthquake") || word == "quake")) {
        return true;
      }
    }
    return false;
  }

  /// How strongly a word near a number ties it to the question: the counted noun and the verb do, a name does little.
  /// "How many people ..." with nothing more that is counted.
  bool only_weak_focus() const {
    return std::ranges::none_of(plan_.terms, [](const Term& t) { return t.focus && !t.weak && !t.name; });
  }

  double counted(const Word& word, bool follows) const {
    double best = 0;
    for (const Term& term : plan_.terms) {
      if (!related(term.word, word)) continue;
      best = std::max(best, term.focus && !term.name     ? (term.weak && !only_weak_focus() ? 0.2 : 0.3)
                            : term.name                  ? 0.06
                            : plan_.ask != Ask::kHowMany ? 0.25
                            : follows                    ? 0.19
                                                         : 0.1);
    }
    return best;
  }

  const Plan& plan_;
  const Relevance& relevance_;
  const Evidence& evidence_;
  std::string_view text_;
};

}  // namespace

bool tells_of_other_year(const Evidence& evidence, Span passage) {
  const std::chrono::year_month_day date{std::chrono::floor<std::chrono::days>(evidence.post.created_at)};
  return std::ranges::any_of(evidence.facts, [&](const Fact& fact) {
    return fact.kind == FactKind::kYear && fact.span.begin >= passage.begin && fact.span.end <= passage.end &&
           static_cast<int>(fact.value) != static_cast<int>(date.year());
  });
}

std::optional<Quote> best_passage(const Plan& plan, const Relevance& relevance, const Evidence& evidence) {
  return Scorer(plan, relevance, evidence).best();
}

}  // namespace fathom::answer
