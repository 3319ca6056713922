#include "train/layout.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "train/thread_comm.h"

namespace fathom::train {
namespace {

model::ModelConfig dense() {
  model::ModelConfig config;
  config.layers = 6;
  config.heads = 8;
  config.kv_heads = 4;
  config.ffn = 64;
  config.vocab = 96;
  return config;
}

model::ModelConfig mixture() {
  model::ModelConfig config = dense();
  config.ffn = 0;
  config.experts.count = 8;
  config.experts.used = 2;
  config.experts.ffn = 32;
  return config;
}

TEST(Layout, ReadsALine) {
  const Layout layout = Layout::parse(" pipeline=4 tensor=2,data=3, zero=1 chunks=2 expert=3");
  EXPECT_EQ(layout.data, 3u);
  EXPECT_EQ(layout.tensor, 2u);
  EXPECT_EQ(layout.pipeline, 4u);
  EXPECT_EQ(layout.expert, 3u);
  EXPECT_EQ(layout.chunks, 2u);
  EXPECT_EQ(layout.zero, 1u);
  EXPECT_EQ(layout.ranks(), 24u);
  EXPECT_EQ(layout.line(), "data=3 tensor=2 pipeline=4 expert=3 chunks=2 zero=1");
  EXPECT_EQ(Layout::parse("").ranks(), 1u);
  EXPECT_EQ(Layout::parse(Layout{}.line()).line(), Layout{}.line());
}

TEST(Layout, RefusesOtherLinesNamingTheWord) {
  for (const char* word : {"date=2", "data", "data=", "data=0", "data=-1", "data=2x",
                           "data=99999999999999999999", "data=1048577", "zero=3", "=2"}) {
    try {
      Layout::parse("tensor=2 " + std::string(word));
      ADD_FAILURE() << word;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(e.what()).find("'" + std::string(word) + "'"), std::string::npos) << e.what();
    }
  }
  EXPECT_THROW(Layout::parse("data=1048576 tensor=2"), Error);
}

void expect_refused(const char* line, const model::ModelConfig& config, size_t micro_batches,
                    const char* what) {
  try {
    Layout::parse(line).check(config, 2, 32, micro_batches);
    ADD_FAILURE() << line;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << line << ": " << e.what();
  }
}

TEST(Layout, MustGoWithTheModel) {
  for (const char* line :
       {"data=1", "data=5 tensor=4 pipeline=3", "pipeline=3 chunks=2", "pipeline=6 zero=2"})
    EXPECT_NO_THROW(Layout::parse(line).check(dense(), 2, 32, 6)) << line;
  for (const char* line : {"data=4 expert=4 tensor=2", "data=8 expert=2", "data=8 expert=8"})
    EXPECT_NO_THROW(Layout::parse(line).check(mixture(), 2, 32, 6)) << line;
  expect_refused("tensor=3", dense(), 1, "heads");
  expect_refused("tensor=8", dense(), 1, "keys and values");
  expect_refused("pipeline=7", dense(), 1, "layers (6)");
  expect_refused("pipeline=2 chunks=4", dense(), 2, "layers (6)");
  expect_refused("pipeline=3 chunks=2", dense(), 4, "micro-batches");
  expect_refused("chunks=2", dense(), 2, "pipeline above 1");
  expect_refused("data=2 expert=2", dense(), 1, "no experts");
  expect_refused("data=3 expert=2", mixture(), 1, "divide data");
  expect_refused("data=3 expert=3", mixture(), 1, "experts (8)");
  model::ModelConfig odd = dense();
  odd.vocab = 97;  // is cut into parts of equal length to within one
  EXPECT_NO_THROW(Layout::parse("tensor=2").check(odd, 2, 32, 1));
  odd.ffn = 65;
  expect_refused("tensor=2", odd, 1, "feed-forward (65)");
}

TEST(Layout, LayersArePartsInOrder) {
  for (const char* line : {"pipeline=1", "pipeline=3", "pipeline=4", "pipeline=3 chunks=2"}) {
    const Layout layout = Layout::parse(line);
    for (const size_t layers : {size_t{6}, size_t{7}, size_t{11}}) {
      size_t next = 0;
      for (size_t chunk = 0; chunk < layout.chunks; ++chunk)
        for (size_t stage = 0; stage < layout.pipeline; ++stage) {
          const LayerRange range = layers_of(layout, layers, stage, chunk);
          EXPECT_EQ(range.begin, next);
          const size_t count = range.end - range.begin, parts = layout.pipeline * layout.chunks;
          EXPECT_TRUE(count == layers / parts || count == (layers + parts - 1) / parts) << count;
          next = range.end;
        }
      EXPECT_EQ(next, layers);
    }
  }
}

/// The world ranks of a group, in its order.
std::vector<size_t> members(Communicator& group, size_t rank) {
  std::vector<size_t> out;
  for (const std::string& text : group.gather_bytes(std::to_string(rank))) out.push_back(std::stoul(text));
  return out;
}

TEST(Layout, GroupsAreThoseOfThePlan) {
  const Layout layout = Layout::parse("data=4 expert=2 tensor=2 pipeline=3");
  run_ranks(layout.ranks(), [&](std::unique_ptr<Communicator> world) {
    const size_t rank = world->rank();
    const Groups groups = make_groups(layout, std::move(world));
    const Place& p = groups.place;
    const auto at = [&](size_t stage, size_t data, size_t tensor) { return (stage * 4 + data) * 2 + tensor; };
    EXPECT_EQ(at(p.stage, p.data, p.tensor), rank);
    EXPECT_EQ(p.expert, p.data % 2);
    using Ranks = std::vector<size_t>;
    EXPECT_EQ(members(*groups.data, rank), (Ranks{at(p.stage, 0, p.tensor), at(p.stage, 1, p.tensor),
                                                  at(p.stage, 2, p.tensor), at(p.stage, 3, p.tensor)}));
    EXPECT_EQ(members(*groups.expert_data, rank),
              (Ranks{at(p.stage, p.data % 2, p.tensor), at(p.stage, p.data % 2 + 2, p.tensor)}));
    const size_t first = p.data / 2 * 2;
    EXPECT_EQ(members(*groups.expert, rank),
              (Ranks{at(p.stage, first, p.tensor), at(p.stage, first + 1, p.tensor)}));
    EXPECT_EQ(members(*groups.tensor, rank), (Ranks{at(p.stage, p.data, 0), at(p.stage, p.data, 1)}));
    EXPECT_EQ(members(*groups.pipeline, rank),
              (Ranks{at(0, p.data, p.tensor), at(1, p.data, p.tensor), at(2, p.data, p.tensor)}));
    EXPECT_EQ(groups.embedding == nullptr, p.stage == 1);
    if (groups.embedding) {
      EXPECT_EQ(members(*groups.embedding, rank), (Ranks{at(0, p.data, p.tensor), at(2, p.data, p.tensor)}));
    }
    EXPECT_EQ(groups.first_stage(), p.stage == 0);
    EXPECT_EQ(groups.last_stage(), p.stage == 2);
  });
}

TEST(Layout, OfOneRankHasNoEmbeddingGroup) {
  const Groups groups = make_groups(Layout{}, make_self_comm());
  EXPECT_EQ(groups.embedding, nullptr);
  EXPECT_EQ(groups.data->size(), 1u);
  EXPECT_THROW(make_groups(Layout::parse("data=2"), make_self_comm()), Error);
}

}  // namespace
}  // namespace fathom::train
