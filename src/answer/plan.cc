#include "answer/plan.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "answer/facts.h"
#include "answer/plan_time.h"
#include "answer/question_words.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

using Set = std::unordered_set<std::string_view>;

/// Words of asking: they say that something is asked for, not what.
const Set& asking_words() {
  static const Set words = {
      "tell",      "know",       "please",    "find",        "show",        "give",       "latest",
      "news",      "happening",  "happen",    "happened",    "happens",     "going",      "update",
      "updates",   "new",        "current",   "currently",   "recent",      "recently",   "right",
      "anything",  "something",  "thing",     "things",      "information", "info",       "details",
      "detail",    "post",       "posts",     "posted",      "tweet",       "tweets",     "tweeted",
      "twitter",   "summary",    "summarize", "summarise",   "explain",     "describe",   "question",
      "answer",    "think",      "say",       "said",        "says",        "saying",     "talk",
      "talking",   "talked",     "exactly",   "believe",     "heard",       "hear",       "today's",
      "feed",      "moment",     "far",       "status",      "situation",   "thanks",     "thank",
      "want",      "wants",      "need",      "like",        "can",         "could",      "take",
      "took",      "place",      "occur",     "occurred",    "occurs",      "actually",   "ok",
      "okay",      "hi",         "hello",     "hey",         "much",        "many",       "long",
      "often",     "according",  "sources",   "source",      "people's",    "mean",       "reported",
      "reports",   "report",     "learn",     "look",        "search",      "list",       "trending",
      "trends",    "trend",      "stories",   "story",       "digest",      "headlines",  "headline",
      "top",       "catch",      "miss",      "missed",      "brief",       "briefing",   "overview",
      "world",     "everyone",   "everybody", "interesting", "important",   "main",       "biggest",
      "events",    "event",      "day",       "finally",     "already",     "officially", "originally",
      "initially", "use",        "used",      "called",      "become",      "became",     "came",
      "come",      "happenings", "stand",     "stands",      "reason",      "made",       "make",
      "makes",     "went",       "kind",      "type",        "sort",        "different",  "been",
      "announce",  "announced",  "confirmed", "confirm",     "expected",    "supposed",   "claim",
      "claimed",   "kinds"};
  return words;
}

/// Nouns that a question names but an answer need not: "15 dead" answers "how many people died".
const Set& weak_words() {
  static const Set words = {
      "people",    "person",      "persons",  "number",    "amount",  "time",    "date",       "year",
      "city",      "country",     "town",     "place",     "name",    "highest", "strongest",  "biggest",
      "largest",   "top",         "total",    "count",     "much",    "state",   "men",        "women",
      "man",       "woman",       "days",     "hours",     "minutes", "percent", "percentage", "money",
      "size",      "level",       "official", "officials", "victims", "others",  "company",    "firm",
      "first",     "last",        "next",     "big",       "large",   "high",    "old",        "fast",
      "deep",      "wide",        "heavy",    "strong",    "tall",    "hour",    "minute",     "week",
      "residents", "inhabitants", "names",    "reason",    "exact",   "month",   "location",   "figure",
      "side",      "group",       "team",     "members"};
  return words;
}

constexpr auto kAmountNouns = std::to_array<std::string_view>(
    {"percentage", "percent",     "price",  "number",  "magnitude", "score",    "cost",
     "speed",      "temperature", "amount", "total",   "size",      "share",    "rate",
     "toll",       "fee",         "salary", "fine",    "budget",    "capacity", "distance",
     "length",     "height",      "depth",  "result",  "age",       "category", "margin",
     "turnout",    "count",       "level",  "revenue", "valuation", "eps"});
/// Said by the unit of the answer: "121 km/h" needs no word "speed" beside it.
constexpr auto kMeasureNouns = std::to_array<std::string_view>(
    {"speed",   "wind",    "winds",   "top",     "price",      "cost",   "worth",  "length", "temperature",
     "maximum", "minimum", "highest", "lowest",  "measured",   "value",  "level",  "depth",  "height",
     "tall",    "pay",     "paid",    "turnout", "visibility", "share",  "longer", "extra",  "see",
     "allowed", "current", "average", "total",   "expensive",  "raised", "money",  "reach",  "delay",
     "delayed", "wait",    "gust",    "gusts",   "hot",        "cold",   "warm",   "score",  "result",
     "stand",   "long",    "planned", "hottest", "coldest"});
/// What a name is the name of, when it stands beside the name: "the dog Buttons", "the Vesper telescope".
constexpr auto kClassNouns = std::to_array<std::string_view>(
    {"satellite", "telescope", "festival", "airport",  "station",    "museum",   "dog",       "cat",
     "river",     "bridge",    "company",  "bank",     "app",        "phone",    "team",      "club",
     "band",      "ship",      "ferry",    "rocket",   "coin",       "storm",    "hurricane", "typhoon",
     "mayor",     "president", "senator",  "minister", "actor",      "singer",   "player",    "island",
     "islands",   "village",   "hotel",    "school",   "university", "hospital", "platform",  "website",
     "plane",     "train",     "song",     "film",     "movie",      "album",    "book",      "game",
     "firm",      "maker",     "startup",  "giant",    "union",      "party"});
constexpr auto kTimeNouns =
    std::to_array<std::string_view>({"time", "date", "day", "year", "month", "hour", "o'clock", "weekday"});
constexpr auto kPlaceNouns =
    std::to_array<std::string_view>({"city", "place", "country", "town", "street", "location", "venue",
                                     "state", "station", "village", "district", "region"});
constexpr auto kSayVerbs = std::to_array<std::string_view>(
    {"say",     "said",     "says",      "tweet",     "tweeted",   "post",      "posted",    "think",
     "thinks",  "write",    "wrote",     "claim",     "claimed",   "announce",  "announced", "state",
     "stated",  "report",   "reported",  "confirm",   "confirmed", "tell",      "promise",   "promised",
     "warn",    "warned",   "predict",   "predicted", "mention",   "mentioned", "recommend", "recommended",
     "comment", "respond",  "responded", "reply",     "replied",   "call",      "deny",      "denied",
     "admit",   "admitted", "saying"});
constexpr auto kAux = std::to_array<std::string_view>(
    {"is",     "are",    "was",     "were",   "did",     "does",   "do",     "has",
     "have",   "had",    "can",     "could",  "will",    "would",  "should", "isn't",
     "aren't", "wasn't", "weren't", "didn't", "doesn't", "hasn't", "won't"});

template <size_t N>
bool among(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::ranges::find(list, word) != list.end();
}

bool is_greeting(const std::vector<Word>& words, std::string_view lower) {
  static constexpr auto kPhrases = std::to_array<std::string_view>({"how are you",       "who are you",
                                                                    "what are you",      "what can you do",
                                                                    "what is your name", "what's your name",
                                                                    "thank you",         "thanks",
                                                                    "good morning",      "good evening",
                                                                    "good afternoon",    "good night",
                                                                    "nice to meet you",  "bye",
                                                                    "goodbye",           "how do you work",
                                                                    "are you a bot",     "are you human",
                                                                    "tell me a joke",    "how do i use you",
                                                                    "well done",         "see you",
                                                                    "who made you",      "how's it going",
                                                                    "how are things"});
  static constexpr auto kWords = std::to_array<std::string_view>(
      {"hi", "hello", "hey", "thanks", "thank", "bye", "ok", "okay", "cool", "great", "nice", "help", "yo",
       "hiya", "lol", "greetings", "test", "ping"});
  if (words.empty() || words.size() > 8) return false;
  std::string_view rest = trim(lower);
  for (const std::string_view opener : {"hi ", "hello ", "hey ", "hi, ", "hello, ", "hey, ", "ok ", "so "}) {
    if (rest.starts_with(opener)) rest = trim(rest.substr(opener.size()));
  }
  for (const std::string_view phrase : kPhrases) {
    if (rest.starts_with(phrase) && words.size() <= 7 && rest.size() <= phrase.size() + 12) return true;
  }
  return words.size() <= 4 &&
         std::ranges::all_of(words,
                             [](const Word& word) {
                               return among(kWords, word.folded) || is_stop_word(word.folded) ||
                                      word.folded == "fathom";
                             }) &&
         std::ranges::any_of(words, [](const Word& word) { return among(kWords, word.folded); });
}

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::vector<std::string> quoted_phrases(std::string_view text) {
  std::vector<std::string> out;
  std::string plain;
  bool single = false;  // inside '...'
  for (size_t at = 0; at < text.size();) {
    const char before = plain.empty() ? ' ' : plain.back();
    const char32_t c = decode_utf8(text, at);
    const char after = at < text.size() ? text[at] : ' ';
    const bool mark = c == '\'' || c == 0x2018 || c == 0x2019;
    const bool opens = mark && !single && (before == ' ' || before == '(') && is_letter_or_digit(after);
    const bool closes = mark && single && !is_letter_or_digit(after);
    if (opens || closes) single = opens;
    if (c == 0x201C || c == 0x201D || opens || closes) {
      plain.push_back('"');
    } else {
      append_utf8(plain, c);
    }
  }
  for (size_t at = plain.find('"'); at != std::string::npos;) {
    const size_t end = plain.find('"', at + 1);
    if (end == std::string::npos) break;
    const std::string_view inside = trim(std::string_view(plain).substr(at + 1, end - at - 1));
    if (split_words(inside).size() >= 2 && inside.size() <= 200) out.emplace_back(inside);
    at = plain.find('"', end + 1);
  }
  return out;
}

/// Builds the plan of one question from its words.
class Planner {
 public:
  Planner(std::string_view question, Time now)
      : text_(question), read_(read_question_words(question)), time_(find_time(question, words_, now)) {}

  Plan run() {
    plan_.question = std::string(trim(text_));
    forget_compared_time();
    plan_.window = time_.window;
    plan_.phrases = quoted_phrases(text_);
    const std::string lower = to_lower_ascii(text_);
    if (is_greeting(words_, lower)) {
      plan_.ask = Ask::kSmallTalk;
      return std::move(plan_);
    }
    plan_.latest =
        has({"latest", "current", "currently", "now", "newest", "recent", "far", "still", "status", "state"});
    plan_.earliest = has({"initially", "originally", "initial"});
    plan_.overview =
        lower.find("happen") != std::string::npos || lower.find("going on") != std::string::npos ||
        has({"latest", "news", "overview", "summarize", "summarise", "summary", "update", "updates"});
    plan_.past = has({"did", "was", "were", "happened", "died", "had"});
    find_speaker();
    classify();
    if (read_.lang == "ja") classify_japanese();
    plan_.overview = plan_.overview && plan_.ask == Ask::kWhat;
    if (asks_score()) plan_.ask = Ask::kHowMuch;
    // Units are known by their English names: elsewhere the number has to stand by what is asked for.
    if (plan_.ask == Ask::kHowMuch && read_.lang == "en")
      plan_.unit = asks_score() ? Unit::kScore : find_unit();
    if (plan_.ask == Ask::kHowMany && has({"percent", "%"})) plan_.unit = Unit::kPercent;
    plan_.strict = plan_.ask == Ask::kHowMany || plan_.unit != Unit::kNone ||
                   (plan_.ask == Ask::kHowMuch && lower.find("how much") != std::string::npos);
    collect_terms();
    plan_.either = offers_names();
    if (plan_.terms.empty() && plan_.speakers.empty() && plan_.speaker_names.empty())
      plan_.ask = Ask::kDigest;
    return std::move(plan_);
  }

 private:
  std::string_view folded(size_t i) const { return i < lower_.size() ? std::string_view(lower_[i]) : ""; }

  bool has(std::initializer_list<std::string_view> list) const {
    return std::ranges::any_of(
        lower_, [&](const std::string& word) { return std::ranges::find(list, word) != list.end(); });
  }

  /// Two numbers of a match: "what is the score", "how does it stand in the final".
  bool asks_score() const {
    if (plan_.ask != Ask::kHowMuch && plan_.ask != Ask::kWhat) return false;
    if (has({"score", "scoreline"}) && !has({"who", "record", "credit"})) return true;
    return has({"stand", "stands", "result"}) &&
           has({"match", "game", "final", "semi", "semifinal", "cup", "against", "v", "vs", "derby"});
  }

  /// "what did X say about ...", "according to X"
  void find_speaker() {
    if (read_.lang != "en" && find_speaker_behind_verb()) return;
    for (size_t i = 0; i + 2 < words_.size(); ++i) {
      const bool asks = (folded(i) == "what" || folded(i) == "how" || folded(i) == "when" ||
                         folded(i) == "why" || folded(i) == "where" || folded(i) == "which") ||
                        (i == 0 && among(kAux, folded(0)));
      if (!asks) continue;
      size_t aux = among(kAux, folded(i)) ? i : i + 1;
      if (!among(kAux, folded(aux))) continue;
      size_t verb = aux + 1;
      while (verb < words_.size() && !among(kSayVerbs, folded(verb))) ++verb;
      if (verb >= words_.size() || verb > aux + 7 || verb == aux + 1) continue;
      if (take_speaker(aux + 1, verb)) speech_verb_ = verb;
      return;
    }
    for (size_t i = 0; i + 2 < words_.size(); ++i) {
      if (folded(i) != "according" || folded(i + 1) != "to") continue;
      size_t end = i + 2;
      while (end < words_.size() && (is_name(words_[end]) || folded(end) == "the")) ++end;
      take_speaker(i + 2, end);
      return;
    }
  }

  /// "Was sagt die Bergrettung ...", "Qu'a dit la police ...": the verb stands before the one who speaks.
  bool find_speaker_behind_verb() {
    for (size_t i = 0; i + 2 < words_.size() && i < 4; ++i) {
      if (folded(i) != "what") continue;
      size_t verb = i + 1;
      while (folded(verb) == "what" || among(kAux, folded(verb))) ++verb;
      if (!among(kSayVerbs, folded(verb))) continue;
      size_t first = verb + 1;
      while (first < words_.size() && is_stop_word(folded(first))) ++first;
      size_t last = first;
      while (last < words_.size() && !is_stop_word(folded(last)) && adjoins_or_opens(last, first)) ++last;
      if (last == first || !take_speaker(first, last)) return false;
      speech_verb_ = verb;
      return true;
    }
    return false;
  }

  bool adjoins_or_opens(size_t i, size_t first) const { return i == first || adjoins(i); }

  bool take_speaker(size_t first, size_t last) {
    std::vector<Word> names;
    for (size_t i = first; i < last; ++i) {
      if (words_[i].kind == WordKind::kHandle) {
        plan_.speakers.push_back(words_[i].folded);
        speaker_.push_back(i);
        return true;
      }
      if (is_content(words_[i]) && !time_.used[i]) {
        names.push_back(words_[i]);
        speaker_.push_back(i);
      }
    }
    if (names.empty() || names.size() > 5) {
      speaker_.clear();
      return false;
    }
    plan_.speaker_names = std::move(names);
    return true;
  }

  /// "more than this morning" asks about now: the time is what it is compared with.
  void forget_compared_time() {
    const auto than = std::ranges::find(lower_, "than");
    if (than == lower_.end()) return;
    const auto first = std::ranges::find(time_.used, true) - time_.used.begin();
    if (first > than - lower_.begin()) time_.window = {};
  }

  /// A name on both sides of an "or".
  bool offers_names() const {
    const auto name_at = [&](size_t i) { return i < words_.size() && is_name(words_[i]); };
    for (size_t i = 1; i + 1 < words_.size(); ++i) {
      if (words_[i].folded != "or") continue;
      if (name_at(i - 1) && (name_at(i + 1) || name_at(i + 2))) return true;
    }
    return false;
  }

  void classify_japanese() {
    static constexpr auto kAsks = std::to_array<std::pair<std::string_view, Ask>>(
        {{"when", Ask::kWhen}, {"where", Ask::kWhere}, {"who", Ask::kWho}, {"why", Ask::kWhy}});
    for (const auto& [word, ask] : kAsks)
      if (japanese_question_word(text_) == word) plan_.ask = ask;
  }

  void classify() {
    size_t i = 0;
    while (i < words_.size() &&
           (folded(i) == "and" || folded(i) == "but" || folded(i) == "so" || folded(i) == "at" ||
            folded(i) == "in" || folded(i) == "on" || folded(i) == "by" || folded(i) == "from" ||
            folded(i) == "to" || folded(i) == "please" || folded(i) == "then" || folded(i) == "for" ||
            time_.used[i])) {
      ++i;
    }
    if (i < words_.size() && among(kAux, folded(i))) plan_.ask = Ask::kYesNo;
    for (size_t k = i; k < words_.size(); ++k) {
      const std::string_view word = folded(k), next = folded(k + 1);
      // "Is it known how many ..." asks how many; "the man who ..." does not ask who.
      if (k > i && plan_.ask != Ask::kYesNo && k > i + 5) break;
      if (word == "how" && next == "many") return set(Ask::kHowMany, k + 2);
      if (word == "how-many") return set(Ask::kHowMany, k + 1);
      if (word == "how" &&
          (next == "much" || next == "long" || next == "far" || next == "old" || next == "high" ||
           next == "big" || next == "fast" || next == "strong" || next == "large" || next == "tall" ||
           next == "deep" || next == "longer" || next == "often" || next == "heavy" || next == "wide")) {
        return set(Ask::kHowMuch, k + 2);
      }
      if (word == "what" || word == "which" || word == "what's") return classify_what(k);
      if (word == "when") return set(Ask::kWhen, words_.size());
      if (word == "where") return set(Ask::kWhere, words_.size());
      if (word == "why") return set(Ask::kWhy, words_.size());
      if (word == "who" || word == "whom" || word == "whose" || word == "who's") {
        const bool made = next == "wrote" || next == "write" || next == "call" || next == "called";
        const bool said =
            among(kSayVerbs, next) && (!made || folded(k + 2) == "that" || !plan_.phrases.empty());
        return set(said ? Ask::kWhoSaid : Ask::kWho, words_.size());
      }
      if (plan_.ask == Ask::kYesNo && k == i) {
        if (folded(i + 1) != "you" && folded(i + 1) != "there") return;
      }
    }
  }

  void classify_what(size_t k) {
    size_t noun = k + 1;
    while (noun < words_.size() &&
           (folded(noun) == "is" || folded(noun) == "was" || folded(noun) == "the" || folded(noun) == "are" ||
            folded(noun) == "were" || folded(noun) == "a" || folded(noun) == "final" ||
            folded(noun) == "current" || folded(noun) == "latest" || folded(noun) == "total" ||
            folded(noun) == "death" || folded(noun) == "exact")) {
      ++noun;
    }
    const std::string_view word = folded(noun);
    if (word == "reason" || word == "cause" || word == "caused" || word == "triggered" || word == "sparked")
      return set(Ask::kWhy, words_.size());
    if (word == "name" || word == "names") return set(Ask::kWho, words_.size());
    if (word == "toll" || word == "casualties" || folded(noun + 1) == "toll") return set(Ask::kHowMany, noun);
    if (among(kAmountNouns, word)) return set(Ask::kHowMuch, noun);
    if (among(kAmountNouns, folded(noun + 1)) || among(kAmountNouns, folded(noun + 2)))
      return set(Ask::kHowMuch, noun);
    if (among(kTimeNouns, word)) return set(Ask::kWhen, words_.size());
    if (among(kPlaceNouns, word)) return set(Ask::kWhere, words_.size());
    set(Ask::kWhat, noun == k + 1 ? k + 1 : words_.size());
  }

  Unit find_unit() const {
    if (has({"percent", "percentage", "turnout", "share"})) return Unit::kPercent;
    if (has({"fast", "speed", "winds", "gust", "gusts"})) return Unit::kSpeed;
    if (has({"magnitude", "richter"})) return Unit::kMagnitude;
    if (has({"old", "age"})) return Unit::kAge;
    if (has({"high", "level"}) &&
        has({"river", "water", "waves", "wave", "flood", "tower", "tide", "snow"})) {
      return Unit::kLength;
    }
    if (has({"temperature", "hot", "cold", "warm"})) return Unit::kDegrees;
    if (has({"heavy", "weight", "weigh"})) return Unit::kWeight;
    if (has({"tall", "deep", "height", "depth", "wide", "far", "distance", "length", "visibility"}))
      return Unit::kLength;
    if (has({"long"}) &&
        has({"take", "last", "lasted", "until", "wait", "closed", "delay", "delayed", "ago", "time"})) {
      return Unit::kDuration;
    }
    for (size_t i = 0; i + 2 < words_.size(); ++i) {  // "how much is the bridge"
      if (folded(i) != "how" || folded(i + 1) != "much") continue;
      if (among(kAux, folded(i + 2))) return Unit::kMoney;
      if (folded(i + 2) == "of") return Unit::kPercent;
    }
    const bool paid =
        has({"cost",   "price",  "revenue", "fee",    "salary",   "paid",       "pay",   "worth", "valuation",
             "budget", "eps",    "raise",   "raised", "money",    "spend",      "spent", "fined", "earn",
             "earned", "donate", "donated", "reward", "withdraw", "withdrawal", "offer", "refund"});
    return paid ? Unit::kMoney : Unit::kNone;
  }

  /// `focus`: where the noun that is counted begins. What follows up to a preposition belongs to it: "people were killed".
  void set(Ask ask, size_t focus) {
    plan_.ask = ask;
    for (size_t i = focus; i < words_.size() && i < focus + 5; ++i) {
      if (among(kAux, folded(i)) || folded(i) == "been" || folded(i) == "be") continue;
      if (is_stop_word(folded(i))) break;
      focus_.push_back(i);
    }
  }

  void collect_terms() {
    int run = 0;
    bool in_run = false;
    const bool shouting = std::ranges::all_of(
        words_, [](const Word& w) { return w.kind != WordKind::kWord || w.all_caps || w.folded.size() < 2; });
    for (size_t i = 0; i < words_.size(); ++i) {
      const Word& word = words_[i];
      const bool skipped = time_.used[i] || !is_content(word) || is_speaker(i) || is_kana_particle(word) ||
                           word.folded == "how-many" ||
                           (asking_words().contains(word.folded) && !word.phrased &&
                            !(word.capital && !word.opens && !shouting));
      if (skipped) {
        in_run = false;
        continue;
      }
      Term term;
      term.word = word;
      term.focus = std::ranges::find(focus_, i) != focus_.end();
      term.name = (is_name(word) && !shouting) || (word.kind == WordKind::kNumber) || word.has_digit();
      if (shouting && word.kind != WordKind::kWord) term.name = true;
      if (weekday_number(word.folded) > 0 || (word.capital && month_number(word.folded) > 0))
        term.name = false;
      term.weak = !term.name && (weak_words().contains(folded(i)) || weekday_number(word.folded) > 0 ||
                                 (plan_.unit != Unit::kNone && among(kMeasureNouns, word.folded)) ||
                                 (among(kClassNouns, word.folded) && beside_name(i)));
      // "Storm Halvorne" and "Mayor Brisk" are Halvorne and Brisk.
      term.weak = term.weak || (term.name && among(kClassNouns, word.folded) && i + 1 < words_.size() &&
                                is_name(words_[i + 1]) && adjoins(i + 1));
      // "the men's race" is not the women's.
      const bool possessive = word.kind == WordKind::kWord && word.span.size() > word.folded.size() &&
                              slice(text_, word.span).back() == 's';
      if (possessive && !term.name) term.weak = false;
      if (term.name) {
        if (!in_run || !adjoins(i)) ++run;
        term.run = run;
      }
      in_run = term.name;
      const bool known =
          std::ranges::any_of(plan_.terms, [&](const Term& t) { return t.word.stem == word.stem; });
      if (!known && plan_.terms.size() < 16) plan_.terms.push_back(std::move(term));
    }
  }

  /// A capital right before it, or right behind it after nothing but an article: "mayor Brisk", "the Vesper telescope".
  bool beside_name(size_t i) const {
    const auto named = [&](size_t k) {
      return k < words_.size() && !time_.used[k] &&
             (is_name(words_[k]) || words_[k].kind == WordKind::kNumber);
    };
    return (named(i + 1) && adjoins(i + 1)) || (i > 0 && named(i - 1) && adjoins(i));
  }

  bool adjoins(size_t i) const {
    if (i == 0) return false;
    const size_t from = words_[i - 1].span.end;
    return trim(text_.substr(from, words_[i].span.begin - from)).empty();
  }

  bool is_speaker(size_t i) const {
    return i == speech_verb_ || std::ranges::find(speaker_, i) != speaker_.end();
  }

  std::string_view text_;
  PlannedWords read_;
  const std::vector<Word>& words_ = read_.words;
  const std::vector<std::string>& lower_ = read_.english;
  TimeExpression time_;
  std::vector<size_t> focus_;
  std::vector<size_t> speaker_;
  size_t speech_verb_ = static_cast<size_t>(-1);
  Plan plan_;
};

bool has_pronoun(std::string_view question) {
  static constexpr auto kPronouns =
      std::to_array<std::string_view>({"he", "she", "it", "they", "him", "her", "his", "their", "its", "them",
                                       "that", "those", "this", "these", "there"});
  const std::vector<Word> words = split_words(question);
  // "Is it true that", "is there" and "it" of the weather point at nothing: only a question with little else counts.
  return std::ranges::any_of(words, [](const Word& word) { return among(kPronouns, word.folded); });
}

bool opens_as_follow_up(std::string_view question) {
  const std::string lower = to_lower_ascii(trim(question));
  for (const std::string_view start :
       {"and ", "what about ", "how about ", "but ", "also ", "what else", "or "}) {
    if (lower.starts_with(start)) return true;
  }
  return false;
}

size_t strong_terms(const Plan& plan) {
  return static_cast<size_t>(std::ranges::count_if(plan.terms, [](const Term& t) { return !t.weak; }));
}

bool has_name(const Plan& plan) {
  return std::ranges::any_of(plan.terms,
                             [](const Term& t) { return t.name && t.word.kind != WordKind::kNumber; });
}

bool is_follow_up(const Plan& plan) {
  if (plan.ask == Ask::kSmallTalk) return false;
  if (opens_as_follow_up(plan.question)) return true;
  if (has_name(plan)) return false;
  if (plan.ask == Ask::kDigest) return has_pronoun(plan.question) || split_words(plan.question).size() <= 2;
  return strong_terms(plan) <= 2 || (has_pronoun(plan.question) && strong_terms(plan) <= 3);
}

/// Takes over from `before` what the follow-up leaves unsaid.
Plan carry(const Plan& before, Plan plan, std::string_view question) {
  const bool swaps = has_name(plan);  // "what about Lund?": another name, the same question
  int run = 0;
  for (const Term& term : plan.terms) run = std::max(run, term.run);
  if (swaps && strong_terms(plan) <= 2 && (plan.ask == Ask::kWhat || plan.ask == Ask::kDigest))
    plan.ask = before.ask;
  if (plan.ask == Ask::kDigest) plan.ask = Ask::kWhat;
  for (Term term : before.terms) {
    const bool subject =
        swaps ? !term.name : (term.name || strong_terms(plan) == 0 || (!has_name(before) && !term.weak));
    const bool known =
        std::ranges::any_of(plan.terms, [&](const Term& t) { return t.word.stem == term.word.stem; });
    if (!subject || known) continue;
    if (term.run > 0) term.run += run;
    term.carried = true;
    term.focus = term.focus && swaps;
    plan.terms.push_back(std::move(term));
    plan.carried = true;
  }
  if (!plan.window.since && !plan.window.until) plan.window = before.window;
  if (plan.speakers.empty() && plan.speaker_names.empty() && swaps == false && before.ask == plan.ask) {
    plan.speakers = before.speakers;
    plan.speaker_names = before.speaker_names;
  }
  plan.resolved = std::string(trim(question));
  if (plan.carried) {
    plan.resolved += " (";
    bool first = true;
    for (const Term& term : plan.terms) {
      if (!term.carried) continue;
      plan.resolved += (first ? "" : " ") + term.word.folded;
      first = false;
    }
    plan.resolved += ")";
  }
  return plan;
}

}  // namespace

Plan plan_question(std::string_view question, Time now) {
  Plan plan = Planner(question, now).run();
  plan.resolved = plan.question;
  return plan;
}

Plan make_plan(const std::vector<infer::ChatMessage>& messages, Time now) {
  std::optional<Plan> before;
  Plan plan;
  for (const infer::ChatMessage& message : messages) {
    if (message.role != "user") continue;
    plan = plan_question(message.content, now);
    if (before && is_follow_up(plan)) plan = carry(*before, std::move(plan), message.content);
    if (plan.ask != Ask::kSmallTalk) before = plan;
  }
  return plan;
}

}  // namespace fathom::answer
