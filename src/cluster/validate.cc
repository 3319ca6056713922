#include "cluster/validate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "base/error.h"
#include "base/file.h"
#include "cluster/serving.h"
#include "cluster/validate_reasons.h"
#include "cluster/validate_run.h"
#include "cluster/validate_table.h"

namespace fathom::cluster {
namespace {

constexpr double kFar = 0.25;  // an error that needs a written reason
constexpr double kNearlyFits = 1.4;

// ---- machines

using MachineKey = std::tuple<std::string, uint64_t, uint32_t, double>;

MachineKey key_of(const MeasuredRun& run) {
  return {run.accelerator, run.chips, run.chips_per_node, run.network_bytes_per_s_per_chip};
}

double scale_out(const Host& host, const Catalogue& catalogue) {
  const auto nic = catalogue.nics.find(host.nic);
  return nic == catalogue.nics.end() || host.chips == 0 ? 0
                                                        : host.nics * nic->second.bytes_per_s / host.chips;
}

/// Of the accelerator's hosts those with as many chips as the row says, else with the scale-up domain's; of them the one of
/// the fastest network.
const Host& host_of(const Catalogue& catalogue, const Accelerator& chip, uint32_t chips_per_node) {
  const Host* best = nullptr;
  std::pair<bool, double> best_rank{};
  for (const auto& [id, host] : catalogue.hosts) {
    if (host.accelerator != chip.id) continue;
    const bool size = chips_per_node == 0 ? host.chips >= 8 || host.chips == chip.scale_up_chips
                                          : host.chips == chips_per_node;
    const std::pair<bool, double> rank{size, scale_out(host, catalogue)};
    if (best != nullptr && !(rank > best_rank)) continue;
    best = &host;
    best_rank = rank;
  }
  if (best == nullptr)
    throw Error(ErrorCode::kNotFound, fmt::format("the catalogue has no host of '{}'", chip.id));
  return *best;
}

struct Built {
  std::unique_ptr<const Machine> machine;
  std::string problem;
};

Built build(const MeasuredRun& run, const Catalogue& catalogue) {
  try {
    const Accelerator& chip = catalogue.accelerator(run.accelerator);
    Host host = host_of(catalogue, chip, run.chips_per_node);
    if (run.chips_per_node != 0) host.chips = run.chips_per_node;
    NetworkSpec spec;
    spec.bytes_per_s_per_chip = run.network_bytes_per_s_per_chip;
    if (chip.family.starts_with("tpu")) spec.topology = Topology::kTorus3d;
    Network network = Network::build(catalogue, spec, chip, host, run.chips);
    return {std::make_unique<const Machine>(Machine{chip, std::move(host), std::move(network), run.chips}),
            ""};
  } catch (const Error& error) {
    return {nullptr, error.what()};
  }
}

// ---- replay

struct Replay {
  ParallelPlan plan;
  StepCost cost;
  bool possible() const { return cost.fault == PlanFault::kNone || cost.fault == PlanFault::kMemory; }
};

/// With the recomputation that the row says, else the least that fits, at most that of `most`.
Replay replay_recompute(const StepModel& model, ParallelPlan plan, bool any, Recompute most) {
  if (!any) return {plan, model.evaluate(plan)};
  Replay last;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
    if (recompute > most) break;
    plan.recompute = recompute;
    last = {plan, model.evaluate(plan)};
    // Programs recompute and offload in finer steps than three: what misses by little did fit, with a few more of them.
    const bool nearly = recompute == Recompute::kSelective &&
                        last.cost.memory.total < kNearlyFits * last.cost.memory.capacity;
    if (last.cost.fault != PlanFault::kMemory || nearly) break;
  }
  return last;
}

/// `ran`: the layout is known to have fitted, and only its details are to be found.
bool better(const Replay& a, const Replay& b, bool ran) {
  const auto rank = [&](const Replay& r) {
    const bool nearly = ran && r.possible() && r.cost.memory.total < kNearlyFits * r.cost.memory.capacity;
    return r.cost.feasible() || nearly ? 0 : r.possible() ? 1 : 2;
  };
  if (rank(a) != rank(b)) return rank(a) < rank(b);
  return a.cost.time.step_time < b.cost.time.step_time;
}

std::vector<ParallelPlan> layouts(const MeasuredRun& run) {
  if (!run.any_layout) return {run.plan};
  std::vector<ParallelPlan> out;
  for (const uint32_t tensor : {1U, 2U, 4U, 8U})
    for (const uint32_t pipeline : {1U, 2U, 4U, 8U, 16U, 32U}) {
      const uint64_t model_parallel = uint64_t{tensor} * pipeline;
      if (run.chips % model_parallel != 0) continue;
      ParallelPlan plan = run.plan;
      plan.tensor = tensor;
      plan.pipeline = pipeline;
      plan.context = 1;
      plan.data = static_cast<uint32_t>(run.chips / model_parallel);
      plan.sequence_parallel = tensor > 1;
      out.push_back(plan);
      if (model_parallel != 1) continue;
      plan.zero = 3;
      out.push_back(plan);
    }
  return out;
}

/// With every interleaving that the stages' layers can be cut into, where the row does not say which.
std::vector<ParallelPlan> interleavings(const MeasuredRun& run) {
  const std::vector<ParallelPlan> cut = layouts(run);
  if (!run.any_interleave) return cut;
  std::vector<ParallelPlan> out;
  for (ParallelPlan plan : cut)
    for (uint32_t chunks = 1; chunks * plan.pipeline <= run.model.layers; ++chunks) {
      plan.interleave = chunks;
      out.push_back(plan);
    }
  return out;
}

Replay replay(const StepModel& model, const MeasuredRun& run) {
  Replay best;
  bool first = true;
  for (ParallelPlan plan : interleavings(run))
    for (const uint32_t micro : {1U, 2U, 4U, 8U, 16U}) {
      if (run.any_micro_batch) plan.micro_batch = micro;
      const Replay candidate = replay_recompute(model, plan, run.any_recompute, run.most_recompute);
      if (first || better(candidate, best, !run.any_layout)) best = candidate;
      first = false;
      if (!run.any_micro_batch) break;
    }
  return best;
}

double predicted_figure(const MeasuredRun& run, const Machine& machine, double step_s, Precision precision) {
  const double chips = static_cast<double>(run.chips);
  const double tokens = static_cast<double>(run.job.global_batch) * static_cast<double>(run.job.sequence);
  switch (run.quantity) {
    case Quantity::kStepSeconds: return step_s;
    case Quantity::kTokensPerSPerChip: return tokens / step_s / chips;
    case Quantity::kHardwareTflops:
    case Quantity::kModelTflops: return run.counted_flops / step_s / chips / 1e12;
    case Quantity::kMfu: return run.counted_flops / step_s / chips / machine.chip.peak(precision);
    case Quantity::kOutputPerSPerChip: break;
  }
  FATHOM_CHECK(false, "a figure of serving in a row of training");
  return 0;
}

void replay_training(const MeasuredRun& run, const Machine& machine, ValidationRow& row) {
  const StepModel model(run.model, machine, run.job);
  const Replay found = replay(model, run);
  row.plan = found.plan;
  row.label = fmt::format("{} on {} {}, {}", run.about, run.chips, run.accelerator, describe(found.plan));
  if (!found.possible()) {
    row.skipped =
        fmt::format("the planner holds the layout to be impossible: {}", to_string(found.cost.fault));
    return;
  }
  row.time = found.cost.time;
  row.fits = found.cost.feasible();
  // Utilisation is published against the peak of 16-bit products, whatever ran in 8.
  row.predicted = predicted_figure(run, machine, found.cost.time.step_time, Precision::kBf16);
}

void replay_serving(const MeasuredRun& run, const Machine& machine, ValidationRow& row) {
  row.label = fmt::format("{} served by {} {}, {} in, {} out", run.about, run.layout.chips(), run.accelerator,
                          run.serving.input_tokens, run.serving.output_tokens);
  const ServingPoint point =
      run.any_layout ? serve_on(run.model, machine, run.serving, run.layout.tensor, run.serving_batch)
                     : serve_at(run.model, machine, run.serving, run.layout, run.serving_batch);
  row.fits = point.feasible;
  row.predicted = point.output_tokens_per_s_per_chip;
  if (!point.feasible || row.predicted <= 0)
    row.skipped = "the planner holds that the model does not fit these chips";
}

std::string group_of(const MeasuredRun& run, const Catalogue& catalogue) {
  if (run.serves) return "inference";
  if (!run.model.dense()) return "moe";
  const auto chip = catalogue.accelerators.find(run.accelerator);
  return (chip == catalogue.accelerators.end() ? "unknown" : chip->second.family) + " dense";
}

struct Job {
  const MeasuredRun* run;
  const Built* built;
  ValidationRow* row;
};

/// Never throws: a pool's loop may not.
void replay(const Job& job) {
  ValidationRow& row = *job.row;
  try {
    if (job.built->machine == nullptr) {
      row.skipped = job.built->problem;
      return;
    }
    if (job.run->serves)
      replay_serving(*job.run, *job.built->machine, row);
    else
      replay_training(*job.run, *job.built->machine, row);
    if (row.skipped.empty() && !(std::isfinite(row.predicted) && row.predicted > 0))
      row.skipped = "the planner gives no time for it";
  } catch (const std::exception& error) {
    row.skipped = error.what();
  }
}

std::set<std::string> fitted_rows(const Catalogue& catalogue) {
  std::set<std::string> out;
  for (const auto& [id, chip] : catalogue.accelerators)
    out.insert(chip.efficiency.fitted_on.begin(), chip.efficiency.fitted_on.end());
  return out;
}

/// "vtrain_ground_truth_multi#12", with .csv or without.
bool is_fitted(const std::set<std::string>& fitted, const ValidationRow& row) {
  return fitted.contains(fmt::format("{}#{}", row.set, row.line)) ||
         fitted.contains(fmt::format("{}.csv#{}", row.set, row.line));
}

// ---- what came out

ValidationGroup summarise(const std::string& name, const std::vector<const ValidationRow*>& rows) {
  ValidationGroup out;
  out.name = name;
  std::vector<double> errors;
  for (const ValidationRow* row : rows) {
    if (!row->skipped.empty()) {
      ++out.skipped;
      continue;
    }
    const double error = row->error();
    errors.push_back(std::abs(error));
    out.bias += error;
    if (row->fitted) ++out.fitted;
    if (std::abs(error) > kFar) ++out.over_25;
    if (std::abs(error) > kFar && row->reason.empty()) ++out.unexplained;
    if (std::abs(error) > std::abs(out.worst)) out.worst = error;
  }
  out.rows = errors.size();
  if (errors.empty()) return out;
  std::sort(errors.begin(), errors.end());
  const double count = static_cast<double>(errors.size());
  for (const double error : errors) out.mean_absolute_error += error / count;
  out.bias /= count;
  const size_t middle = errors.size() / 2;
  out.median_absolute_error =
      errors.size() % 2 == 1 ? errors[middle] : (errors[middle - 1] + errors[middle]) / 2;
  return out;
}

std::vector<ValidationGroup> summarise(const std::vector<ValidationRow>& rows) {
  std::map<std::string, std::map<std::string, std::vector<const ValidationRow*>>> by_group;
  for (const ValidationRow& row : rows) by_group[row.group][row.set].push_back(&row);
  std::vector<ValidationGroup> out;
  for (const auto& [group, sets] : by_group) {
    std::vector<const ValidationRow*> all;
    for (const auto& [set, members] : sets) all.insert(all.end(), members.begin(), members.end());
    out.push_back(summarise(group, all));
    for (const auto& [set, members] : sets) {
      out.push_back(summarise(set, members));
      out.back().is_set = true;
    }
  }
  return out;
}

/// What the files say, before anything is replayed. Pointers into it stay good: nothing is added afterwards.
struct Read {
  std::vector<MeasuredRun> runs;
  std::vector<std::string> sets;  // of each run
};

Read read_all(const std::vector<std::filesystem::path>& files, const Catalogue& catalogue,
              const ModelLibrary& models, std::vector<std::string>& notes) {
  Read out;
  for (const auto& file : files) {
    const MeasuredTable table = MeasuredTable::read(file);
    if (!table.ignored().empty())
      notes.push_back(fmt::format("{}: columns passed over: {}", file.filename().string(),
                                  fmt::join(table.ignored(), ", ")));
    for (MeasuredRun& run : read_runs(table, catalogue, models)) {
      out.runs.push_back(std::move(run));
      out.sets.push_back(table.set());
    }
  }
  return out;
}

}  // namespace

double ValidationRow::error() const {
  if (!skipped.empty() || measured <= 0 || predicted <= 0) return 0;
  return rate ? measured / predicted - 1 : predicted / measured - 1;
}

std::vector<std::filesystem::path> validation_files(const std::filesystem::path& folder_or_file) {
  std::error_code failure;
  if (std::filesystem::is_regular_file(folder_or_file, failure)) return {folder_or_file};
  return files_of(folder_or_file, ".csv");
}

ValidationResult validate(const std::vector<std::filesystem::path>& files, const Catalogue& catalogue,
                          const std::filesystem::path& models, ThreadPool& pool,
                          const std::filesystem::path& reasons) {
  const ValidationReasons written = reasons.empty() ? ValidationReasons() : ValidationReasons::read(reasons);
  ValidationResult result;
  const Read read = read_all(files, catalogue, ModelLibrary(models), result.notes);
  std::map<MachineKey, Built> machines;
  const std::set<std::string> fitted = fitted_rows(catalogue);
  result.rows.resize(read.runs.size());
  std::vector<Job> jobs;
  for (size_t i = 0; i < read.runs.size(); ++i) {
    const MeasuredRun& run = read.runs[i];
    ValidationRow& row = result.rows[i];
    row.set = read.sets[i];
    row.line = run.line;
    row.label = run.about;
    row.machine = run.accelerator;
    row.skipped = run.skipped;
    row.group = run.skipped.empty() ? group_of(run, catalogue) : "not replayed";
    row.quantity = to_string(run.quantity);
    row.rate = is_rate(run.quantity);
    row.measured = run.measured;
    row.fitted = is_fitted(fitted, row);
    if (!row.skipped.empty()) continue;
    const auto found = machines.find(key_of(run));
    const Built& built = found != machines.end()
                             ? found->second
                             : machines.emplace(key_of(run), build(run, catalogue)).first->second;
    jobs.push_back({&run, &built, &row});
  }
  pool.parallel_for(jobs.size(), 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) replay(jobs[i]);
  });
  for (const Job& job : jobs)
    if (std::abs(job.row->error()) > kFar) job.row->reason = written.find(*job.row, *job.run);
  result.groups = summarise(result.rows);
  return result;
}

}  // namespace fathom::cluster
