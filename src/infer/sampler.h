// Chooses the next token from logits.
//
// Owns its random generator and scratch memory: one sampler a generation, not thread-safe. The same seed and logits give
// the same tokens on every machine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "infer/engine.h"

namespace fathom::infer {

/// Errors: kInvalidArgument, naming the field and its range.
void check_sampling(const Sampling& sampling);

class Sampler {
 public:
  explicit Sampler(const Sampling& sampling);

  /// `logits` is changed. `history`: prompt and completion so far; penalties look at its last repeat_window tokens.
  /// REQUIRES: logits are finite, not empty.
  int32_t sample(std::span<float> logits, std::span<const int32_t> history);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };

  void penalise(std::span<float> logits, std::span<const int32_t> history);
  void keep_top_k(std::span<const float> logits);
  void keep_top_p();
  void keep_min_p();
  int32_t draw();

  Sampling sampling_;
  Random random_;
  std::vector<Candidate> candidates_;
  std::vector<int32_t> recent_;
};

}  // namespace fathom::infer
