#include <gtest/gtest.h>

#include <map>
#include <set>

#include "train/step.h"

namespace fathom::train {
namespace {

struct Case {
  size_t stages, chunks, micro_batches;
};

class PipelineOrder : public testing::TestWithParam<Case> {
 protected:
  Layout layout() const {
    Layout l;
    l.pipeline = GetParam().stages;
    l.chunks = GetParam().chunks;
    return l;
  }
  std::vector<PipelineWork> order(size_t stage) const {
    return pipeline_order(layout(), stage, GetParam().micro_batches);
  }
};

TEST_P(PipelineOrder, DoesEveryPassOnceTheForwardPassFirst) {
  for (size_t stage = 0; stage < GetParam().stages; ++stage) {
    std::set<std::pair<size_t, size_t>> forward, backward;
    for (const PipelineWork& w : order(stage)) {
      ASSERT_LT(w.chunk, GetParam().chunks);
      ASSERT_LT(w.micro_batch, GetParam().micro_batches);
      auto& done = w.forward ? forward : backward;
      EXPECT_TRUE(done.emplace(w.chunk, w.micro_batch).second);
      if (!w.forward) {
        EXPECT_TRUE(forward.contains({w.chunk, w.micro_batch}));
      }
    }
    EXPECT_EQ(forward.size(), GetParam().chunks * GetParam().micro_batches);
    EXPECT_EQ(backward.size(), forward.size());
  }
}

/// So that micro-batch m can have slot m % slots, and messages need no name but their chunk.
TEST_P(PipelineOrder, TakesMicroBatchesOfAChunkInTurn) {
  for (size_t stage = 0; stage < GetParam().stages; ++stage) {
    std::map<std::pair<bool, size_t>, size_t> next;
    for (const PipelineWork& w : order(stage)) EXPECT_EQ(w.micro_batch, (next[{w.forward, w.chunk}]++));
  }
}

/// All stages side by side, each waiting for what its neighbours send, one unit of time a pass (a backward pass takes two).
/// Returns the time at which the last one ends; fails where they wait for each other.
size_t simulate(const Layout& layout, size_t micro_batches) {
  struct Stage {
    std::vector<PipelineWork> order;
    size_t next = 0, time = 0;
  };
  std::vector<Stage> stages(layout.pipeline);
  for (size_t s = 0; s < stages.size(); ++s) stages[s].order = pipeline_order(layout, s, micro_batches);
  const size_t parts = layout.pipeline * layout.chunks;
  std::map<std::tuple<bool, size_t, size_t>, size_t> ended;  // forward, part of the model, micro-batch
  const auto advance = [&](size_t s) {
    Stage& stage = stages[s];
    if (stage.next == stage.order.size()) return false;
    const PipelineWork w = stage.order[stage.next];
    const size_t part = w.chunk * layout.pipeline + s;
    size_t start = stage.time;
    const bool waits = w.forward ? part > 0 : part + 1 < parts;
    if (waits) {
      const auto other = ended.find({w.forward, w.forward ? part - 1 : part + 1, w.micro_batch});
      if (other == ended.end()) return false;
      start = std::max(start, other->second);
    }
    stage.time = start + (w.forward ? 1 : 2);
    ended[{w.forward, part, w.micro_batch}] = stage.time;
    ++stage.next;
    return true;
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t s = 0; s < stages.size(); ++s)
      while (advance(s)) moved = true;
  }
  size_t end = 0;
  for (const Stage& stage : stages) {
    EXPECT_EQ(stage.next, stage.order.size()) << "stages wait for each other";
    end = std::max(end, stage.time);
  }
  return end;
}

TEST_P(PipelineOrder, NeverDeadlocksAndHasTheTextbooksBubble) {
  const auto [stages, chunks, micro_batches] = GetParam();
  // Narayanan et al., 2021: a bubble of (stages - 1) / chunks micro-batches' passes; here in passes of one chunk.
  if (micro_batches >= stages)
    EXPECT_EQ(simulate(layout(), micro_batches), 3 * (micro_batches * chunks + stages - 1));
  else
    simulate(layout(), micro_batches);
}

TEST_P(PipelineOrder, KeepsAsManyInFlightAsThereAreSlots) {
  const auto [stages, chunks, micro_batches] = GetParam();
  size_t most = 0;
  for (size_t stage = 0; stage < stages; ++stage) {
    std::map<size_t, std::set<size_t>> in_flight;
    for (const PipelineWork& w : order(stage)) {
      if (w.forward)
        in_flight[w.chunk].insert(w.micro_batch);
      else
        in_flight[w.chunk].erase(w.micro_batch);
      most = std::max(most, in_flight[w.chunk].size());
    }
  }
  EXPECT_EQ(most, Step::slots(layout(), micro_batches));
  if (chunks == 1) {
    EXPECT_EQ(most, std::min(stages, micro_batches));  // 1F1B's promise
  }
  EXPECT_LE(most, 2 * stages);  // however many micro-batches there are
}

TEST_P(PipelineOrder, ForwardPassesAloneAreThoseOfTheStep) {
  for (size_t stage = 0; stage < GetParam().stages; ++stage) {
    std::vector<std::pair<size_t, size_t>> in_step, alone;
    for (const PipelineWork& w : order(stage))
      if (w.forward) in_step.emplace_back(w.chunk, w.micro_batch);
    for (const PipelineWork& w : forward_order(layout(), GetParam().micro_batches))
      alone.emplace_back(w.chunk, w.micro_batch);
    EXPECT_EQ(alone, in_step);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, PipelineOrder,
                         testing::Values(Case{1, 1, 1}, Case{1, 1, 5}, Case{2, 1, 1}, Case{2, 1, 7},
                                         Case{4, 1, 2}, Case{4, 1, 4}, Case{4, 1, 16}, Case{8, 1, 9},
                                         Case{2, 2, 2}, Case{2, 2, 8}, Case{2, 3, 4}, Case{4, 2, 4},
                                         Case{4, 2, 8}, Case{4, 3, 12}, Case{8, 2, 16}),
                         [](const auto& instance) {
                           return std::to_string(instance.param.stages) + "x" +
                                  std::to_string(instance.param.chunks) + "x" +
                                  std::to_string(instance.param.micro_batches);
                         });

TEST(PipelineOrderOf, OneStageTakesOneMicroBatchAfterAnother) {
  bool forward = true;
  for (const PipelineWork& w : pipeline_order(Layout{}, 0, 4)) {
    EXPECT_EQ(w.forward, forward);
    forward = !forward;
  }
}

/// A layout of chunks where the last group of micro-batches of an evaluation is not whole.
TEST(PipelineOrderOf, ForwardPassesOfAnyNumber) {
  Layout layout;
  layout.pipeline = 4;
  layout.chunks = 2;
  std::set<std::pair<size_t, size_t>> seen;
  for (const PipelineWork& w : forward_order(layout, 6)) {
    EXPECT_TRUE(w.chunk == 0 || seen.contains({w.chunk - 1, w.micro_batch}));
    EXPECT_TRUE(seen.emplace(w.chunk, w.micro_batch).second);
  }
  EXPECT_EQ(seen.size(), 12u);
}

}  // namespace
}  // namespace fathom::train
