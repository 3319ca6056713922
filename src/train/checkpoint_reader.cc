// Whole tensors out of a checkpoint of any layout.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "train/checkpoint_file.h"

namespace fathom::train {

struct CheckpointReader::Impl {
  OpenedCheckpoint opened;
  std::map<std::string, std::array<size_t, 3>> shapes;
};

CheckpointReader::CheckpointReader(const std::filesystem::path& checkpoint)
    : impl_(std::make_unique<Impl>(Impl{open_checkpoint(checkpoint), {}})) {
  for (const RankFile& file : impl_->opened.files)
    for (const CheckpointEntry& entry : file.entries())
      if (entry.kind == CheckpointKind::kWeight) impl_->shapes.emplace(entry.name, entry.shape);
}

CheckpointReader::~CheckpointReader() = default;

const TrainState& CheckpointReader::state() const { return impl_->opened.manifest.state; }

const std::map<std::string, std::array<size_t, 3>>& CheckpointReader::tensors() const {
  return impl_->shapes;
}

std::vector<float> CheckpointReader::read(const std::string& name, bool average) const {
  const auto shape = impl_->shapes.find(name);
  if (shape == impl_->shapes.end())
    throw Error(ErrorCode::kNotFound, fmt::format("the checkpoint has no tensor '{}'", name));
  const CheckpointKind kind = average ? CheckpointKind::kAverage : CheckpointKind::kWeight;
  const Box whole{{}, shape->second};
  uint64_t there = 0;
  for (const RankFile& file : impl_->opened.files)
    for (const CheckpointEntry& entry : file.entries())
      if (entry.name == name && entry.kind == kind && entry.shape == shape->second) there += entry.count;
  if (there != whole.elements())  // before memory is taken for what a header says
    throw Error(average && there == 0 ? ErrorCode::kNotFound : ErrorCode::kCorrupt,
                fmt::format("the checkpoint has {} of the {} elements of the {} of '{}'", there,
                            whole.elements(), to_string(kind), name));
  std::vector<float> out(whole.elements());
  for (const RankFile& file : impl_->opened.files)
    for (const CheckpointEntry& entry : file.entries())
      if (entry.name == name && entry.kind == kind && entry.shape == shape->second)
        copy_overlap(entry.box, entry.begin, file.values(entry), whole, 0, out);
  return out;
}

}  // namespace fathom::train
