// How the nodes of the graph lie in memory. Private to hnsw*.cc.
#pragma once

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "base/random.h"
#include "live/vectors/hnsw.h"

namespace fathom::live {

struct Hnsw::Node {
  VectorFacts facts;
  float scale = 0;
  std::atomic<State> state{State::kFree};
  uint8_t level = 0;
  uint32_t upper = 0;  // of its links above the lowest level, among the chunk's
};

/// A thousand nodes: they are never moved, and freed with the graph.
struct Hnsw::Chunk {
  Chunk(size_t first, const HnswOptions& options, size_t stride) : nodes(kChunk) {
    size_t upper_lists = 0;
    for (size_t i = 0; i < kChunk; ++i) {
      nodes[i].level = level_of(first + i, options.links);
      nodes[i].upper = static_cast<uint32_t>(upper_lists * options.links);
      upper_lists += nodes[i].level;
    }
    lowest = std::vector<std::atomic<uint32_t>>(kChunk * 2 * options.links);
    upper = std::vector<std::atomic<uint32_t>>(upper_lists * options.links);
    codes.reset(new (std::align_val_t(kCodeBlock)) int8_t[kChunk * stride]());
    bytes = sizeof *this + kChunk * (sizeof(Node) + stride) +
            (lowest.size() + upper.size()) * sizeof(std::atomic<uint32_t>);
  }

  /// The paper's floor(-ln(uniform) / ln(M)).
  static uint8_t level_of(size_t number, size_t links) {
    constexpr double kHighest = 15;
    const double level =
        std::floor(-std::log(1 - Random(number).uniform()) / std::log(static_cast<double>(links)));
    return static_cast<uint8_t>(std::min(level, kHighest));
  }

  struct Free {
    void operator()(int8_t* block) const { ::operator delete[](block, std::align_val_t(kCodeBlock)); }
  };
  std::vector<Node> nodes;
  std::vector<std::atomic<uint32_t>> lowest, upper;
  std::unique_ptr<int8_t[], Free> codes;
  size_t bytes = 0;
};

inline Hnsw::Node& Hnsw::node_at(uint32_t node) const {
  return const_cast<Chunk&>(chunk(node)).nodes[node % kChunk];
}

inline const int8_t* Hnsw::codes(uint32_t node) const {
  return chunk(node).codes.get() + (node % kChunk) * stride_;
}

inline size_t Hnsw::level_of(uint32_t node) const { return node_at(node).level; }

inline Hnsw::Links Hnsw::links(uint32_t node, size_t level) const {
  auto& in = const_cast<Chunk&>(chunk(node));
  const size_t most = most_links(level);
  if (level == 0) return Links(in.lowest).subspan((node % kChunk) * most, most);
  return Links(in.upper).subspan(in.nodes[node % kChunk].upper + (level - 1) * most, most);
}

inline float Hnsw::similarity(uint32_t a, uint32_t b) const {
  return static_cast<float>(dot_(codes(a), codes(b), stride_)) * node_at(a).scale * node_at(b).scale;
}

/// What one search works with; a thread uses its own again and again.
struct Hnsw::Walk {
  std::vector<int8_t> buffer;
  const int8_t* query = nullptr;
  float scale = 0;
  std::vector<uint32_t> seen;  // by node: the number of the walk that saw it
  uint32_t number = 0;
  std::vector<Near> ahead;      // heap, the nearest on top
  std::vector<Near> best;       // heap, the farthest on top
  std::vector<uint32_t> fresh;  // neighbours not seen before

  void start(std::span<const float> vector, size_t stride, size_t nodes) {
    buffer.resize(stride + kCodeBlock);
    const size_t off = reinterpret_cast<uintptr_t>(buffer.data()) % kCodeBlock;
    int8_t* aligned = buffer.data() + (off == 0 ? 0 : kCodeBlock - off);
    scale = quantise(vector, {aligned, stride});
    start(aligned, scale, nodes);
  }
  void start(const int8_t* codes, float its_scale, size_t nodes) {
    query = codes;
    scale = its_scale;
    if (seen.size() < nodes) seen.resize(nodes, 0);
    next_level();
  }
  void next_level() {
    if (++number == 0) {
      std::fill(seen.begin(), seen.end(), 0u);
      number = 1;
    }
    ahead.clear();
    best.clear();
  }
  bool see(uint32_t node) {
    if (node >= seen.size()) seen.resize(node + node / 2 + 1, 0);  // added since the walk began
    return std::exchange(seen[node], number) != number;
  }
};

inline float Hnsw::similarity(const Walk& walk, uint32_t node) const {
  return static_cast<float>(dot_(walk.query, codes(node), stride_)) * walk.scale * node_at(node).scale;
}

}  // namespace fathom::live
