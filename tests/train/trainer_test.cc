#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "train/checkpoint.h"
#include "train/monitor.h"
#include "train/run_support.h"
#include "train/thread_comm.h"

namespace fathom::train {
namespace {

using test::SmallRun;
namespace fs = std::filesystem;

/// The run on its ranks, as threads; rank 0's result.
TrainResult run(const RunConfig& config, std::function<void(uint64_t, Parameters&)> before_step = {},
                std::stop_token stop = {}) {
  std::mutex mutex;
  TrainResult result;
  run_ranks(config.layout.ranks(), [&](std::unique_ptr<Communicator> world) {
    const bool first = world->rank() == 0;
    ThreadPool pool(1);
    TrainOptions options;
    options.run = config;
    options.before_step = before_step;
    options.stop = stop;
    const TrainResult mine = train(options, std::move(world), pool);
    const std::lock_guard lock(mutex);
    if (first) result = mine;
  });
  return result;
}

/// Loss by step, as metrics.jsonl has it.
std::map<uint64_t, double> losses(const fs::path& folder) {
  std::map<uint64_t, double> out;
  for (const auto& line : read_json_lines(folder / "metrics.jsonl"))
    EXPECT_TRUE(out.emplace(line.value("step", uint64_t{0}), line.value("loss", -1.0)).second)
        << "a step stands twice";
  return out;
}

std::map<std::string, std::vector<float>> weights(const fs::path& folder) {
  std::map<std::string, std::vector<float>> out;
  const CheckpointReader reader(list_checkpoints(folder / kCheckpointsFolder).back());
  for (const auto& [name, shape] : reader.tensors()) out[name] = reader.read(name);
  return out;
}

size_t events(const fs::path& folder, const std::string& name) {
  size_t count = 0;
  for (const auto& line : read_json_lines(folder / "events.jsonl"))
    count += line.value("event", "") == name ? 1 : 0;
  return count;
}

TEST(Trainer, LearnsAndTellsOfIt) {
  const SmallRun small;
  const RunConfig config = small.config({"schedule.steps=40"});
  const TrainResult result = run(config);
  EXPECT_FALSE(result.stopped);
  EXPECT_EQ(result.step, 40u);
  ASSERT_TRUE(result.held_out_loss);
  const auto curve = losses(config.folder);
  ASSERT_EQ(curve.size(), 40u);
  EXPECT_NEAR(curve.at(1), std::log(64.0), 0.2);
  EXPECT_LT(curve.at(40), curve.at(1) - 0.5);
  EXPECT_LT(*result.held_out_loss, curve.at(1) - 0.5);
  EXPECT_EQ(list_checkpoints(config.folder / kCheckpointsFolder).size(), config.checkpoints_kept);
  EXPECT_TRUE(fs::exists(config.folder / "metrics.prom"));
}

TEST(Trainer, AStoppedRunGoesOnWithTheSameBits) {
  const SmallRun straight, broken;
  run(straight.config());
  std::stop_source stop;
  const auto ask_at_5 = [&](uint64_t step, Parameters&) {
    if (step == 5) stop.request_stop();
  };
  const TrainResult stopped = run(broken.config(), ask_at_5, stop.get_token());
  EXPECT_TRUE(stopped.stopped);
  EXPECT_EQ(stopped.step, 5u);
  EXPECT_EQ(run(broken.config()).step, 12u);
  EXPECT_EQ(losses(broken.config().folder), losses(straight.config().folder));
  EXPECT_EQ(weights(broken.config().folder), weights(straight.config().folder));
  EXPECT_EQ(events(broken.config().folder, "resumed"), 1u);
}

TEST(Trainer, AFailureInMidStepGoesOnFromTheLastCheckpointWithTheSameBits) {
  const SmallRun straight, broken;
  run(straight.config());
  const auto fail_at_11 = [](uint64_t step, Parameters&) {
    if (step == 11) throw Error(ErrorCode::kIo, "the cord was pulled");
  };
  EXPECT_THROW(run(broken.config(), fail_at_11), Error);
  run(broken.config());
  EXPECT_EQ(losses(broken.config().folder), losses(straight.config().folder));
  EXPECT_EQ(weights(broken.config().folder), weights(straight.config().folder));
}

/// Puts a number that is none into the weights.
void damage(Parameters& parameters) {
  parameters.values(Arena::kDense)[0] = std::numeric_limits<float>::quiet_NaN();
}

TEST(Trainer, ABadBatchIsPassedOver) {
  const SmallRun small;
  float kept = 0;
  int calls = 0;
  const auto once = [&](uint64_t step, Parameters& parameters) {
    float& first = parameters.values(Arena::kDense)[0];
    if (step == 6 && calls == 0) {
      ++calls;
      kept = first;
      damage(parameters);
    } else if (calls == 1) {
      ++calls;
      first = kept;
    }
  };
  const TrainResult result = run(small.config(), once);
  EXPECT_EQ(result.step, 12u);
  EXPECT_EQ(result.skipped, 1u);
  EXPECT_EQ(events(small.config().folder, "skipped"), 1u);
  EXPECT_EQ(losses(small.config().folder).size(), 12u);
}

TEST(Trainer, ThreeBadBatchesInARowGoBackToTheCheckpoint) {
  const SmallRun small;
  bool done = false;
  const auto once = [&](uint64_t step, Parameters& parameters) {
    if (step == 6 && !std::exchange(done, true)) damage(parameters);
  };
  const TrainResult result = run(small.config(), once);
  EXPECT_EQ(result.step, 12u);
  EXPECT_EQ(result.skipped, 3u);
  EXPECT_EQ(events(small.config().folder, "rolled_back"), 1u);
  EXPECT_EQ(losses(small.config().folder).size(), 12u);
}

TEST(Trainer, GivesUpWhereGoingBackDoesNotHelp) {
  const SmallRun small;
  const auto always = [](uint64_t step, Parameters& parameters) {
    if (step == 6) damage(parameters);
  };
  try {
    run(small.config(), always);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("step 6 is not finite"), std::string::npos) << error.what();
  }
  EXPECT_EQ(events(small.config().folder, "rolled_back"), 3u);
}

TEST(Trainer, TwoRanksLearnTheSameAndGoOnAsOne) {
  const SmallRun one, two;
  run(one.config());
  const auto half = two.config({"layout=data=2 zero=1"});
  std::stop_source stop;
  const auto ask_at_6 = [&](uint64_t step, Parameters&) {
    if (step == 6) stop.request_stop();
  };
  EXPECT_EQ(run(half, ask_at_6, stop.get_token()).step, 6u);
  run(two.config());  // the checkpoint of two ranks, read by one
  const auto a = losses(one.config().folder), b = losses(two.config().folder);
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [step, loss] : a) EXPECT_NEAR(loss, b.at(step), 2e-4 * loss) << step;
}

TEST(Trainer, TellsWhatDoesNotGoTogether) {
  const SmallRun small;
  const auto refused = [&](const std::vector<std::string>& changes) -> std::string {
    try {
      run(small.config(changes));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  test::write_tokens(small.path() / "wide", 1, 20, 1000);
  EXPECT_NE(refused({"data.train=wide"}).find("vocabulary of 1000"), std::string::npos);
  EXPECT_NE(refused({"data.train=nowhere"}).find("nowhere"), std::string::npos);
  run(small.config({"schedule.steps=4"}));
  const auto another = small.path() / "another.toml";
  std::string text = read_file(test::testdata("tiny.toml"));
  text.replace(text.find("ffn = 64"), 8, "ffn = 96");
  write_file_atomic(another, text);
  EXPECT_NE(refused({"model.description=another.toml"}).find("another model"), std::string::npos);
}

}  // namespace
}  // namespace fathom::train
