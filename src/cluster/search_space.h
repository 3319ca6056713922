// The plans of a SearchSpace in a fixed order: what search.cc walks. Internal to the search.
//
// Two levels: a group fixes what a layer costs (LayerTable), a cell of the group how the chips are spread over pipeline and
// data. An Enumeration is immutable once made; thread-safe for reading.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cluster/search.h"

namespace fathom::cluster {

class Enumeration {
 public:
  struct Cell {
    uint32_t pipeline = 1, data = 1, interleave = 1;
    bool shards = false;  // there are ranks to shard weights and their states over
    uint32_t size = 0;    // index into sizes()
    uint32_t heat = 0;    // index of (tensor, pipeline) in heat()
  };

  Enumeration(const StepModel& model, const SearchSpace& space);

  size_t groups() const { return groups_; }
  /// The fields that decide what a layer costs; the others are as by default.
  ParallelPlan group(size_t index) const;
  std::span<const Cell> cells(size_t group) const;
  /// Plans of a cell: one for each of its switches.
  struct Switches {
    Schedule schedule = Schedule::kOneForwardOneBackward;
    uint8_t zero = 0;
    bool offload_optimizer = false;
    bool overlap_data = true;
  };
  std::span<const Switches> switches(const Cell& cell) const;
  uint64_t plans(size_t group) const { return pairs_[pair_of(group)].plans; }
  uint64_t plans() const { return plans_; }

  /// The counts of chips that plans use, ascending.
  const std::vector<uint64_t>& sizes() const { return sizes_; }
  /// The cells of the heat map, with times of 0.
  const std::vector<SearchResult::HeatCell>& heat() const { return heat_; }

 private:
  struct Pair {  // a tensor and a context degree
    uint32_t tensor = 1, context = 1;
    size_t first_group = 0;
    size_t variants = 0;  // index into variants_
    size_t first_cell = 0, cells = 0;
    uint64_t plans = 0;  // of one group
  };
  struct Degrees {  // the lists that are walked
    std::vector<uint32_t> tensor, context, pipeline;
    std::vector<uint32_t> data;  // where some chips may be idle; else it follows from the others
    uint64_t low = 1, high = 1;  // chips
  };

  size_t pair_of(size_t group) const;
  Degrees degrees() const;
  std::vector<ParallelPlan> variants(uint32_t tensor) const;
  void add_cells(const Degrees& degrees, Pair& pair);
  void add_data(uint32_t pipeline, uint32_t data, Pair& pair);
  std::vector<uint32_t> interleaves(uint32_t pipeline) const;
  void make_switches();
  void index_cells();
  std::span<Cell> cells_of(const Pair& pair) {
    return std::span(cells_).subspan(pair.first_cell, pair.cells);
  }

  const StepModel& model_;
  const SearchSpace space_;  // lists sorted, without repetition
  std::vector<Pair> pairs_;
  std::vector<std::vector<ParallelPlan>> variants_;  // by index of the tensor degree
  std::vector<Cell> cells_;
  std::array<std::vector<Switches>, 4> switches_;  // [pipelined + 2 * shards]
  std::vector<uint64_t> sizes_;
  std::vector<SearchResult::HeatCell> heat_;
  size_t groups_ = 0;
  uint64_t plans_ = 0;
};

/// What would make a plan fit where none of `space` does (SearchResult::remedy).
std::string find_remedy(const StepModel& model, const SearchSpace& space, const SearchResult& result,
                        ThreadPool& pool, const std::stop_token& stop);

}  // namespace fathom::cluster
