#include "answer/eval_judge.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "answer/check.h"
#include "answer/words.h"
#include "live/world.h"

namespace fathom::answer {
namespace {

double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

bool states_any(std::string_view text, const std::vector<std::string>& accepted) {
  return std::ranges::any_of(accepted, [&](const std::string& answer) { return live::states(text, answer); });
}

/// A quotation is judged by its words, without who is said to have written them.
std::string_view words_of(std::string_view claim) {
  const size_t open = claim.find('"');
  const size_t close = claim.rfind('"');
  return open < close && close != std::string_view::npos ? claim.substr(open + 1, close - open - 1) : claim;
}

std::vector<std::string> counted_words(std::string_view text) {
  std::vector<std::string> out;
  for (const Word& word : split_words(text))
    if (word.folded != "a" && word.folded != "an" && word.folded != "the") out.push_back(word.folded);
  std::ranges::sort(out);
  return out;
}

}  // namespace

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
  for (const JudgedAnswer::Mark& mark : answer.marks) {
    const bool gold = std::ranges::find(question.gold_posts, mark.post.id) != question.gold_posts.end();
    ++out.citations;
    out.right_citations += gold || states_any(mark.post.text, question.answers) ? 1 : 0;
    out.wrong_citations += check_support(words_of(mark.claim), prepare(mark.post)).supported ? 0 : 1;
  }
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
  well_cited += v.answerable && v.right_citations > 0 ? 1 : 0;
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
          {"wrong_citation_rate", s.wrong_citation_rate()},
          {"right_refusal_rate", s.right_refusal_rate()},
          {"wrong_refusal_rate", s.wrong_refusal_rate()}};
}

}  // namespace fathom::answer
