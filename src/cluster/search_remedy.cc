// Where no plan fits: what would make one fit. Each remedy that is named was tried: a search in the changed space, on the
// changed machine or for the changed job found a plan.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "cluster/format.h"
#include "cluster/search_space.h"

namespace fathom::cluster {
namespace {

constexpr uint64_t kMostTimesChips = 64;
constexpr uint64_t kMostBatchCut = 64;
constexpr size_t kMostBatchesTried = 24;

/// Of the space, the corner that needs least memory: enough to know whether anything fits.
SearchSpace lean(SearchSpace space) {
  if (space.micro_batch.empty()) space.micro_batch = {1};
  space.micro_batch = {*std::min_element(space.micro_batch.begin(), space.micro_batch.end())};
  if (space.interleave.empty()) space.interleave = {1};
  if (space.schedule.size() > 1) space.schedule = {Schedule::kOneForwardOneBackward};
  if (space.sequence_parallel == Either::kBoth) space.sequence_parallel = Either::kYes;
  for (Either* either : {&space.overlap_data, &space.overlap_tensor, &space.overlap_expert})
    if (*either == Either::kBoth) *either = Either::kNo;
  return space;
}

class Remedy {
 public:
  Remedy(const StepModel& model, const SearchSpace& space, const SearchResult& result, ThreadPool& pool,
         const std::stop_token& stop)
      : model_(model), space_(space), result_(result), pool_(pool), stop_(stop) {}

  std::string find() {
    try_space();
    try_batch();
    try_chips();
    std::string out = reason();
    if (works_.empty())
      return out + "; nothing that was tried helps: take a smaller model or chips with more memory";
    out += "; it would fit ";
    for (size_t i = 0; i < works_.size(); ++i) out += (i == 0 ? "" : ", or ") + works_[i];
    return out;
  }

 private:
  bool memory() const { return result_.out_of_memory > 0; }

  std::string reason() const {
    if (memory()) {
      const StepMemory& needs = result_.nearest.cost.memory;
      return fmt::format("the nearest ({}) needs {} where a chip has {}", describe(result_.nearest.plan),
                         format_bytes(needs.total), format_bytes(needs.capacity));
    }
    const uint64_t chips = model_.machine().chips;
    switch (result_.nearest.cost.fault) {
      case PlanFault::kChips:
        return fmt::format("no degrees of the space multiply to {} chips",
                           format_number(static_cast<double>(chips)));
      case PlanFault::kBatch:
        return fmt::format(
            "the global batch of {} sequences cannot be divided by the data-parallel degrees that {} chips "
            "leave",
            model_.job().global_batch, format_number(static_cast<double>(chips)));
      default:
        return fmt::format("every plan of the space is impossible, most because of this: {}",
                           to_string(result_.nearest.cost.fault));
    }
  }

  /// A plan of the space for the job on the machine, if there is one.
  std::optional<ParallelPlan> plan_for(const Machine& machine, const TrainingJob& job,
                                       const SearchSpace& space) {
    if (stop_.stop_requested()) return std::nullopt;
    const StepModel model(model_.model(), machine, job);
    SearchOptions options;
    options.keep = 1;
    options.stop = stop_;
    options.remedy = false;
    const SearchResult found = search(model, lean(space), pool_, options);
    if (found.best.empty()) return std::nullopt;
    return found.best.front().plan;
  }
  bool fits(const SearchSpace& space) { return plan_for(model_.machine(), model_.job(), space).has_value(); }

  void try_space() {
    SearchSpace open;
    open.fewer_chips = space_.fewer_chips;
    open.min_chips = space_.min_chips;
    open.max_chips = space_.max_chips;
    open.offload = space_.offload;
    open.precision = space_.precision;
    if (!(lean(open) == lean(space_)) && fits(open))
      works_.push_back("without the limits that [search] sets");
    SearchSpace changed = space_;
    if (!space_.recompute.empty() && std::find(space_.recompute.begin(), space_.recompute.end(),
                                               Recompute::kFull) == space_.recompute.end()) {
      changed.recompute.push_back(Recompute::kFull);
      if (fits(changed)) works_.push_back("with full recomputation (recompute = [\"full\"])");
    }
    if (!memory()) return;
    if (!space_.offload) {
      changed = space_;
      changed.offload = true;
      if (fits(changed))
        works_.push_back("with optimizer and activations in the hosts' memory (offload = true)");
    }
    const bool has_fp8 = model_.machine().chip.peak_flops[static_cast<size_t>(Precision::kFp8)] > 0;
    if (has_fp8 && std::find(space_.precision.begin(), space_.precision.end(), Precision::kFp8) ==
                       space_.precision.end()) {
      changed = space_;
      changed.precision.push_back(Precision::kFp8);
      if (fits(changed)) works_.push_back("in fp8 (precision = [\"bf16\", \"fp8\"])");
    }
  }

  /// Batches near to the wanted one that some data-parallel degree divides.
  std::vector<uint64_t> near_batches() const {
    const uint64_t batch = model_.job().global_batch, chips = model_.machine().chips;
    std::set<std::pair<uint64_t, uint64_t>> by_distance;
    for (uint64_t degree = 2; degree * degree <= chips; ++degree) {
      if (chips % degree != 0) continue;
      for (const uint64_t data : {degree, chips / degree}) {
        const uint64_t below = batch / data * data, above = below + data;
        if (below > 0 && below < batch) by_distance.emplace(batch - below, below);
        if (above > batch) by_distance.emplace(above - batch, above);
      }
    }
    std::vector<uint64_t> out;
    for (const auto& [distance, near] : by_distance)
      if (out.size() < kMostBatchesTried) out.push_back(near);
    return out;
  }

  void try_batch() {
    std::vector<uint64_t> batches;
    if (memory())
      for (uint64_t cut = 2; cut <= kMostBatchCut && model_.job().global_batch >= cut; cut *= 2)
        batches.push_back(model_.job().global_batch / cut);
    else
      batches = near_batches();
    for (const uint64_t batch : batches) {
      TrainingJob job = model_.job();
      job.global_batch = batch;
      if (!plan_for(model_.machine(), job, space_)) continue;
      works_.push_back(fmt::format("with a global batch of {}", batch));
      return;
    }
  }

  void try_chips() {
    if (!memory() && !space_.fewer_chips) {
      SearchSpace changed = space_;
      changed.fewer_chips = true;
      if (const auto plan = plan_for(model_.machine(), model_.job(), changed))
        works_.push_back(fmt::format("on {} of the chips (fewer_chips = true)",
                                     format_number(static_cast<double>(plan->chips()))));
    }
    if (!memory()) return;
    for (uint64_t times = 2; times <= kMostTimesChips; times *= 2) {
      // Memory alone is asked of this machine: its network, built for fewer chips, matters to time only.
      Machine machine = model_.machine();
      machine.chips *= times;
      SearchSpace changed = space_;
      changed.max_chips = changed.max_chips == 0 ? 0 : changed.max_chips * times;
      changed.min_chips = 0;
      if (!plan_for(machine, model_.job(), changed)) continue;
      works_.push_back(fmt::format("on {} chips", format_number(static_cast<double>(machine.chips))));
      break;
    }
    const StepMemory& needs = result_.nearest.cost.memory;
    if (needs.total > needs.capacity)
      works_.push_back(
          fmt::format("on chips with {} more memory each", format_bytes(needs.total - needs.capacity)));
  }

  const StepModel& model_;
  const SearchSpace& space_;
  const SearchResult& result_;
  ThreadPool& pool_;
  const std::stop_token& stop_;
  std::vector<std::string> works_;
};

}  // namespace

std::string find_remedy(const StepModel& model, const SearchSpace& space, const SearchResult& result,
                        ThreadPool& pool, const std::stop_token& stop) {
  return Remedy(model, space, result, pool, stop).find();
}

}  // namespace fathom::cluster
