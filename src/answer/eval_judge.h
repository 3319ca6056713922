// How good answers are: each is compared with the accepted strings and the posts that state them.
//
// Measures, over a set of questions (a question without accepted strings is one that the posts do not answer):
//   answer precision   answers that hold an accepted string, of all answers that were no refusal
//   answer recall      of all questions that can be answered; answer F1 is the harmonic mean of the two
//   token F1           words in common with the nearest accepted string (SQuAD's measure; whole sentences score low), a right
//                      refusal 1; the mean over all questions
//   citation precision citations of a post that is gold or states an accepted string, of all citations
//   citation recall    answerable questions with such a citation
//   wrong citations    citations whose post does not support the sentence they stand behind (answer/check.h), of all
//   refusals           right: of the questions without an answer; wrong: of those with one
//
// Pure functions on plain values.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "answer/eval_questions.h"

namespace fathom::answer {

/// An answer as it is judged: the text with its marks, and for each mark the sentence before it and the post.
struct JudgedAnswer {
  struct Mark {
    std::string claim;
    live::Post post;
  };
  std::string text;
  std::vector<Mark> marks;
  bool refused = false;
};

struct Verdict {
  bool answerable = false;
  bool refused = false;
  bool right = false;  // holds an accepted string; of a question without an answer: was refused
  double token_f1 = 0;
  size_t citations = 0;
  size_t right_citations = 0;
  size_t wrong_citations = 0;
};

Verdict judge(const EvalQuestion& question, const JudgedAnswer& answer);

/// Words in common, as SQuAD counts them: without case, punctuation and articles.
double token_f1(std::string_view text, std::string_view accepted);

struct Score {
  size_t questions = 0, answerable = 0, answered = 0, right_answers = 0;
  size_t right_refusals = 0, wrong_refusals = 0;
  size_t citations = 0, right_citations = 0, wrong_citations = 0, well_cited = 0;
  double token_f1_sum = 0;

  void add(const Verdict& verdict);
  double answer_precision() const;
  double answer_recall() const;
  double answer_f1() const;
  double token_f1() const;
  double citation_precision() const;
  double citation_recall() const;
  double wrong_citation_rate() const;
  double right_refusal_rate() const;  // of the questions that cannot be answered
  double wrong_refusal_rate() const;  // of those that can
};

nlohmann::json to_json(const Score& score);

}  // namespace fathom::answer
