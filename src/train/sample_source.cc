#include "train/sample_source.h"

namespace fathom::train {

SampleSource::SampleSource(const Dataset& dataset, uint64_t seed, size_t micro, size_t length, size_t slots)
    : dataset_(dataset), seed_(seed), micro_(micro), length_(length), slots_(slots) {
  for (auto* all : {&tokens_, &targets_, &starts_}) all->resize(slots * micro * length);
}

MicroBatch SampleSource::read(uint64_t first, size_t index, size_t rank, size_t ranks) {
  const size_t size = micro_ * length_;
  const size_t at = index % slots_ * size;
  first += (uint64_t{index} * ranks + rank) * micro_;
  for (size_t i = 0; i < micro_; ++i) {
    const size_t row = at + i * length_;
    dataset_.sample(seed_, first + i, length_, &tokens_[row], &targets_[row], &starts_[row]);
  }
  const auto part = [&](const std::vector<int32_t>& all) { return std::span(all).subspan(at, size); };
  return {micro_, length_, part(tokens_), part(targets_), part(starts_)};
}

}  // namespace fathom::train
