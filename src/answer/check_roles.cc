#include "answer/check_roles.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <string>

#include "answer/check_names.h"
#include "answer/check_words.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

/// Says nothing that the post would have to say too.
bool is_filler(const Word& word) {
  return one_of(
      word.folded,
      {"post",      "posts",     "posted",        "tweet",     "tweeted",   "report", "reports",  "reported",
       "according", "stated",    "states",        "mentioned", "number",    "total",  "happened", "occurred",
       "took",      "place",     "incident",      "event",     "currently", "latest", "amount",   "located",
       "people",    "called",    "named",         "known",     "name",      "value",  "level",    "current",
       "today",     "confirmed", "approximately", "time",      "far",       "high",   "tall",     "deep",
       "wide",      "long",      "meters",        "metres"});
}

enum class Role { kPlain, kWhole, kFormer, kUpTo, kMoreThan, kLessThan };

/// What a number is in its sentence, told by the words around it.
class Roles {
 public:
  Roles(const std::vector<Word>& words, const std::vector<Token>& tokens, std::string_view text)
      : words_(words), tokens_(tokens), text_(text) {}

  Role of(size_t index) const {
    const Token& token = tokens_[index];
    const std::string_view w1 = before(token, 1), w2 = before(token, 2);
    const bool others = rivals(index);
    if (whole(index)) return Role::kWhole;
    if (w1 == "from" || (w1 == "at" && w2 == "from")) return Role::kFormer;
    if (one_of(w1, {"not", "never"}) || (w1 == "of" && w2 == "instead")) return Role::kFormer;
    if (one_of(w1, {"to", "at"}) && one_of(w2, {"up", "close", "most"}) && up_to(token, w1, w2))
      return Role::kUpTo;
    if (w1 == "as" && w2 == "many") return Role::kUpTo;
    if (w1 == "than") return than(w2);
    if (one_of(w1, {"under", "below", "almost", "nearly"})) return Role::kLessThan;
    if (one_of(w1, {"over", "above"}) || (w1 == "least" && w2 == "at")) return Role::kMoreThan;
    if (others && told_as_former(token)) return Role::kFormer;
    return Role::kPlain;
  }

 private:
  std::string_view before(const Token& token, size_t back) const {
    if (token.word < back) return {};
    const Word& word = words_[token.word - back];
    const std::string_view gap = text_.substr(word.span.end, words_[token.word].span.begin - word.span.end);
    return gap.find_first_of(".;!?") == std::string_view::npos ? std::string_view(word.folded)
                                                               : std::string_view{};
  }
  std::string_view after(const Token& token, size_t ahead) const {
    const size_t at = token.last + ahead;
    return at < words_.size() ? std::string_view(words_[at].folded) : std::string_view{};
  }

  bool rivals(size_t index) const {
    return std::ranges::count_if(tokens_, [](const Token& t) { return t.number(); }) > 1 &&
           tokens_[index].number();
  }

  /// "5,100 of (the) 9,000", "1 in 3", "12 out of 40".
  bool whole(size_t index) const {
    const Token& token = tokens_[index];
    size_t at = token.word;
    while (at > 0 && one_of(words_[at - 1].folded, {"the", "all", "some", "its", "about", "their"})) --at;
    if (at < 2) return false;
    const std::string_view link = words_[at - 1].folded;
    if (link != "of" && link != "in") return false;
    size_t left = at - 2;
    if (words_[left].folded == "out" && left > 0) --left;
    const auto ends_at = [&](size_t word) {
      return std::ranges::any_of(tokens_, [&](const Token& t) { return t.number() && t.last == word; });
    };
    if (ends_at(left) ||
        one_of(words_[left].folded, {"one", "half", "most", "none", "some", "many", "few", "third"}))
      return true;
    // "5,100 homes of 9,000": a noun between; "3 people in 2 houses" counts two things.
    return (link == "of" || words_[at - 2].folded == "out") && left > 0 && ends_at(left - 1);
  }

  static bool up_to(const Token&, std::string_view w1, std::string_view w2) {
    return (w1 == "to" && (w2 == "up" || w2 == "close")) || (w1 == "at" && w2 == "most");
  }

  static Role than(std::string_view w2) {
    if (one_of(w2, {"more", "greater", "higher"})) return Role::kMoreThan;
    if (one_of(w2, {"less", "fewer", "lower"})) return Role::kLessThan;
    return Role::kFormer;  // "rather than"
  }

  bool told_as_former(const Token& token) const {
    for (size_t i = 1; i <= 4; ++i) {
      const std::string_view left = before(token, i);
      if (std::ranges::any_of(left, [](char c) { return c >= '0' && c <= '9'; })) break;
      if (one_of(left, {"earlier", "previously", "previous", "initially", "initial", "originally", "formerly",
                        "first", "compared", "against", "versus", "replaces", "replacing", "corrects"})) {
        return true;
      }
    }
    for (size_t i = 1; i <= 4; ++i) {
      const std::string_view right = after(token, i);
      if (std::ranges::any_of(right, [](char c) { return c >= '0' && c <= '9'; }) || is_joiner(right)) break;
      if (one_of(right, {"earlier", "previously", "before", "yesterday", "initially", "originally", "morning",
                         "ago", "last"})) {
        return true;
      }
    }
    return false;
  }

  const std::vector<Word>& words_;
  const std::vector<Token>& tokens_;
  std::string_view text_;
};

bool same_role(Role claim, Role post) {
  if (claim == post) return true;
  // "At least 3 dead" supports "3 dead": the smaller claim.
  return claim == Role::kPlain && (post == Role::kMoreThan || post == Role::kLessThan);
}

// How certain a text is.
enum Cue : unsigned {
  kRumour = 1,
  kCondition = 2,
  kMay = 4,
  kExpected = 8,
  kFuture = 16,
  kLater = 32,
};

unsigned cue_of(const Word& word, bool opens) {
  if (word.kind != WordKind::kWord || (word.capital && !opens && !word.all_caps)) return 0;
  const std::string_view w = word.folded;
  if (one_of(w, {"rumour",      "rumours",     "rumor",      "rumors",     "rumoured",   "rumored",
                 "unconfirmed", "allegedly",   "alleged",    "alleges",    "supposedly", "gossip",
                 "hoax",        "fake",        "satire",     "parody",     "joke",       "joking",
                 "kidding",     "prank",       "debunked",   "untrue",     "false",      "claims",
                 "claimed",     "claim",       "reportedly", "apparently", "purported",  "purportedly",
                 "unverified",  "speculation", "heard",      "hear",       "believed",   "feared",
                 "suspected",   "presumably",  "dreamt",     "dreamed",    "jk",         "sarcasm",
                 "accused",     "accuses",     "accusing",   "mistakenly", "wrongly",    "myth"}))
    return kRumour;
  if (one_of(w, {"if", "unless", "whether", "imagine", "suppose", "hypothetically", "pretend", "would",
                 "would've", "drill", "exercise", "simulation", "until", "once"}))
    return kCondition;
  if (one_of(w, {"may",       "might",  "could",  "should",    "possibly",   "possible",
                 "perhaps",   "maybe",  "likely", "probably",  "unlikely",   "potentially",
                 "potential", "risk",   "risks",  "threatens", "threatened", "threat",
                 "warns",     "warned", "fears",  "doubt",     "doubts",     "unclear"}))
    return kMay;
  if (one_of(w, {"expect",      "expects",   "expected",  "expecting", "plan",     "plans",    "planned",
                 "planning",    "hope",      "hopes",     "hoping",    "want",     "wants",    "wanted",
                 "considering", "considers", "proposes",  "proposed",  "proposal", "aims",     "intends",
                 "demands",     "demand",    "asks",      "urges",     "calls",    "forecast", "predicts",
                 "predicted",   "projected", "scheduled", "promises",  "promised", "vows",     "trying",
                 "tries",       "tried",     "attempted", "wishes",    "wish",     "offers",   "offered",
                 "due"}))
    return kExpected;
  if (one_of(w, {"will", "shall", "we'll", "it'll", "i'll", "they'll", "going", "gonna"})) return kFuture;
  if (one_of(w, {"tomorrow", "soon", "shortly", "upcoming"})) return kLater;
  return 0;
}

bool is_denial(const Word& word) {
  return is_negation(word.folded) ||
         one_of(word.folded,
                {"fails", "failed", "refuses", "refused", "rejects", "rejected", "hardly", "barely",
                 "avoided", "avoids", "prevented", "prevents", "averted", "stopped", "halts"});
}

/// Reads one claim against one sentence of the post.
class Reader {
 public:
  Reader(std::string_view claim, const std::vector<Word>& words, const std::vector<Token>& tokens,
         const Evidence& evidence, Span sentence)
      : claim_(claim),
        words_(words),
        tokens_(tokens),
        evidence_(evidence),
        sentence_(sentence),
        post_tokens_(tokens_of(evidence.words, evidence.facts, sentence)) {
    for (const Token& token : tokens_) places_.push_back(places(token));
  }

  size_t matched() const {
    size_t out = 0;
    for (const auto& places : places_) out += places.empty() ? 0 : 1;
    return out;
  }

  std::string_view misread() const {
    if (!words_there()) return "no sentence of the post says all of it";
    if (!numbers_hold()) return "a number has another role in the post";
    if (!certain_enough()) return "the post is less certain than that";
    if (!denials_agree()) return "one denies what the other says";
    if (says_the_opposite()) return "one says the opposite of the other";
    if (!order_holds()) return "who did it to whom is another";
    if (!numbers_in_order()) return "its numbers stand in another order";
    if (!names_hold()) return "a name stands elsewhere in the post";
    if (!names_in_place(names_view())) return "a name has another part in the post";
    if (!places_hold()) return "it belongs to another place or time";
    return {};
  }

 private:
  NamesView names_view() const {
    return {claim_, evidence_.post.text, words_, evidence_.words, tokens_, post_tokens_, places_};
  }

  const Word& post_word(size_t token) const { return evidence_.words[post_tokens_[token].word]; }

  bool matches(const Token& token, const Token& other) const {
    if (token.number() != other.number()) return false;
    if (!token.number()) return says_the_same(words_[token.word], evidence_.words[other.word]);
    return std::ranges::any_of(token.keys, [&](const std::string& key) {
      return std::ranges::any_of(other.keys, [&](const std::string& k) {
        return k == key ||
               (k.starts_with('m') && key.starts_with("n:") && k.substr(k.find(':')) == key.substr(1));
      });
    });
  }

  std::vector<size_t> places(const Token& token) const {
    std::vector<size_t> out;
    for (size_t i = 0; i < post_tokens_.size(); ++i) {
      if (matches(token, post_tokens_[i])) out.push_back(i);
    }
    return out;
  }

  /// A word that the sentence lacks is filler, the author, a date of the post, or a name that is the post's subject.
  bool words_there() const {
    size_t lacking = 0;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (!places_[i].empty()) continue;
      const Token& token = tokens_[i];
      const Word& word = words_[token.word];
      if (token.number()) {
        if (is_own_date(token)) continue;
        return false;
      }
      if (is_filler(word) || evidence_.is_about(word)) continue;
      if (word.folded.size() >= 4 && evidence_.tags.find(word.folded) != std::string::npos) continue;
      if (!is_name(word) && !(word.opens && word.capital)) return false;
      if (!evidence_.has(word)) return false;
      ++lacking;
    }
    return lacking == 0 || (2 * lacking <= tokens_.size() && !has_own_subject());
  }

  /// A year, date or time that is the post's own (its text has none such) and that the sentence gives no rival for.
  bool is_own_date(const Token& token) const {
    const std::string& key = token.keys.front();
    if (std::ranges::any_of(evidence_.facts, [&](const Fact& fact) { return fact.key == key; })) return false;
    if (key.starts_with("n:")) return true;  // known, and not from the text: the year
    return std::ranges::none_of(post_tokens_, [&](const Token& other) {
      return other.number() && other.keys.front().front() == key.front();
    });
  }

  /// Its first word is a name or noun that the claim does not have.
  bool has_own_subject() const {
    if (post_tokens_.empty() || post_tokens_.front().number()) return false;
    return std::ranges::none_of(places_, [](const auto& p) { return !p.empty() && p.front() == 0; });
  }

  bool numbers_hold() const {
    const Roles mine(words_, tokens_, claim_), theirs(evidence_.words, post_tokens_, evidence_.post.text);
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (!tokens_[i].number() || places_[i].empty()) continue;
      const Role role = mine.of(i);
      const bool held = std::ranges::any_of(places_[i], [&](size_t place) {
        return same_role(role, theirs.of(place)) && counts_the_same(i, place);
      });
      if (!held) return false;
    }
    return true;
  }

  /// The noun behind the number in the claim stands beside it in the post.
  bool counts_the_same(size_t index, size_t place) const {
    if (index + 1 >= tokens_.size() || tokens_[index + 1].number()) return true;
    const Token& noun = tokens_[index + 1];
    const Word& word = words_[noun.word];
    if (noun.word > tokens_[index].last + 1 || is_verb(word)) return true;
    const auto& at = places_[index + 1];
    if (at.empty()) {  // "3 killed" are three people; "3 animals killed" are not
      if (place + 1 >= post_tokens_.size() || post_tokens_[place + 1].number()) return true;
      const Word& next = post_word(place + 1);
      return post_tokens_[place + 1].word > post_tokens_[place].last + 1 || is_verb(next) ||
             is_state(next.folded);
    }
    return std::ranges::any_of(at, [&](size_t other) {
      if (other + 1 == place) return true;
      if (other < place) return false;
      // "5,100 of 9,000 homes": the whole may stand between, nothing else that counts.
      for (size_t i = place + 1; i < other; ++i) {
        if (!post_tokens_[i].number() && other - place > 3) return false;
        if (post_tokens_[i].number() && other - place != 2) return false;
      }
      return other - place <= 4;
    });
  }

  static bool is_state(std::string_view w) {
    return one_of(w, {"dead", "hurt", "missing", "ill", "sick", "lost", "shot", "safe", "homeless", "deaths",
                      "injuries", "fatalities", "people", "without", "victims"});
  }

  unsigned claim_cues() const {
    unsigned out = 0;
    for (const Word& word : words_) out |= cue_of(word, word.opens);
    return out;
  }

  /// The words of the sentence from the clause that holds the first word of the claim to the one that holds the last.
  bool in_clause(size_t word) const {
    size_t first = evidence_.words.size(), last = 0;
    for (const auto& places : places_) {
      for (const size_t place : places) {
        first = std::min(first, post_tokens_[place].word);
        last = std::max(last, post_tokens_[place].word);
      }
    }
    if (first > last) return true;  // the sentence has none of them, so no part of it is nearer than another
    const auto breaks = [&](size_t left) {
      const std::string_view gap =
          std::string_view(evidence_.post.text)
              .substr(evidence_.words[left].span.end,
                      evidence_.words[left + 1].span.begin - evidence_.words[left].span.end);
      return gap.find_first_of(",;") != std::string_view::npos || gap.find(" - ") != std::string_view::npos ||
             one_of(evidence_.words[left + 1].folded, {"and", "but", "while", "whereas"});
    };
    while (first > 0 && evidence_.words[first - 1].span.begin >= sentence_.begin && !breaks(first - 1))
      --first;
    while (last + 1 < evidence_.words.size() && evidence_.words[last + 1].span.end <= sentence_.end &&
           !breaks(last)) {
      ++last;
    }
    return word >= first && word <= last;
  }

  bool certain_enough() const {
    const std::string_view text = slice(evidence_.post.text, sentence_);
    const size_t end = text.find_last_of(".!?");
    if (end != std::string_view::npos && text.find('?', end > 2 ? end - 2 : 0) != std::string_view::npos)
      return false;
    const unsigned mine = claim_cues();
    unsigned theirs = 0;
    for (size_t i = 0; i < evidence_.words.size(); ++i) {
      const Word& word = evidence_.words[i];
      const unsigned cue = cue_of(word, word.opens);
      const bool inside = word.span.begin >= sentence_.begin && word.span.end <= sentence_.end;
      if (cue == kRumour || (inside && (cue == kCondition || in_clause(i)))) theirs |= cue;
    }
    if ((theirs & (kRumour | kCondition | kMay) & ~mine) != 0) return false;
    if ((theirs & kExpected) != 0 && (mine & (kExpected | kFuture | kMay)) == 0) return false;
    if ((theirs & kFuture) != 0 && (mine & (kExpected | kFuture | kMay)) == 0) return false;
    if ((mine & kFuture) != 0 && (theirs & (kFuture | kExpected)) == 0) return false;
    if ((theirs & kLater) != 0 && (mine & (kExpected | kFuture | kMay | kLater)) == 0) return false;
    return !mocks() && !becomes_past();
  }

  bool mocks() const {
    const std::string lower = to_lower_ascii(evidence_.post.text);
    for (const std::string_view cue :
         {"yeah right", " /s", "as if!", "sure, and", "april fool", "oh sure", "in my dream", "not true",
          "no truth", "is wrong", "was wrong", "not the case", "do not believe", "don't believe"}) {
      if (lower.find(cue) != std::string::npos) return true;
    }
    return false;
  }

  /// "to open" in the post, "opened" in the claim.
  bool becomes_past() const {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const Word& word = words_[tokens_[i].word];
      if (tokens_[i].number() || places_[i].empty() || !is_verb(word)) continue;
      const bool all = std::ranges::all_of(places_[i], [&](size_t place) {
        const size_t at = post_tokens_[place].word;
        return at > 0 && evidence_.words[at - 1].folded == "to" && evidence_.words[at].folded != word.folded;
      });
      if (all) return true;
    }
    return false;
  }

  /// A word of the claim is too often there for the sentence, which has its opposite.
  bool says_the_opposite() const {
    const auto count = [&](const std::vector<Word>& words, std::string_view folded, Span span) {
      return std::ranges::count_if(words, [&](const Word& word) {
        return word.folded == folded && word.span.begin >= span.begin && word.span.end <= span.end;
      });
    };
    return std::ranges::any_of(words_, [&](const Word& word) {
      if (count(words_, word.folded, {0, claim_.size()}) <= count(evidence_.words, word.folded, sentence_))
        return false;
      return std::ranges::any_of(evidence_.words, [&](const Word& other) {
        return other.span.begin >= sentence_.begin && other.span.end <= sentence_.end &&
               opposes(word.folded, other.folded) &&
               count(evidence_.words, other.folded, sentence_) >
                   count(words_, other.folded, {0, claim_.size()});
      });
    });
  }

  /// A "not" before a number that the claim leaves out ("24, not 91") denies nothing of it.
  bool denials_agree() const {
    size_t mine = 0, theirs = 0;
    for (const Word& word : words_) mine += is_denial(word) ? 1 : 0;
    for (size_t i = 0; i < evidence_.words.size(); ++i) {
      const Word& word = evidence_.words[i];
      if (word.span.begin < sentence_.begin || word.span.end > sentence_.end || !is_denial(word)) continue;
      theirs += denies_other(i) ? 0 : 1;
    }
    if (mine != theirs) return false;
    return mine == 0 || denied_word_agrees();
  }

  bool denies_other(size_t word) const {
    for (size_t i = 0; i < post_tokens_.size(); ++i) {
      if (post_tokens_[i].word <= word) continue;
      return post_tokens_[i].number() && evidence_.words[word].folded == "not" &&
             std::ranges::none_of(
                 places_, [&](const auto& places) { return std::ranges::find(places, i) != places.end(); });
    }
    return false;
  }

  bool denied_word_agrees() const {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (!is_denial(words_[i])) continue;
      for (size_t t = 0; t < tokens_.size(); ++t) {
        if (tokens_[t].word <= i) continue;
        return std::ranges::any_of(places_[t], [&](size_t place) { return is_denied(place); });
      }
    }
    return true;
  }

  bool is_denied(size_t place) const {
    const size_t at = post_tokens_[place].word;
    const size_t from = place == 0 ? 0 : post_tokens_[place - 1].word;
    for (size_t i = from; i < at; ++i) {
      if (is_denial(evidence_.words[i])) return true;
    }
    return false;
  }

  std::string_view claim_gap(size_t left) const {
    return claim_.substr(words_[left].span.end, words_[left + 1].span.begin - words_[left].span.end);
  }
  bool chunk_ends(size_t left) const {  // between the words `left` and `left` + 1
    const std::string_view next = words_[left + 1].folded;
    return claim_gap(left).find_first_of(",;:") != std::string_view::npos || is_loose_preposition(next) ||
           is_joiner(next);
  }

  /// Rule (3) for each verb of the claim.
  bool order_holds() const {
    for (size_t v = 0; v < tokens_.size(); ++v) {
      if (tokens_[v].number() || !is_verb(words_[tokens_[v].word]) || places_[v].empty()) continue;
      const auto subject = beside(v, false), object = beside(v, true);
      if (subject && object && !in_order(*subject, v, *object, passive(v))) return false;
    }
    return true;
  }

  bool passive(size_t v) const {
    const size_t at = tokens_[v].word;
    return at > 0 && is_be(words_[at - 1].folded) && !one_of(words_[at - 1].folded, {"has", "have", "had"});
  }

  /// The token that the verb takes on one side, within its chunk and with a place in the sentence.
  std::optional<size_t> beside(size_t v, bool right) const {
    const auto usable = [&](size_t t) { return !places_[t].empty(); };
    if (right) {
      for (size_t t = v + 1; t < tokens_.size(); ++t) {
        for (size_t w = tokens_[t - 1].last; w < tokens_[t].word; ++w) {
          if (chunk_ends(w)) return std::nullopt;
        }
        if (usable(t)) return t;
      }
      return std::nullopt;
    }
    for (size_t t = v; t-- > 0;) {
      for (size_t w = tokens_[t].last; w < tokens_[t + 1].word; ++w) {
        if (claim_gap(w).find_first_of(",;:") != std::string_view::npos || is_joiner(words_[w + 1].folded))
          return std::nullopt;
      }
      if (usable(t)) return t;
    }
    return std::nullopt;
  }

  bool by_before(size_t place) const {
    const size_t at = post_tokens_[place].word;
    for (size_t back = 1; back <= 4 && back <= at; ++back) {
      const std::string_view w = evidence_.words[at - back].folded;
      if (one_of(w, {"by", "in", "after", "at", "from", "during", "due", "of", "following"})) return true;
    }
    return false;
  }

  bool in_order(size_t subject, size_t verb, size_t object, bool passive_claim) const {
    const bool by = passive_claim && has_by(verb, object);
    for (const size_t s : places_[subject]) {
      for (const size_t v : places_[verb]) {
        for (const size_t o : places_[object]) {
          if (s < v && v < o && (!by || by_before(o))) {
            if (passive_claim || !is_passive_in_post(v)) return true;
          }
          if (by && o < v && v < s) return true;                                     // active in the post
          if (!by && !passive_claim && o < v && v < s && by_before(s)) return true;  // passive in the post
          if (passive_claim && !by) return true;  // "were injured again": no object
        }
      }
    }
    return false;
  }

  bool has_by(size_t verb, size_t object) const {
    for (size_t w = tokens_[verb].last; w < tokens_[object].word; ++w) {
      if (words_[w].folded == "by") return true;
    }
    return false;
  }

  /// "was beaten by" where the claim is active.
  bool is_passive_in_post(size_t place) const {
    const size_t at = post_tokens_[place].word;
    return at > 0 && at + 1 < evidence_.words.size() &&
           one_of(evidence_.words[at - 1].folded, {"is", "are", "was", "were", "been", "being"}) &&
           evidence_.words[at + 1].folded == "by";
  }

  /// "Fire in Oslo, flood in Bergen" has no flood in Oslo: another name behind the same preposition is nearer.
  bool places_hold() const {
    if (has(words_, "from", {0, claim_.size()}) && !has(evidence_.words, "from", sentence_)) return false;
    for (size_t t = 1; t < tokens_.size(); ++t) {
      const size_t at = tokens_[t].word;
      if (at == 0 || places_[t].empty() || places_[t - 1].empty()) continue;
      const std::string_view link = preposition(words_, at);
      if (link.empty()) continue;
      bool held = false;
      for (const size_t place : places_[t]) {
        const std::string_view other = preposition(evidence_.words, post_tokens_[place].word);
        if (opposed(link, other)) continue;
        for (const size_t head : places_[t - 1]) held = held || !rival_between(head, place, other);
      }
      if (!held) return false;
    }
    return true;
  }

  /// Counts and amounts come in the post's order, each used once; times and dates may move.
  bool numbers_in_order() const {
    size_t from = 0;
    for (size_t t = 0; t < tokens_.size(); ++t) {
      if (!tokens_[t].number() || places_[t].empty() || moves(tokens_[t])) continue;
      const auto next = std::ranges::lower_bound(places_[t], from);
      if (next == places_[t].end()) return false;
      from = *next + 1;
    }
    return true;
  }
  static bool moves(const Token& token) {
    const char kind = token.keys.front().front();
    return kind == 't' || kind == 'd';
  }

  /// Words of one name stay together; what is a place in the one is not the subject in the other.
  bool names_hold() const {
    for (size_t t = 0; t < tokens_.size(); ++t) {
      const Word& word = words_[tokens_[t].word];
      if (tokens_[t].number() || places_[t].empty() || !word.capital || word.kind != WordKind::kWord)
        continue;
      if (t + 1 < tokens_.size() && !adjoining_name_holds(t)) return false;
      const size_t at = tokens_[t].word;
      const std::string_view link = preposition(words_, at);
      const bool in_place = one_of(link, {"in", "at", "near", "from", "to", "with", "against"});
      if (in_place && !stands_in_place(t)) return false;
      const bool subject = link.empty() && at + 1 < words_.size() && is_be(words_[at + 1].folded);
      if (subject && all_in_place(t)) return false;
    }
    return true;
  }

  bool adjoining_name_holds(size_t t) const {
    const Token& next = tokens_[t + 1];
    const Word& word = words_[next.word];
    if (next.number() || next.word != tokens_[t].last + 1 || !word.capital || places_[t + 1].empty())
      return true;
    if (trim(claim_gap(tokens_[t].last)) != "") return true;
    return std::ranges::any_of(places_[t], [&](size_t a) {
      const bool tag = post_word(a).kind != WordKind::kWord;
      return std::ranges::any_of(places_[t + 1], [&](size_t b) {
        return tag || post_word(b).kind != WordKind::kWord || b == a + 1;
      });
    });
  }

  bool stands_in_place(size_t t) const {
    return std::ranges::any_of(places_[t], [&](size_t place) {
      const size_t at = post_tokens_[place].word;
      if (!preposition(evidence_.words, at).empty() || post_word(place).kind != WordKind::kWord) return true;
      const size_t end = post_word(place).span.end;  // "Lund: ", "Lund, "
      const char behind = end < evidence_.post.text.size() ? evidence_.post.text[end] : ' ';
      if ((behind == ':' || behind == ',') && !post_word(place).all_caps) return true;
      if (place + 1 >= post_tokens_.size() || post_tokens_[place + 1].word != at + 1) return false;
      return !post_tokens_[place + 1].number() && !is_verb(post_word(place + 1));  // "the Lund bridge"
    });
  }

  bool all_in_place(size_t t) const {
    return std::ranges::all_of(places_[t], [&](size_t place) {
      return one_of(preposition(evidence_.words, post_tokens_[place].word), {"in", "at", "near"});
    });
  }

  static bool has(const std::vector<Word>& words, std::string_view folded, Span span) {
    return std::ranges::any_of(words, [&](const Word& word) {
      return word.folded == folded && word.span.begin >= span.begin && word.span.end <= span.end;
    });
  }

  static bool opposed(std::string_view a, std::string_view b) {
    static constexpr auto kPairs =
        std::to_array<std::pair<std::string_view, std::string_view>>({{"from", "to"},
                                                                      {"after", "before"},
                                                                      {"with", "without"},
                                                                      {"over", "under"},
                                                                      {"above", "below"},
                                                                      {"from", "into"},
                                                                      {"until", "since"},
                                                                      {"until", "from"},
                                                                      {"since", "before"},
                                                                      {"by", "against"},
                                                                      {"for", "against"},
                                                                      {"until", "after"}});
    return std::ranges::any_of(kPairs, [&](const auto& pair) {
      return (a == pair.first && b == pair.second) || (b == pair.first && a == pair.second);
    });
  }

  bool rival_between(size_t head, size_t place, std::string_view link) const {
    const size_t from = std::min(head, place) + 1, to = std::max(head, place);
    for (size_t i = from; i < to; ++i) {
      const bool claimed = std::ranges::any_of(
          places_, [&](const auto& places) { return std::ranges::find(places, i) != places.end(); });
      if (claimed || link.empty()) continue;
      const Word& word = post_word(i);
      if ((word.capital || post_tokens_[i].number()) &&
          preposition(evidence_.words, post_tokens_[i].word) == link)
        return true;
    }
    return false;
  }

  std::string_view claim_;
  const std::vector<Word>& words_;
  const std::vector<Token>& tokens_;
  const Evidence& evidence_;
  Span sentence_;
  std::vector<Token> post_tokens_;
  std::vector<std::vector<size_t>> places_;  // of each token of the claim, in post_tokens_
};

}  // namespace

std::string_view misread(std::string_view claim, const std::vector<Word>& words,
                         const std::vector<Fact>& facts, const Evidence& evidence) {
  const std::vector<Token> tokens = tokens_of(words, facts, {0, claim.size()});
  std::string_view reason = "no sentence of the post says all of it";
  size_t most = 0;
  for (const Span sentence : evidence.sentences) {
    const Reader reader(claim, words, tokens, evidence, sentence);
    const std::string_view why = reader.misread();
    if (why.empty()) return {};
    if (reader.matched() > most) {
      most = reader.matched();
      reason = why;
    }
  }
  return reason;
}

}  // namespace fathom::answer
