// Guesses the next tokens from what followed the same words earlier in the text (prompt lookup: Saxena, 2023; the
// draft-and-verify step is that of Leviathan et al., 2023). A guess costs nothing to make and little to verify along with
// the token that is due anyway; an answer that quotes its prompt is full of good ones.
//
// The number of tokens guessed follows what was accepted lately; after guesses that were all wrong it waits, each time
// longer, so that a text that repeats nothing is hardly slowed. A value; not thread-safe; deterministic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fathom::infer {

class PromptLookup {
 public:
  /// Most tokens of a guess.
  static constexpr size_t kMost = 10;

  /// Fills `guess` with at most `most` tokens that may follow `history`; empty when nothing fits or it is waiting.
  void propose(std::span<const int32_t> history, size_t most, std::vector<int32_t>& guess);
  /// How the last guess fared: so many tokens, so many of them as they came. REQUIRES: proposed > 0.
  void learn(size_t proposed, size_t accepted);

 private:
  size_t length_ = 4;   // of the next guess
  size_t pause_ = 0;    // steps until the next one
  size_t penalty_ = 0;  // of the next failure, in steps
};

}  // namespace fathom::infer
