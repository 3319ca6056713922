// The micro-batches of a step, for one data rank, out of a dataset.
//
// Owned by one rank; not thread-safe. The dataset outlives it. Memory is allocated at construction only.
#pragma once

#include <cstdint>
#include <vector>

#include "train/batch.h"
#include "train/dataset.h"
#include "train/layout.h"

namespace fathom::train {

class SampleSource {
 public:
  /// `slots`: micro-batches whose memory is apart.
  SampleSource(const Dataset& dataset, uint64_t seed, size_t micro, size_t length, size_t slots);

  /// Micro-batch `index` of data rank `rank` of `ranks`, of the batch that begins with sample `first` of the run: the
  /// batch's micro-batches go round the ranks. Valid until the next call with the same index modulo slots.
  MicroBatch read(uint64_t first, size_t index, size_t rank, size_t ranks);

 private:
  const Dataset& dataset_;
  uint64_t seed_;
  size_t micro_, length_, slots_;
  std::vector<int32_t> tokens_, targets_, starts_;  // [slots, micro, length]
};

}  // namespace fathom::train
