#include "train/run_config.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "train/run_support.h"

namespace fathom::train {
namespace {

using test::SmallRun;

std::string refused(const SmallRun& small, const std::vector<std::string>& changes) {
  try {
    small.config(changes);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
    return error.what();
  }
  return "";
}

TEST(RunConfig, WhatTheFileSays) {
  const SmallRun small;
  const RunConfig run = small.config();
  EXPECT_EQ(run.seed, 3u);
  EXPECT_EQ(run.model.layers, 2u);
  EXPECT_EQ(run.model.rope.pairing, model::RopePairing::kNeighbours);  // as GGUF's llama has it
  EXPECT_EQ(run.folder, small.path() / "run");
  EXPECT_EQ(run.train, small.path() / "train");
  EXPECT_EQ(run.sequences, 8u);
  EXPECT_EQ(run.micro_batches(), 4u);
  EXPECT_EQ(run.tokens_per_step(), 256u);
  EXPECT_EQ(run.steps(), 12u);
  EXPECT_EQ(run.schedule.warmup, 2u);
  EXPECT_EQ(run.precision, tensor::Precision::kF32);
  EXPECT_EQ(run.recompute, Recompute::kSelective);
  EXPECT_EQ(run.checkpoint_steps, 4u);
}

TEST(RunConfig, ChangesOnTheCommandLine) {
  const SmallRun small;
  const RunConfig run =
      small.config({"layout=data=2 zero=1", "optimiser.beta2=0.99", "schedule.kind=wsd", "loss.z=1e-4"});
  EXPECT_EQ(run.layout.data, 2u);
  EXPECT_EQ(run.layout.zero, 1u);
  EXPECT_EQ(run.micro_batches(), 2u);
  EXPECT_FLOAT_EQ(run.optimiser.beta2, 0.99f);
  EXPECT_EQ(run.schedule.schedule, Schedule::kWsd);
  EXPECT_EQ(run.schedule.decay, 2u);
  EXPECT_FLOAT_EQ(run.z_loss, 1e-4f);
}

TEST(RunConfig, TokensBecomeWholeSteps) {
  const SmallRun small;
  const std::string text = read_file(small.file());
  const auto with_tokens = [&](const std::string& tokens) {
    std::string changed = text;
    changed.replace(changed.find("steps = 12"), 10, "tokens = " + tokens);
    write_file_atomic(small.file(), changed);
    return small.config().steps();
  };
  EXPECT_EQ(with_tokens("2560"), 10u);
  EXPECT_EQ(with_tokens("2561"), 11u);
  EXPECT_EQ(with_tokens("1e6"), 3907u);
}

TEST(RunConfig, ReadAgainFromItsRecord) {
  const SmallRun small;
  const RunConfig run = small.config({"seed=9", "schedule.steps=20"});
  write_file_atomic(small.file(), "not the same any more");
  const RunConfig again = parse_run(run.as_json(), small.path());
  EXPECT_EQ(again.seed, 9u);
  EXPECT_EQ(again.steps(), 20u);
  EXPECT_EQ(again.folder, run.folder);
  EXPECT_EQ(again.as_json(), run.as_json());
  for (const char* bad : {"", "{}", "[]", "{\"text\": 3, \"file\": \"x\"}", "{\"text\": \"seed = 1\"}"})
    EXPECT_THROW(parse_run(bad, small.path()), Error) << bad;
}

TEST(RunConfig, MistakesAreTold) {
  const SmallRun small;
  EXPECT_NE(refused(small, {"sede=4"}).find("unknown key 'sede'"), std::string::npos);
  EXPECT_NE(refused(small, {"optimiser.momentum=0.9"}).find("momentum"), std::string::npos);
  EXPECT_NE(refused(small, {"layout=data=3"}).find("3 data ranks"), std::string::npos);
  EXPECT_NE(refused(small, {"layout=width=3"}).find("width"), std::string::npos);
  EXPECT_NE(refused(small, {"layout=tensor=3", "batch.sequences=6"}).find("layout"), std::string::npos);
  EXPECT_NE(refused(small, {"data.length=65"}).find("context of 64"), std::string::npos);
  EXPECT_NE(refused(small, {"schedule.tokens=1e6"}).find("either steps or tokens"), std::string::npos);
  EXPECT_NE(refused(small, {"schedule.warmup=13"}).find("warmup"), std::string::npos);
  EXPECT_NE(refused(small, {"model.file=x.gguf"}).find("either description or file"), std::string::npos);
  EXPECT_NE(refused(small, {"lora.rank=4"}).find("[model] file"), std::string::npos);
  EXPECT_NE(refused(small, {"precision=fp8"}).find("bf16"), std::string::npos);
}

}  // namespace
}  // namespace fathom::train
