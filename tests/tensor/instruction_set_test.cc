#include "tensor/instruction_set.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include "base/error.h"

namespace fathom::tensor {
namespace {

TEST(InstructionSet, CanBeChosenAmongThoseThatThereAre) {
  const auto all = instruction_sets();
  ASSERT_FALSE(all.empty());
  for (const auto& name : all) {
    choose_instruction_set(name);
    EXPECT_EQ(instruction_set(), name);
    hwy::SetSupportedTargetsForTest(0);
  }
  EXPECT_EQ(instruction_set(), all.front());
  EXPECT_THROW(choose_instruction_set("AVX1024"), Error);
}

}  // namespace
}  // namespace fathom::tensor
