// How good answers are: each is compared with the accepted strings and the posts that state them.
//
// Measures, over a set of questions (a question without accepted strings is one that the posts do not answer):
//   answer precision   answers that hold an accepted string, of all answers that were no refusal
//   answer recall      of all questions that can be answered; answer F1 is the harmonic mean of the two
//   token F1           words in common with the nearest accepted string (SQuAD's measure; whole sentences score low), a right
//                      refusal 1; the mean over all questions
// Citations are judged as ALCE does (Gao et al. 2023, eval.py), with the provenance of the posts in place of its entailment
// model: a post entails a statement (the sentence that a mark stands behind) when the post is gold, when it states an accepted
// string, or when the truth lists it among the posts of a value that the statement states (what was true before, and is told
// as such, is cited rightly too). Joint entailment is then entailment by one of the posts, and ALCE's two measures are
//   citation precision citations whose post entails their statement, of all citations
//   citation recall    statements with such a citation, of all statements that claim something: those with a mark, and those
//                      without one (uncited)
// Besides:
//   well cited         answerable questions with a citation of a post that is gold or states an accepted string
//   wrong citations    citations whose post does not support the sentence they stand behind, of all: its words, when it is a
//                      quotation, else by answer/check.h
//   uncited            statements without a mark that state a number, a name or a quotation, of all statements
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
#include "answer/words.h"

namespace fathom::answer {

/// An answer as it is judged: the text with its marks, and for each mark the sentence before it and the post.
struct JudgedAnswer {
  struct Mark {
    std::string claim;
    live::Post post;
  };
  std::string text;
  std::vector<Mark> marks;
  size_t uncited = 0;  // sentences outside of every claim that state something
  bool refused = false;
};

struct Verdict {
  bool answerable = false;
  bool refused = false;
  bool right = false;  // holds an accepted string; of a question without an answer: was refused
  double token_f1 = 0;
  bool well_cited = false;
  size_t citations = 0;
  size_t right_citations = 0;
  size_t wrong_citations = 0;
  size_t statements = 0;        // cited or not
  size_t right_statements = 0;  // entailed by a post they cite
  size_t uncited = 0;
};

Verdict judge(const EvalQuestion& question, const JudgedAnswer& answer);

/// How many sentences of an answer state a number, a name or a quotation outside of the spans (of claims, in order) given.
size_t count_uncited(std::string_view text, const std::vector<Span>& claims);

/// Words in common, as SQuAD counts them: without case, punctuation and articles.
double token_f1(std::string_view text, std::string_view accepted);

struct Score {
  size_t questions = 0, answerable = 0, answered = 0, right_answers = 0;
  size_t right_refusals = 0, wrong_refusals = 0;
  size_t citations = 0, right_citations = 0, wrong_citations = 0, well_cited = 0;
  size_t statements = 0, right_statements = 0, uncited = 0;
  double token_f1_sum = 0;

  void add(const Verdict& verdict);
  double answer_precision() const;
  double answer_recall() const;
  double answer_f1() const;
  double token_f1() const;
  double citation_precision() const;
  double citation_recall() const;
  double well_cited_rate() const;  // of the questions that can be answered
  double wrong_citation_rate() const;
  double uncited_rate() const;        // of the statements
  double right_refusal_rate() const;  // of the questions that cannot be answered
  double wrong_refusal_rate() const;  // of those that can
};

nlohmann::json to_json(const Score& score);

}  // namespace fathom::answer
