#include "cluster/simulate_pipeline.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace fathom::cluster {
namespace {

constexpr double kNotYet = std::numeric_limits<double>::infinity();

struct Operation {
  bool backward = false;
  uint32_t chunk = 0, micro_batch = 0;
};

/// The order of a stage's passes, without weight gradients; the same for all schedules but for the warm-up.
class StageOrder {
 public:
  StageOrder(const PipelineShape& shape, uint32_t micro_batches, uint32_t stage)
      : stages_(static_cast<uint32_t>(shape.stages.size())),
        chunks_(shape.chunks),
        // Groups of as many micro-batches as there are stages go through one chunk before the next.
        group_(chunks_ > 1 ? std::min(stages_, micro_batches) : 1),
        micro_batches_(micro_batches),
        total_(uint64_t{micro_batches} * chunks_) {
    const uint64_t behind = stages_ - stage - 1;
    warm_up_ = behind;
    if (chunks_ > 1) warm_up_ = behind * 2 + uint64_t{chunks_ - 1} * group_;
    if (warm_up_ > total_) warm_up_ = total_;
  }

  uint64_t size() const { return 2 * total_; }

  Operation at(uint64_t index) const {
    if (index < warm_up_) return pass(index, false);
    const uint64_t steady = index - warm_up_;
    const uint64_t pairs = total_ - warm_up_;
    if (steady < 2 * pairs)
      return steady % 2 == 0 ? pass(warm_up_ + steady / 2, false) : pass(steady / 2, true);
    return pass(index - total_, true);
  }

 private:
  Operation pass(uint64_t k, bool backward) const {
    if (chunks_ == 1) return {backward, 0, static_cast<uint32_t>(k)};
    const uint64_t round = k / (uint64_t{group_} * chunks_);
    const uint64_t first = round * group_;
    const uint64_t width =
        std::min<uint64_t>(group_, micro_batches_ - first);  // the last group may be narrower
    const uint64_t within = k - first * chunks_;
    const auto chunk = static_cast<uint32_t>(within / width);
    return {backward, backward ? chunks_ - 1 - chunk : chunk, static_cast<uint32_t>(first + within % width)};
  }

  uint32_t stages_, chunks_, group_, micro_batches_;
  uint64_t total_, warm_up_ = 0;
};

class Pipeline {
 public:
  Pipeline(const PipelineShape& shape, uint32_t micro_batches,
           const std::function<void(const PipelineSlice&)>* slices)
      : shape_(shape),
        count_(static_cast<uint32_t>(shape.stages.size())),
        micro_batches_(micro_batches),
        slices_(slices),
        zero_bubble_(shape.schedule == Schedule::kZeroBubble && count_ > 1) {
    const size_t cells = size_t{count_} * shape.chunks * micro_batches;
    forward_ready_.assign(cells, kNotYet);
    backward_ready_.assign(cells, kNotYet);
    states_.resize(count_);
    for (uint32_t s = 0; s < count_; ++s) {
      order_.emplace_back(shape, micro_batches, s);
      const auto& t = shape.stages[s];
      State& state = states_[s];
      state.forward = t.forward / shape.chunks;
      const double weight = zero_bubble_ ? std::min(t.weight, t.backward) : 0;
      state.weight = weight / shape.chunks;
      state.backward = t.backward / shape.chunks - state.weight;
      state.send = t.send;
      state.may_defer = zero_bubble_ ? s : 0;
    }
    for (uint32_t m = 0; m < micro_batches; ++m) forward_ready_[cell(0, 0, m)] = 0;
  }

  double run() {
    // Each stage goes on until it waits for a neighbour; what it sends wakes that neighbour.
    std::vector<uint32_t> awake;
    std::vector<bool> is_awake(count_, true);
    for (uint32_t s = count_; s-- > 0;) awake.push_back(s);
    while (!awake.empty()) {
      const uint32_t s = awake.back();
      awake.pop_back();
      is_awake[s] = false;
      woken_.clear();
      advance(s);
      for (const uint32_t other : woken_)
        if (!is_awake[other]) {
          is_awake[other] = true;
          awake.push_back(other);
        }
    }
    double end = 0;
    for (uint32_t s = 0; s < count_; ++s) {
      FATHOM_CHECK(states_[s].next == order_[s].size(), "a schedule that waits for itself");
      while (!states_[s].deferred.empty()) weight_gradient(s);
      end = std::max(end, states_[s].free);
    }
    return end;
  }

 private:
  struct State {
    double forward = 0, backward = 0, weight = 0, send = 0;
    double free = 0;                    // from when it can compute
    double link_down = 0, link_up = 0;  // from when it can send
    uint64_t next = 0;                  // of its order
    uint64_t may_defer = 0;             // weight gradients at a time: what 1F1B's memory has room for
    std::vector<Operation> deferred;    // oldest at `deferred_from`
    size_t deferred_from = 0;
  };

  size_t cell(uint32_t stage, uint32_t chunk, uint32_t micro_batch) const {
    return (size_t{stage} * shape_.chunks + chunk) * micro_batches_ + micro_batch;
  }
  void tell(PipelineWork work, uint32_t stage, const Operation& op, double begin, double end) const {
    if (slices_ != nullptr) (*slices_)({work, stage, op.chunk, op.micro_batch, begin, end});
  }

  void advance(uint32_t s) {
    State& state = states_[s];
    while (state.next < order_[s].size()) {
      const Operation op = order_[s].at(state.next);
      const size_t at = cell(s, op.chunk, op.micro_batch);
      const double ready = op.backward ? backward_ready_[at] : forward_ready_[at];
      if (ready == kNotYet) return;
      while (pending(state) > 0 && state.free + state.weight <= ready) weight_gradient(s);
      const double begin = std::max(state.free, ready);
      state.free = begin + (op.backward ? state.backward : state.forward);
      tell(op.backward ? PipelineWork::kBackward : PipelineWork::kForward, s, op, begin, state.free);
      ++state.next;
      if (op.backward)
        after_backward(s, op);
      else
        after_forward(s, op);
    }
  }

  void after_forward(uint32_t s, const Operation& op) {
    if (s + 1 == count_ && op.chunk + 1 == shape_.chunks) {
      backward_ready_[cell(s, op.chunk, op.micro_batch)] = states_[s].free;
      return;
    }
    const uint32_t to = s + 1 == count_ ? 0 : s + 1;
    const uint32_t chunk = s + 1 == count_ ? op.chunk + 1 : op.chunk;
    forward_ready_[cell(to, chunk, op.micro_batch)] =
        send(s, states_[s].link_down, PipelineWork::kSendForward, op);
    woken_.push_back(to);
  }

  void after_backward(uint32_t s, const Operation& op) {
    if (s > 0 || op.chunk > 0) {
      const uint32_t to = s == 0 ? count_ - 1 : s - 1;
      const uint32_t chunk = s == 0 ? op.chunk - 1 : op.chunk;
      backward_ready_[cell(to, chunk, op.micro_batch)] =
          send(s, states_[s].link_up, PipelineWork::kSendBackward, op);
      woken_.push_back(to);
    }
    State& state = states_[s];
    if (!zero_bubble_) return;
    state.deferred.push_back(op);
    while (pending(state) > state.may_defer) weight_gradient(s);
  }

  /// When it arrives. A stage's link carries one message a direction at a time.
  double send(uint32_t s, double& link, PipelineWork work, const Operation& op) {
    if (count_ == 1) return states_[s].free;  // the next chunk of the same stage
    const double begin = std::max(states_[s].free, link);
    link = begin + states_[s].send;
    if (!shape_.overlap_sends) states_[s].free = link;
    tell(work, s, op, begin, link);
    return link;
  }

  static size_t pending(const State& state) { return state.deferred.size() - state.deferred_from; }

  void weight_gradient(uint32_t s) {
    State& state = states_[s];
    const Operation op = state.deferred[state.deferred_from++];
    tell(PipelineWork::kWeightGradient, s, op, state.free, state.free + state.weight);
    state.free += state.weight;
    if (state.deferred_from == state.deferred.size()) {
      state.deferred.clear();
      state.deferred_from = 0;
    }
  }

  const PipelineShape& shape_;
  uint32_t count_, micro_batches_;
  const std::function<void(const PipelineSlice&)>* slices_;
  bool zero_bubble_;
  std::vector<StageOrder> order_;
  std::vector<State> states_;
  std::vector<double> forward_ready_, backward_ready_;  // [stage, chunk, micro-batch]
  std::vector<uint32_t> woken_;
};

}  // namespace

double simulate_pipeline(const PipelineShape& shape,
                         const std::function<void(const PipelineSlice&)>& slices) {
  FATHOM_CHECK(!shape.stages.empty() && shape.chunks > 0 && shape.micro_batches > 0);
  if (slices) return Pipeline(shape, shape.micro_batches, &slices).run();
  const uint64_t cells = uint64_t{shape.stages.size()} * shape.chunks;
  const uint64_t walked = std::max<uint64_t>(kMaxPipelineSlices / (2 * cells), 8 * shape.stages.size());
  if (shape.micro_batches <= walked) return Pipeline(shape, shape.micro_batches, nullptr).run();
  // Whole rounds of the interleaved order, so that the two differ by steady state alone.
  const uint64_t stages = shape.stages.size();
  const uint64_t rest = shape.micro_batches % stages;
  const uint64_t more = walked / stages * stages + rest;
  const uint64_t fewer = walked / (2 * stages) * stages + rest;
  const double longer = Pipeline(shape, static_cast<uint32_t>(more), nullptr).run();
  const double shorter = Pipeline(shape, static_cast<uint32_t>(fewer), nullptr).run();
  return longer + (longer - shorter) / static_cast<double>(more - fewer) *
                      static_cast<double>(shape.micro_batches - more);
}

}  // namespace fathom::cluster
