#include "cluster/search_space.h"

#include <algorithm>
#include <map>

#include "base/toml.h"

namespace fathom::cluster {
namespace {

constexpr uint64_t kMaxDegree = uint64_t{1} << 24;
constexpr size_t kMaxValues = 256;
constexpr uint64_t kMicroBatchTokens = uint64_t{1} << 18;  // of the largest micro-batch that is tried unasked
constexpr uint64_t kMicroBatchSequences = 64;

template <class T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

SearchSpace sorted(SearchSpace space) {
  for (auto* list : {&space.tensor, &space.pipeline, &space.context, &space.expert, &space.interleave,
                     &space.micro_batch, &space.expert_tensor})
    sort_unique(*list);
  sort_unique(space.zero);
  sort_unique(space.recompute);
  sort_unique(space.precision);
  sort_unique(space.schedule);
  if (space.zero.empty()) space.zero = {0, 1, 2, 3};
  if (space.recompute.empty()) space.recompute = {Recompute::kNone, Recompute::kSelective, Recompute::kFull};
  if (space.precision.empty()) space.precision = {Precision::kBf16};
  if (space.schedule.empty()) space.schedule = {Schedule::kOneForwardOneBackward, Schedule::kZeroBubble};
  return space;
}

/// All divisors up to `limit`, ascending.
std::vector<uint32_t> divisors(uint64_t number, uint64_t limit) {
  std::vector<uint32_t> low, high;
  const auto keep = [&](std::vector<uint32_t>& list, uint64_t divisor) {
    if (divisor <= std::min(limit, kMaxDegree)) list.push_back(static_cast<uint32_t>(divisor));
  };
  for (uint64_t divisor = 1; divisor * divisor <= number; ++divisor) {
    if (number % divisor != 0) continue;
    keep(low, divisor);
    if (divisor != number / divisor) keep(high, number / divisor);
  }
  low.insert(low.end(), high.rbegin(), high.rend());
  return low;
}

/// Pipeline degrees that give stages of different depths: of those with equally many layers in the deepest stage only the
/// shortest, since the others need more chips for the same time.
std::vector<uint32_t> distinct_depths(uint64_t layers, uint64_t limit) {
  std::vector<uint32_t> out;
  for (uint64_t depth = layers; depth > 0; --depth) {
    const auto stages = static_cast<uint32_t>(std::min((layers + depth - 1) / depth, kMaxDegree));
    if (stages <= limit && (out.empty() || out.back() != stages)) out.push_back(stages);
  }
  return out;
}

/// In the order given: the value that is simpler comes first and wins ties.
std::vector<bool> ways(Either either, bool first) {
  if (either == Either::kYes) return {true};
  if (either == Either::kNo) return {false};
  return {first, !first};
}

}  // namespace

Enumeration::Enumeration(const StepModel& model, const SearchSpace& space)
    : model_(model), space_(sorted(space)) {
  make_switches();
  const Degrees lists = degrees();
  for (const uint32_t tensor : lists.tensor) {
    if (tensor > lists.high) continue;
    variants_.push_back(variants(tensor));
    for (const uint32_t context : lists.context) {
      Pair pair;
      pair.tensor = tensor;
      pair.context = context;
      pair.first_group = groups_;
      pair.variants = variants_.size() - 1;
      pair.first_cell = cells_.size();
      add_cells(lists, pair);
      pair.cells = cells_.size() - pair.first_cell;
      if (pair.cells == 0) continue;
      pairs_.push_back(pair);
      groups_ += variants_.back().size();
      plans_ += pair.plans * variants_.back().size();
    }
  }
  index_cells();
}

Enumeration::Degrees Enumeration::degrees() const {
  const Machine& machine = model_.machine();
  Degrees out;
  out.high =
      std::max<uint64_t>(1, space_.max_chips ? std::min(space_.max_chips, machine.chips) : machine.chips);
  out.low = out.high;
  if (space_.fewer_chips)
    out.low = space_.min_chips ? std::min(space_.min_chips, out.high) : out.high - out.high / 4;
  const uint64_t layers = std::max<uint64_t>(1, model_.model().layers);
  out.tensor = space_.tensor.empty() ? divisors(model_.model().heads, out.high) : space_.tensor;
  out.context = space_.context.empty() ? divisors(model_.job().sequence, out.high) : space_.context;
  if (!space_.pipeline.empty())
    out.pipeline = space_.pipeline;
  else if (space_.fewer_chips)
    out.pipeline = distinct_depths(layers, out.high);
  else
    out.pipeline = divisors(out.high, layers);
  if (space_.fewer_chips) out.data = divisors(model_.job().global_batch, out.high);
  return out;
}

std::vector<ParallelPlan> Enumeration::variants(uint32_t tensor) const {
  const model::ModelConfig& model = model_.model();
  const TrainingJob& job = model_.job();
  const std::vector<uint32_t> one{1};
  const bool experts = !model.dense();
  std::vector<uint32_t> expert = one, expert_tensor = one, micro_batch = space_.micro_batch;
  if (experts) {
    expert = space_.expert.empty() ? divisors(model.experts.count, kMaxDegree) : space_.expert;
    expert_tensor = space_.expert_tensor.empty() ? divisors(tensor, kMaxDegree) : space_.expert_tensor;
  }
  if (micro_batch.empty()) {
    const uint64_t tokens = kMicroBatchTokens / std::max<uint64_t>(1, job.sequence);
    micro_batch = divisors(job.global_batch, std::max(tokens, kMicroBatchSequences));
  }
  const auto sequence_parallel = tensor > 1 ? ways(space_.sequence_parallel, true) : std::vector<bool>{false};
  const auto overlap_tensor = tensor > 1 ? ways(space_.overlap_tensor, false) : std::vector<bool>{false};

  std::vector<ParallelPlan> out;
  ParallelPlan plan;
  plan.tensor = tensor;
  for (const Precision precision : space_.precision) {
    plan.precision = precision;
    for (const uint32_t e : expert) {
      plan.expert = e;
      const auto overlap_expert = e > 1 ? ways(space_.overlap_expert, false) : std::vector<bool>{false};
      for (const uint32_t et : expert_tensor) {
        plan.expert_tensor = et;
        for (const uint32_t sequences : micro_batch) {
          plan.micro_batch = sequences;
          for (const Recompute recompute : space_.recompute) {
            plan.recompute = recompute;
            for (const bool sp : sequence_parallel) {
              plan.sequence_parallel = sp;
              for (const bool ot : overlap_tensor) {
                plan.overlap_tensor = ot;
                for (const bool oe : overlap_expert) {
                  plan.overlap_expert = oe;
                  for (const bool offload :
                       space_.offload ? std::vector<bool>{false, true} : std::vector<bool>{false}) {
                    plan.offload_activations = offload;
                    out.push_back(plan);
                  }
                }
              }
            }
          }
        }
      }
    }
  }
  return out;
}

void Enumeration::add_cells(const Degrees& degrees, Pair& pair) {
  const uint64_t within = uint64_t{pair.tensor} * pair.context;
  if (within > degrees.high) return;
  for (const uint32_t pipeline : degrees.pipeline) {
    const uint64_t replica = within * pipeline;
    if (replica > degrees.high || pipeline > std::max<size_t>(1, model_.model().layers)) continue;
    if (!space_.fewer_chips) {
      if (degrees.high % replica == 0)
        add_data(pipeline, static_cast<uint32_t>(degrees.high / replica), pair);
      continue;
    }
    for (const uint32_t data : degrees.data)
      if (replica * data >= degrees.low && replica * data <= degrees.high) add_data(pipeline, data, pair);
  }
}

void Enumeration::add_data(uint32_t pipeline, uint32_t data, Pair& pair) {
  for (const uint32_t interleave : interleaves(pipeline)) {
    const Cell cell{.pipeline = pipeline,
                    .data = data,
                    .interleave = interleave,
                    .shards = data > 1 || pair.context > 1,
                    .size = 0,
                    .heat = 0};
    cells_.push_back(cell);
    pair.plans += switches(cell).size();
  }
}

std::vector<uint32_t> Enumeration::interleaves(uint32_t pipeline) const {
  if (pipeline == 1) return {1};
  if (!space_.interleave.empty()) return space_.interleave;
  // As many chunks as layers, and the embedding and the logits may have chunks of their own.
  std::vector<uint32_t> out;
  for (uint32_t chunks = 1; uint64_t{chunks} * pipeline <= model_.model().layers + 2; ++chunks)
    out.push_back(chunks);
  return out.empty() ? std::vector<uint32_t>{1} : out;
}

void Enumeration::make_switches() {
  for (const bool pipelined : {false, true}) {
    for (const bool shards : {false, true}) {
      auto& out = switches_[(pipelined ? 1 : 0) + (shards ? 2 : 0)];
      const auto schedules =
          pipelined ? space_.schedule : std::vector<Schedule>{Schedule::kOneForwardOneBackward};
      const auto zeros = shards ? space_.zero : std::vector<uint8_t>{space_.zero.front()};
      const auto overlaps = shards ? ways(space_.overlap_data, true) : std::vector<bool>{true};
      for (const Schedule schedule : schedules)
        for (const uint8_t zero : zeros)
          for (const bool offload :
               space_.offload ? std::vector<bool>{false, true} : std::vector<bool>{false})
            for (const bool overlap : overlaps)
              out.push_back({.schedule = schedule,
                             .zero = zero,
                             .offload_optimizer = offload,
                             .overlap_data = overlap});
    }
  }
}

void Enumeration::index_cells() {
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> heat;
  const auto chips = [](const Pair& pair, const Cell& cell) {
    return uint64_t{pair.tensor} * pair.context * cell.pipeline * cell.data;
  };
  for (const Pair& pair : pairs_)
    for (const Cell& cell : cells_of(pair)) {
      heat[{pair.tensor, cell.pipeline}] = 0;
      sizes_.push_back(chips(pair, cell));
    }
  sort_unique(sizes_);
  for (auto& [degrees, position] : heat) {
    position = static_cast<uint32_t>(heat_.size());
    heat_.push_back({.tensor = degrees.first, .pipeline = degrees.second, .step_time = 0, .mfu = 0});
  }
  for (const Pair& pair : pairs_)
    for (Cell& cell : cells_of(pair)) {
      cell.heat = heat[{pair.tensor, cell.pipeline}];
      cell.size = static_cast<uint32_t>(std::lower_bound(sizes_.begin(), sizes_.end(), chips(pair, cell)) -
                                        sizes_.begin());
    }
}

size_t Enumeration::pair_of(size_t group) const {
  const auto after =
      std::upper_bound(pairs_.begin(), pairs_.end(), group,
                       [](size_t value, const Pair& pair) { return value < pair.first_group; });
  return static_cast<size_t>(after - pairs_.begin()) - 1;
}

ParallelPlan Enumeration::group(size_t index) const {
  const Pair& pair = pairs_[pair_of(index)];
  ParallelPlan plan = variants_[pair.variants][index - pair.first_group];
  plan.context = pair.context;
  return plan;
}

std::span<const Enumeration::Cell> Enumeration::cells(size_t group) const {
  const Pair& pair = pairs_[pair_of(group)];
  return std::span(cells_).subspan(pair.first_cell, pair.cells);
}

std::span<const Enumeration::Switches> Enumeration::switches(const Cell& cell) const {
  return switches_[(cell.pipeline > 1 ? 1 : 0) + (cell.shards ? 2 : 0)];
}

// ---- [search]

namespace {

std::vector<uint32_t> degrees_of(const TomlTable& table, std::string_view key) {
  std::vector<uint32_t> out;
  const std::vector<double> values = table.numbers(key, 1, static_cast<double>(kMaxDegree));
  if (values.size() > kMaxValues) table.error(key, "has over 256 values; use fewer");
  for (const double value : values) {
    if (value != static_cast<double>(static_cast<uint32_t>(value)))
      table.error(key, "must be a list of whole numbers");
    out.push_back(static_cast<uint32_t>(value));
  }
  if (table.has(key) && out.empty()) table.error(key, "is an empty list; leave it out to try every value");
  return out;
}

template <class T>
std::vector<T> choices_of(const TomlTable& table, std::string_view key,
                          std::initializer_list<std::pair<std::string_view, T>> known,
                          std::vector<T> otherwise) {
  if (!table.has(key)) return otherwise;
  std::vector<T> out;
  for (const std::string& name : table.texts(key)) {
    const auto found =
        std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == name; });
    if (found == known.end()) {
      std::string names;
      for (const auto& entry : known) names += (names.empty() ? "" : ", ") + std::string(entry.first);
      table.error(key, "holds '" + name + "', which is none of: " + names);
    }
    out.push_back(found->second);
  }
  if (out.empty()) table.error(key, "is an empty list; leave it out to try every value");
  return out;
}

Either either_of(const TomlTable& table, std::string_view key) {
  return static_cast<Either>(table.choice_or(key, 0, {"both", "yes", "no"}));
}

}  // namespace

SearchSpace SearchSpace::read(const TomlTable& table) {
  table.allow({"tensor", "pipeline", "context", "expert", "expert_tensor", "interleave", "micro_batch",
               "zero", "recompute", "precision", "schedule", "sequence_parallel", "overlap_data",
               "overlap_tensor", "overlap_expert", "offload", "fewer_chips", "min_chips", "max_chips"});
  SearchSpace out;
  out.tensor = degrees_of(table, "tensor");
  out.pipeline = degrees_of(table, "pipeline");
  out.context = degrees_of(table, "context");
  out.expert = degrees_of(table, "expert");
  out.expert_tensor = degrees_of(table, "expert_tensor");
  out.interleave = degrees_of(table, "interleave");
  out.micro_batch = degrees_of(table, "micro_batch");
  for (const double stage : table.numbers("zero", 0, 3)) {
    if (stage != static_cast<double>(static_cast<uint8_t>(stage)))
      table.error("zero", "must be a list of stages 0, 1, 2, 3");
    out.zero.push_back(static_cast<uint8_t>(stage));
  }
  out.recompute = choices_of<Recompute>(
      table, "recompute",
      {{"none", Recompute::kNone}, {"selective", Recompute::kSelective}, {"full", Recompute::kFull}}, {});
  out.precision = choices_of<Precision>(table, "precision",
                                        {{"fp32", Precision::kFp32},
                                         {"tf32", Precision::kTf32},
                                         {"bf16", Precision::kBf16},
                                         {"fp16", Precision::kFp16},
                                         {"fp8", Precision::kFp8},
                                         {"fp4", Precision::kFp4}},
                                        out.precision);
  out.schedule = choices_of<Schedule>(
      table, "schedule", {{"1f1b", Schedule::kOneForwardOneBackward}, {"zero-bubble", Schedule::kZeroBubble}},
      out.schedule);
  out.sequence_parallel = either_of(table, "sequence_parallel");
  out.overlap_data = either_of(table, "overlap_data");
  out.overlap_tensor = either_of(table, "overlap_tensor");
  out.overlap_expert = either_of(table, "overlap_expert");
  out.offload = table.flag_or("offload", out.offload);
  out.fewer_chips = table.flag_or("fewer_chips", out.fewer_chips);
  out.min_chips = static_cast<uint64_t>(table.integer_or("min_chips", 0, 1, int64_t{kMaxDegree}));
  out.max_chips = static_cast<uint64_t>(table.integer_or("max_chips", 0, 1, int64_t{kMaxDegree}));
  if (out.max_chips != 0 && out.min_chips > out.max_chips)
    table.error("min_chips", "is more than max_chips; lower it");
  return out;
}

}  // namespace fathom::cluster
