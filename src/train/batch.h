// What one rank computes at once. Views; the memory is the dataset reader's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fathom::train {

/// `sequences` rows of `length` tokens, each row whole documents or parts of them one after another.
struct MicroBatch {
  size_t sequences = 0;
  size_t length = 0;
  std::span<const int32_t> tokens;   // [sequences, length]
  std::span<const int32_t> targets;  // the next token; -1: no loss
  std::span<const int32_t>
      starts;  // where in its row a token's document begins: it sees nothing before, and its
               // position is counted from there

  size_t size() const { return sequences * length; }
};

/// What a pass adds up to. Sums, so that the parts of a batch add up whatever their sizes; `tokens` counts those with a
/// loss.
struct LossSums {
  double loss = 0;  // cross-entropy, nats, and z-loss
  double tokens = 0;
  double balance = 0;  // the experts' load-balancing loss, weighted; over sequences and layers
  double dropped = 0;  // choices of experts beyond their capacity
  double choices = 0;  // all choices of experts

  LossSums& operator+=(const LossSums& other);
};

}  // namespace fathom::train
