#include "tensor/instruction_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hwy/targets.h>

#include "base/error.h"

namespace fathom::tensor {
namespace {

constexpr int64_t kBuilt[] = {HWY_AVX3_DL, HWY_AVX3, HWY_AVX2, HWY_SSE4, HWY_NEON};  // tensor/simd.h

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const int64_t target : kBuilt)
    if ((hwy::SupportedTargets() & target) != 0) names.emplace_back(hwy::TargetName(target));
  return names;
}

std::string instruction_set() {
  const auto names = instruction_sets();
  return names.empty() ? "portable" : names.front();
}

void choose_instruction_set(std::string_view name) {
  for (const int64_t target : kBuilt)
    if ((hwy::SupportedTargets() & target) != 0 && hwy::TargetName(target) == name)
      return hwy::SetSupportedTargetsForTest(target);
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{} is not an instruction set of this processor; it has {}", name,
                          fmt::join(instruction_sets(), ", ")));
}

}  // namespace fathom::tensor
