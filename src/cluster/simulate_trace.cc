#include "cluster/simulate_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace fathom::cluster {
namespace {

constexpr uint32_t kStepProcess = 1, kRunProcess = 2;
enum RunTrack : uint32_t { kPhases = 1, kWriting, kFailures, kSlowNodes };
constexpr uint32_t kMaxSlowTracks = 32;  // slow nodes drawn at the same time

std::string_view name_of(PipelineWork work) {
  switch (work) {
    case PipelineWork::kForward: return "forward";
    case PipelineWork::kBackward: return "backward";
    case PipelineWork::kWeightGradient: return "weight gradient";
    case PipelineWork::kSendForward: return "send activations";
    case PipelineWork::kSendBackward: return "send gradients";
  }
  return "";
}

/// Three tracks a stage: what it computes, what it sends down, what it sends up.
TraceWriter::Track track_of(uint32_t stage, PipelineWork work) {
  const uint32_t which = work == PipelineWork::kSendForward ? 1 : work == PipelineWork::kSendBackward ? 2 : 0;
  return {kStepProcess, stage * 4 + which + 1};
}
TraceWriter::Track exchange_track(uint32_t stage) { return {kStepProcess, stage * 4 + 4}; }

/// The collectives within a pass, as one slice each behind what the chip computes: they happen layer by layer, too often
/// to be drawn one by one.
void collectives_within(TraceWriter& writer, const TraceWriter::Track& track, const StepShape& shape,
                        const PipelineSlice& slice) {
  const double length = slice.end - slice.begin;
  double end = slice.end;
  const auto draw = [&](std::string_view name, double share) {
    if (share * length <= 1e-9) return;
    const double begin = std::max(slice.begin, end - share * length);
    writer.slice(track, name, begin, end);
    end = begin;
  };
  draw("expert all-to-all (all layers)", shape.expert_share);
  draw("context collectives (all layers)", shape.context_share);
  draw("tensor collectives (all layers)", shape.tensor_share);
}

void name_stages(TraceWriter& writer, const StepShape& shape) {
  const auto count = static_cast<uint32_t>(shape.pipeline.stages.size());
  for (uint32_t s = 0; s < count; ++s) {
    writer.name_track(track_of(s, PipelineWork::kForward), fmt::format("stage {}", s), s * 4);
    if (count > 1) {
      writer.name_track(track_of(s, PipelineWork::kSendForward), fmt::format("stage {} sends down", s),
                        s * 4 + 1);
      writer.name_track(track_of(s, PipelineWork::kSendBackward), fmt::format("stage {} sends up", s),
                        s * 4 + 2);
    }
    writer.name_track(exchange_track(s), fmt::format("stage {} replicas' exchange", s), s * 4 + 3);
  }
}

}  // namespace

void trace_step(TraceWriter& writer, const StepShape& shape) {
  const PipelineShape& pipeline = shape.pipeline;
  const uint64_t slices_each =
      uint64_t{pipeline.stages.size()} * pipeline.chunks * 8;  // of a micro-batch, at most
  const uint64_t drawn = std::max<uint64_t>(2, kMaxTraceSlices / slices_each);
  const uint64_t micro_batches = pipeline.micro_batches;
  writer.name_process(kStepProcess,
                      fmt::format("one step: {} stages, {} micro-batches{}, one of {} replicas",
                                  pipeline.stages.size(), micro_batches,
                                  drawn < micro_batches ? fmt::format(" (the first and last {} drawn)",
                                                                      std::max<uint64_t>(1, drawn / 2))
                                                        : "",
                                  shape.replicas));
  name_stages(writer, shape);

  // Of a pipeline too long to be walked through in full the trace shows as many micro-batches as it may, at the times of a
  // shorter step; the exchange follows them.
  PipelineShape walked = pipeline;
  const uint64_t walk_at_most = std::max<uint64_t>(drawn, kMaxPipelineSlices / (slices_each / 4));
  const uint64_t rounds =
      std::max<uint64_t>(1, walk_at_most / pipeline.stages.size()) * pipeline.stages.size();
  if (micro_batches > rounds) walked.micro_batches = static_cast<uint32_t>(rounds);
  const uint64_t edge = std::max<uint64_t>(1, drawn / 2);
  const uint64_t hidden_from = drawn < walked.micro_batches ? edge : walked.micro_batches;
  const uint64_t hidden_to =
      drawn < walked.micro_batches ? walked.micro_batches - edge : walked.micro_batches;
  const double pipeline_end = simulate_pipeline(walked, [&](const PipelineSlice& slice) {
    if (slice.micro_batch >= hidden_from && slice.micro_batch < hidden_to) return;
    const auto track = track_of(slice.stage, slice.work);
    writer.slice(track, name_of(slice.work), slice.begin, slice.end,
                 {{"micro-batch", slice.micro_batch}, {"chunk", slice.chunk}});
    if (slice.work == PipelineWork::kForward || slice.work == PipelineWork::kBackward)
      collectives_within(writer, track, shape, slice);
  });
  for (uint32_t s = 0; s < pipeline.stages.size(); ++s) {
    const double total = std::max(shape.data_comm_total_s, shape.data_comm_s);
    const double end = pipeline_end + shape.data_comm_s;
    if (shape.replicas > 1 && total > 0)
      writer.slice(exchange_track(s), "gradients and weights between replicas", std::max(0.0, end - total),
                   end, {{"exposed s", shape.data_comm_s}});
    if (shape.tail_s > 0)
      writer.slice(track_of(s, PipelineWork::kForward), "optimizer, offload, host program", end,
                   end + shape.tail_s);
  }
}

RunTrace::RunTrace(TraceWriter& writer, const RunInput& input) : writer_(writer), input_(input) {
  const double days = input.steps > 0 ? input.steps * input.shape.analytic_s / 86400 : input.spec.days;
  if (input.steps_between_checkpoints > 0 && input.shape.analytic_s > 0) {
    const double between = static_cast<double>(input.steps_between_checkpoints) * input.shape.analytic_s;
    const double expected = days * 86400 / between;
    every_ = 1 + static_cast<uint64_t>(expected / static_cast<double>(kMaxTracePhases));
  }
  writer_.name_process(kRunProcess,
                       fmt::format("the run: {} chips, {:.3g} days{}", input.shape.chips(), days,
                                   every_ > 1 ? fmt::format(" (one checkpoint in {} drawn)", every_) : ""));
  writer_.name_track({kRunProcess, kPhases}, "phases", 1);
  writer_.name_track({kRunProcess, kWriting}, "checkpoints being written", 2);
  writer_.name_track({kRunProcess, kFailures}, "failures", 3);
}

void RunTrace::phase(Spent what, double begin, double end) {
  const bool training = what == Spent::kUseful, checkpoint = what == Spent::kCheckpoint;
  if (training || checkpoint) {
    uint64_t& count = training ? phases_ : pauses_;
    if (count++ % every_ != 0 || count / every_ > 2 * kMaxTracePhases) return;
  } else if (++recoveries_ > 4 * kMaxTracePhases) {
    return;
  }
  writer_.slice({kRunProcess, kPhases}, training ? "training" : to_string(what), begin, end);
}

void RunTrace::failure(size_t kind, uint64_t node, double time) {
  if (++failures_ > kMaxTracePhases) return;
  writer_.instant({kRunProcess, kFailures}, input_.failures[kind].name, time,
                  {{"node", static_cast<double>(node)}});
}

void RunTrace::slow(uint64_t node, Slowness how, double begin, double end) {
  if (++slow_ > kMaxTracePhases) return;
  // They come in the order of their ends and may overlap: each goes to the first track that was free when it began.
  size_t track = 0;
  while (track < slow_until_.size() && slow_until_[track] > begin) ++track;
  if (track == kMaxSlowTracks) return;
  if (track == slow_until_.size()) {
    slow_until_.push_back(0);
    writer_.name_track({kRunProcess, kSlowNodes + static_cast<uint32_t>(track)}, "slow nodes",
                       kSlowNodes + static_cast<uint32_t>(track));
  }
  slow_until_[track] = end;
  writer_.slice({kRunProcess, kSlowNodes + static_cast<uint32_t>(track)},
                how == Slowness::kComputes ? "straggler" : "degraded links", begin, end,
                {{"node", static_cast<double>(node)}});
}

void RunTrace::written(double begin, double end, bool durable) {
  if (durable && writes_++ % every_ != 0) return;
  if (writes_ / every_ > 2 * kMaxTracePhases) return;
  writer_.slice({kRunProcess, kWriting}, durable ? "checkpoint" : "checkpoint lost", begin, end);
}

void RunTrace::progress(double time, double useful_s, double step_s) {
  if (time <= 0 || samples_++ % (2 * every_) != 0 || samples_ / every_ > 8 * kMaxTracePhases) return;
  writer_.counter(kRunProcess, "goodput %", time, 100 * useful_s / time);
  writer_.counter(kRunProcess, "step s", time, step_s);
}

}  // namespace fathom::cluster
