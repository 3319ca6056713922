#include "cli/own_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "cluster/calibrate.h"
#include "cluster/network.h"
#include "model/description.h"
#include "tensor/cpu_ops.h"
#include "train/decoder.h"
#include "train/optimiser.h"
#include "train/step.h"
#include "train/thread_comm.h"

namespace fathom::cli {
namespace {

constexpr const char* kChip = "this-machine";

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Sizes {
  const char* name;
  size_t layers, width, heads, kv_heads, ffn, vocab, length, sequences, micro;
};

model::ModelConfig model_of(const Sizes& s) {
  return model::parse_description(
      fmt::format("name = \"{0}\"\nsource = \"a shape to measure\"\narchitecture = \"llama\"\nlayers = {1}\n"
                  "d_model = {2}\nheads = {3}\nkv_heads = {4}\nffn = {5}\nvocab = {6}\ncontext = {7}\n",
                  s.name, s.layers, s.width, s.heads, s.kv_heads, s.ffn, s.vocab, s.length),
      s.name);
}

OwnRun run_of(const Sizes& s, const char* layout) {
  return {s.name, model_of(s), train::Layout::parse(layout), s.length, s.sequences, s.micro};
}

struct Tokens {
  std::vector<int32_t> tokens, targets, starts;
};

Tokens random_tokens(size_t count, size_t vocab) {
  Random random(1);
  Tokens out;
  for (size_t i = 0; i < count; ++i) out.tokens.push_back(static_cast<int32_t>(random.below(vocab)));
  out.targets.assign(out.tokens.begin() + 1, out.tokens.end());
  out.targets.push_back(0);
  out.starts.assign(count, 0);
  return out;
}

/// Seconds of each step but the first, on one rank.
std::vector<double> steps_of_rank(const OwnRun& run, size_t steps,
                                  std::unique_ptr<train::Communicator> world) {
  ThreadPool pool(1);
  const auto ops = tensor::make_cpu_ops(pool);
  const size_t micro_batches = run.sequences / run.layout.data / run.micro;
  train::Groups groups = train::make_groups(run.layout, std::move(world));
  train::Parameters parameters(run.model, groups.layout, groups.place, {}, *ops);
  parameters.initialise(1, 0.02f);
  train::DecoderOptions options;
  options.sequences = run.micro;
  options.length = run.length;
  options.recompute = train::Recompute::kNone;
  options.slots = train::Step::slots(run.layout, micro_batches);
  train::Decoder decoder(run.model, groups, parameters, *ops, options);
  train::Optimiser optimiser(parameters, groups, *ops, {});
  train::Step step(decoder, optimiser, groups);
  const size_t size = run.micro * run.length;
  const Tokens data = random_tokens(micro_batches * size, run.model.vocab);
  const auto batch = [&](size_t index) {
    return train::MicroBatch{run.micro, run.length, std::span(data.tokens).subspan(index * size, size),
                             std::span(data.targets).subspan(index * size, size),
                             std::span(data.starts).subspan(index * size, size)};
  };
  const train::LossScale scale{static_cast<float>(1.0 / static_cast<double>(run.sequences * run.length)),
                               static_cast<float>(1.0 / static_cast<double>(run.sequences))};
  std::vector<double> seconds;
  for (size_t s = 1; s <= steps + 1; ++s) {
    groups.world->barrier();
    const double start = now();
    step.run(s, micro_batches, batch, scale, 1e-4f);
    groups.world->barrier();
    if (s > 1) seconds.push_back(now() - start);  // the first touches the memory
  }
  return seconds;
}

/// Seconds of the fastest of several calls, by rank 0; all ranks call it together.
double fastest_call(train::Communicator& world, const std::function<void()>& call) {
  constexpr int kCalls = 30;
  double best = 1e30;
  for (int i = 0; i < kCalls; ++i) {
    world.barrier();
    const double start = now();
    call();
    world.barrier();
    best = std::min(best, now() - start);
  }
  return best;
}

std::vector<cluster::CollectiveSample> measure_thread_collectives(size_t ranks) {
  std::vector<cluster::CollectiveSample> out;
  if (ranks < 2) return out;
  const auto add = [&](cluster::CollectiveKind kind, size_t floats, double seconds) {
    out.push_back({kind, static_cast<uint32_t>(ranks), 4.0 * static_cast<double>(floats), seconds});
  };
  train::run_ranks(ranks, [&](std::unique_ptr<train::Communicator> world) {
    for (const size_t floats : {size_t{1} << 12, size_t{1} << 16, size_t{1} << 18, size_t{1} << 20}) {
      std::vector<float> whole(floats), part(floats / ranks);
      const double reduced = fastest_call(*world, [&] { world->all_reduce_sum(std::span(whole)); });
      const double gathered = fastest_call(*world, [&] { world->all_gather(part, whole); });
      if (world->rank() != 0) continue;
      add(cluster::CollectiveKind::kAllReduce, floats, reduced);
      add(cluster::CollectiveKind::kAllGather, floats, gathered);
    }
  });
  return out;
}

}  // namespace

std::vector<OwnRun> own_runs(bool smallest) {
  //                       layers width heads kv ffn vocab length sequences micro
  const Sizes narrow = smallest ? Sizes{"narrow", 4, 32, 2, 2, 64, 64, 16, 4, 1}
                                : Sizes{"narrow", 4, 256, 8, 8, 1024, 4096, 256, 8, 2};
  const Sizes wide = smallest ? Sizes{"wide", 2, 64, 2, 2, 128, 64, 16, 4, 1}
                              : Sizes{"wide", 2, 512, 8, 8, 1536, 2048, 256, 8, 2};
  const Sizes longer = smallest ? Sizes{"long", 2, 32, 4, 2, 64, 64, 32, 2, 1}
                                : Sizes{"long", 4, 256, 4, 2, 768, 1024, 1024, 2, 1};
  return {run_of(narrow, ""),
          run_of(wide, ""),
          run_of(longer, ""),
          run_of(narrow, "data=2"),
          run_of(wide, "data=2 zero=1"),
          run_of(narrow, "data=2 zero=2"),
          run_of(wide, "tensor=2"),
          run_of(longer, "tensor=2"),
          run_of(narrow, "pipeline=2"),
          run_of(wide, "pipeline=2"),
          run_of(narrow, "pipeline=2 chunks=2")};
}

double measure_own_run(const OwnRun& run, size_t steps) {
  std::vector<double> slowest(steps, 0);
  std::mutex mutex;
  train::run_ranks(run.layout.ranks(), [&](std::unique_ptr<train::Communicator> world) {
    const std::vector<double> own = steps_of_rank(run, steps, std::move(world));
    const std::lock_guard lock(mutex);
    for (size_t i = 0; i < steps; ++i) slowest[i] = std::max(slowest[i], own[i]);
  });
  return *std::min_element(slowest.begin(), slowest.end());
}

cluster::Catalogue calibrate_ranks(size_t ranks, const OwnOptions& options) {
  TempDir folder("fathom-own");
  cluster::Measurements measured = cluster::measure_machine({.seconds = options.calibrate_seconds,
                                                             .folder = folder.path(),
                                                             .file_bytes = options.file_bytes,
                                                             .ranks = static_cast<uint32_t>(ranks)},
                                                            now, {});
  measured.date = "2000-01-01";  // of an entry that nobody keeps
  measured.collectives = measure_thread_collectives(ranks);
  write_file_atomic(folder.path() / "entry.toml", cluster::to_toml(measured, cluster::fit(measured), kChip));
  return cluster::Catalogue::read({folder.path()});
}

cluster::StepCost predict_own_run(const OwnRun& run, const cluster::Catalogue& catalogue,
                                  const std::string& chip) {
  const cluster::Accelerator& accelerator = catalogue.accelerators.at(chip);
  const cluster::Host& host = catalogue.hosts.at(chip);
  const size_t ranks = run.layout.ranks();
  const cluster::Machine machine{accelerator, host,
                                 cluster::Network::build(catalogue, {}, accelerator, host, ranks), ranks};
  cluster::TrainingJob job;
  job.sequence = run.length;
  job.global_batch = run.sequences;
  job.weight_bytes = job.gradient_bytes = job.activation_bytes = 4;  // F32 throughout
  job.optimizer_bytes = 12;                                          // the weight itself and two moments
  job.captured_graphs = false;
  cluster::ParallelPlan plan;
  plan.data = static_cast<uint32_t>(run.layout.data);
  plan.tensor = static_cast<uint32_t>(run.layout.tensor);
  plan.pipeline = static_cast<uint32_t>(run.layout.pipeline);
  plan.interleave = static_cast<uint32_t>(run.layout.chunks);
  plan.micro_batch = static_cast<uint32_t>(run.micro);
  plan.zero = static_cast<uint8_t>(run.layout.zero);
  plan.sequence_parallel = run.layout.tensor > 1;
  plan.precision = cluster::Precision::kFp32;
  const cluster::StepCost cost = cluster::StepModel(run.model, machine, job).evaluate(plan);
  FATHOM_CHECK(cost.time.step_time > 0, "a run of the table cannot be planned");
  return cost;
}

std::vector<OwnResult> compare_own_runs(const OwnOptions& options,
                                        const std::function<void(const OwnResult&)>& told) {
  FATHOM_CHECK(options.rounds > 0 && options.steps > 0);
  std::vector<OwnResult> out;
  for (const OwnRun& run : own_runs(options.smallest)) {
    std::vector<OwnResult> rounds;
    for (size_t round = 0; round < options.rounds; ++round) {
      const cluster::Catalogue catalogue = calibrate_ranks(run.layout.ranks(), options);
      const cluster::StepCost cost = predict_own_run(run, catalogue, kChip);
      rounds.push_back({run, cost.time.step_time, measure_own_run(run, options.steps), cost.time});
    }
    const auto middle = rounds.begin() + static_cast<ptrdiff_t>(rounds.size() / 2);
    std::nth_element(rounds.begin(), middle, rounds.end(),
                     [](const OwnResult& a, const OwnResult& b) { return a.error() < b.error(); });
    out.push_back(*middle);
    if (told) told(out.back());
  }
  return out;
}

}  // namespace fathom::cli
