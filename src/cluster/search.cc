#include "cluster/search.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>

#include "cluster/search_space.h"

namespace fathom::cluster {
namespace {

/// A plan and its place in the enumeration, which decides ties.
struct Entry {
  uint64_t ordinal = 0;
  RankedPlan ranked;

  double time() const { return ranked.cost.time.step_time; }
  double memory() const { return ranked.cost.memory.total; }
};

bool sooner(const Entry& a, const Entry& b) {
  return std::pair(a.time(), a.ordinal) < std::pair(b.time(), b.ordinal);
}

/// The `keep` soonest.
class Best {
 public:
  explicit Best(size_t keep) : keep_(keep) {}

  bool takes(double time) const { return entries_.size() < keep_ || time <= entries_.front().time(); }
  void add(const Entry& entry) {
    if (keep_ == 0) return;
    if (entries_.size() == keep_) {
      if (!sooner(entry, entries_.front())) return;
      std::pop_heap(entries_.begin(), entries_.end(), sooner);
      entries_.back() = entry;
    } else {
      entries_.push_back(entry);
    }
    std::push_heap(entries_.begin(), entries_.end(), sooner);
  }
  void add(const Best& other) {
    for (const Entry& entry : other.entries_) add(entry);
  }
  std::vector<RankedPlan> sorted() const {
    std::vector<Entry> entries = entries_;
    std::sort(entries.begin(), entries.end(), sooner);
    std::vector<RankedPlan> out;
    for (const Entry& entry : entries) out.push_back(entry.ranked);
    return out;
  }

 private:
  size_t keep_;
  std::vector<Entry> entries_;  // a heap, the latest on top
};

/// The Pareto front of time and memory among plans of equally many chips: time rises, memory falls. Of equals the first in
/// the enumeration stays, so that the order of additions does not matter.
class Front {
 public:
  bool takes(double time, double memory) const {
    const auto after = first_later(time);
    return after == entries_.begin() || std::prev(after)->memory() >= memory;
  }
  void add(const Entry& entry) {
    auto at = first_later(entry.time());
    if (at != entries_.begin()) {
      const auto before = std::prev(at);
      const bool same = before->time() == entry.time() && before->memory() == entry.memory();
      if (same ? before->ordinal < entry.ordinal : before->memory() <= entry.memory()) return;
      if (before->time() == entry.time()) at = before;  // no better than the new one: replaced below
    }
    const auto end =
        std::find_if(at, entries_.end(), [&](const Entry& e) { return e.memory() < entry.memory(); });
    if (at == end) {
      entries_.insert(at, entry);
    } else {
      *at = entry;
      entries_.erase(at + 1, end);
    }
  }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry>::const_iterator first_later(double time) const {
    return std::upper_bound(entries_.begin(), entries_.end(), time,
                            [](double value, const Entry& entry) { return value < entry.time(); });
  }
  std::vector<Entry>::iterator first_later(double time) {
    return std::upper_bound(entries_.begin(), entries_.end(), time,
                            [](double value, const Entry& entry) { return value < entry.time(); });
  }

  std::vector<Entry> entries_;
};

/// What one thread found.
struct Found {
  Found(size_t keep, const Enumeration& space)
      : best(keep), fronts(space.sizes().size()), heat(space.heat().size()) {}

  struct Heat {
    double time = 0, mfu = 0;
    uint64_t ordinal = 0;
  };

  void add(const Found& other) {
    best.add(other.best);
    for (size_t i = 0; i < fronts.size(); ++i)
      for (const Entry& entry : other.fronts[i].entries()) fronts[i].add(entry);
    for (size_t i = 0; i < heat.size(); ++i) warm(heat[i], other.heat[i]);
    if (other.out_of_memory > 0) approach(other.nearest);
    for (size_t i = 0; i < faults.size(); ++i) faults[i] += other.faults[i];
    considered += other.considered;
    feasible += other.feasible;
    out_of_memory += other.out_of_memory;
  }
  static void warm(Heat& heat, const Heat& other) {
    if (other.time <= 0) return;
    if (heat.time <= 0 || std::pair(other.time, other.ordinal) < std::pair(heat.time, heat.ordinal))
      heat = other;
  }
  void approach(const Entry& entry) {
    if (nearest.ordinal == kNone ||
        std::pair(entry.memory(), entry.ordinal) < std::pair(nearest.memory(), nearest.ordinal))
      nearest = entry;
  }

  static constexpr uint64_t kNone = ~uint64_t{0};
  Best best;
  std::vector<Front> fronts;  // by index of Enumeration::sizes
  std::vector<Heat> heat;
  Entry nearest{kNone, {}};
  std::array<uint64_t, static_cast<size_t>(PlanFault::kMemory) + 1> faults{};  // of plans, by reason
  uint64_t considered = 0, feasible = 0, out_of_memory = 0;
  std::exception_ptr error;
};

class Searcher {
 public:
  Searcher(const StepModel& model, const SearchSpace& space, const SearchOptions& options)
      : options_(options), model_(model), enumeration_(model, space), batch_(model.job().global_batch) {}

  Found run(ThreadPool& pool) {
    std::vector<Found> found(pool.size(), Found(options_.keep, enumeration_));
    pool.run([&](size_t thread) noexcept {
      try {
        work(found[thread], thread == 0);
      } catch (...) {
        found[thread].error = std::current_exception();
        next_.store(enumeration_.groups(), std::memory_order_relaxed);
      }
    });
    for (const Found& one : found)
      if (one.error) std::rethrow_exception(one.error);
    for (size_t thread = 1; thread < found.size(); ++thread) found[0].add(found[thread]);
    if (options_.progress) options_.progress(done_.load(), enumeration_.plans());
    return std::move(found[0]);
  }
  const Enumeration& enumeration() const { return enumeration_; }

 private:
  static constexpr size_t kChunk = 8;           // groups taken at a time
  static constexpr unsigned kOrdinalBits = 28;  // of a plan within its group

  void work(Found& found, bool tells) {
    while (!options_.stop.stop_requested()) {
      const size_t begin = next_.fetch_add(kChunk, std::memory_order_relaxed);
      if (begin >= enumeration_.groups()) return;
      const size_t end = std::min(begin + kChunk, enumeration_.groups());
      uint64_t plans = 0;
      for (size_t group = begin; group < end; ++group) {
        search_group(group, found);
        plans += enumeration_.plans(group);
      }
      const uint64_t done = done_.fetch_add(plans, std::memory_order_relaxed) + plans;
      if (tells && options_.progress) options_.progress(done, enumeration_.plans());
    }
  }

  void search_group(size_t group, Found& found) const {
    ParallelPlan plan = enumeration_.group(group);
    const LayerTable layers = model_.layers(plan);
    if (layers.fault != PlanFault::kNone) {
      impossible(layers.fault, enumeration_.plans(group), found);
      return;
    }
    uint64_t ordinal = uint64_t{group} << kOrdinalBits;
    for (const Enumeration::Cell& cell : enumeration_.cells(group)) {
      const auto switches = enumeration_.switches(cell);
      if (batch_ % (uint64_t{cell.data} * plan.micro_batch) != 0) {
        impossible(PlanFault::kBatch, switches.size(), found);
      } else {
        plan.data = cell.data;
        plan.pipeline = cell.pipeline;
        plan.interleave = cell.interleave;
        search_cell(plan, cell, layers, switches, ordinal, found);
      }
      ordinal += switches.size();
    }
  }

  void search_cell(ParallelPlan& plan, const Enumeration::Cell& cell, const LayerTable& layers,
                   std::span<const Enumeration::Switches> switches, uint64_t ordinal, Found& found) const {
    for (const Enumeration::Switches& ways : switches) {
      plan.schedule = ways.schedule;
      plan.zero = ways.zero;
      plan.offload_optimizer = ways.offload_optimizer;
      plan.overlap_data = ways.overlap_data;
      const StepCost cost = model_.evaluate(plan, layers);
      if (cost.feasible())
        take(plan, cost, cell, ordinal, found);
      else if (cost.fault == PlanFault::kMemory)
        pass(plan, cost, ordinal, found);
      else
        impossible(cost.fault, 1, found);
      ++ordinal;
    }
  }

  static void impossible(PlanFault fault, uint64_t plans, Found& found) {
    found.considered += plans;
    found.faults[static_cast<size_t>(fault)] += plans;
  }

  static void pass(const ParallelPlan& plan, const StepCost& cost, uint64_t ordinal, Found& found) {
    ++found.considered;
    ++found.out_of_memory;
    if (found.nearest.ordinal == Found::kNone || cost.memory.total <= found.nearest.memory())
      found.approach({ordinal, {plan, cost}});
  }

  static void take(const ParallelPlan& plan, const StepCost& cost, const Enumeration::Cell& cell,
                   uint64_t ordinal, Found& found) {
    ++found.considered;
    ++found.feasible;
    const double time = cost.time.step_time;
    Found::warm(found.heat[cell.heat], {time, cost.mfu, ordinal});
    const bool best = found.best.takes(time), front = found.fronts[cell.size].takes(time, cost.memory.total);
    if (!best && !front) return;
    const Entry entry{ordinal, {plan, cost}};
    if (best) found.best.add(entry);
    if (front) found.fronts[cell.size].add(entry);
  }

  const SearchOptions& options_;
  const StepModel& model_;
  const Enumeration enumeration_;
  const uint64_t batch_;
  std::atomic<size_t> next_{0};
  std::atomic<uint64_t> done_{0};
};

/// Those of all fronts that no plan of fewer chips beats; by time.
std::vector<RankedPlan> merged(const std::vector<Front>& fronts) {
  Front below;  // of all that use fewer chips
  std::vector<Entry> kept;
  for (const Front& front : fronts) {
    for (const Entry& entry : front.entries()) {
      const auto& beaten_by = below.entries();
      const bool beaten = std::any_of(beaten_by.begin(), beaten_by.end(), [&](const Entry& other) {
        return other.time() <= entry.time() && other.memory() <= entry.memory();
      });
      if (!beaten) kept.push_back(entry);
    }
    for (const Entry& entry : front.entries()) below.add(entry);
  }
  std::sort(kept.begin(), kept.end(), sooner);
  std::vector<RankedPlan> out;
  for (const Entry& entry : kept) out.push_back(entry.ranked);
  return out;
}

/// Why most plans cannot be, where not one was evaluated.
PlanFault commonest(const Found& found) {
  const auto most = std::max_element(found.faults.begin(), found.faults.end());
  return *most == 0 ? PlanFault::kChips : static_cast<PlanFault>(most - found.faults.begin());
}

}  // namespace

SearchResult search(const StepModel& model, const SearchSpace& space, ThreadPool& pool,
                    const SearchOptions& options) {
  Searcher searcher(model, space, options);
  const Found found = searcher.run(pool);
  SearchResult out;
  out.best = found.best.sorted();
  out.pareto = merged(found.fronts);
  out.considered = found.considered;
  out.feasible = found.feasible;
  out.out_of_memory = found.out_of_memory;
  out.evaluated = found.feasible + found.out_of_memory;
  out.heat = searcher.enumeration().heat();
  for (size_t i = 0; i < out.heat.size(); ++i) {
    out.heat[i].step_time = found.heat[i].time;
    out.heat[i].mfu = found.heat[i].mfu;
  }
  out.stopped = options.stop.stop_requested() && found.considered < searcher.enumeration().plans();
  if (found.feasible == 0) {
    out.nearest = found.nearest.ranked;
    if (found.out_of_memory == 0) out.nearest.cost.fault = commonest(found);
    if (options.remedy && !out.stopped) out.remedy = find_remedy(model, space, out, pool, options.stop);
  }
  return out;
}

}  // namespace fathom::cluster
