#include "answer/relevance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "answer/cues.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

/// A surname stands for the name where it tells nearly as much as the first name.
constexpr double kSurnameWeight = 0.6;

double frequency_of(const Word& word, const std::vector<std::pair<std::string, size_t>>& frequencies,
                    size_t posts) {
  for (const auto& [term, count] : frequencies) {
    std::string_view plain = term;
    while (!plain.empty() && (plain.front() == '#' || plain.front() == '$' || plain.front() == '@'))
      plain.remove_prefix(1);
    if (plain == word.stem || plain == word.folded) return static_cast<double>(count);
  }
  return std::max(1.0, static_cast<double>(posts) * 0.001);  // not counted: taken for fairly rare
}

/// Which of the terms no post has, by the frequencies that a search counted.
bool is_absent(const Word& word, const std::vector<std::pair<std::string, size_t>>& frequencies) {
  return std::ranges::any_of(frequencies, [&](const auto& term) {
    return term.second == 0 && (term.first == word.stem || term.first == word.folded);
  });
}

/// "Mount Askmere", where every post says "Askmere": a word of a name that nobody uses, before one that some do.
bool absent_title(const Plan& plan, size_t at,
                  const std::vector<std::pair<std::string, size_t>>& frequencies) {
  const Term& term = plan.terms[at];
  if (!term.name || term.word.kind != WordKind::kWord || !is_absent(term.word, frequencies)) return false;
  return at + 1 < plan.terms.size() && plan.terms[at + 1].run == term.run && term.run > 0 &&
         plan.terms[at + 1].word.kind == WordKind::kWord && !is_absent(plan.terms[at + 1].word, frequencies);
}

bool states_number(const Word& word, const Evidence& evidence) {
  if (word.kind != WordKind::kNumber) return false;
  for (const Fact& fact : find_facts(word.folded, split_words(word.folded))) {
    if (evidence.known.contains(fact.key)) return true;
  }
  return false;
}

}  // namespace

Relevance::Relevance(const Plan& plan, const std::vector<std::pair<std::string, size_t>>& frequencies,
                     size_t posts)
    : plan_(plan) {
  const double all = std::max<double>(static_cast<double>(posts), 1);
  for (const Term& term : plan.terms) {
    const double count = std::min(frequency_of(term.word, frequencies, posts), all);
    double weight = std::log(1 + (all - count + 0.5) / (count + 0.5)) + 0.2;
    if (term.weak) weight *= 0.15;
    if (term.carried && !term.name) weight *= 0.5;
    if (absent_title(plan, weights_.size(), frequencies)) weight *= 0.05;
    weights_.push_back(weight);
    total_ += weight;
  }
}

double Relevance::match(size_t term, const Evidence& evidence) const {
  const Word& word = plan_.terms[term].word;
  if (evidence.has(word) || states_number(word, evidence)) return 1;
  if (!plan_.terms[term].name && (evidence.groups & word.groups) != 0) return 0.85;
  return evidence.is_about(word) ? 0.8 : 0;
}

double Relevance::match(size_t term, const Evidence& evidence, Span part) const {
  const Word& word = plan_.terms[term].word;
  double best = 0;
  for (const Word& other : evidence.words) {
    if (other.span.begin < part.begin || other.span.end > part.end) continue;
    if (other.stem == word.stem || other.folded == word.folded) return 1;
    const bool tag = other.kind == WordKind::kHashtag || other.kind == WordKind::kHandle;
    if (tag && word.folded.size() >= 4 && other.folded.find(word.folded) != std::string::npos) return 1;
    if (!plan_.terms[term].name && (other.groups & word.groups) != 0) best = 0.85;
  }
  return best;
}

double Relevance::coverage(const Evidence& evidence) const {
  if (total_ <= 0) return 1;
  double sum = 0;
  for (size_t i = 0; i < weights_.size(); ++i) sum += weights_[i] * match(i, evidence);
  return sum / total_;
}

double Relevance::coverage(const Evidence& evidence, Span part) const {
  if (total_ <= 0) return 1;
  double sum = 0;
  for (size_t i = 0; i < weights_.size(); ++i) sum += weights_[i] * match(i, evidence, part);
  return sum / total_;
}

bool Relevance::has_names(const Evidence& evidence, size_t spare) const {
  struct Run {
    double all = 0, had = 0, rarest = 0;
    bool has_rarest = false;
    bool has_numbers = true;  // "Llama 3" is not any llama
    double last = 0;          // "Haldane Brisk" is called "Brisk"
    bool has_last = false;
    size_t words = 0;
  };
  std::map<int, Run> runs;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (!plan_.terms[i].name) continue;
    Run& run = runs[plan_.terms[i].run];
    const bool had = match(i, evidence) > 0;
    run.all += weights_[i];
    run.had += had ? weights_[i] : 0;
    ++run.words;
    if (plan_.terms[i].word.kind == WordKind::kNumber && !had) run.has_numbers = false;
    run.last = weights_[i];
    run.has_last = had && plan_.terms[i].word.kind == WordKind::kWord;
    if (weights_[i] > run.rarest) {
      run.rarest = weights_[i];
      run.has_rarest = had;
    }
  }
  size_t lacking = 0;
  for (const auto& [id, run] : runs) {
    const bool surname = run.words == 2 && run.has_last && run.last >= kSurnameWeight * run.rarest;
    const bool whole = run.had >= 0.5 * run.all && (run.has_rarest || run.words >= 3);
    const bool enough = run.has_numbers && (whole || surname);
    if (!enough) ++lacking;
  }
  if (plan_.either) spare = std::max<size_t>(spare, runs.size() - std::min<size_t>(runs.size(), 1));
  return lacking == 0 || (lacking <= spare && lacking < runs.size()) || (lacking == 1 && runs.size() >= 4);
}

bool Relevance::in_window(const Evidence& evidence) const {
  const Window& window = plan_.window;
  const Time when = evidence.post.created_at;
  if ((!window.since || when >= *window.since) && (!window.until || when < *window.until)) return true;
  if (window.hard) return false;
  return std::ranges::any_of(window.keys,
                             [&](const std::string& key) { return evidence.known.contains(key); });
}

/// Of the telling terms one in three may lack; one in two where names tie the post to the question, but then the most
/// telling of what is asked about the names must be there: "why did the mayor of Boston resign" needs "resign".
/// A number, time or place of the kind that is asked for makes up for it.
bool Relevance::has_most(const Evidence& evidence) const {
  size_t strong = 0, lacking = 0, plain = 0;
  double rarest = 0;
  bool has_rarest = true;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (plan_.terms[i].weak || (plan_.terms[i].carried && !plan_.terms[i].name)) continue;
    const bool lacks = match(i, evidence) == 0;
    ++strong;
    if (plan_.terms[i].name) continue;  // has_names has judged those
    lacking += lacks ? 1 : 0;
    ++plain;
    if (weights_[i] <= rarest) continue;
    rarest = weights_[i];
    has_rarest = !lacks;
  }
  if (strong > plain) {
    if (plain == 0) return true;
    const bool typed = plan_.ask == Ask::kHowMany || plan_.ask == Ask::kHowMuch || plan_.ask == Ask::kWhen ||
                       plan_.ask == Ask::kWhere || plan_.ask == Ask::kYesNo;
    // A whole post as the question has words enough that none of them decides.
    const bool wordy = plan_.overview && plain > 3;
    return lacking <= strong / 2 && (typed || wordy ? lacking < plain || lacking == 0 : has_rarest);
  }
  // Who is asked for by name speaks of the matter in other words than the question's.
  return lacking <= (spoken_by_asked(evidence) ? strong / 2 : strong / 3);
}

bool Relevance::spoken_by_asked(const Evidence& evidence) const {
  if (plan_.speaker_names.empty()) return false;
  return std::ranges::all_of(plan_.speaker_names, [&](const Word& name) { return evidence.is_about(name); });
}

bool Relevance::named() const {
  return std::ranges::any_of(plan_.terms, [](const Term& term) { return term.name; });
}

bool Relevance::primary(const Evidence& evidence) const {
  return std::ranges::any_of(plan_.terms,
                             [&](const Term& term) { return term.name && evidence.is_by(term.word); });
}

/// Yes or no, or a cause, from the one in question; a no also from others.
bool Relevance::speaks_for_itself(const Evidence& evidence) const {
  if (plan_.ask == Ask::kWhy) return primary(evidence) && explains(to_lower_ascii(evidence.post.text));
  if (plan_.ask != Ask::kYesNo) return false;
  if (!named() || evidence.trust < 1) return false;
  const std::string lower = to_lower_ascii(evidence.post.text);
  return refutes(lower) || reassures(lower) ||
         (primary(evidence) && denies(evidence, {0, evidence.post.text.size()}));
}

bool Relevance::has_phrase(const Evidence& evidence) const {
  if (plan_.phrases.empty()) return false;
  const std::string lower = to_lower_ascii(evidence.post.text);
  return std::ranges::any_of(plan_.phrases, [&](const std::string& phrase) {
    return lower.find(to_lower_ascii(phrase)) != std::string::npos;
  });
}

bool Relevance::denies_premise(const Evidence& evidence) const {
  if (!named() || evidence.trust < 1 || !in_window(evidence) || !has_names(evidence)) return false;
  const std::string lower = to_lower_ascii(evidence.post.text);
  if (lower.find('?') != std::string::npos) return false;
  const Span all{0, evidence.post.text.size()};
  if (denies_asked(plan_, evidence, all)) return true;
  if (!reassures(lower)) return false;
  // "All is well" answers only about what is asked for.
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (!plan_.terms[i].name && match(i, evidence) > 0)
      return primary(evidence) || coverage(evidence) >= kMinMatchNamed;
  }
  return false;
}

bool Relevance::passes(const Evidence& evidence) const {
  if (evidence.trust < kMinTrust || !in_window(evidence)) return false;
  if (has_phrase(evidence)) return true;  // who is quoted need not name what the question names
  const double covered = coverage(evidence);
  // Whether it is so: who says no need not repeat every name ("to Earth", "at Cape Orlo").
  if (!has_names(evidence, plan_.ask == Ask::kYesNo && speaks_for_itself(evidence) ? 1 : 0)) return false;
  // Whoever denies something rarely repeats it: "our soup is here to stay".
  if (covered >= kMinMatchPrimary && speaks_for_itself(evidence)) return true;
  const double least = spoken_by_asked(evidence) ? kMinMatchPrimary : named() ? kMinMatchNamed : kMinMatch;
  return has_most(evidence) && covered >= least;
}

std::vector<size_t> Relevance::rarest() const {
  std::vector<size_t> order(weights_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return weights_[a] > weights_[b]; });
  return order;
}

}  // namespace fathom::answer
