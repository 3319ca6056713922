#include "train/step.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "base/error.h"

namespace fathom::train {
namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

/// What a rank adds to a step's result.
struct Sums {
  LossSums loss;
  double tokens = 0;
  double sequences = 0;
};

StepResult result_of(const Sums& sums, const Groups& groups) {
  const LossSums& l = sums.loss;
  std::array<double, 7> all{l.loss, l.tokens, l.balance, l.dropped, l.choices, sums.tokens, sums.sequences};
  if (groups.place.tensor != 0) all.fill(0);  // all ranks of a tensor group have the same sums
  groups.world->all_reduce_sum(std::span<double>(all));
  const auto [loss, loss_tokens, balance, dropped, choices, tokens, sequences] = all;
  const auto share = [](double part, double whole) { return whole == 0 ? 0 : part / whole; };
  StepResult result;
  result.loss = loss_tokens == 0 ? loss : loss / loss_tokens;
  result.balance = share(balance, sequences);
  result.dropped = share(dropped, choices);
  result.tokens = tokens;
  result.loss_tokens = loss_tokens;
  result.finite = std::isfinite(loss) && std::isfinite(balance);
  return result;
}

}  // namespace

struct Step::Impl {
  Decoder& decoder;
  Optimiser& optimiser;
  const Groups& groups;
  std::vector<float> in, out, d_in, d_out;  // what passes between stages
  std::vector<PipelineWork> order;
  std::vector<MicroBatch> batches;  // in flight, by slot

  Impl(Decoder& d, Optimiser& o, const Groups& g) : decoder(d), optimiser(o), groups(g) {
    if (g.layout.pipeline == 1) return;
    for (std::vector<float>* buffer : {&in, &out, &d_in, &d_out}) buffer->resize(d.boundary_size());
  }

  size_t stages() const { return groups.layout.pipeline; }
  size_t stage() const { return groups.place.stage; }
  bool model_begins(size_t chunk) const { return groups.first_stage() && chunk == 0; }
  bool model_ends(size_t chunk) const { return groups.last_stage() && chunk + 1 == groups.layout.chunks; }

  /// Of messages to chunk `chunk` of their receiver.
  static int tag(bool forward, size_t chunk) { return static_cast<int>(2 * chunk + (forward ? 0 : 1)); }

  void receive_input(size_t chunk) {
    if (!model_begins(chunk))
      groups.pipeline->receive(in, (stage() + stages() - 1) % stages(), tag(true, chunk));
  }
  void send_output(size_t chunk) {
    const size_t receiver = groups.last_stage() ? chunk + 1 : chunk;
    if (!model_ends(chunk)) groups.pipeline->send(out, (stage() + 1) % stages(), tag(true, receiver));
  }
  void receive_gradient(size_t chunk) {
    if (!model_ends(chunk)) groups.pipeline->receive(d_out, (stage() + 1) % stages(), tag(false, chunk));
  }
  void send_gradient(size_t chunk) {
    const size_t receiver = groups.first_stage() ? chunk - 1 : chunk;
    if (!model_begins(chunk))
      groups.pipeline->send(d_in, (stage() + stages() - 1) % stages(), tag(false, receiver));
  }

  void count(Sums& sums, const LossSums& loss, size_t chunk, const MicroBatch& batch) const {
    sums.loss += loss;
    if (!model_ends(chunk)) return;
    sums.tokens += static_cast<double>(batch.size());
    sums.sequences += static_cast<double>(batch.sequences);
  }

  void forward(const PipelineWork& work, const MicroBatches& batch, const LossScale& scale, Sums& sums) {
    const size_t slot = work.micro_batch % batches.size();
    if (work.chunk == 0) batches[slot] = batch(work.micro_batch);
    receive_input(work.chunk);
    if (model_ends(work.chunk)) optimiser.before_gradients();
    count(sums, decoder.forward(work.chunk, slot, batches[slot], scale, in, out), work.chunk, batches[slot]);
    send_output(work.chunk);
  }

  void backward(const PipelineWork& work, const LossScale& scale, bool last_micro_batch) {
    const size_t slot = work.micro_batch % batches.size();
    receive_gradient(work.chunk);
    optimiser.before_gradients();
    decoder.backward(work.chunk, slot, batches[slot], scale, d_out, d_in,
                     [&](const Parameter& first) { optimiser.ready(first, last_micro_batch); });
    send_gradient(work.chunk);
  }

  Sums gradients(size_t micro_batches, const MicroBatches& batch, const LossScale& scale) {
    order = pipeline_order(groups.layout, stage(), micro_batches);
    batches.resize(Step::slots(groups.layout, micro_batches));
    optimiser.begin();
    Sums sums;
    for (const PipelineWork& work : order)
      work.forward ? forward(work, batch, scale, sums)
                   : backward(work, scale, work.micro_batch + 1 == micro_batches);
    decoder.finish_gradients();
    optimiser.reduce();
    return sums;
  }
};

Step::Step(Decoder& decoder, Optimiser& optimiser, const Groups& groups)
    : impl_(std::make_unique<Impl>(decoder, optimiser, groups)) {}

Step::~Step() = default;

StepResult Step::run(uint64_t number, size_t micro_batches, const MicroBatches& batch, const LossScale& scale,
                     float learning_rate) {
  FATHOM_CHECK(number > 0 && micro_batches > 0);
  const auto start = SteadyClock::now();
  Impl& s = *impl_;
  StepResult result = result_of(s.gradients(micro_batches, batch, scale), s.groups);
  result.norm = s.optimiser.norm();
  result.finite = result.finite && std::isfinite(result.norm);
  if (result.finite)
    s.optimiser.update(learning_rate, number);
  else
    s.optimiser.discard();
  result.exposed_seconds = s.optimiser.exposed_seconds();
  result.seconds = seconds_since(start);
  return result;
}

StepResult Step::evaluate(size_t micro_batches, const MicroBatches& batch) {
  const auto start = SteadyClock::now();
  Impl& s = *impl_;
  Sums sums;
  for (const PipelineWork& work : forward_order(s.groups.layout, micro_batches)) {
    const MicroBatch rows = batch(work.micro_batch);
    s.receive_input(work.chunk);
    s.count(sums, s.decoder.evaluate(work.chunk, rows, s.in, s.out), work.chunk, rows);
    s.send_output(work.chunk);
  }
  StepResult result = result_of(sums, s.groups);
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace fathom::train
