// Chooses the next token from logits, and says how likely the model itself found it.
//
// Order: bias, penalties, what the grammar allows, temperature, top-k, top-p, min-p, then the draw. Nothing sorts the
// vocabulary: the likeliest are found through the maxima of blocks, the nucleus through falling thresholds.
//
// Owns its random generator and scratch memory: one sampler a generation, not thread-safe. The same seed and logits give
// the same tokens on every machine of one architecture (the arithmetic is plain float, without dispatch).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/random.h"
#include "infer/engine.h"

namespace fathom::infer {

class GrammarMatcher;  // infer/grammar.h

/// `vocabulary`: how many tokens there are, for the ids of logit_bias; 0: not known, any id from 0 on is good.
/// Errors: kInvalidArgument, naming the field and its range.
void check_sampling(const Sampling& sampling, size_t vocabulary = 0);

/// The token with its log-probability and the `top` likeliest ones: natural logarithms of the softmax of `logits`, which are
/// the model's own (before `sample`, which changes them). REQUIRES: logits finite, 0 <= token < logits.size(), top >= 0.
TokenChoice describe(std::span<const float> logits, int32_t token, int top);

class Sampler {
 public:
  explicit Sampler(const Sampling& sampling);

  /// `logits` is changed. `history`: prompt and completion so far, its first `prompt_tokens` are the prompt. The repetition
  /// penalty looks at the last repeat_window tokens of both; frequency and presence penalties, as OpenAI has them, at all of
  /// the completion and not at the prompt. `matcher`: only what it allows is chosen; null: anything. The caller tells the
  /// matcher which token came. Errors: kUnsupported, when the vocabulary has nothing that the matcher allows. REQUIRES:
  /// logits are finite, not empty; tokens of history are in range.
  int32_t sample(std::span<float> logits, std::span<const int32_t> history, size_t prompt_tokens = 0,
                 GrammarMatcher* matcher = nullptr);
  /// The same, but gives up at `until` where the matcher's mask takes so long. Empty: the next call, with all arguments as
  /// they are now, goes on with it.
  std::optional<int32_t> sample(std::span<float> logits, std::span<const int32_t> history,
                                size_t prompt_tokens, GrammarMatcher* matcher,
                                std::chrono::steady_clock::time_point until);
  /// A choice is under way that the next call goes on with.
  bool underway() const { return underway_; }
  /// It will not: the logits are gone and come again as they were at first.
  void start_over() { underway_ = false; }

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };

  void count(std::span<const int32_t> tokens, size_t vocabulary);
  void forget_counts();
  void penalise(std::span<float> logits, std::span<const int32_t> history, size_t prompt_tokens);
  int32_t choose(std::span<float> logits, GrammarMatcher* matcher);
  void keep_top_k(std::span<const float> logits);
  void keep_top_p(std::span<const float> logits);
  void keep_min_p();
  void cut_nucleus(double wanted, float max);
  int32_t draw();
  int32_t draw_any(std::span<const float> logits);

  Sampling sampling_;
  Random random_;
  std::vector<Candidate> candidates_;
  std::vector<float> scratch_;    // block maxima, or weights of all tokens
  std::vector<uint32_t> counts_;  // [vocabulary], zero between calls
  std::vector<int32_t> counted_;  // the tokens whose counts are not zero
  bool underway_ = false;         // the logits have their penalties
};

}  // namespace fathom::infer
