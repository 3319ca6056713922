// The instruction sets that the kernels are built for, and which of them this processor runs.
//
// `choose_instruction_set` changes what every kernel of the process runs on: for benchmarks and tests, before other
// threads compute. All other functions are thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::tensor {

/// Names as Highway has them ("AVX3_DL" is AVX-512 with VNNI, "AVX2"), the best first.
std::vector<std::string> instruction_sets();

/// The one that the kernels run on.
std::string instruction_set();

/// Errors: kInvalidArgument, naming those that there are, for one that this processor has not.
void choose_instruction_set(std::string_view name);

}  // namespace fathom::tensor
