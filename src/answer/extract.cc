#include "answer/extract.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <unordered_set>

#include "answer/burst.h"
#include "answer/cues.h"
#include "answer/dispute.h"
#include "answer/passage.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr double kLeastScore = 0.5;      // below it a sentence is about something else
constexpr std::chrono::hours kLive{48};  // a matter is still being posted about

bool by_speaker(const Plan& plan, const Reading& reading, const Evidence& evidence) {
  if (plan.speakers.empty() && plan.speaker_names.empty()) return true;
  const std::string handle = to_lower_ascii(evidence.post.author.handle);
  if (std::ranges::find(reading.speaker_handles, handle) != reading.speaker_handles.end()) return true;
  if (!plan.speakers.empty()) return false;
  // Nobody of that name posts: somebody else may report what was said.
  return std::ranges::all_of(plan.speaker_names, [&](const Word& name) { return evidence.has(name); });
}

std::string author_key(const Evidence& evidence) {
  const std::string& handle = evidence.post.author.handle;
  return handle.empty() || handle == "unknown" ? evidence.post.key() : to_lower_ascii(handle);
}

/// Chooses among the ranked candidates.
class Chooser {
 public:
  Chooser(const Plan& plan, const Reading& reading) : plan_(plan), reading_(reading) {}

  std::vector<ChosenQuote> run(size_t fill) {
    candidates_ = rank_quotes(plan_, reading_);
    if (candidates_.empty()) return {};
    pool_ = pool(plan_.overview ? 0.6 : asks_number(plan_.ask) || plan_.ask == Ask::kWhen ? 0.7 : 0.8);
    if (plan_.overview) burst_.emplace(plan_, reading_);
    const Quote lead = pick_lead();
    add(lead, QuoteRole::kAnswer);
    if ((asks_number(plan_.ask) || plan_.ask == Ask::kWhen) && !lead.value.empty()) {
      add_same(lead);
      if (plan_.either) {
        add_alternatives();
      } else {
        add_other(lead);
      }
    } else {
      add_denial(lead);
      if (plan_.either) add_alternatives();
      if (plan_.overview) add_more(4);
      if (!plan_.speakers.empty() || !plan_.speaker_names.empty()) add_more(3);
    }
    if (fill > 0) add_more(fill);
    return std::move(chosen_);
  }

 private:
  const Evidence& evidence(const Quote& quote) const { return reading_.evidence[quote.index]; }
  Time time(const Quote& quote) const { return evidence(quote).post.created_at; }

  void add(const Quote& quote, QuoteRole role) { chosen_.push_back({quote, role}); }

  std::vector<Quote> pool(double share) const {
    std::vector<Quote> out;
    const double front = candidates_.front().score;
    const double least = std::min(front, front * share);  // a denied premise may score below zero
    for (const Quote& quote : candidates_) {
      const bool number =
          !asks_number(plan_.ask) || !quote.value.empty() || candidates_.front().value.empty();
      if ((quote.score >= least || answers_rumour(quote)) && number) out.push_back(quote);
    }
    return out;
  }

  /// Whether it is so: a post that can be trusted says no, or that all is well, in whatever words.
  bool answers_rumour(const Quote& quote) const {
    if (plan_.ask != Ask::kYesNo || evidence(quote).trust < 1) return false;
    const std::string lower = to_lower_ascii(evidence(quote).post.text);
    return lower.find('?') == std::string::npos &&
           (refutes(lower) || reassures(lower) || denies_asked(plan_, evidence(quote), quote.passage));
  }

  size_t agreeing(const Quote& quote) const {
    std::unordered_set<std::string> authors;
    for (const Quote& other : pool_) {
      const bool same = !quote.value.empty() ? other.value == quote.value : overlap(quote, other) >= 0.6;
      if (same) authors.insert(author_key(evidence(other)));
    }
    return authors.size() + std::min<size_t>(evidence(quote).copies, 8);
  }

  /// Share of the content words of `b`'s passage that `a`'s passage has.
  double overlap(const Quote& a, const Quote& b) const {
    std::unordered_set<std::string_view> had;
    for (const Word& word : evidence(a).words) {
      if (word.span.begin >= a.passage.begin && word.span.end <= a.passage.end && is_content(word))
        had.insert(word.stem);
    }
    size_t total = 0, common = 0;
    for (const Word& word : evidence(b).words) {
      if (word.span.begin < b.passage.begin || word.span.end > b.passage.end || !is_content(word)) continue;
      ++total;
      common += had.contains(word.stem) ? 1 : 0;
    }
    return total == 0 ? 1 : static_cast<double>(common) / static_cast<double>(total);
  }

  /// How much newness weighs: much while the matter is still being posted about, little in an archive.
  double freshness(bool first, Time newest) const {
    if (first) return 0.1;
    const bool live = reading_.as_of - newest < kLive;
    if (live) return asks_number(plan_.ask) || plan_.ask == Ask::kWhen || plan_.latest ? 0.5 : 0.35;
    return plan_.latest || plan_.ask == Ask::kHowMany ? 0.45 : asks_number(plan_.ask) ? 0.15 : 0.12;
  }

  /// Newness, agreement and correction decide among candidates that answer about equally well.
  Quote pick_lead() const {
    std::vector<Time> times;
    for (const Quote& quote : pool_) times.push_back(time(quote));
    std::ranges::sort(times);
    const double range = std::max<double>(static_cast<double>((times.back() - times.front()).count()), 1);
    // What happened once is best told by those who were there first; a count is best told last.
    const bool first = plan_.earliest || (plan_.ask == Ask::kWhen && plan_.past);
    const double fresh = freshness(first, times.back());
    const Quote* best = nullptr;
    double best_score = 0;
    for (const Quote& quote : pool_) {
      const double linear = static_cast<double>((time(quote) - times.front()).count()) / range;
      const auto below = std::ranges::lower_bound(times, time(quote)) - times.begin();
      const double rank =
          times.size() < 2 ? 1 : static_cast<double>(below) / static_cast<double>(times.size() - 1);
      const double newness = 0.5 * linear + 0.5 * rank;
      double score = quote.score + fresh * (first ? 1 - newness : newness);
      score += 0.06 * std::min(std::log2(static_cast<double>(agreeing(quote))), 3.0);
      if (corrects(to_lower_ascii(evidence(quote).post.text)) && !plan_.earliest) score += 0.2;
      if (plan_.ask == Ask::kYesNo && denies(evidence(quote), quote.passage)) score += 0.15;
      if (answers_rumour(quote)) score += reading_.relevance->primary(evidence(quote)) ? 0.45 : 0.25;
      if (burst_) score += 0.8 * burst_->share(evidence(quote));
      score += 0.02 * std::log10(1 + static_cast<double>(evidence(quote).post.author.followers.value_or(0)));
      score *= 0.4 + 0.6 * evidence(quote).trust;
      if (best == nullptr || score > best_score) {
        best = &quote;
        best_score = score;
      }
    }
    return *best;
  }

  /// Another author with the same figure.
  void add_same(const Quote& lead) {
    for (const Quote& quote : pool_) {
      if (quote.value != lead.value || author_key(evidence(quote)) == author_key(evidence(lead))) continue;
      if (evidence(quote).trust < 0.9 || overlap(lead, quote) > 0.9) continue;
      return add(quote, QuoteRole::kSame);
    }
  }

  /// A figure that differs: an earlier one that was overtaken, or one that stands beside it.
  void add_other(const Quote& lead) {
    const std::vector<Quote> others = pool(0.65);
    const Quote* best = nullptr;
    for (const Quote& quote : others) {
      if (quote.value == lead.value || quote.value.empty() || evidence(quote).trust < 0.9) continue;
      if (overlap(lead, quote) < 0.25 || !same_matter(lead, quote)) continue;
      if (best == nullptr || time(quote) > time(*best)) best = &quote;
    }
    if (best == nullptr) return;
    const bool earlier = time(*best) + std::chrono::minutes{1} < time(lead);
    add(*best, earlier ? QuoteRole::kEarlier : QuoteRole::kDiffers);
  }

  /// Two figures can be compared only if they are of one kind, near in time, and both posts count what is asked for.
  bool same_matter(const Quote& a, const Quote& b) const {
    const auto kind = [](const Quote& q) { return q.value.substr(0, q.value.find(':')); };
    const bool dates = plan_.ask == Ask::kWhen;
    if (!dates && kind(a) != kind(b)) return false;
    if (!dates &&
        (tells_of_other_year(evidence(a), a.passage) != tells_of_other_year(evidence(b), b.passage)))
      return false;
    const auto apart = time(a) > time(b) ? time(a) - time(b) : time(b) - time(a);
    if (apart > std::chrono::hours{24 * 7}) return false;
    if (!dates && counts_another(a, b)) return false;
    return std::ranges::all_of(plan_.terms, [&](const Term& term) {
      const auto has = [&](const Quote& q) {
        return evidence(q).has(term.word) || (evidence(q).groups & term.word.groups) != 0;
      };
      const bool needed = term.name || term.focus;
      return !needed || term.weak || !has(a) || has(b);
    });
  }

  /// What the figure of a quotation counts; null where no word behind it says so.
  const Word* thing(const Quote& quote) const {
    const Evidence& e = evidence(quote);
    const auto fact = std::ranges::find_if(e.facts, [&](const Fact& f) {
      return f.key == quote.value && f.span.begin >= quote.passage.begin && f.span.end <= quote.passage.end;
    });
    return fact == e.facts.end() ? nullptr : counted(e, *fact, quote.passage);
  }

  bool counts_another(const Quote& a, const Quote& b) const {
    const Word *one = thing(a), *other = thing(b);
    return one != nullptr && other != nullptr && one->stem != other->stem;
  }

  /// A later post that denies or corrects what the answer says.
  void add_denial(const Quote& lead) {
    if (corrects(to_lower_ascii(evidence(lead).post.text))) return;
    for (const Quote& quote : candidates_) {
      if (quote.index == lead.index || quote.score < 0.7 * lead.score || time(quote) <= time(lead)) continue;
      if (!refutes(to_lower_ascii(slice(evidence(quote).post.text, quote.passage)))) continue;
      return add(quote, QuoteRole::kDiffers);
    }
  }

  /// Candidates in the order in which they are told: what most posts tell first, for an overview.
  std::vector<Quote> told_order() const {
    std::vector<Quote> order = candidates_;
    if (!burst_) return order;
    for (Quote& quote : order) quote.score *= 0.6 + 0.8 * burst_->share(evidence(quote));
    std::ranges::stable_sort(order, [](const Quote& a, const Quote& b) { return a.score > b.score; });
    return order;
  }

  /// "A or B": what the newest good post says of each name that the chosen ones do not tell about.
  void add_alternatives() {
    for (const Term& term : plan_.terms) {
      if (!term.name || tells_of(chosen_.front().quote, term.word)) continue;
      const Quote* best = nullptr;
      for (const Quote& quote : candidates_) {
        const bool good = tells_of(quote, term.word) && quote.score >= 0.5 * candidates_.front().score &&
                          evidence(quote).trust >= 0.9 && (!asks_number(plan_.ask) || !quote.value.empty());
        if (good && (best == nullptr || time(quote) > time(*best))) best = &quote;
      }
      const bool fresh = best != nullptr && std::ranges::none_of(chosen_, [&](const ChosenQuote& chosen) {
                           return chosen.quote.index == best->index;
                         });
      if (fresh) return add(*best, QuoteRole::kMore);
    }
  }

  bool tells_of(const Quote& quote, const Word& name) const {
    return evidence(quote).has(name) || evidence(quote).is_about(name);
  }

  void add_more(size_t limit) {
    const std::vector<Quote> order = told_order();
    for (const Quote& quote : order) {
      if (chosen_.size() >= limit) return;
      if (quote.score < (plan_.overview ? 0.65 : 0.8) * order.front().score || evidence(quote).trust < 0.9)
        continue;
      // Another figure is told as such (add_other) or not at all.
      if (asks_number(plan_.ask) && quote.value != chosen_.front().quote.value) continue;
      const bool fresh = std::ranges::all_of(chosen_, [&](const ChosenQuote& chosen) {
        return chosen.quote.index != quote.index && overlap(chosen.quote, quote) < 0.6;
      });
      if (fresh) add(quote, QuoteRole::kMore);
    }
  }

  const Plan& plan_;
  const Reading& reading_;
  std::vector<Quote> candidates_;
  std::vector<Quote> pool_;
  std::optional<Burst> burst_;
  std::vector<ChosenQuote> chosen_;
};

}  // namespace

namespace {

std::vector<Quote> score_posts(const Plan& plan, const Reading& reading, bool premise) {
  std::vector<Quote> out;
  for (size_t i = 0; i < reading.evidence.size(); ++i) {
    const Evidence& evidence = reading.evidence[i];
    const bool passes =
        premise ? reading.relevance->denies_premise(evidence) : reading.relevance->passes(evidence);
    if (!passes || !by_speaker(plan, reading, evidence)) continue;
    std::optional<Quote> quote = best_passage(plan, *reading.relevance, evidence);
    if (!quote || (!premise && quote->score < kLeastScore)) continue;
    quote->index = i;
    out.push_back(std::move(*quote));
  }
  return out;
}

/// Leaves out what has not the kind of thing that is asked for, where something else has it; who did something must be
/// named in any case.
void keep_answers(const Plan& plan, const Reading& reading, std::vector<Quote>& quotes) {
  const bool any = std::ranges::any_of(quotes, [](const Quote& q) { return q.answers; });
  const bool picky = plan.ask == Ask::kWho || plan.ask == Ask::kWhy ||
                     (plan.ask == Ask::kWhen && !plan.past) ||
                     (any && (plan.ask == Ask::kWhen || plan.ask == Ask::kWhere));
  if (picky) std::erase_if(quotes, [](const Quote& q) { return !q.answers; });
  if (!asks_number(plan.ask)) return;
  // Without a number it is no answer; but a "level" may be told in words, and a false premise is denied.
  std::erase_if(quotes, [&](const Quote& q) {
    return q.value.empty() &&
           (any || (plan.strict && !denies_asked(plan, reading.evidence[q.index], q.passage)));
  });
}

}  // namespace

std::vector<Quote> rank_quotes(const Plan& plan, const Reading& reading) {
  std::vector<Quote> out = score_posts(plan, reading, false);
  keep_answers(plan, reading, out);
  const bool presumes = plan.ask == Ask::kHowMany || plan.ask == Ask::kWhy || plan.ask == Ask::kWhere ||
                        plan.ask == Ask::kYesNo;
  if (out.empty() && presumes) out = score_posts(plan, reading, true);
  std::ranges::stable_sort(out, [](const Quote& a, const Quote& b) { return a.score > b.score; });
  return out;
}

std::vector<ChosenQuote> choose_quotes(const Plan& plan, const Reading& reading, size_t fill) {
  return Chooser(plan, reading).run(fill);
}

void arrange(const Plan& plan, size_t most, Reading& reading, std::vector<ChosenQuote>& quotes) {
  if (quotes.size() > most) quotes.resize(most);
  std::vector<size_t> order;
  std::vector<bool> placed(reading.evidence.size());
  const auto place = [&](size_t index) {
    if (placed[index] || order.size() >= most) return;
    placed[index] = true;
    order.push_back(index);
  };
  for (const ChosenQuote& chosen : quotes) place(chosen.quote.index);
  for (const Quote& quote : rank_quotes(plan, reading)) place(quote.index);
  for (size_t i = 0; i < reading.evidence.size(); ++i) place(i);
  std::vector<Evidence> kept;
  std::vector<size_t> moved(reading.evidence.size());
  for (const size_t index : order) {
    moved[index] = kept.size();
    kept.push_back(std::move(reading.evidence[index]));
  }
  reading.evidence = std::move(kept);
  for (ChosenQuote& chosen : quotes) chosen.quote.index = moved[chosen.quote.index];
}

bool write_quotes(const std::vector<ChosenQuote>& quotes, const Plan& plan, const Reading& reading,
                  const Phrases& phrases, Composer& out) {
  const bool dated = asks_number(plan.ask) || plan.latest;
  for (const ChosenQuote& chosen : quotes) {
    const Evidence& evidence = reading.evidence[chosen.quote.index];
    const std::string words = quoted(slice(evidence.post.text, chosen.quote.passage));
    const std::string who = attribution(evidence);
    const std::string when = time_in(phrases, evidence.post.created_at, reading.as_of);
    std::string sentence;
    switch (chosen.role) {
      case QuoteRole::kAnswer:
        sentence =
            dated ? say(phrases.as_of, when, words, who) : fmt::format("{} - {}, {}", words, who, when);
        break;
      case QuoteRole::kSame: sentence = say(phrases.same, who, words); break;
      case QuoteRole::kEarlier: sentence = say(phrases.earlier, when, words, who); break;
      case QuoteRole::kDiffers: sentence = say(phrases.but, who, when, words); break;
      case QuoteRole::kMore: sentence = fmt::format("{} - {}, {}", words, who, when); break;
    }
    if (!out.claim(sentence, {{&evidence, chosen.quote.passage}}, "\n")) return false;
  }
  return true;
}

}  // namespace fathom::answer
