#include "answer/check_words.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace fathom::answer {

bool one_of(std::string_view word, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, word) != list.end();
}

namespace {

/// Words of one group of related words that help to find a post but do not say the same: 0 for those that do.
int shade(std::string_view folded) {
  struct Shade {
    std::string_view words;
    int id;
  };
  static constexpr auto kShades = std::to_array<Shade>({
      {"outage outages blackout", 1},
      {"announce announces announced unveils unveiled introduces", 2},
      {"release released releases", 3},
      {"charged", 4},
      {"gunman shooter", 5},
      {"casualties", 6},
      {"leak leaked breach", 7},
      {"hurricane", 8},
      {"typhoon", 9},
      {"cyclone", 10},
      {"derailed derails derail derailment", 11},
      {"bomb bombs bombed", 12},
      {"winds wind", 13},
      {"postponed postpone rescheduled", 14},
      {"hold", 15},
      {"reopen reopens reopened reopening", 16},
      {"evacuees", 17},
      {"defeated", 18},
      {"announced", 2},
      {"found find finds", 19},
      {"taken", 20},
      {"reason", 21},
  });
  for (const Shade& shade : kShades) {
    if (std::ranges::any_of(split(shade.words, ' '), [&](std::string_view w) { return w == folded; }))
      return shade.id;
  }
  return 0;
}

}  // namespace

bool says_the_same(const Word& a, const Word& b) {
  if (a.stem == b.stem) return true;
  if (b.kind == WordKind::kHashtag && a.folded.size() >= 4 && b.folded.find(a.folded) != std::string::npos)
    return true;
  return (a.groups & b.groups) != 0 && shade(a.folded) == shade(b.folded);
}

bool is_be(std::string_view w) {
  return one_of(w, {"is", "are", "was", "were", "be", "been", "being", "has", "have", "had"});
}
bool opposes(std::string_view a, std::string_view b) {
  static constexpr auto kPairs =
      std::to_array<std::pair<std::string_view, std::string_view>>({{"up", "down"},
                                                                    {"before", "after"},
                                                                    {"more", "fewer"},
                                                                    {"more", "less"},
                                                                    {"open", "closed"},
                                                                    {"open", "shut"},
                                                                    {"opens", "closes"},
                                                                    {"opened", "closed"},
                                                                    {"won", "lost"},
                                                                    {"wins", "loses"},
                                                                    {"north", "south"},
                                                                    {"east", "west"},
                                                                    {"northern", "southern"},
                                                                    {"eastern", "western"},
                                                                    {"first", "last"},
                                                                    {"rose", "fell"},
                                                                    {"rises", "falls"},
                                                                    {"highest", "lowest"},
                                                                    {"high", "low"},
                                                                    {"higher", "lower"},
                                                                    {"yesterday", "today"},
                                                                    {"yesterday", "tomorrow"},
                                                                    {"today", "tomorrow"},
                                                                    {"tonight", "yesterday"},
                                                                    {"tonight", "tomorrow"},
                                                                    {"above", "below"},
                                                                    {"over", "under"},
                                                                    {"until", "from"},
                                                                    {"until", "since"},
                                                                    {"early", "late"},
                                                                    {"earlier", "later"},
                                                                    {"left", "right"},
                                                                    {"best", "worst"},
                                                                    {"largest", "smallest"},
                                                                    {"biggest", "smallest"},
                                                                    {"fastest", "slowest"},
                                                                    {"oldest", "youngest"},
                                                                    {"men", "women"},
                                                                    {"men's", "women's"},
                                                                    {"man", "woman"},
                                                                    {"son", "daughter"},
                                                                    {"brother", "sister"},
                                                                    {"father", "mother"},
                                                                    {"husband", "wife"},
                                                                    {"for", "against"},
                                                                    {"with", "without"},
                                                                    {"inside", "outside"},
                                                                    {"ahead", "behind"},
                                                                    {"increase", "decrease"},
                                                                    {"increased", "decreased"},
                                                                    {"gained", "lost"},
                                                                    {"arrives", "leaves"},
                                                                    {"arrived", "left"},
                                                                    {"on", "off"},
                                                                    {"all", "none"},
                                                                    {"am", "pm"},
                                                                    {"morning", "evening"},
                                                                    {"day", "night"},
                                                                    {"start", "end"},
                                                                    {"started", "ended"},
                                                                    {"starts", "ends"},
                                                                    {"begins", "ends"},
                                                                    {"began", "ended"},
                                                                    {"guilty", "innocent"},
                                                                    {"convicted", "acquitted"},
                                                                    {"approved", "rejected"},
                                                                    {"accepted", "rejected"},
                                                                    {"hired", "fired"},
                                                                    {"bought", "sold"},
                                                                    {"buys", "sells"},
                                                                    {"employer", "employee"}});
  return std::ranges::any_of(kPairs, [&](const auto& p) {
    return (a == p.first && b == p.second) || (a == p.second && b == p.first);
  });
}

bool is_loose_preposition(std::string_view w) {
  return one_of(w, {"in", "at", "on", "near", "during", "after", "since", "around", "of", "for", "as",
                    "before", "until", "because", "due", "within", "outside", "inside"});
}
bool is_joiner(std::string_view w) {
  return one_of(w, {"and", "but", "while", "whereas", "that", "which", "who"});
}

bool is_verb(const Word& word) {
  if (word.kind != WordKind::kWord || (word.capital && !word.opens && !word.all_caps)) return false;
  if (word.folded.size() > 4 && word.folded.ends_with("ed")) return true;
  return one_of(word.folded,
                {"hit",      "hits",    "won",      "wins",     "beat",      "beats",    "lost",    "loses",
                 "lose",     "took",    "takes",    "struck",   "sank",      "sink",     "shot",    "shoots",
                 "led",      "leads",   "left",     "leaves",   "bought",    "buys",     "sold",    "sells",
                 "met",      "meets",   "cut",      "cuts",     "made",      "makes",    "gave",    "gives",
                 "held",     "holds",   "fell",     "falls",    "rose",      "rises",    "drew",    "broke",
                 "set",      "sets",    "sent",     "sends",    "found",     "finds",    "kills",   "sues",
                 "opens",    "closes",  "runs",     "ran",      "pays",      "paid",     "warns",   "blames",
                 "acquires", "attacks", "replaces", "succeeds", "overtakes", "overtook", "defeats", "accuses",
                 "endorses", "injures", "destroys", "told",     "tells",     "affects",  "gets",    "got",
                 "owns",     "joins",   "says",     "said"});
}

std::vector<Token> tokens_of(const std::vector<Word>& words, const std::vector<Fact>& facts, Span span) {
  std::vector<Token> out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].span.begin < span.begin || words[i].span.end > span.end) continue;
    Token token{i, i, {}};
    for (const Fact& fact : facts) {
      if (fact.word != i) continue;
      token.keys.push_back(fact.key);
      while (token.last + 1 < words.size() && words[token.last + 1].span.end <= fact.span.end) ++token.last;
    }
    if (token.number() || (is_content(words[i]) && words[i].folded != "rt")) out.push_back(token);
    i = token.last;
  }
  return out;
}

namespace {

/// "the ferry Aurora": what kind of thing the name is of.
bool is_apposition(const std::vector<Word>& words, size_t at) {
  return words[at + 1].capital && at > 0 && is_content(words[at]) && !is_verb(words[at]) &&
         one_of(words[at - 1].folded, {"the", "a", "an", "its", "their"});
}

}  // namespace

std::string_view preposition(const std::vector<Word>& words, size_t at) {
  for (size_t back = 1; back <= 3 && back <= at; ++back) {
    const std::string_view w = words[at - back].folded;
    if (one_of(w, {"in",     "at",    "on",      "near", "from",  "to",      "after",
                   "before", "with",  "without", "by",   "for",   "against", "over",
                   "under",  "above", "below",   "into", "until", "since",   "of"})) {
      return w;
    }
    if (!one_of(w, {"the", "a", "an", "its", "their", "my", "his", "her", "our", "your", "all", "this",
                    "that", "one"}) &&
        !words[at - back].capital && !(back == 1 && is_apposition(words, at - 1)))
      return {};
  }
  return {};
}

}  // namespace fathom::answer
