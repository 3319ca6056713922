#include "live/vectors/hnsw.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "live/vectors/vectors_support.h"

namespace fathom::live {
namespace {

using Vectors = std::vector<std::vector<float>>;

constexpr size_t kDimensions = 32;

std::set<uint64_t> sequences(const std::vector<Hnsw::Found>& found) {
  std::set<uint64_t> out;
  for (const auto& near : found) out.insert(near.facts.sequence);
  return out;
}

/// The share of the ten nearest, found by looking at all, that walking finds too.
double recall(const Hnsw& graph, const Vectors& queries, size_t candidates, const Hnsw::Accept& accept = {}) {
  size_t right = 0, all = 0;
  for (const auto& query : queries) {
    const auto truth = sequences(graph.scan(query, 10, accept));
    const auto found = sequences(graph.find(query, 10, candidates, accept));
    for (const uint64_t sequence : found) right += truth.contains(sequence) ? 1 : 0;
    all += truth.size();
  }
  return static_cast<double>(right) / static_cast<double>(all);
}

TEST(Hnsw, EmptyGraphFindsNothing) {
  const Hnsw graph({.dimensions = 4, .most_nodes = 10});
  EXPECT_TRUE(graph.find(std::vector<float>{1, 0, 0, 0}, 10, 10).empty());
  EXPECT_TRUE(graph.scan(std::vector<float>{1, 0, 0, 0}, 10).empty());
}

TEST(Hnsw, FindsTheNearestInOrder) {
  Hnsw graph({.dimensions = 2, .most_nodes = 10});
  for (uint64_t i = 1; i <= 5; ++i) {
    const double angle = 0.2 * static_cast<double>(i);
    graph.add(std::vector<float>{static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))},
              {i, 0, 0});
  }
  const auto found = graph.find(std::vector<float>{1, 0}, 3, 10);
  ASSERT_EQ(found.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(found[i].facts.sequence, i + 1);
    EXPECT_NEAR(found[i].similarity, std::cos(0.2 * static_cast<double>(i + 1)), 0.01);
  }
}

TEST(Hnsw, RecallIsHigh) {
  const auto vectors = testing::clustered(2000, kDimensions, 1);
  Hnsw graph({.dimensions = kDimensions, .most_nodes = vectors.size()});
  for (size_t i = 0; i < vectors.size(); ++i) graph.add(vectors[i], {i + 1, 0, 0});
  EXPECT_EQ(graph.posts(), vectors.size());
  EXPECT_EQ(graph.room(), 0u);
  const auto queries = testing::clustered(50, kDimensions, 2);
  EXPECT_GT(recall(graph, queries, 64), 0.95);
  EXPECT_GT(recall(graph, queries, 64, [](const VectorFacts& facts) { return facts.sequence % 20 == 0; }),
            0.95);
}

TEST(Hnsw, FiltersAreObeyed) {
  const auto vectors = testing::clustered(500, kDimensions, 1);
  Hnsw graph({.dimensions = kDimensions, .most_nodes = 500});
  for (size_t i = 0; i < vectors.size(); ++i) graph.add(vectors[i], {i + 1, 0, 0});
  const auto odd = [](const VectorFacts& facts) { return facts.sequence % 2 == 1; };
  for (const auto& near : graph.find(vectors[0], 100, 100, odd)) EXPECT_EQ(near.facts.sequence % 2, 1u);
  EXPECT_EQ(graph.find(vectors[0], 300, 300, odd).size(), 250u);
  EXPECT_TRUE(graph.find(vectors[0], 10, 10, [](const VectorFacts&) { return false; }).empty());
}

TEST(Hnsw, RemovedNodesAreWalkedThroughAndNotFound) {
  const auto vectors = testing::clustered(1000, kDimensions, 3);
  Hnsw graph({.dimensions = kDimensions, .most_nodes = 1000});
  std::vector<uint32_t> nodes;
  for (size_t i = 0; i < vectors.size(); ++i) nodes.push_back(graph.add(vectors[i], {i + 1, 0, 0}));
  for (size_t i = 0; i < 1000; i += 2) graph.remove(nodes[i]);
  EXPECT_EQ(graph.posts(), 500u);
  EXPECT_EQ(graph.removed(), 500u);
  for (const auto& near : graph.find(vectors[0], 50, 64)) EXPECT_EQ(near.facts.sequence % 2, 0u);
  EXPECT_GT(recall(graph, testing::clustered(50, kDimensions, 4), 64), 0.9);
}

TEST(Hnsw, RemovingAllLeavesAnEmptyGraphThatCanBeUsedAgain) {
  Hnsw graph({.dimensions = 2, .most_nodes = 3});
  for (int life = 0; life < 3; ++life) {
    for (uint64_t i = 1; i <= 3; ++i) graph.add(std::vector<float>{1, static_cast<float>(i)}, {i, 0, 0});
    EXPECT_EQ(graph.find(std::vector<float>{1, 0}, 10, 10).size(), 3u);
    for (uint32_t node = 1; node < graph.end(); ++node) graph.remove(node);
    EXPECT_TRUE(graph.find(std::vector<float>{1, 0}, 10, 10).empty());
    EXPECT_EQ(graph.room(), 0u);
    ASSERT_TRUE(graph.relink({}));
    EXPECT_EQ(graph.room(), 3u);
    EXPECT_TRUE(graph.find(std::vector<float>{1, 0}, 10, 10).empty());
  }
}

TEST(Hnsw, RecallSurvivesManyLives) {
  constexpr size_t kKept = 500, kRoom = 550;
  const auto vectors = testing::clustered(4 * kKept, kDimensions, 5);
  Hnsw graph({.dimensions = kDimensions, .most_nodes = kRoom});
  std::vector<uint32_t> nodes;
  for (size_t i = 0; i < vectors.size(); ++i) {
    if (i >= kKept) graph.remove(nodes[i - kKept]);
    if (graph.room() == 0) {
      ASSERT_TRUE(graph.relink({}));
    }
    nodes.push_back(graph.add(vectors[i], {i + 1, 0, 0}));
  }
  EXPECT_EQ(graph.posts(), kKept);
  for (const auto& near : graph.scan(vectors[0], kKept))
    EXPECT_GT(near.facts.sequence, vectors.size() - kKept);
  EXPECT_GT(recall(graph, testing::clustered(50, kDimensions, 6), 64), 0.95);
}

TEST(Hnsw, StoppedRelinkingLosesNothing) {
  const auto vectors = testing::clustered(300, kDimensions, 5);
  Hnsw graph({.dimensions = kDimensions, .most_nodes = 300});
  for (size_t i = 0; i < vectors.size(); ++i) graph.add(vectors[i], {i + 1, 0, 0});
  for (uint32_t node = 1; node <= 100; ++node) graph.remove(node);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(graph.relink(stop.get_token()));
  EXPECT_EQ(graph.removed(), 100u);
  EXPECT_EQ(graph.find(vectors[0], 300, 300).size(), 200u);
  EXPECT_TRUE(graph.relink({}));
  EXPECT_EQ(graph.removed(), 0u);
  EXPECT_EQ(graph.find(vectors[0], 300, 300).size(), 200u);
}

/// What a reader finds is whole whatever the writer does: the vector of a sequence never changes, so that the similarity of a
/// post with itself is 1 in every life of its node.
TEST(Hnsw, ReadersGoOnWhileNodesComeAndGo) {
  constexpr size_t kKept = 150;
  const auto vectors = testing::clustered(800, kDimensions, 7);
  Hnsw graph({.dimensions = kDimensions, .most_nodes = kKept + 30, .links = 6, .build_candidates = 20});
  std::atomic<bool> done{false};
  std::atomic<size_t> found_self{0}, wrong{0};
  const auto read = [&](uint64_t seed) {
    Random random(seed);
    while (!done) {
      const size_t which = random.below(vectors.size());
      for (const bool walk : {true, false}) {
        const auto found = walk ? graph.find(vectors[which], 5, 20) : graph.scan(vectors[which], 5);
        for (const auto& near : found) {
          const auto& other = vectors[near.facts.sequence - 1];
          double exact = 0;
          for (size_t k = 0; k < kDimensions; ++k) exact += static_cast<double>(vectors[which][k]) * other[k];
          wrong += std::abs(exact - near.similarity) > 0.02 ? 1 : 0;
          found_self += near.facts.sequence == which + 1 ? 1 : 0;
        }
      }
    }
  };
  std::vector<std::jthread> readers;
  for (uint64_t seed = 1; seed <= 2; ++seed) readers.emplace_back(read, seed);
  std::vector<uint32_t> nodes;
  for (size_t i = 0; i < vectors.size(); ++i) {
    if (i >= kKept) graph.remove(nodes[i - kKept]);
    if (graph.room() == 0) {
      ASSERT_TRUE(graph.relink({}));
    }
    nodes.push_back(graph.add(vectors[i], {i + 1, 0, 0}));
  }
  while (found_self == 0) std::this_thread::yield();
  done = true;
  readers.clear();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace fathom::live
