#include "answer/further.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "answer/dispute.h"
#include "answer/generate.h"
#include "answer/model_plan.h"
#include "answer/thinking.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kNames = 3;              // found in the posts, that are asked about
constexpr size_t kFewPosts = 6;           // fewer than this: a name in one of them will do
constexpr size_t kLongestQuestion = 160;  // bytes of one that a model proposes
constexpr size_t kShownPosts = 8;         // to a model that proposes
constexpr size_t kProposedTokens = 160;

constexpr std::string_view kProposeInstructions =
    "You read numbered posts and a question about them. Write further questions that a careful reader would "
    "ask next, one a "
    "line, each about the same subject and naming it, without numbers.";

/// The subject alone: nothing is counted, nobody in particular speaks.
Plan about_subject(const Plan& plan, Ask ask) {
  Plan out;
  out.ask = ask;
  out.window = plan.window;
  out.terms = plan.terms;
  for (Term& term : out.terms) term.focus = false;
  if (out.terms.empty()) {
    for (const Word& word : plan.speaker_names) {
      Term term;
      term.word = word;
      out.terms.push_back(term);
    }
  }
  return out;
}

Question question_of(Question::Kind kind, std::string text, Plan plan) {
  plan.question = text;
  plan.resolved = text;
  return {kind, std::move(text), std::move(plan)};
}

bool in_plan(const Plan& plan, const Word& word) {
  return std::ranges::any_of(plan.terms, [&](const Term& term) {
    return term.word.stem == word.stem || term.word.folded == word.folded;
  });
}

/// Things and names with the authors who mention them, the most mentioned first.
template <class Key>
std::vector<std::pair<Key, size_t>> by_authors(const std::map<Key, std::set<std::string>>& authors) {
  std::vector<std::pair<Key, size_t>> out;
  for (const auto& [key, who] : authors) out.emplace_back(key, who.size());
  std::ranges::stable_sort(out, [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

/// Rules over the posts that pass the gate.
class Raiser {
 public:
  Raiser(const Task& task, const Plan& plan, const Reading& reading)
      : task_(task), plan_(plan), subject_(subject_of(plan)) {
    for (const Evidence& e : reading.evidence)
      if (e.trust >= 0.9 && reading.relevance->passes(e)) posts_.push_back(&e);
  }

  std::vector<Question> run() {
    const Phrases& p = task_.phrases;
    ask(Ask::kWho, p.who);
    count_things();
    ask(Ask::kWhy, p.why);
    add(Question::Kind::kNext, p.next, next_plan());
    add(Question::Kind::kDispute, p.disputes, about_subject(plan_, Ask::kWhat));
    ask_names();
    ask(Ask::kWhen, p.when);
    ask(Ask::kWhere, p.where);
    return std::move(out_);
  }

 private:
  void add(Question::Kind kind, std::string_view phrase, Plan plan) {
    if (kind != Question::Kind::kAsked) plan.overview = true;
    out_.push_back(question_of(kind, fmt::format("{}: {}", subject_, phrase), std::move(plan)));
  }

  /// Unless that is the question itself.
  void ask(Ask what, std::string_view phrase) {
    if (plan_.ask == what) return;
    Plan plan = about_subject(plan_, what);
    plan.past = what == Ask::kWhen;
    add(Question::Kind::kAsked, phrase, std::move(plan));
  }

  Plan next_plan() const {
    Plan plan = about_subject(plan_, Ask::kWhat);
    plan.latest = true;
    return plan;
  }

  /// What most posts count.
  void count_things() {
    std::map<std::string, std::set<std::string>> authors;
    std::map<std::string, Word> words;
    for (const Evidence* e : posts_) {
      for (const Fact& fact : e->facts) {
        const Word* thing =
            fact.kind == FactKind::kNumber ? counted(*e, fact, {0, e->post.text.size()}) : nullptr;
        if (thing == nullptr || thing->kind != WordKind::kWord || thing->has_digit() || is_name(*thing))
          continue;
        if (month_number(thing->folded) > 0 || weekday_number(thing->folded) > 0) continue;
        authors[thing->stem].insert(e->handle);
        words.try_emplace(thing->stem, *thing);
      }
    }
    const auto most = by_authors(authors);
    if (most.empty() || (plan_.ask == Ask::kHowMany && in_plan(plan_, words.at(most.front().first)))) return;
    const Word& word = words.at(most.front().first);
    Plan plan = about_subject(plan_, Ask::kHowMany);
    plan.strict = true;
    std::erase_if(plan.terms, [&](const Term& term) { return term.word.stem == word.stem; });
    Term term;
    term.word = word;
    term.focus = true;
    plan.terms.push_back(std::move(term));
    add(Question::Kind::kAsked, say(task_.phrases.how_many, word.folded), std::move(plan));
  }

  void ask_names() {
    std::map<std::string, std::set<std::string>> authors;
    std::map<std::string, std::vector<Word>> words;
    for (const Evidence* e : posts_) {
      for (const std::vector<Word>& name : names_in(*e)) {
        const std::string text(
            e->post.text.substr(name.front().span.begin, name.back().span.end - name.front().span.begin));
        authors[text].insert(e->handle);
        words.try_emplace(text, name);
      }
    }
    const size_t least = posts_.size() < kFewPosts ? 1 : 2;
    size_t raised = 0;
    for (const auto& [name, count] : by_authors(authors)) {
      if (count < least || raised >= kNames) break;
      add(Question::Kind::kName, name + "?", name_plan(words.at(name)));
      ++raised;
    }
  }

  /// Runs of capitals within a sentence that the question does not name itself.
  std::vector<std::vector<Word>> names_in(const Evidence& e) const {
    std::vector<std::vector<Word>> out;
    for (size_t i = 0; i < e.words.size(); ++i) {
      const Word& word = e.words[i];
      const bool plain = word.kind == WordKind::kWord && is_name(word) && !word.opens && !word.all_caps &&
                         word.folded.size() >= 3 && month_number(word.folded) == 0 &&
                         weekday_number(word.folded) == 0 && !in_plan(plan_, word);
      // "Fire & Rescue", where the question has the fire: half a name is none.
      const bool half = i > 0 && in_plan(plan_, e.words[i - 1]) && e.words[i - 1].capital &&
                        word.span.begin <= e.words[i - 1].span.end + 3;
      if (!plain || half) continue;
      const bool goes_on = !out.empty() && i > 0 && out.back().back().span == e.words[i - 1].span &&
                           word.span.begin == e.words[i - 1].span.end + 1 &&
                           e.post.text[e.words[i - 1].span.end] == ' ';
      if (goes_on && out.back().size() < 3) {
        out.back().push_back(word);
      } else {
        out.push_back({word});
      }
    }
    return out;
  }

  /// The name must be there; what the question is about tells which posts are in this matter.
  Plan name_plan(const std::vector<Word>& name) const {
    Plan plan = about_subject(plan_, Ask::kWhat);
    for (Term& term : plan.terms) {
      term.name = false;
      term.run = 0;
    }
    for (const Word& word : name) {
      Term term;
      term.word = word;
      term.name = true;
      term.run = 1;
      plan.terms.insert(plan.terms.begin(), term);
    }
    return plan;
  }

  const Task& task_;
  const Plan& plan_;
  const std::string subject_;
  std::vector<const Evidence*> posts_;
  std::vector<Question> out_;
};

bool known_somewhere(const Reading& reading, const Word& word, const Plan& plan) {
  return in_plan(plan, word) ||
         std::ranges::any_of(reading.evidence, [&](const Evidence& e) { return e.has(word); });
}

/// A line of the model's as a question, if it is one about the subject and takes nothing for granted that no post has.
std::optional<Question> checked(std::string_view line, const Task& task, const Plan& plan,
                                const Reading& reading) {
  line = trim(line);
  const size_t start = line.find_first_not_of("0123456789.)-*\xE2\x80\xA2 ");
  if (start == std::string_view::npos) return std::nullopt;
  const std::string text = as_data(line.substr(start), kLongestQuestion);
  if (!text.ends_with('?') || text.find_first_of("()\"#") != std::string::npos) return std::nullopt;
  Plan asked = plan_question(text, task.now);
  size_t strong = 0, kept = 0;
  for (const Term& term : plan.terms) {
    const bool has = in_plan(asked, term.word);
    if (term.name && !has) return std::nullopt;
    strong += term.weak ? 0 : 1;
    kept += has && !term.weak ? 1 : 0;
  }
  const bool grounded = std::ranges::all_of(asked.terms, [&](const Term& term) {
    return !(term.name || term.word.has_digit()) || known_somewhere(reading, term.word, plan);
  });
  if (2 * kept < strong || kept == 0 || !grounded || asked.terms.empty()) return std::nullopt;
  return Question{Question::Kind::kAsked, text, std::move(asked)};
}

std::string proposal(const Task& task, const Plan& plan, const Reading& reading) {
  std::string posts;
  for (size_t i = 0; i < std::min(reading.evidence.size(), kShownPosts); ++i)
    posts += fmt::format("[{}] {}\n", i + 1, as_data(reading.evidence[i].post.text, 280));
  infer::GenerateRequest generation;
  generation.prompt =
      chat_prompt(*task.engine,
                  {{"system", std::string(kProposeInstructions)},
                   {"user", "Posts:\n" + posts + "\nQuestion: " + as_data(plan.resolved, 1000)}},
                  false);
  if (generation.prompt.size() + kProposedTokens > task.engine->info().context) return {};
  generation.max_tokens = kProposedTokens;
  generation.deadline = task.request.deadline;
  generation.sampling.temperature = 0;
  std::string out;
  const auto result = generate_with_thoughts(
      *task.engine, generation,
      [&](std::string_view piece) {
        out += piece;
        return true;
      },
      task.events, task.answer, task.stop);
  count_tokens(result, task.answer);
  return out;
}

}  // namespace

std::string subject_of(const Plan& plan) {
  constexpr size_t kLongest = 100;
  std::string words;
  Span written{plan.question.size(), 0};
  bool whole = true;  // nothing of it is from an earlier turn
  for (const Term& term : plan.terms) {
    if (term.weak && plan.terms.size() > 1) continue;
    words += (words.empty() ? "" : " ") + term.word.folded;
    whole = whole && !term.carried && term.word.span.end <= plan.question.size();
    written = {std::min(written.begin, term.word.span.begin), std::max(written.end, term.word.span.end)};
  }
  for (const Word& word : plan.speaker_names)
    if (words.empty()) words = word.folded;
  if (whole && written.begin < written.end && written.size() <= kLongest)
    return as_data(slice(plan.question, written), kLongest);
  return as_data(words.empty() ? trim(plan.question) : std::string_view(words), kLongest);
}

std::vector<Question> further_questions(const Task& task, const Plan& plan, const Reading& reading) {
  return Raiser(task, plan, reading).run();
}

std::vector<Question> proposed_questions(const Task& task, const Plan& plan, const Reading& reading,
                                         size_t most) {
  const bool able =
      task.generates() && !task.engine->info().cites && task.engine->info().parameters >= kPlanningModel;
  if (!able || most == 0 || task.ended()) return {};
  std::vector<Question> out;
  std::string lines;
  try {
    lines = proposal(task, plan, reading);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDeadlineExceeded) throw;
  }
  for (const std::string_view line : split(lines, '\n')) {
    if (out.size() >= most) break;
    auto question = checked(line, task, plan, reading);
    const bool fresh = question && !equals_ignore_case(question->text, trim(plan.question)) &&
                       std::ranges::none_of(out, [&](const Question& other) {
                         return equals_ignore_case(other.text, question->text);
                       });
    if (fresh) out.push_back(std::move(*question));
  }
  return out;
}

}  // namespace fathom::answer
