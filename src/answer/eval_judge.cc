#include "answer/eval_judge.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "answer/check.h"
#include "answer/facts.h"
#include "answer/words.h"
#include "live/world.h"

namespace fathom::answer {
namespace {

double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

bool states_any(std::string_view text, const std::vector<std::string>& accepted) {
  return std::ranges::any_of(accepted, [&](const std::string& answer) { return live::states(text, answer); });
}

/// The words in quotation marks; empty when there are none.
std::string_view quotation_in(std::string_view claim) {
  const size_t open = claim.find('"');
  const size_t close = claim.rfind('"');
  return open < close && close != std::string_view::npos ? claim.substr(open + 1, close - open - 1)
                                                         : std::string_view();
}

std::vector<std::string> folded_words(std::string_view text) {
  std::vector<std::string> out;
  for (const Word& word : split_words(text)) out.push_back(word.folded);
  return out;
}

/// A quotation is judged by its words, which stand in the post as they are, white space and marks aside.
bool supports(const live::Post& post, std::string_view claim) {
  const std::string_view quotation = quotation_in(claim);
  if (quotation.empty()) return check_support(claim, prepare(post)).supported;
  const std::vector<std::string> said = folded_words(post.text), quoted = folded_words(quotation);
  return quoted.empty() || std::search(said.begin(), said.end(), quoted.begin(), quoted.end()) != said.end();
}

bool is_gold(const EvalQuestion& question, const live::Post& post) {
  return std::ranges::find(question.gold_posts, post.id) != question.gold_posts.end() ||
         states_any(post.text, question.answers);
}

bool entails(const EvalQuestion& question, const live::Post& post, std::string_view statement) {
  return is_gold(question, post) || std::ranges::any_of(question.provenance, [&](const EvalFact& fact) {
           return std::ranges::find(fact.posts, post.id) != fact.posts.end() &&
                  states_any(statement, fact.accepted);
         });
}

bool states_something(std::string_view sentence) {
  const std::vector<Word> words = split_words(sentence);
  return sentence.find('"') != std::string_view::npos || !find_facts(sentence, words).empty() ||
         std::ranges::any_of(words, [](const Word& word) { return is_name(word) && !word.opens; });
}

std::vector<std::string> counted_words(std::string_view text) {
  std::vector<std::string> out;
  for (const Word& word : split_words(text))
    if (word.folded != "a" && word.folded != "an" && word.folded != "the") out.push_back(word.folded);
  std::ranges::sort(out);
  return out;
}

}  // namespace

size_t count_uncited(std::string_view text, const std::vector<Span>& claims) {
  size_t out = 0;
  for (const Span sentence : split_sentences(text)) {
    const bool claimed = std::ranges::any_of(
        claims, [&](Span claim) { return claim.begin < sentence.end && sentence.begin < claim.end; });
    if (!claimed && states_something(slice(text, sentence))) ++out;
  }
  return out;
}

double token_f1(std::string_view text, std::string_view accepted) {
  const std::vector<std::string> said = counted_words(text);
  const std::vector<std::string> wanted = counted_words(accepted);
  std::vector<std::string> common;
  std::ranges::set_intersection(said, wanted, std::back_inserter(common));
  return share(2 * static_cast<double>(common.size()), static_cast<double>(said.size() + wanted.size()));
}

Verdict judge(const EvalQuestion& question, const JudgedAnswer& answer) {
  Verdict out;
  out.answerable = !question.answers.empty();
  out.refused = answer.refused;
  if (out.refused) {
    out.right = !out.answerable;
    out.token_f1 = out.right ? 1 : 0;
    return out;
  }
  const std::string plain = strip_marks(answer.text).text;
  out.right = states_any(plain, question.answers);
  for (const std::string& accepted : question.answers)
    out.token_f1 = std::max(out.token_f1, token_f1(plain, accepted));
  std::map<std::string_view, bool> statements;
  for (const JudgedAnswer::Mark& mark : answer.marks) {
    const bool right = entails(question, mark.post, mark.claim);
    ++out.citations;
    out.right_citations += right ? 1 : 0;
    out.wrong_citations += supports(mark.post, mark.claim) ? 0 : 1;
    statements[mark.claim] |= right;
    out.well_cited |= out.answerable && is_gold(question, mark.post);
  }
  out.uncited = answer.uncited;
  out.statements = statements.size() + answer.uncited;
  for (const auto& [claim, right] : statements) out.right_statements += right ? 1 : 0;
  return out;
}

void Score::add(const Verdict& v) {
  ++questions;
  answerable += v.answerable ? 1 : 0;
  answered += v.refused ? 0 : 1;
  right_answers += v.answerable && v.right ? 1 : 0;
  right_refusals += v.refused && !v.answerable ? 1 : 0;
  wrong_refusals += v.refused && v.answerable ? 1 : 0;
  citations += v.citations;
  right_citations += v.right_citations;
  wrong_citations += v.wrong_citations;
  well_cited += v.well_cited ? 1 : 0;
  statements += v.statements;
  right_statements += v.right_statements;
  uncited += v.uncited;
  token_f1_sum += v.token_f1;
}

double Score::answer_precision() const {
  return share(static_cast<double>(right_answers), static_cast<double>(answered));
}
double Score::answer_recall() const {
  return share(static_cast<double>(right_answers), static_cast<double>(answerable));
}
double Score::answer_f1() const {
  return share(2 * static_cast<double>(right_answers), static_cast<double>(answered + answerable));
}
double Score::token_f1() const { return share(token_f1_sum, static_cast<double>(questions)); }
double Score::citation_precision() const {
  return share(static_cast<double>(right_citations), static_cast<double>(citations));
}
double Score::citation_recall() const {
  return share(static_cast<double>(right_statements), static_cast<double>(statements));
}
double Score::uncited_rate() const {
  return share(static_cast<double>(uncited), static_cast<double>(statements));
}
double Score::well_cited_rate() const {
  return share(static_cast<double>(well_cited), static_cast<double>(answerable));
}
double Score::wrong_citation_rate() const {
  return share(static_cast<double>(wrong_citations), static_cast<double>(citations));
}
double Score::right_refusal_rate() const {
  return share(static_cast<double>(right_refusals), static_cast<double>(questions - answerable));
}
double Score::wrong_refusal_rate() const {
  return share(static_cast<double>(wrong_refusals), static_cast<double>(answerable));
}

nlohmann::json to_json(const Score& s) {
  return {{"questions", s.questions},
          {"answerable", s.answerable},
          {"answered", s.answered},
          {"answer_precision", s.answer_precision()},
          {"answer_recall", s.answer_recall()},
          {"answer_f1", s.answer_f1()},
          {"token_f1", s.token_f1()},
          {"citations", s.citations},
          {"citation_precision", s.citation_precision()},
          {"citation_recall", s.citation_recall()},
          {"well_cited_rate", s.well_cited_rate()},
          {"wrong_citation_rate", s.wrong_citation_rate()},
          {"statements", s.statements},
          {"uncited_rate", s.uncited_rate()},
          {"right_refusal_rate", s.right_refusal_rate()},
          {"wrong_refusal_rate", s.wrong_refusal_rate()}};
}

}  // namespace fathom::answer
