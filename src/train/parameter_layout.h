// Which parameters one rank has, in which arena and where: a pure function of model and layout, for Parameters and for the
// prediction of memory (train/memory.h). Thread-safe.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "model/config.h"
#include "train/layout.h"
#include "train/parameters.h"

namespace fathom::train {

struct ParameterLayout {
  std::vector<Parameter> list;          // in the order of their offsets within each arena
  std::array<size_t, kArenas> sizes{};  // floats of each arena
};

/// Errors: kUnsupported for a model that training has no backward pass for, kInvalidArgument where `lora` names a matrix
/// that the model has not, or heads, experts or widths do not divide among the ranks: named.
ParameterLayout lay_out_parameters(const model::ModelConfig& config, const Layout& layout, const Place& place,
                                   const LoraSpec& lora);

/// What is part `index` of `parts` of n things in a row: equal to within one.
struct Part {
  size_t begin = 0;
  size_t size = 0;
};
Part part_of(size_t n, size_t parts, size_t index);

/// The model with one tensor for each matrix: the names and shapes that training uses.
model::ModelConfig unfused(const model::ModelConfig& config);

}  // namespace fathom::train
