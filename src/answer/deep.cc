#include "answer/deep.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "answer/compose.h"
#include "answer/cues.h"
#include "answer/dispute.h"
#include "answer/further.h"
#include "answer/ground.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kIdleRounds = 4;  // that found no new post and said nothing, in a row: there is no more
constexpr size_t kQuotes = 3;      // of a section that is chosen here
constexpr double kAbout = 0.3;     // of the subject's weight, for a sentence that announces something

class Investigation {
 public:
  Investigation(const Task& task, const Plan& plan) : task_(task), plan_(plan) {}

  void run() {
    const std::string text = as_data(plan_.question, 300);
    raise(text);
    Findings first = find_answer(task_, plan_, text);
    task_.out.heading(text);
    const bool answered = tell(plan_, first);
    if (!answered) unsaid_.push_back(text);
    reading_ = &first.reading;
    for (Question& question : questions()) follow(question);
    task_.out.heading("");
    close();
  }

 private:
  /// All that may be asked within the budget; told as the plan.
  std::vector<Question> questions() {
    const size_t budget = task_.request.rounds - 1;
    std::vector<Question> out = proposed_questions(task_, plan_, *reading_, budget / 2);
    for (Question& question : further_questions(task_, plan_, *reading_)) out.push_back(std::move(question));
    // That somebody says otherwise is worth the first place where it shows already.
    std::stable_partition(out.begin(), out.end(), [&](const Question& q) {
      return q.kind == Question::Kind::kDispute && !disputes(*reading_).empty();
    });
    if (out.size() > budget) out.resize(budget);
    for (const Question& question : out) task_.answer.plan.push_back(question.text);
    if (!out.empty() && task_.events.on_plan) task_.events.on_plan(task_.answer.plan);
    return out;
  }

  void raise(const std::string& text) {
    task_.answer.plan.push_back(text);
    if (task_.events.on_plan) task_.events.on_plan(task_.answer.plan);
  }

  bool in_time() const {
    return !task_.request.deadline || std::chrono::steady_clock::now() < *task_.request.deadline;
  }

  /// One further question: searched, answered under its heading, or kept for the end.
  void follow(Question& question) {
    if (task_.ended() || !in_time() || idle_ >= kIdleRounds) return;
    const size_t read = task_.answer.read.size();
    const size_t claims = task_.out.claims();
    Findings findings = find_answer(task_, question.plan, question.text);
    if (question.kind == Question::Kind::kNext) findings.quotes = announced(findings.reading);
    if (question.kind == Question::Kind::kDispute) findings.quotes = disputes(findings.reading);
    if (question.kind == Question::Kind::kAsked && !meets(question.plan, findings.quotes))
      findings.quotes.clear();
    const bool found = !findings.quotes.empty();
    keep_new(findings);
    task_.out.heading(question.text);
    // What was told above already answers it and is not said again.
    const bool repeats = found && findings.quotes.empty();
    if (!repeats && !tell(question.plan, findings)) unsaid_.push_back(question.text);
    idle_ = task_.answer.read.size() == read && task_.out.claims() == claims ? idle_ + 1 : 0;
  }

  /// Has the kind of thing that is asked for: a question that nobody asked needs no second best.
  static bool meets(const Plan& plan, const std::vector<ChosenQuote>& quotes) {
    const bool picky =
        plan.ask == Ask::kWho || plan.ask == Ask::kWhy || plan.ask == Ask::kWhen || plan.ask == Ask::kWhere;
    return !picky || (!quotes.empty() && quotes.front().quote.answers);
  }

  bool tell(const Plan& plan, Findings& findings) {
    if (!write_answer(task_, plan, findings)) return false;
    for (const ChosenQuote& chosen : findings.quotes) {
      const Evidence& e = findings.reading.evidence[chosen.quote.index];
      if (said_.insert(place(e, chosen.quote)).second) told_.push_back({e, chosen.quote.passage});
    }
    return true;
  }

  using Place = std::pair<std::string, size_t>;
  static Place place(const Evidence& evidence, const Quote& quote) {
    return {evidence.post.key(), quote.passage.begin};
  }

  /// Without what was said before. What stands beside an answer that was is not told alone.
  void keep_new(Findings& findings) const {
    std::vector<ChosenQuote>& quotes = findings.quotes;
    const auto said = [&](const ChosenQuote& chosen) {
      return said_.contains(place(findings.reading.evidence[chosen.quote.index], chosen.quote));
    };
    if (!quotes.empty() && quotes.front().role == QuoteRole::kAnswer && said(quotes.front())) quotes.clear();
    std::erase_if(quotes, said);
  }

  /// Posts that may be quoted for the plan that they were read for.
  static std::vector<size_t> usable(const Reading& reading) {
    std::vector<size_t> out;
    for (size_t i = 0; i < reading.evidence.size(); ++i)
      if (reading.evidence[i].trust >= 0.9 && reading.relevance->passes(reading.evidence[i]))
        out.push_back(i);
    return out;
  }

  /// Sentences about the subject that tell of what is still to come, the newest first.
  static std::vector<ChosenQuote> announced(const Reading& reading) {
    std::vector<ChosenQuote> out;
    for (const size_t i : usable(reading)) {
      const Evidence& e = reading.evidence[i];
      for (const Span sentence : e.sentences) {
        const Span passage = clean_span(e.post.text, sentence);
        const bool asks = slice(e.post.text, passage).find('?') != std::string_view::npos;
        const bool tells = std::ranges::any_of(e.words, [&](const Word& word) {
          return word.span.begin >= passage.begin && word.span.end <= passage.end && announces(word.folded);
        });
        const double covered = passage.size() == 0 ? 0 : reading.relevance->coverage(e, passage);
        if (asks || !tells || covered < kAbout) continue;
        out.push_back({{i, passage, covered, {}, true}, QuoteRole::kMore});
        break;
      }
    }
    std::ranges::stable_sort(out, [&](const ChosenQuote& a, const ChosenQuote& b) {
      return reading.evidence[a.quote.index].post.created_at >
             reading.evidence[b.quote.index].post.created_at;
    });
    if (out.size() > kQuotes) out.resize(kQuotes);
    return out;
  }

  /// Who says otherwise than what was told so far, and who denies or corrects something about the subject.
  std::vector<ChosenQuote> disputes(const Reading& reading) const {
    const std::vector<size_t> among = usable(reading);
    std::vector<ChosenQuote> out;
    std::set<Place> had;
    const auto add = [&](size_t index, Span passage, QuoteRole role) {
      const ChosenQuote chosen{{index, passage, 1, {}, true}, role};
      if (out.size() < kQuotes && had.insert(place(reading.evidence[index], chosen.quote)).second)
        out.push_back(chosen);
    };
    for (const Told& told : told_) {
      const auto dispute = find_dispute(reading.evidence, among, told.evidence, told.passage);
      if (!dispute) continue;
      const bool earlier = reading.evidence[dispute->index].post.created_at < told.evidence.post.created_at;
      add(dispute->index, dispute->passage,
          dispute->figure && earlier ? QuoteRole::kEarlier : QuoteRole::kDiffers);
    }
    for (const size_t i : among) {
      const Evidence& e = reading.evidence[i];
      for (const Span sentence : e.sentences) {
        const Span passage = clean_span(e.post.text, sentence);
        const std::string lower = to_lower_ascii(slice(e.post.text, passage));
        if (passage.size() > 0 && lower.find('?') == std::string::npos && (refutes(lower) || corrects(lower)))
          add(i, passage, QuoteRole::kDiffers);
      }
    }
    return out;
  }

  /// What the posts do not say; where they say nothing at all, what was searched for.
  void close() {
    if (task_.ended()) return;
    if (task_.out.claims() == 0) return say_nothing_found(task_);
    if (unsaid_.empty()) return;
    task_.out.heading(task_.phrases.unsaid);
    for (const std::string& question : unsaid_) task_.out.remark("- " + question, "\n");
  }

  struct Told {
    Evidence evidence;
    Span passage;
  };

  const Task& task_;
  const Plan& plan_;
  const Reading* reading_ = nullptr;  // of the first question
  std::vector<Told> told_;
  std::set<Place> said_;
  std::vector<std::string> unsaid_;
  size_t idle_ = 0;
};

}  // namespace

void go_deep(const Task& task, const Plan& plan) { Investigation(task, plan).run(); }

}  // namespace fathom::answer
