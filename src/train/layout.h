// How a job is spread over its ranks, and the groups that follow from it.
//
// ranks = pipeline * data * tensor; rank = (stage * data + data_rank) * tensor + tensor_rank, so that a tensor-parallel
// group is neighbours. Experts are spread over `expert` neighbouring data ranks (Megatron-LM's choice); what they hold is
// reduced over the data / expert ranks that hold the same experts.
//   data       micro-batches of their own, gradients summed (zero 1: optimiser state sharded; 2: gradients too;
//              Rajbhandari et al., 2020)
//   tensor     heads, feed-forward and vocabulary split (Shoeybi et al., 2019), always with sequence parallelism: between
//              the split products each rank has tokens / tensor of a micro-batch (Korthikanti et al., 2022)
//   pipeline   consecutive layers a stage, 1F1B; with chunks > 1 interleaved (Narayanan et al., 2021)
//   expert     experts split, tokens exchanged all to all
// Plain values; thread-safe as such.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "model/config.h"
#include "train/communicator.h"

namespace fathom::train {

struct Layout {
  size_t data = 1;
  size_t tensor = 1;
  size_t pipeline = 1;
  size_t expert = 1;  // divides data
  size_t chunks = 1;  // pipeline chunks a rank
  size_t zero = 0;    // 0, 1 or 2

  size_t ranks() const { return data * tensor * pipeline; }
  /// "data=2 tensor=2 zero=1": words in any order, separated by spaces or commas; those left out are 1 (zero: 0).
  /// Errors: kInvalidArgument, naming the word.
  static Layout parse(std::string_view line);
  std::string line() const;
  /// Errors: kInvalidArgument, naming what does not divide what, unless the model, a micro-batch of so many sequences of
  /// so many tokens and the number of micro-batches a rank go with it.
  void check(const model::ModelConfig& config, size_t sequences, size_t length, size_t micro_batches) const;
};

/// Where a rank stands.
struct Place {
  size_t stage = 0;
  size_t data = 0;
  size_t tensor = 0;
  size_t expert = 0;  // data % layout.expert
  static Place of(const Layout& layout, size_t rank);
};

/// The layers [begin, end) of chunk `chunk` on `stage`: chunk c of stage s is part c * pipeline + s of
/// pipeline * chunks parts of equal length, to within one.
struct LayerRange {
  size_t begin = 0;
  size_t end = 0;
};
LayerRange layers_of(const Layout& layout, size_t layers, size_t stage, size_t chunk);

/// The communicators of one rank. Owned; made by all ranks of `world` together.
struct Groups {
  Layout layout;
  Place place;
  std::unique_ptr<Communicator> world;
  std::unique_ptr<Communicator> data;  // same stage and tensor rank: what is not experts is reduced over it
  std::unique_ptr<Communicator> expert_data;  // those of it that hold the same experts
  std::unique_ptr<Communicator> expert;       // neighbours in `data` that hold the experts together
  std::unique_ptr<Communicator> tensor;
  std::unique_ptr<Communicator> pipeline;  // ranks are stages
  std::unique_ptr<Communicator>
      embedding;  // the first and the last stage; null on others, and where they are one

  bool first_stage() const { return place.stage == 0; }
  bool last_stage() const { return place.stage + 1 == layout.pipeline; }
};

/// Errors: kInvalidArgument unless world->size() == layout.ranks().
Groups make_groups(const Layout& layout, std::unique_ptr<Communicator> world);

}  // namespace fathom::train
