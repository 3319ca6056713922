#include "answer/check.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "answer/check_roles.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);
constexpr size_t kReach = 4;  // words: how far a number's noun or verb stands from it

/// Letters and digits as they are, each run of white space as one blank, typographic quotes as plain ones.
std::string squeeze(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == 0xA0) {
      if (!out.empty() && out.back() != ' ') out.push_back(' ');
    } else if (c == 0x2018 || c == 0x2019) {
      out.push_back('\'');
    } else if (c == 0x201C || c == 0x201D) {
      out.push_back('"');
    } else {
      append_utf8(out, c);
    }
  }
  return std::string(trim(out));
}

std::vector<std::string> quotations(std::string_view sentence) {
  std::vector<std::string> out;
  const std::string plain = squeeze(sentence);
  size_t at = 0;
  while ((at = plain.find('"', at)) != std::string::npos) {
    const size_t end = plain.find('"', at + 1);
    if (end == std::string::npos) break;
    std::string_view inside = trim(std::string_view(plain).substr(at + 1, end - at - 1));
    while (!inside.empty() && (inside.back() == ',' || inside.back() == '.')) inside.remove_suffix(1);
    if (!inside.empty()) out.emplace_back(inside);
    at = end + 1;
  }
  return out;
}

bool quotes_hold(std::string_view sentence, const Evidence& evidence) {
  if (sentence.find('"') == std::string_view::npos && sentence.find("\xE2\x80\x9C") == std::string_view::npos)
    return true;
  const std::string text = squeeze(evidence.post.text);
  return std::ranges::all_of(quotations(sentence),
                             [&](const std::string& quote) { return text.find(quote) != std::string::npos; });
}

/// Words that name a source or an act of reporting, not a thing that the post must say.
bool is_reporting(const Word& word) {
  static constexpr auto kWords = std::to_array<std::string_view>(
      {"post",    "posts",    "posted",    "tweet",     "tweets", "tweeted", "report",
       "reports", "reported", "reporting", "according", "stated", "states",  "state",
       "mention", "mentions", "mentioned", "writes",    "wrote",  "user",    "account",
       "number",  "total",    "happened",  "occurred",  "took"});
  return std::ranges::find(kWords, word.folded) != kWords.end();
}

bool is_relative_day(const Word& word) {
  return word.folded == "today" || word.folded == "yesterday" || word.folded == "tomorrow" ||
         word.folded == "tonight";
}

/// Whether a capital makes the word a name that the post must have. The first word of a sentence counts too: "Smith said".
bool must_be_known(const Word& word) {
  if (word.kind == WordKind::kHandle || word.kind == WordKind::kTicker || word.kind == WordKind::kHashtag)
    return true;
  if (word.kind != WordKind::kWord) return false;
  if (is_relative_day(word)) return true;
  return word.capital && !is_stop_word(word.folded) && !is_reporting(word);
}

bool name_known(const Word& word, const Evidence& evidence) {
  if (evidence.has(word) || evidence.is_about(word)) return true;
  // The capital of a sentence's first word says nothing: "Deaths rose" is content, judged by coverage.
  return word.opens && !word.all_caps && word.groups != 0 && evidence.has_related(word);
}

bool url_known(std::string_view url, const live::Post& post) {
  while (!url.empty() && (url.back() == '.' || url.back() == ',' || url.back() == ')')) url.remove_suffix(1);
  if (post.text.find(url) != std::string::npos || post.url == url) return true;
  return std::ranges::find(post.links, url) != post.links.end();
}

/// For each word the fact of the same sentence that it belongs to: the nearest one, the one before it on a tie.
size_t fact_of(size_t word, const std::vector<Fact>& facts, const std::vector<Word>& words, Span sentence,
               size_t reach) {
  size_t best = kNone;
  size_t best_distance = reach + 1;
  for (size_t i = 0; i < facts.size(); ++i) {
    const Fact& fact = facts[i];
    if (fact.kind == FactKind::kYear || fact.kind == FactKind::kDate) continue;
    if (fact.span.begin < sentence.begin || fact.span.end > sentence.end) continue;
    const size_t distance = fact.word > word ? fact.word - word : word - fact.word;
    if (distance < best_distance) {
      best = i;
      best_distance = distance;
    }
  }
  return best_distance <= reach && word < words.size() ? best : kNone;
}

/// Rule (1), second half: "140 killed" is not in "3 killed and 140 injured".
class Binding {
 public:
  Binding(const std::vector<Word>& words, const std::vector<Fact>& facts, Span sentence,
          const Evidence& evidence)
      : words_(words), facts_(facts), sentence_(sentence), evidence_(evidence) {
    for (const Fact& fact : evidence.facts) {
      const bool claimed = std::ranges::any_of(facts, [&](const Fact& f) { return f.key == fact.key; });
      if (claimed || !set_aside(fact)) holding_.push_back(fact);
    }
  }

  bool holds() const {
    int agree = 0, differ = 0;
    for (size_t i = 0; i < words_.size(); ++i) {
      if (words_[i].kind != WordKind::kWord || !is_content(words_[i]) || is_reporting(words_[i])) continue;
      const size_t fact = fact_of(i, facts_, words_, sentence_, kReach);
      if (fact == kNone) continue;
      const int verdict = compare(words_[i], facts_[fact].key);
      if (verdict < 0 && words_[i].groups != 0) return false;
      (verdict > 0 ? agree : differ) += verdict != 0 ? 1 : 0;
    }
    return differ <= agree;
  }

 private:
  /// 1: some occurrence in the post belongs to the same fact; -1: all belong to others; 0: nothing to say.
  int compare(const Word& word, const std::string& key) const {
    int verdict = 0;
    for (const Span sentence : evidence_.sentences) {
      for (size_t i = 0; i < evidence_.words.size(); ++i) {
        const Word& other = evidence_.words[i];
        if (other.span.begin < sentence.begin || other.span.end > sentence.end) continue;
        if (!related(word, other)) continue;
        const size_t fact = fact_of(i, holding_, evidence_.words, sentence, kReach);
        if (fact == kNone) continue;
        if (same_fact(fact, key)) return 1;
        verdict = -1;
      }
    }
    return verdict;
  }

  /// A fact with two readings ("40kg" is a name and a number) stands twice on the same word.
  bool same_fact(size_t fact, const std::string& key) const {
    const size_t word = holding_[fact].word;
    return std::ranges::any_of(evidence_.facts, [&](const Fact& f) {
      return f.word == word && (f.key == key || (f.kind == FactKind::kMoney && key.starts_with("n:") &&
                                                 f.key.substr(f.key.find(':')) == key.substr(1)));
    });
  }

  /// "of 9,000", "from 4", "not 91": a number that the words around it do not belong to.
  bool set_aside(const Fact& fact) const {
    size_t at = fact.word;
    while (at > 0 && (evidence_.words[at - 1].folded == "the" || evidence_.words[at - 1].folded == "all"))
      --at;
    if (at == 0) return false;
    const std::string& before = evidence_.words[at - 1].folded;
    return before == "of" || before == "from" || before == "not" || before == "earlier";
  }

  const std::vector<Word>& words_;
  const std::vector<Fact>& facts_;
  Span sentence_;
  const Evidence& evidence_;
  std::vector<Fact> holding_;  // of the post, but for those that are set aside
};

/// Verbs whose subject and object cannot be exchanged.
bool is_directed(const Word& word) {
  static constexpr auto kVerbs = std::to_array<std::string_view>(
      {"beat",     "beats",     "defeat",   "defeated",  "defeats",  "buy",       "buys",   "bought",
       "acquire",  "acquired",  "acquires", "sue",       "sued",     "sues",      "attack", "attacked",
       "attacks",  "accuse",    "accused",  "accuses",   "kill",     "killed",    "shot",   "fired",
       "overtook", "overtakes", "replaces", "replaced",  "succeeds", "succeeded", "blames", "blamed",
       "hit",      "endorsed",  "endorses", "outscored", "lost"});
  return std::ranges::find(kVerbs, word.folded) != kVerbs.end();
}

bool has_word(const std::vector<Word>& words, std::string_view folded) {
  return std::ranges::any_of(words, [&](const Word& word) { return word.folded == folded; });
}

size_t position(const std::vector<Word>& words, const Word& wanted) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].stem == wanted.stem) return i;
  }
  return kNone;
}

/// Rule (6): the last name before a directed verb and the first behind it keep their order in the post.
bool direction_holds(const std::vector<Word>& words, const Evidence& evidence) {
  for (size_t verb = 0; verb < words.size(); ++verb) {
    if (!is_directed(words[verb])) continue;
    size_t left = verb, right = verb + 1;
    while (left > 0 && !must_be_known(words[left - 1])) --left;
    while (right < words.size() && !must_be_known(words[right])) ++right;
    if (left == 0 || right >= words.size()) continue;
    const size_t a = position(evidence.words, words[left - 1]);
    const size_t b = position(evidence.words, words[right]);
    if (a == kNone || b == kNone) continue;
    const bool reversed = has_word(words, "by") != has_word(evidence.words, "by");
    if ((a < b) == reversed) return false;
  }
  return true;
}

/// How much of a sentence each sentence of the post has, to find the passage.
double overlap(const std::vector<Word>& words, const std::vector<Fact>& facts, const Evidence& evidence,
               Span passage) {
  double sum = 0;
  for (const Word& other : evidence.words) {
    if (other.span.begin < passage.begin || other.span.end > passage.end || !is_content(other)) continue;
    const bool same = std::ranges::any_of(
        words, [&](const Word& word) { return is_content(word) && related(word, other); });
    sum += same ? 1 : 0;
  }
  for (const Fact& other : evidence.facts) {
    if (other.span.begin < passage.begin || other.span.end > passage.end) continue;
    sum += std::ranges::any_of(facts, [&](const Fact& fact) { return fact.key == other.key; }) ? 2 : 0;
  }
  return sum;
}

/// The shortest run of sentences that has nine tenths of what the whole post has of the sentence.
Span find_passage(const std::vector<Word>& words, const std::vector<Fact>& facts, const Evidence& evidence) {
  const std::vector<Span>& sentences = evidence.sentences;
  if (sentences.empty()) return {0, evidence.post.text.size()};
  constexpr size_t kLongestRun = 4;
  std::vector<double> part;
  for (const Span sentence : sentences) part.push_back(overlap(words, facts, evidence, sentence));
  double most = 0;
  Span best = sentences.front();
  for (size_t length = 1; length <= std::min(kLongestRun, sentences.size()); ++length) {
    for (size_t first = 0; first + length <= sentences.size(); ++first) {
      double sum = 0;
      for (size_t i = first; i < first + length; ++i) sum += part[i];
      if (sum > most * 1.1 + 0.01) {
        most = sum;
        best = {sentences[first].begin, sentences[first + length - 1].end};
      }
    }
  }
  return best;
}

double coverage(const std::vector<Word>& words, const Evidence& evidence) {
  double total = 0, covered = 0;
  for (const Word& word : words) {
    if (word.kind == WordKind::kNumber || word.kind == WordKind::kUrl || !is_content(word)) continue;
    if (is_reporting(word) && !evidence.has(word)) continue;
    if (month_number(word.folded) > 0 && evidence.is_about(word)) continue;
    const double weight = is_name(word) ? 1.5 : 1;
    total += weight;
    if (evidence.has(word) || evidence.is_about(word)) {
      covered += weight;
    } else if (evidence.has_related(word)) {
      covered += 0.8 * weight;
    }
  }
  return total == 0 ? 0 : covered / total;
}

Support refuse(std::string_view reason, double score = 0) { return {false, score, {}, reason}; }

}  // namespace

Marks strip_marks(std::string_view sentence) {
  Marks out;
  for (size_t at = 0; at < sentence.size();) {
    size_t end = sentence[at] == '[' ? at + 1 : at;
    std::vector<size_t> numbers;
    while (end > at && end < sentence.size() && sentence[end] != ']') {
      size_t value = 0;
      const auto [next, error] =
          std::from_chars(sentence.data() + end, sentence.data() + sentence.size(), value);
      if (error == std::errc{}) {
        numbers.push_back(value);
        end = static_cast<size_t>(next - sentence.data());
      } else if (sentence[end] == ',' || sentence[end] == ' ') {
        ++end;
      } else {
        numbers.clear();
        break;
      }
    }
    if (!numbers.empty() && end < sentence.size() && sentence[end] == ']') {
      out.numbers.insert(out.numbers.end(), numbers.begin(), numbers.end());
      while (!out.text.empty() && out.text.back() == ' ') out.text.pop_back();
      at = end + 1;
    } else {
      out.text.push_back(sentence[at++]);
    }
  }
  out.text = std::string(trim(out.text));
  return out;
}

Support check_support(std::string_view sentence, const Evidence& evidence) {
  const std::string text = strip_marks(sentence).text;
  const std::vector<Word> words = split_words(text);
  const std::vector<Fact> facts = find_facts(text, words);
  if (words.empty()) return refuse("it says nothing");
  if (!quotes_hold(text, evidence)) return refuse("a quotation is not in the post");
  for (const Fact& fact : facts) {
    if (!evidence.known.contains(fact.key)) return refuse("a number, date or time is not in the post");
  }
  for (const Word& word : words) {
    if (word.kind == WordKind::kUrl && !url_known(slice(text, word.span), evidence.post)) {
      return refuse("an address is not in the post");
    }
    if (must_be_known(word) && !name_known(word, evidence)) return refuse("a name is not in the post");
  }
  const double covered = coverage(words, evidence);
  if (covered < kMinCoverage) return refuse("too few of its words are in the post", covered);
  if (!Binding(words, facts, {0, text.size()}, evidence).holds())
    return refuse("a number belongs to something else");
  if (!direction_holds(words, evidence)) return refuse("who did it to whom is the other way round");
  const Span passage = find_passage(words, facts, evidence);
  if (const std::string_view why = misread(text, words, facts, evidence); !why.empty()) return refuse(why);
  return {true, covered, passage, {}};
}

std::optional<Attribution> attribute(std::string_view sentence, std::span<const Evidence> evidence) {
  std::optional<Attribution> best;
  for (size_t i = 0; i < evidence.size(); ++i) {
    Support support = check_support(sentence, evidence[i]);
    if (support.supported && (!best || support.score > best->support.score + 1e-9))
      best = Attribution{i, support};
  }
  return best;
}

}  // namespace fathom::answer
