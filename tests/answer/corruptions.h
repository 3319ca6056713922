// Sentences whose truth is known: what a post says, said again in other ways, and the same made false in one place.
//
// From two sources: sentences of the sample world's posts, and sentences of a small grammar over invented names, whose
// roles are known by construction. Deterministic. A false sentence is false of its post by one change, of a kind that
// is counted: names swapped or replaced, a number, unit, time or day changed, numbers swapped, a denial put in or taken out,
// another source, doubt left out, a part told as the whole.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "answer/evidence.h"
#include "answer/fakes.h"
#include "base/random.h"
#include "base/text.h"

namespace fathom::answer::testing {

struct Claim {
  std::string kind;
  bool holds = false;
  std::string text;
  live::Post post;
};

/// `text` with the bytes of `span` replaced.
inline std::string replaced(std::string_view text, Span span, std::string_view with) {
  return std::string(text.substr(0, span.begin)) + std::string(with) + std::string(text.substr(span.end));
}

/// `text` with two spans exchanged; `a` lies before `b`.
inline std::string exchanged(std::string_view text, Span a, Span b) {
  const std::string first(slice(text, a)), second(slice(text, b));
  return replaced(replaced(text, b, first), a, second);
}

/// Changes one sentence of a post in every way that applies.
class Corruptor {
 public:
  Corruptor(const live::Post& post, std::string sentence, const std::vector<std::string>& strangers,
            Random& random, std::vector<Claim>& out)
      : post_(post),
        sentence_(std::move(sentence)),
        words_(split_words(sentence_)),
        facts_(find_facts(sentence_, words_)),
        strangers_(strangers),
        random_(random),
        out_(out) {
    find_names();
  }

  void run() {
    add("as it is", true, sentence_);
    swap_names();
    replace_names();
    change_numbers();
    swap_numbers();
    change_units();
    change_days();
    deny();
    undeny();
    misattribute();
    leave_out_doubt();
  }

 private:
  void add(std::string kind, bool holds, std::string text) {
    if (!holds && text == sentence_) return;
    out_.push_back({std::move(kind), holds, std::move(text), post_});
  }

  /// Runs of words with a capital, without the first word of the sentence unless more follow it.
  void find_names() {
    for (size_t i = 0; i < words_.size(); ++i) {
      if (!named(i)) continue;
      size_t last = i;
      while (last + 1 < words_.size() && named(last + 1) && gap(last) == " ") ++last;
      if (!words_[i].opens || last > i) names_.push_back({words_[i].span.begin, words_[last].span.end});
      i = last;
    }
  }
  bool named(size_t i) const {
    return words_[i].kind == WordKind::kWord && words_[i].capital && !words_[i].all_caps &&
           !is_stop_word(words_[i].folded) && month_number(words_[i].folded) == 0 &&
           weekday_number(words_[i].folded) == 0;
  }
  std::string_view gap(size_t i) const {
    return std::string_view(sentence_).substr(words_[i].span.end,
                                              words_[i + 1].span.begin - words_[i].span.end);
  }

  /// Not of a list or a pair that is the same in any order.
  void swap_names() {
    for (size_t i = 0; i < names_.size(); ++i) {
      for (size_t k = i + 1; k < names_.size(); ++k) {
        const std::string between(slice(sentence_, {names_[i].end, names_[k].begin}));
        const bool pair =
            trim(between) == "and" || trim(between) == "," || trim(between) == "or" || trim(between) == "/" ||
            trim(between) == "&" || trim(between).empty() || trim(between) == "v" || trim(between) == "vs" ||
            between.find(',') != std::string::npos || trim(between) == "-" || trim(between) == ":";
        if (!pair && slice(sentence_, names_[i]) != slice(sentence_, names_[k]))
          add("names swapped", false, exchanged(sentence_, names_[i], names_[k]));
      }
    }
  }

  void replace_names() {
    for (const Span name : names_) {
      const std::string& other = strangers_[random_.below(strangers_.size())];
      if (post_.text.find(other) == std::string::npos)
        add("name replaced", false, replaced(sentence_, name, other));
    }
  }

  Span digits_of(const Fact& fact) const {
    size_t begin = fact.span.begin, end;
    while (begin < fact.span.end && !is_digit(sentence_[begin])) ++begin;
    for (end = begin; end < fact.span.end && is_digit(sentence_[end]);) ++end;
    return {begin, end};
  }
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  void change_numbers() {
    for (const Fact& fact : facts_) {
      const Span digits = digits_of(fact);
      if (digits.size() == 0 || digits.size() > 6) continue;
      const auto value = std::stoul(std::string(slice(sentence_, digits)));
      add("number changed", false, replaced(sentence_, digits, std::to_string(value + 1 + random_.below(7))));
    }
  }

  void swap_numbers() {
    for (size_t i = 0; i + 1 < facts_.size(); ++i) {
      const Span a = digits_of(facts_[i]), b = digits_of(facts_[i + 1]);
      if (a.size() == 0 || b.size() == 0 || a.end > b.begin || slice(sentence_, a) == slice(sentence_, b))
        continue;
      if (facts_[i].word == facts_[i + 1].word) continue;
      add("numbers swapped", false, exchanged(sentence_, a, b));
    }
  }

  void change_words(std::string kind, std::span<const std::pair<std::string_view, std::string_view>> pairs) {
    for (const Word& word : words_) {
      for (const auto& [from, to] : pairs) {
        if (word.folded == from) add(kind, false, replaced(sentence_, word.span, to));
      }
    }
  }

  void change_units() {
    static constexpr auto kUnits =
        std::to_array<std::pair<std::string_view, std::string_view>>({{"metres", "feet"},
                                                                      {"crowns", "dollars"},
                                                                      {"minutes", "hours"},
                                                                      {"hours", "days"},
                                                                      {"km", "miles"},
                                                                      {"million", "billion"},
                                                                      {"people", "dogs"},
                                                                      {"homes", "schools"},
                                                                      {"flights", "trains"},
                                                                      {"tonnes", "litres"},
                                                                      {"years", "months"},
                                                                      {"shares", "seats"},
                                                                      {"votes", "seats"},
                                                                      {"days", "weeks"},
                                                                      {"degrees", "per cent"}});
    change_words("unit changed", kUnits);
  }
  void change_days() {
    static constexpr auto kDays =
        std::to_array<std::pair<std::string_view, std::string_view>>({{"monday", "Tuesday"},
                                                                      {"tuesday", "Friday"},
                                                                      {"wednesday", "Thursday"},
                                                                      {"thursday", "Sunday"},
                                                                      {"friday", "Monday"},
                                                                      {"saturday", "Sunday"},
                                                                      {"sunday", "Saturday"},
                                                                      {"june", "July"},
                                                                      {"may", "June"},
                                                                      {"tomorrow", "yesterday"},
                                                                      {"tonight", "tomorrow"},
                                                                      {"today", "yesterday"},
                                                                      {"before", "after"},
                                                                      {"after", "before"},
                                                                      {"until", "from"},
                                                                      {"first", "last"},
                                                                      {"north", "south"},
                                                                      {"more", "fewer"},
                                                                      {"up", "down"},
                                                                      {"rose", "fell"},
                                                                      {"opens", "closes"},
                                                                      {"won", "lost"},
                                                                      {"wins", "loses"},
                                                                      {"beat", "lost to"},
                                                                      {"open", "closed"},
                                                                      {"closed", "open"},
                                                                      {"highest", "lowest"},
                                                                      {"guilty", "innocent"}});
    change_words("opposite", kDays);
  }

  void deny() {
    for (const Word& word : words_) {
      if (std::ranges::any_of(words_, [](const Word& w) { return is_negation(w.folded); })) return;
      for (const std::string_view verb : {"is", "are", "was", "were", "has", "have", "will", "can"}) {
        if (word.folded != verb) continue;
        add("denied", false, replaced(sentence_, {word.span.end, word.span.end}, " not"));
        return;
      }
    }
  }
  void undeny() {
    for (const Word& word : words_) {
      if (word.folded != "not" && word.folded != "never") continue;
      const bool fact = !facts_.empty() && facts_.back().span.begin > word.span.end;
      if (fact) return;  // "24, not 91"
      add("denial left out", false,
          replaced(sentence_, {word.span.begin, std::min(word.span.end + 1, sentence_.size())}, ""));
      return;
    }
  }

  void misattribute() {
    const std::string& other = strangers_[random_.below(strangers_.size())];
    const std::string author = to_lower_ascii(post_.author.name + " " + post_.author.handle);
    if (author.find(to_lower_ascii(other.substr(0, other.find(' ')))) != std::string::npos) return;
    if (post_.text.find(other) != std::string::npos || post_.author.name.find(other) != std::string::npos)
      return;
    add("other source", false, "According to " + other + ", " + sentence_);
    for (size_t i = 0; i < words_.size(); ++i) {
      if (words_[i].folded != "says" && words_[i].folded != "said") continue;
      for (const Span name : names_) {
        if (name.end > words_[i].span.begin && name.begin < words_[i].span.end + 2)
          add("other source", false, replaced(sentence_, name, other));
      }
    }
  }

  void leave_out_doubt() {
    for (const Word& word : words_) {
      for (const std::string_view doubt :
           {"may", "might", "reportedly", "allegedly", "possibly", "unconfirmed"}) {
        if (word.folded != doubt || (word.capital && !word.opens)) continue;
        const std::string rest =
            replaced(sentence_, {word.span.begin, std::min(word.span.end + 1, sentence_.size())}, "");
        add("doubt left out", false, rest);
      }
    }
  }

  const live::Post& post_;
  const std::string sentence_;
  const std::vector<Word> words_;
  const std::vector<Fact> facts_;
  const std::vector<std::string>& strangers_;
  Random& random_;
  std::vector<Claim>& out_;
  std::vector<Span> names_;
};

/// Sentences over invented names: who did what to whom, where, when, how many.
class Grammar {
 public:
  explicit Grammar(Random& random) : random_(random) {}

  void claims(size_t posts, std::vector<Claim>& out) {
    for (size_t i = 0; i < posts; ++i) {
      who_to_whom(out);
      told(out);
      of_whom(out);
      from_to(out);
      counts(out);
    }
  }

 private:
  template <size_t N>
  std::string_view pick(const std::array<std::string_view, N>& list) {
    return list[random_.below(N)];
  }
  std::string name() {
    static constexpr auto kFirst =
        std::to_array<std::string_view>({"Ilse", "Bram", "Odile", "Tarek", "Juno", "Corin", "Maeve", "Silas",
                                         "Wanda", "Piet", "Nadia", "Egon"});
    static constexpr auto kLast =
        std::to_array<std::string_view>({"Brandt", "Okoro", "Velden", "Marsh", "Tolliver", "Quist", "Harrow",
                                         "Lindqvist", "Pell", "Ostrava"});
    return std::string(pick(kFirst)) + " " + std::string(pick(kLast));
  }
  std::string body() {
    static constexpr auto kBodies = std::to_array<std::string_view>(
        {"Dorrit Rovers", "Harbour Union", "Fennick Bank", "Orlo Power", "Merrin Council", "Kestrel Foods",
         "Pell Rail", "Varnholm Press", "Tolla Museum", "Wensel Board", "Arden United", "Lund Airways"});
    return std::string(pick(kBodies));
  }
  std::string place() {
    static constexpr auto kPlaces = std::to_array<std::string_view>(
        {"Stoneferry", "Osterfell", "Arbury", "Tarnhaven", "Ostra", "Hollin", "Brack", "Nyvik"});
    return std::string(pick(kPlaces));
  }
  /// Two that have no word in common.
  template <class Make>
  std::pair<std::string, std::string> two(Make make) {
    std::string a = make(), b = make();
    const auto last = [](const std::string& s) { return s.substr(s.find_last_of(' ') + 1); };
    const auto first = [](const std::string& s) { return s.substr(0, s.find(' ')); };
    while (a == b || first(a) == first(b) || last(a) == last(b)) b = make();
    return {a, b};
  }

  void add(std::vector<Claim>& out, std::string kind, bool holds, std::string text, const std::string& post) {
    out.push_back({std::move(kind), holds, std::move(text),
                   make_post("1", "wire", "Night Wire", "2026-03-02T14:32:00Z", post)});
  }

  void who_to_whom(std::vector<Claim>& out) {
    struct Verb {
      std::string_view past, participle;
    };
    static constexpr auto kVerbs = std::to_array<Verb>({{"beat", "beaten"},
                                                        {"sued", "sued"},
                                                        {"bought", "bought"},
                                                        {"hired", "hired"},
                                                        {"thanked", "thanked"},
                                                        {"criticised", "criticised"},
                                                        {"praised", "praised"},
                                                        {"visited", "visited"},
                                                        {"interviewed", "interviewed"},
                                                        {"replaced", "replaced"},
                                                        {"warned", "warned"},
                                                        {"called", "called"},
                                                        {"fired", "fired"},
                                                        {"married", "married"},
                                                        {"rescued", "rescued"},
                                                        {"overtook", "overtaken"},
                                                        {"blamed", "blamed"},
                                                        {"paid", "paid"},
                                                        {"taught", "taught"},
                                                        {"chose", "chosen"},
                                                        {"outbid", "outbid"},
                                                        {"nominated", "nominated"},
                                                        {"evicted", "evicted"},
                                                        {"filmed", "filmed"},
                                                        {"saw", "seen"},
                                                        {"caught", "caught"},
                                                        {"hugged", "hugged"},
                                                        {"booed", "booed"}});
    const bool people = random_.below(2) == 0;
    const auto [a, b] = two([&] { return people ? name() : body(); });
    const Verb verb = kVerbs[random_.below(kVerbs.size())];
    const std::string past(verb.past), participle(verb.participle), where = place();
    const std::string active = a + " " + past + " " + b + " in " + where + ".";
    const std::string passive = b + " was " + participle + " by " + a + " in " + where + ".";
    const std::string fronted = "In " + where + ", " + a + " " + past + " " + b + ".";
    const std::string swapped = b + " " + past + " " + a + " in " + where + ".";
    const std::string swapped_passive = a + " was " + participle + " by " + b + " in " + where + ".";
    for (const std::string& post : {active, passive, fronted}) {
      add(out, "said again", true, active, post);
      add(out, "turned round", true, passive, post);
      add(out, "names swapped", false, swapped, post);
      add(out, "names swapped", false, swapped_passive, post);
      add(out, "names swapped", false, "In " + where + ", " + b + " " + past + " " + a + ".", post);
    }
    const std::string two_done =
        a + " " + past + " " + b + ", and " + b + " thanked the crowd in " + where + ".";
    add(out, "names swapped", false, a + " thanked the crowd in " + where + ".", two_done);
    add(out, "said again", true, a + " " + past + " " + b + ".", two_done);
  }

  void told(std::vector<Claim>& out) {
    const auto [a, b] = two([&] { return name(); });
    static constexpr auto kSaid =
        std::to_array<std::string_view>({"says", "said", "believes", "announced", "confirmed"});
    const std::string said(pick(kSaid));
    const std::string where = place();
    const std::string post = a + " " + said + " that " + b + " leaves " + where + " on Friday.";
    add(out, "said again", true, post, post);
    add(out, "names swapped", false, b + " " + said + " that " + a + " leaves " + where + " on Friday.",
        post);
    add(out, "names swapped", false, a + " leaves " + where + " on Friday.", post);
    const std::string quote = "\"The pier in " + where + " will stay open\", " + a + " tells " + b + ".";
    add(out, "said again", true, quote, quote);
    add(out, "names swapped", false,
        "\"The pier in " + where + " will stay open\", " + b + " tells " + a + ".", quote);
  }

  void of_whom(std::vector<Claim>& out) {
    const auto [a, b] = two([&] { return name(); });
    const auto [c, d] = two([&] { return body(); });
    static constexpr auto kKin =
        std::to_array<std::string_view>({"brother", "lawyer", "coach", "wife", "doctor", "deputy"});
    const std::string kin(pick(kKin));
    const std::string post = a + ", " + kin + " of " + b + ", joins " + c + " from " + d + ".";
    add(out, "said again", true, post, post);
    add(out, "names swapped", false, b + ", " + kin + " of " + a + ", joins " + c + " from " + d + ".", post);
    add(out, "names swapped", false, b + " joins " + c + " from " + d + ".", post);
    add(out, "names swapped", false, a + " joins " + d + " from " + c + ".", post);
    const std::string chief = a + " is the new head of " + c + " and " + b + " is the new head of " + d + ".";
    add(out, "said again", true, a + " is the new head of " + c + ".", chief);
    add(out, "names swapped", false, b + " is the new head of " + c + ".", chief);
    add(out, "names swapped", false, a + " is the new head of " + d + ".", chief);
    const std::string lead = c + " leads " + d + " by 12 points.";
    add(out, "said again", true, lead, lead);
    add(out, "names swapped", false, d + " leads " + c + " by 12 points.", lead);
    add(out, "names swapped", false, d + " is ahead of " + c + " by 12 points.",
        c + " is ahead of " + d + " by 12 points.");
  }

  void from_to(std::vector<Claim>& out) {
    auto [a, b] = two([&] { return place(); });
    static constexpr auto kMoves =
        std::to_array<std::string_view>({"runs", "sailed", "moved", "flew", "drove"});
    const std::string moves(pick(kMoves));
    const std::string post = "The night convoy " + moves + " from " + a + " to " + b + ".";
    add(out, "said again", true, post, post);
    add(out, "names swapped", false, "The night convoy " + moves + " from " + b + " to " + a + ".", post);
    const std::string sits = "The mill stands in " + a + " and the old theatre in " + b + ".";
    add(out, "names swapped", false, "The mill stands in " + b + ".", sits);
    add(out, "names swapped", false, "The old theatre stands in " + a + ".", sits);
    const std::string near_by = "Firefighters from " + a + " help in " + b + ".";
    add(out, "said again", true, near_by, near_by);
    add(out, "names swapped", false, "Firefighters from " + b + " help in " + a + ".", near_by);
    add(out, "names swapped", false, "Firefighters help in " + a + ".", near_by);
  }

  void counts(std::vector<Claim>& out) {
    const auto [a, b] = two([&] { return body(); });
    const std::string x = std::to_string(20 + random_.below(300)),
                      y = std::to_string(400 + random_.below(300));
    static constexpr auto kThings =
        std::to_array<std::string_view>({"workers", "boats", "tickets", "trees", "buses"});
    const std::string thing(pick(kThings));
    const std::string post = a + " has " + x + " " + thing + " and " + b + " has " + y + " " + thing + ".";
    add(out, "said again", true, a + " has " + x + " " + thing + ".", post);
    add(out, "said again", true, b + " has " + y + " " + thing + ".", post);
    add(out, "numbers swapped", false, a + " has " + y + " " + thing + ".", post);
    add(out, "numbers swapped", false, b + " has " + x + " " + thing + ".", post);
    const std::string score = a + " beat " + b + " by " + x + " points to " + y + ".";
    add(out, "numbers swapped", false, a + " beat " + b + " by " + y + " points to " + x + ".", score);
    const std::string sold = a + " sold " + x + " " + thing + " to " + b + " for " + y + " crowns.";
    add(out, "said again", true, sold, sold);
    add(out, "said again", true, a + " sold " + x + " " + thing + " to " + b + ".", sold);
    add(out, "numbers swapped", false, a + " sold " + y + " " + thing + " to " + b + " for " + x + " crowns.",
        sold);
    add(out, "names swapped", false, b + " sold " + x + " " + thing + " to " + a + " for " + y + " crowns.",
        sold);
    add(out, "names swapped", false, b + " sold " + x + " " + thing + " for " + y + " crowns.", sold);
    const std::string part = x + " of the " + y + " " + thing + " of " + a + " were damaged.";
    add(out, "said again", true, x + " " + thing + " of " + a + " were damaged.", part);
    add(out, "part for whole", false, y + " " + thing + " of " + a + " were damaged.", part);
  }

  Random& random_;
};

/// Claims about every `step`th post that tells something.
inline std::vector<Claim> claims_about(const std::vector<live::Post>& posts,
                                       const std::vector<std::string>& strangers, size_t step) {
  std::vector<Claim> out;
  std::unordered_set<std::string> seen;
  Random random(7);
  size_t told = 0;
  for (const live::Post& post : posts) {
    const Evidence evidence = prepare(post);
    if (evidence.trust < 0.9 || post.text.starts_with("RT ") || !post.reply_to.empty()) continue;
    if (!seen.insert(evidence.shape).second || told++ % step != 0) continue;
    for (const Span sentence : evidence.sentences) {
      std::string text(slice(post.text, clean_span(post.text, sentence)));
      if (split_words(text).size() < 4 || text.find('?') != std::string::npos) continue;
      Corruptor(post, std::move(text), strangers, random, out).run();
    }
  }
  return out;
}

}  // namespace fathom::answer::testing
