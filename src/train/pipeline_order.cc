#include <algorithm>

#include "train/step.h"

namespace fathom::train {
namespace {

/// The passes of one direction in the order in which every stage does them: micro-batches in groups as large as the
/// pipeline is long, each group through one chunk after the other.
std::vector<PipelineWork> passes(const Layout& layout, size_t micro_batches, bool forward) {
  std::vector<PipelineWork> out;
  const size_t group = layout.chunks == 1 ? micro_batches : layout.pipeline;
  for (size_t begin = 0; begin < micro_batches; begin += group)
    for (size_t c = 0; c < layout.chunks; ++c)
      for (size_t m = begin; m < std::min(begin + group, micro_batches); ++m)
        out.push_back({forward, forward ? c : layout.chunks - 1 - c, m});
  return out;
}

/// Forward passes before the first backward pass, less the one that comes right before it.
size_t warm_up(const Layout& layout, size_t stage) {
  const size_t behind = layout.pipeline - 1 - stage;  // stages after this one
  return layout.chunks == 1 ? behind : 2 * behind + (layout.chunks - 1) * layout.pipeline;
}

}  // namespace

std::vector<PipelineWork> forward_order(const Layout& layout, size_t micro_batches) {
  return passes(layout, micro_batches, true);
}

std::vector<PipelineWork> pipeline_order(const Layout& layout, size_t stage, size_t micro_batches) {
  const std::vector<PipelineWork> forward = passes(layout, micro_batches, true);
  const std::vector<PipelineWork> backward = passes(layout, micro_batches, false);
  const size_t ahead = std::min(warm_up(layout, stage), forward.size());
  std::vector<PipelineWork> out(forward.begin(), forward.begin() + static_cast<ptrdiff_t>(ahead));
  for (size_t i = 0; i < backward.size(); ++i) {
    if (ahead + i < forward.size()) out.push_back(forward[ahead + i]);
    out.push_back(backward[i]);
  }
  return out;
}

size_t Step::slots(const Layout& layout, size_t micro_batches) {
  size_t most = 1;
  for (size_t stage = 0; stage < layout.pipeline; ++stage) {
    std::vector<size_t> in_flight(layout.chunks);
    for (const PipelineWork& work : pipeline_order(layout, stage, micro_batches)) {
      size_t& count = in_flight[work.chunk];
      work.forward ? ++count : --count;
      most = std::max(most, count);
    }
  }
  return most;
}

}  // namespace fathom::train
