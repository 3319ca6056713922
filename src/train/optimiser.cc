#include "train/optimiser.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "train/reducer.h"

namespace fathom::train {
namespace {

/// Floats of one arena that are treated alike.
struct Segment {
  size_t begin = 0;
  size_t end = 0;
  bool decay = false;
};

/// What of `range` the parameters of `arena` take up that `wanted` says yes to; neighbours of one kind are one segment,
/// over the zeros between them.
template <class Wanted>
std::vector<Segment> segments_of(const Parameters& parameters, Arena arena, SharedArena::Range range,
                                 Wanted&& wanted) {
  std::vector<Segment> out;
  bool joins = false;  // whether nothing unwanted lies between
  for (const Parameter& p : parameters.all()) {
    if (p.arena != arena || p.elements() == 0) continue;
    const Segment s{std::max(range.begin, p.offset), std::min(range.end, p.offset + p.elements()), p.decay};
    if (s.begin >= s.end) continue;
    if (!wanted(p)) {
      joins = false;
    } else if (joins && out.back().decay == s.decay) {
      out.back().end = s.end;
    } else {
      out.push_back(s);
      joins = true;
    }
  }
  return out;
}

/// One bucket of what this rank updates.
struct OwnedBucket {
  SharedArena* arena = nullptr;
  size_t index = 0;
  SharedArena::Range range;
  size_t state = 0;              // of range.begin in the moments
  std::vector<Segment> updated;  // of `range`
  std::vector<Segment> counted;  // of this rank's part: what the norm of the gradient has from it
};

}  // namespace

struct Optimiser::Impl {
  Parameters& parameters;
  tensor::DeviceOps& ops;
  Communicator& world;
  OptimiserOptions options;
  std::vector<SharedArena> arenas;
  std::vector<OwnedBucket> buckets;  // by arena and place
  std::vector<OwnedRange> owned;
  std::vector<size_t> ready_from;  // for each arena: buckets from here on were posted in this pass
  std::array<tensor::DeviceBuffer, 3> states;
  tensor::DeviceBuffer sums, swap_space;
  std::unique_ptr<Reducer> reducer;
  double exposed = 0;
  double gradient_norm = 0;

  Impl(Parameters& p, const Groups& groups, tensor::DeviceOps& device, const OptimiserOptions& o)
      : parameters(p), ops(device), world(*groups.world), options(o) {
    arenas.reserve(2);
    arenas.emplace_back(p, Arena::kDense, groups.data->duplicate(), groups.layout.zero, o.bucket_floats);
    arenas.emplace_back(p, Arena::kExpert, groups.expert_data->duplicate(), groups.layout.zero,
                        o.bucket_floats);
    ready_from.resize(arenas.size());
    const bool first_of_tensor = groups.place.tensor == 0;
    size_t state = 0;
    for (SharedArena& a : arenas)
      for (size_t i = 0; i < a.buckets(); ++i) {
        add_bucket(a, i, state, first_of_tensor);
        state += buckets.back().range.size();
      }
    allocate(state);
    reducer = std::make_unique<Reducer>(arenas);
  }

  void add_bucket(SharedArena& arena, size_t index, size_t state, bool first_of_tensor) {
    OwnedBucket b{&arena, index, arena.owned(index), state, {}, {}};
    b.updated = segments_of(parameters, arena.arena, b.range, [](const Parameter&) { return true; });
    b.counted = segments_of(parameters, arena.arena, arena.part(index), [&](const Parameter& p) {
      return !p.tied_copy && (first_of_tensor || !p.tensor_shared);
    });
    if (!owned.empty() && owned.back().arena == arena.arena && owned.back().end == b.range.begin)
      owned.back().end = b.range.end;
    else
      owned.push_back({arena.arena, b.range.begin, b.range.end, state});
    buckets.push_back(std::move(b));
  }

  void allocate(size_t state) {
    for (tensor::DeviceBuffer& s : states)
      if (&s != &states[2] || options.ema_decay > 0) s = ops.allocate(state);
    if (options.ema_decay > 0) {
      size_t most = 0;
      for (const OwnedBucket& b : buckets) most = std::max(most, b.range.size());
      swap_space = ops.allocate(most);
    }
    size_t floats = 0;
    for (const SharedArena& a : arenas)
      if (a.zero == 2) floats += a.values.size() / a.group->size();
    if (floats == 0) return;
    sums = ops.allocate(floats);
    size_t at = 0;
    for (SharedArena& a : arenas) {
      if (a.zero != 2) continue;
      a.sums = sums.span().subspan(at, a.values.size() / a.group->size());
      at += a.sums.size();
    }
  }

  float* state(OptimiserState which) const { return states[static_cast<size_t>(which)].floats(); }

  /// The reduced gradient of an element of this rank's bucket.
  static const float* gradient(const OwnedBucket& b, size_t element) {
    const SharedArena& a = *b.arena;
    return a.zero == 0 ? a.gradients.data() + element : a.reduced(b.index) + (element - b.range.begin);
  }

  void wait() {
    const auto start = std::chrono::steady_clock::now();
    reducer->wait();
    exposed += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Posts the buckets of an arena that lie wholly from `begin` on and were not posted before.
  void post(size_t arena, size_t begin) {
    SharedArena& a = arenas[arena];
    while (ready_from[arena] > 0 && a.bucket(ready_from[arena] - 1).begin >= begin)
      reducer->reduce(a, --ready_from[arena]);
  }

  void begin_pass() {
    for (size_t i = 0; i < arenas.size(); ++i) ready_from[i] = arenas[i].buckets();
  }

  void average_begins() {
    for (const OwnedBucket& b : buckets)
      ops.copy(b.arena->values.data() + b.range.begin, state(OptimiserState::kAverage) + b.state,
               b.range.size());
  }

  void update_bucket(const OwnedBucket& b, tensor::AdamWArgs args) {
    for (const Segment& s : b.updated) {
      float* weights = b.arena->values.data() + s.begin;
      const size_t at = b.state + (s.begin - b.range.begin), n = s.end - s.begin;
      args.weight_decay = s.decay ? options.weight_decay : 0.0f;
      ops.adamw(args, weights, gradient(b, s.begin), state(OptimiserState::kFirstMoment) + at,
                state(OptimiserState::kSecondMoment) + at, n);
      if (options.ema_decay > 0) ops.ema(weights, options.ema_decay, state(OptimiserState::kAverage) + at, n);
    }
    share(b);
  }

  void share(const OwnedBucket& b) {
    if (b.arena->zero > 0) reducer->gather(*b.arena, b.index);
  }
};

Optimiser::Optimiser(Parameters& parameters, const Groups& groups, tensor::DeviceOps& ops,
                     const OptimiserOptions& options)
    : impl_(std::make_unique<Impl>(parameters, groups, ops, options)) {}

Optimiser::~Optimiser() = default;

void Optimiser::begin() {
  Impl& s = *impl_;
  for (const SharedArena& a : s.arenas) {
    const std::span<float> sums =
        a.zero == 2 ? a.sums : a.gradients;  // with zero 2 buckets are empty already
    if (!sums.empty()) s.ops.fill(sums.data(), 0.0f, sums.size());
  }
  s.begin_pass();
  s.reducer->begin_count();
  s.exposed = 0;
}

void Optimiser::before_gradients() {
  Impl& s = *impl_;
  if (s.arenas.front().zero == 2) {
    s.wait();
    s.begin_pass();
  }
}

void Optimiser::ready(const Parameter& first, bool last_micro_batch) {
  Impl& s = *impl_;
  for (size_t i = 0; i < s.arenas.size(); ++i)
    if (s.arenas[i].arena == first.arena && (last_micro_batch || s.arenas[i].zero == 2))
      s.post(i, first.offset);
}

void Optimiser::reduce() {
  Impl& s = *impl_;
  for (size_t i = 0; i < s.arenas.size(); ++i) s.post(i, 0);
  s.wait();
  double squares = 0;
  for (const OwnedBucket& b : s.buckets)
    for (const Segment& c : b.counted)
      squares += s.ops.sum_of_squares(Impl::gradient(b, c.begin), c.end - c.begin);
  s.world.all_reduce_sum(std::span<double>(&squares, 1));
  s.gradient_norm = std::sqrt(squares);
}

double Optimiser::norm() { return impl_->gradient_norm; }

void Optimiser::update(float learning_rate, uint64_t step) {
  Impl& s = *impl_;
  const OptimiserOptions& o = s.options;
  if (o.ema_decay > 0 && step == 1) s.average_begins();
  tensor::AdamWArgs args{learning_rate, o.beta1, o.beta2, o.epsilon, 0.0f, 1.0f, step};
  if (o.clip > 0 && s.gradient_norm > static_cast<double>(o.clip))
    args.gradient_scale = static_cast<float>(static_cast<double>(o.clip) / s.gradient_norm);
  for (const OwnedBucket& b : s.buckets) s.update_bucket(b, args);
  s.wait();
}

void Optimiser::discard() { impl_->wait(); }

const std::vector<OwnedRange>& Optimiser::owned() const { return impl_->owned; }

std::span<float> Optimiser::state(OptimiserState which) {
  return impl_->states[static_cast<size_t>(which)].span();
}

void Optimiser::swap_average() {
  Impl& s = *impl_;
  FATHOM_CHECK(s.options.ema_decay > 0, "no average of the weights is kept");
  for (const OwnedBucket& b : s.buckets) {
    float* weights = b.arena->values.data() + b.range.begin;
    float* average = s.state(OptimiserState::kAverage) + b.state;
    s.ops.copy(weights, s.swap_space.floats(), b.range.size());
    s.ops.copy(average, weights, b.range.size());
    s.ops.copy(s.swap_space.floats(), average, b.range.size());
    s.share(b);
  }
  s.wait();
}

double Optimiser::exposed_seconds() const { return impl_->exposed; }
size_t Optimiser::reduced_buckets() const { return impl_->reducer->reduced(); }

size_t Optimiser::buckets() const { return impl_->buckets.size(); }

size_t Optimiser::bytes() const {
  size_t total = impl_->sums.bytes() + impl_->swap_space.bytes() + impl_->reducer->bytes();
  for (const tensor::DeviceBuffer& s : impl_->states) total += s.bytes();
  return total;
}

}  // namespace fathom::train
