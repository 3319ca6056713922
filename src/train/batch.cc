#include "train/batch.h"

namespace fathom::train {

LossSums& LossSums::operator+=(const LossSums& other) {
  loss += other.loss;
  tokens += other.tokens;
  balance += other.balance;
  dropped += other.dropped;
  choices += other.choices;
  return *this;
}

}  // namespace fathom::train
