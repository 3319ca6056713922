#include "answer/words.h"

#include <libstemmer.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"

namespace fathom::answer {
namespace {

using Words = std::unordered_set<std::string_view>;

const Words& stop_words() {
  static const Words words = {
      "a",       "about",   "above",    "after",      "again",     "against",   "all",      "also",
      "am",      "an",      "and",      "any",        "are",       "aren't",    "as",       "at",
      "be",      "because", "been",     "before",     "being",     "below",     "between",  "both",
      "but",     "by",      "can",      "can't",      "cannot",    "could",     "couldn't", "did",
      "didn't",  "do",      "does",     "doesn't",    "doing",     "don't",     "down",     "during",
      "each",    "else",    "ever",     "few",        "for",       "from",      "further",  "get",
      "gets",    "getting", "got",      "had",        "hadn't",    "has",       "hasn't",   "have",
      "haven't", "having",  "he",       "her",        "here",      "hers",      "herself",  "he's",
      "him",     "himself", "his",      "how",        "i",         "i'm",       "i've",     "if",
      "in",      "into",    "is",       "isn't",      "it",        "it's",      "its",      "itself",
      "just",    "let",     "let's",    "like",       "may",       "me",        "might",    "more",
      "most",    "much",    "many",     "must",       "my",        "myself",    "no",       "nor",
      "not",     "now",     "of",       "off",        "on",        "once",      "only",     "or",
      "other",   "our",     "ours",     "out",        "over",      "own",       "per",      "quite",
      "rather",  "really",  "same",     "shall",      "she",       "she's",     "should",   "shouldn't",
      "so",      "some",    "still",    "such",       "than",      "that",      "that's",   "the",
      "their",   "theirs",  "them",     "themselves", "then",      "there",     "there's",  "these",
      "they",    "they're", "this",     "those",      "though",    "through",   "to",       "too",
      "under",   "until",   "up",       "upon",       "us",        "very",      "via",      "was",
      "wasn't",  "we",      "we're",    "were",       "weren't",   "what",      "what's",   "when",
      "where",   "which",   "while",    "who",        "who's",     "whom",      "whose",    "why",
      "will",    "with",    "won't",    "would",      "wouldn't",  "yet",       "you",      "you're",
      "your",    "yours",   "yourself", "around",     "rt",        "amp",       "cc",       "mt",
      "says",    "said",    "say",      "saying",     "according", "been",      "else",     "even",
      "another", "etc",     "vs",       "versus",     "one",       "ones",      "been",     "was",
      "s",       "t",       "re",       "ve",         "ll",        "d",         "m",        "has",
      "yes",     "oh",      "among",    "amid",       "within",    "without",   "across",   "along",
      "toward",  "towards", "since",    "till",       "however",   "therefore", "thus",     "well",
      "been",    "being",   "it'll",    "i'll",       "we'll",     "you'll"};
  return words;
}

const Words& negations() {
  static const Words words = {
      "not",     "no",      "never",    "none",    "nobody",    "nothing",     "neither",   "nor",
      "cannot",  "without", "denied",   "denies",  "deny",      "false",       "untrue",    "hoax",
      "fake",    "refuted", "debunked", "wrong",   "incorrect", "unconfirmed", "cancelled", "canceled",
      "nicht",   "kein",    "keine",    "keinen",  "niemand",   "pas",         "aucun",     "aucune",
      "jamais",  "nunca",   "ningun",   "ninguna", "nadie",     "non",         "nessun",    "nessuno",
      "nessuna", "nao",     "nenhum",   "nenhuma", "ninguem"};
  return words;
}

// Words of news that stand for one another in a question and its answer, for searching and for the gate alike. Stemmed
// at first use.
constexpr auto kRelated = std::to_array<std::string_view>({
    "die died dead death deaths killed kill kills killing fatality fatalities fatal deadly toll casualties "
    "perished drowned",
    "injured injure injuring injuries injury hurt wounded wounds casualties hospitalised hospitalized "
    "stretcher",
    "missing unaccounted",
    "win won wins winner winning victory beat beats defeated champion champions",
    "lose loses loser losing defeat defeated lost",
    "cost costs price prices priced fee worth trades trading valued",
    "start starts started begin begins began begun kicks kickoff underway",
    "end ends ended finish finishes finished conclude concluded until",
    "buy buys buying bought purchase purchased acquire acquires acquired acquiring acquisition takeover",
    "sell sold sells sale sales selling shops",
    "cause caused causes causing reason blamed blame trigger triggered sparked",
    "quake earthquake quakes tremor earthquakes",
    "shooter gunman shooting",
    "shooting shot shots gunfire gunman shootings",
    "flood flooding floods flooded",
    "fire blaze fires wildfire flames wildfires bushfire bushfires",
    "explosion blast explosions blasts exploded explode bombing bomb bombs bombings",
    "crash crashed crashes derailed derailment derails derail collision accident",
    "collapse collapsed collapses fall fallen fell topple toppled",
    "resign resigned resigns resignation resigning",
    "sacked dismissed layoffs fired",
    "launch launched launches launching release released releases unveiled announces announced unveils "
    "introduces presented shown showed",
    "launch launches launching liftoff lift",
    "name named names called",
    "arrest arrested detained custody arrests charged jailed prison",
    "evacuate evacuated evacuation evacuations evacuees displaced shelter shelters",
    "magnitude richter",
    "earnings profit eps",
    "revenue revenues",
    "rise rises rose risen climbs climbed jump jumped increase increased gains",
    "fall falls fell fallen drop dropped drops decrease decreased declines",
    "close closed closes closing shut shuts closure reopen reopened reopens resume resumes",
    "open opens opened opening reopened reopens reopen reopening resume resumes resumed restart",
    "delay delayed postponed postpone rescheduled delays hold holding",
    "cancel cancelled canceled scrapped discontinued discontinue axed",
    "location venue site",
    "found discovered discover find finds",
    "strike strikes walkout",
    "vote votes voted voting voters ballot ballots referendum poll polls elect elected election elections",
    "boss chief ceo head",
    "score scored scores goal goals",
    "police officers cops officer",
    "film movie",
    "storm hurricane typhoon cyclone",
    "speed winds wind mph kmh gust gusts",
    "power electricity outage outages blackout",
    "rescue rescued rescuers saved",
    "home homes house houses household households",
    "steal stolen theft thieves stole taken took leaked leak breach robbery",
    "customer customers accounts users subscribers clients homes households",
    "queue queues queuing queueing line",
    "affect affected affects hit hits impacted",
    "bid bids bidding bidder offer offers",
    "destroy destroyed destroys destroying destruction",
    "nominate nominated nominee nomination nominates nominating",
    "appoint appointed appoints appointment",
    "damage damaged damages",
    "ban banned bans",
    "ill sick sickened infected infections cases patients patient treated",
    "piece pieces object objects item items artefacts artifacts",
    "visitor visitors attendees attendance crowd spectators fans",
    "people residents inhabitants persons locals villagers",
    "repeat repeated resit rerun replay",
    "cold heat hot temperature degrees",
});

// Phrases of which no single word would tell; each belongs to the group of its last field.
struct Phrase {
  std::string_view words;
  std::string_view group;  // any word of it
};
constexpr auto kPhrases = std::to_array<Phrase>({
    {"called off", "cancelled"},
    {"call off", "cancelled"},
    {"pushed back", "postponed"},
    {"put off", "postponed"},
    {"stepped down", "resigned"},
    {"steps down", "resigned"},
    {"step down", "resigned"},
    {"had to leave", "evacuated"},
    {"leave their homes", "evacuated"},
    {"forced from their", "evacuated"},
    {"cut off", "outage"},
    {"without power", "outage"},
    {"without electricity", "outage"},
    {"power cut", "outage"},
    {"in the dark", "outage"},
    {"carried off", "injured"},
    {"lost their lives", "died"},
    {"lift off", "liftoff"},
    {"lifted off", "liftoff"},
    {"go on sale", "sold"},
    {"goes on sale", "sold"},
    {"out of office", "resigned"},
    {"set off", "triggered"},
    {"fallen ill", "sick"},
    {"box office", "sales"},
});

static_assert(kRelated.size() <= 64, "a group is a bit of Word::groups");

uint64_t groups_of(const std::string& stem) {
  static const auto groups = [] {
    std::unordered_map<std::string, uint64_t> out;
    for (size_t i = 0; i < kRelated.size(); ++i) {
      for (const std::string_view word : split(kRelated[i], ' ')) out[stem_word(word)] |= uint64_t{1} << i;
    }
    return out;
  }();
  const auto found = groups.find(stem);
  return found == groups.end() ? 0 : found->second;
}

struct StemmedPhrase {
  std::vector<std::string> words;
  uint64_t groups = 0;
};

const std::vector<StemmedPhrase>& stemmed_phrases() {
  static const auto phrases = [] {
    std::vector<StemmedPhrase> out;
    for (const Phrase& phrase : kPhrases) {
      StemmedPhrase& added = out.emplace_back();
      for (const std::string_view word : split(phrase.words, ' ')) added.words.emplace_back(word);
      added.groups = groups_of(stem_word(phrase.group));
    }
    return out;
  }();
  return phrases;
}

/// Gives the first telling word of each phrase the phrase's groups.
void mark_phrases(std::vector<Word>& words) {
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i].kind != WordKind::kWord) continue;
    for (const StemmedPhrase& phrase : stemmed_phrases()) {
      if (words[i].folded != phrase.words[0] || i + phrase.words.size() > words.size()) continue;
      bool same = true;
      for (size_t k = 1; k < phrase.words.size(); ++k) same = same && words[i + k].folded == phrase.words[k];
      if (!same) continue;
      size_t telling = i;
      while (telling + 1 < i + phrase.words.size() && is_stop_word(words[telling].folded)) ++telling;
      words[telling].groups |= phrase.groups;
      words[telling].phrased = true;
    }
  }
}

bool is_letter(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return u_isalpha(static_cast<UChar32>(c)) != 0 ||
         (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0;
}
bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_word_char(char32_t c) { return is_letter(c) || is_digit(c) || c == '_'; }
bool is_upper(char32_t c) {
  return c < 0x80 ? c >= 'A' && c <= 'Z' : u_isupper(static_cast<UChar32>(c)) != 0;
}
bool is_lower(char32_t c) {
  return c < 0x80 ? c >= 'a' && c <= 'z' : u_islower(static_cast<UChar32>(c)) != 0;
}
bool is_apostrophe(char32_t c) { return c == '\'' || c == 0x2019; }
/// Scripts written without spaces: each character stands alone.
bool is_ideograph(char32_t c) {
  return (c >= 0x3040 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) ||
         (c >= 0x20000 && c <= 0x2FFFF);
}

/// Latin letters with marks to the plain letter, so that "Asturias" finds "Astúrias". Others stay.
void append_folded(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c));
    return;
  }
  if (is_apostrophe(c)) {
    out.push_back('\'');
    return;
  }
  static constexpr std::string_view kLatin1 =
      "aaaaaaaceeeeiiiidnooooo ouuuuytsaaaaaaaceeeeiiiidnooooo ouuuuyty";
  if (c >= 0xC0 && c <= 0xFF && kLatin1[c - 0xC0] != ' ') {
    out.push_back(kLatin1[c - 0xC0]);
    return;
  }
  append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
}

bool starts_with_at(std::string_view text, size_t at, std::string_view prefix) {
  return text.size() - at >= prefix.size() && equals_ignore_case(text.substr(at, prefix.size()), prefix);
}

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/// Reads words one after another.
class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  std::vector<Word> run() {
    while (at_ < text_.size()) step();
    mark_phrases(words_);
    return std::move(words_);
  }

 private:
  void step() {
    if (starts_with_at(text_, at_, "http://") || starts_with_at(text_, at_, "https://")) return read_url();
    const size_t begin = at_;
    size_t after = at_;
    const char32_t c = decode_utf8(text_, after);
    if ((c == '@' || c == '#' || c == '$') && !joined_) {
      const WordKind kind = c == '@' ? WordKind::kHandle : c == '#' ? WordKind::kHashtag : WordKind::kTicker;
      if (read_tagged(begin, after, kind)) return;
    }
    if (is_ideograph(c)) return add(WordKind::kWord, begin, begin, after);
    if (is_digit(c)) return read_number(begin);
    if (is_letter(c)) return read_word(begin);
    joined_ = c == '_';
    if (c == '.' || c == '!' || c == '?' || c == '\n' || c == ':' || c == '"' || c == 0x201C || c == 0x2026) {
      opens_ = true;
    }
    at_ = after;
  }

  void read_url() {
    const size_t begin = at_;
    while (at_ < text_.size() && !is_space(text_[at_])) ++at_;
    add(WordKind::kUrl, begin, begin, at_);
  }

  char32_t peek(size_t at) const {
    if (at >= text_.size()) return 0;
    return decode_utf8(text_, at);
  }

  size_t past_word(size_t at) const {
    while (at < text_.size()) {
      size_t after = at;
      const char32_t c = decode_utf8(text_, after);
      if (!is_word_char(c) || is_ideograph(c)) break;
      at = after;
    }
    return at;
  }

  bool read_tagged(size_t begin, size_t body, WordKind kind) {
    const char32_t first = peek(body);
    if (kind == WordKind::kTicker ? !(is_letter(first) && first < 0x80) : !is_word_char(first)) return false;
    size_t end = past_word(body);
    if (kind == WordKind::kHandle) {  // dots inside, as in @ana.example.org
      while (end + 1 < text_.size() && text_[end] == '.' && is_word_char(peek(end + 1)))
        end = past_word(end + 1);
    }
    if (end == body || (kind == WordKind::kTicker && end - body > 6)) return false;
    add(kind, begin, body, end);
    return true;
  }

  /// Digits with separators inside (1,200 3.5 19:00), and what sticks to them (21st, 40k, 7pm, A-less "6s").
  void read_number(size_t begin) {
    size_t end = begin;
    while (end < text_.size()) {
      if (is_digit(static_cast<unsigned char>(text_[end]))) {
        ++end;
      } else if ((text_[end] == ',' || text_[end] == '.' || text_[end] == ':') && end + 1 < text_.size() &&
                 is_digit(static_cast<unsigned char>(text_[end + 1]))) {
        ++end;
      } else {
        break;
      }
    }
    end = past_word(end);
    add(WordKind::kNumber, begin, begin, end);
  }

  /// "l'", "d'", "dell'" and the like, before a word of their own.
  bool elides(size_t begin, size_t end) const {
    static const Words elided = {"l",    "d",   "j",    "n",    "s",    "c",     "qu",    "jusqu",
                                 "dell", "all", "nell", "sull", "dall", "quell", "lorsqu"};
    std::string folded;
    for (size_t at = begin; at < end;) append_folded(folded, decode_utf8(text_, at));
    return elided.contains(folded);
  }

  void read_word(size_t begin) {
    size_t end = past_word(begin);
    if (size_t after = end; end < text_.size() && elides(begin, end) &&
                            is_apostrophe(decode_utf8(text_, after)) && past_word(after) >= after + 3) {
      return add(WordKind::kWord, begin, begin, end);
    }
    while (end < text_.size()) {  // apostrophes inside a word
      size_t after = end;
      if (!is_apostrophe(decode_utf8(text_, after)) || !is_letter(peek(after))) break;
      end = past_word(after);
    }
    add(WordKind::kWord, begin, begin, end);
  }

  void add(WordKind kind, size_t begin, size_t body, size_t end) {
    Word word;
    word.kind = kind;
    word.span = {begin, end};
    size_t uppers = 0, lowers = 0, letters = 0;
    for (size_t at = body; at < end;) {
      const bool first = at == body;
      const char32_t c = decode_utf8(text_, at);
      if (is_upper(c)) ++uppers;
      if (is_lower(c)) ++lowers;
      if (is_letter(c)) ++letters;
      if (first) word.capital = is_upper(c);
      append_folded(word.folded, c);
    }
    word.all_caps = uppers >= 2 && lowers == 0 && uppers == letters;
    if (word.folded.size() > 2 && word.folded.ends_with("'s")) word.folded.resize(word.folded.size() - 2);
    const bool stems = kind == WordKind::kWord || kind == WordKind::kHashtag;
    word.stem = stems ? stem_word(word.folded) : word.folded;
    if (stems) word.groups = groups_of(word.stem);
    word.opens = opens_;
    if (kind != WordKind::kUrl && kind != WordKind::kHandle) opens_ = false;
    joined_ = false;
    words_.push_back(std::move(word));
    at_ = end;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool opens_ = true;
  bool joined_ = false;
  std::vector<Word> words_;
};

/// "U.S.", "Dr.", "No." and single letters do not end a sentence.
bool is_abbreviation(std::string_view text, size_t begin, size_t dot) {
  size_t from = dot;
  while (from > begin && !is_space(text[from - 1]) && text[from - 1] != '(') --from;
  const std::string word = to_lower_ascii(text.substr(from, dot - from));
  static const Words known = {"dr",     "mr",  "mrs", "ms",  "st",   "no",  "gov", "sen", "rep",  "gen",
                              "lt",     "col", "sgt", "jr",  "sr",   "inc", "ltd", "co",  "corp", "vs",
                              "approx", "est", "jan", "feb", "mar",  "apr", "jun", "jul", "aug",  "sep",
                              "sept",   "oct", "nov", "dec", "prof", "mt",  "ft",  "p.m", "a.m"};
  if (known.contains(word)) return true;
  if (word.size() == 1 && word[0] >= 'a' && word[0] <= 'z') return true;
  return word.size() >= 3 && word[1] == '.' && word.size() % 2 == 1;  // u.s, e.g
}

/// The length of a "[12]" at `at`, else 0.
size_t mark_length(std::string_view text, size_t at) {
  if (text[at] != '[') return 0;
  size_t end = at + 1;
  while (end < text.size() && is_digit(static_cast<unsigned char>(text[end]))) ++end;
  return end > at + 1 && end < text.size() && text[end] == ']' ? end + 1 - at : 0;
}

bool is_closer(std::string_view text, size_t at, size_t& length) {
  static constexpr auto kClosers =
      std::to_array<std::string_view>({"\"", "'", ")", "]", "\xE2\x80\x9D", "\xE2\x80\x99"});
  for (const std::string_view closer : kClosers) {
    if (text.substr(at).starts_with(closer)) {
      length = closer.size();
      return mark_length(text, at) == 0;
    }
  }
  return false;
}

/// The end of a sentence whose final punctuation starts at `at`, or 0 when it does not end there.
size_t sentence_end(std::string_view text, size_t begin, size_t at) {
  size_t end = at;
  while (end < text.size() && (text[end] == '.' || text[end] == '!' || text[end] == '?')) ++end;
  const size_t marks_end = end;
  for (size_t length = 0; end < text.size() && is_closer(text, end, length);) end += length;
  if (end < text.size() && !is_space(text[end]) && text[end] != '[') return 0;
  const bool lone_dot = text[at] == '.' && end == at + 1;
  if (lone_dot && is_abbreviation(text, begin, at)) return 0;
  if (lone_dot || end > marks_end) {  // "Why?" he said
    size_t next = end;
    while (next < text.size() && text[next] == ' ') ++next;
    if (next < text.size() && text[next] >= 'a' && text[next] <= 'z') return 0;
  }
  return end;
}

void add_sentence(std::string_view text, size_t begin, size_t end, std::vector<Span>& out) {
  while (begin < end && is_space(text[begin])) ++begin;
  while (end > begin && is_space(text[end - 1])) --end;
  if (begin < end) out.push_back({begin, end});
}

/// Whether what stands between `from` and `to` is only white space and joining punctuation.
bool only_filler(std::string_view text, size_t from, size_t to) {
  for (size_t at = from; at < to;) {
    const char32_t c = decode_utf8(text, at);
    if (is_word_char(c) || c == '(' || c == ')' || c == '"' || c == '!' || c == '?' || c == '%') return false;
  }
  return true;
}

/// A word at the very end that a shortener cut off: "htt..." with an ellipsis behind it.
bool is_cut_off(std::string_view text, const Word& word, size_t end) {
  const std::string_view rest = text.substr(word.span.end, end - word.span.end);
  const std::string_view blank = trim(rest);
  if (word.kind == WordKind::kWord && blank.empty() && std::string_view("https").starts_with(word.folded) &&
      word.folded.size() >= 3) {
    return true;
  }
  return blank == "\xE2\x80\xA6" || blank == "..." || blank == "..";
}

}  // namespace

bool Word::has_digit() const {
  return std::ranges::any_of(folded, [](char c) { return c >= '0' && c <= '9'; });
}

std::string stem_word(std::string_view folded) {
  if (folded.size() < 3 || folded.size() > 64) return std::string(folded);
  struct Delete {
    void operator()(sb_stemmer* stemmer) const { sb_stemmer_delete(stemmer); }
  };
  // One per thread: libstemmer's object is not thread-safe.
  thread_local const std::unique_ptr<sb_stemmer, Delete> stemmer(sb_stemmer_new("english", "UTF_8"));
  if (stemmer == nullptr) return std::string(folded);
  const auto* stem = sb_stemmer_stem(stemmer.get(), reinterpret_cast<const sb_symbol*>(folded.data()),
                                     static_cast<int>(folded.size()));
  if (stem == nullptr) return std::string(folded);
  return {reinterpret_cast<const char*>(stem), static_cast<size_t>(sb_stemmer_length(stemmer.get()))};
}

std::vector<Word> split_words(std::string_view text) { return Splitter(text).run(); }

std::vector<Span> split_sentences(std::string_view text) {
  std::vector<Span> out;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\n') {
      add_sentence(text, begin, at, out);
      begin = ++at;
    } else if (const size_t mark = mark_length(text, at); mark > 0) {
      add_sentence(text, begin, at, out);
      begin = at += mark;
    } else if (text[at] == '.' || text[at] == '!' || text[at] == '?') {
      const size_t end = sentence_end(text, begin, at);
      if (end > 0) {
        add_sentence(text, begin, end, out);
        begin = at = end;
      } else {
        ++at;
      }
    } else {
      ++at;
    }
  }
  add_sentence(text, begin, text.size(), out);
  return out;
}

Span clean_span(std::string_view text, Span span) {
  const std::string_view part = slice(text, span);
  const std::vector<Word> words = split_words(part);
  size_t first = 0;
  size_t begin = 0;
  bool repost = false;
  while (first < words.size()) {  // "RT @a: @b .@c"
    const Word& word = words[first];
    const bool is_rt = first == 0 && (word.folded == "rt" || word.folded == "mt");
    repost = repost || is_rt;
    if (!is_rt && (word.kind != WordKind::kHandle || !only_filler(part, begin, word.span.begin))) break;
    // A mention that is the subject ("@CityPolice confirm ...") stays; one that addresses somebody goes.
    if (!is_rt && !repost && !(first + 1 < words.size() && words[first + 1].kind == WordKind::kHandle)) break;
    begin = word.span.end;
    ++first;
    if (!is_rt && repost && first < words.size()) repost = false;
  }
  while (begin < part.size() && first > 0) {
    size_t after = begin;
    const char32_t c = decode_utf8(part, after);
    if (is_word_char(c) || c == '@' || c == '#' || c == '$' || c == '"' || c == '(' || c >= 0x80) break;
    begin = after;
  }
  if (begin == 0) {  // leading dots and dashes
    while (begin < part.size() && (part[begin] == '.' || part[begin] == '-' || part[begin] == ':' ||
                                   part[begin] == ',' || part[begin] == '|' || part[begin] == ')' ||
                                   part[begin] == ']' || part[begin] == '>' || is_space(part[begin]))) {
      ++begin;
    }
  }
  size_t end = part.size();
  size_t last = words.size();
  while (last > first) {
    const Word& word = words[last - 1];
    const bool label =
        word.kind == WordKind::kUrl || word.kind == WordKind::kHashtag || word.kind == WordKind::kTicker;
    if (!(label && only_filler(part, word.span.end, end)) && !is_cut_off(part, word, end)) break;
    // One hashtag can be the last word of the sentence ("floods in #Boulder"); a row of them is not.
    if ((word.kind == WordKind::kHashtag || word.kind == WordKind::kTicker) && last - first >= 2) {
      const Word& before = words[last - 2];
      const bool joined = before.kind == WordKind::kWord && is_stop_word(before.folded) &&
                          trim(part.substr(before.span.end, word.span.begin - before.span.end)).empty();
      if (joined) break;
    }
    end = word.span.begin;
    --last;
  }
  if (last == first) return {span.begin, span.begin};
  while (end > begin && (is_space(part[end - 1]) || part[end - 1] == '-' || part[end - 1] == '|' ||
                         part[end - 1] == ',' || part[end - 1] == ';' || part[end - 1] == '&' ||
                         part[end - 1] == '(' || (last < words.size() && part[end - 1] == ':'))) {
    --end;
  }
  if (begin >= end) return {span.begin, span.begin};
  return {span.begin + begin, span.begin + end};
}

bool is_stop_word(std::string_view folded) { return stop_words().contains(folded); }

bool is_invisible(char32_t c) {
  if (c == ' ' || c == '\t' || c == '\n' || c == '\r') return false;
  if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return true;
  return c == 0xAD || c == 0x61C || c == 0x180E || c == 0x200B || c == 0x200E || c == 0x200F ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
         (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE007F);
}

bool is_negation(std::string_view folded) { return negations().contains(folded) || folded.ends_with("n't"); }

bool is_content(const Word& word) {
  if (word.kind == WordKind::kUrl) return false;
  if (word.kind != WordKind::kWord) return true;
  if (word.all_caps && word.folded != "rt" && !is_stop_word(word.folded)) return true;
  if (word.folded.size() == 1 && static_cast<unsigned char>(word.folded[0]) < 0x80) return false;
  return !is_stop_word(word.folded);
}

bool is_name(const Word& word) {
  if (word.kind == WordKind::kHandle || word.kind == WordKind::kTicker || word.kind == WordKind::kHashtag)
    return true;
  if (word.kind != WordKind::kWord || is_stop_word(word.folded)) return false;
  return word.capital && (!word.opens || word.all_caps);
}

bool related(const Word& a, const Word& b) { return a.stem == b.stem || (a.groups & b.groups) != 0; }

std::vector<std::string_view> related_words(const Word& word) {
  std::vector<std::string_view> out;
  std::unordered_set<std::string> seen = {word.stem};
  for (size_t i = 0; i < kRelated.size(); ++i) {
    if ((word.groups >> i & 1) == 0) continue;
    for (const std::string_view other : split(kRelated[i], ' ')) {
      if (seen.insert(stem_word(other)).second) out.push_back(other);
    }
  }
  return out;
}

}  // namespace fathom::answer
