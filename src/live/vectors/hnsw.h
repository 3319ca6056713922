// A graph of vectors in which the nearest ones are found by walking (HNSW, Malkov and Yashunin 2018), with 8-bit codes, made
// for a feed: posts come at one end and leave at the other, and the searches do not wait for either.
//
// One writer, many readers, no locks. A node is a number from 1 up. Its links are single words that the writer stores one by
// one (release), so a reader that walks a list while it changes sees old links or new ones, all of them to nodes that were
// whole before they were linked. Removed nodes are walked through but not found; when there are many, `relink` leads the
// links around them (as FreshDiskANN does: Singh et al. 2021), waits until no reader can stand on one, and their numbers are
// used again. How many levels a node has depends on its number alone, so that it is the same in every life of the number,
// and need not be kept.
//
// Thread safety: `find`, `scan`, `posts`, `removed` and `bytes` for any thread; all else for the writer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "live/vectors/quantise.h"
#include "live/vectors/readers.h"

namespace fathom::live {

struct HnswOptions {
  size_t dimensions = 0;          // 1 to 2^16
  size_t most_nodes = 0;          // 1 to 2^28, removed ones that are not yet used again included
  size_t links = 16;              // M, 2 to 64: of a node on each level, twice as many on the lowest
  size_t build_candidates = 100;  // efConstruction
};

/// What is known of a post beside its vector.
struct VectorFacts {
  uint64_t sequence = 0;
  int64_t created = 0;  // microseconds
  uint64_t sketch = 0;  // duplicates.h
};

class Hnsw {
 public:
  static constexpr uint32_t kNone = 0;
  enum class State : uint8_t { kFree, kLive, kRemoved };

  struct Found {
    VectorFacts facts;
    float similarity = 0;  // cosine, of unit vectors
  };
  /// Which nodes may be found. Called on the reader's thread, once a node at most.
  using Accept = std::function<bool(const VectorFacts&)>;

  explicit Hnsw(const HnswOptions& options);
  ~Hnsw();
  const HnswOptions& options() const { return options_; }

  // Readers

  /// The nearest `count`, best first, that `accept` (if any) takes: the walk goes on until `candidates` of them are found and
  /// none nearer is in sight. REQUIRES: vector.size() == dimensions.
  std::vector<Found> find(std::span<const float> vector, size_t count, size_t candidates,
                          const Accept& accept = {}) const;
  /// The same by looking at every node.
  std::vector<Found> scan(std::span<const float> vector, size_t count, const Accept& accept = {}) const;

  uint64_t posts() const { return posts_.load(std::memory_order_relaxed); }
  uint64_t removed() const { return removed_.load(std::memory_order_relaxed); }
  uint64_t bytes() const;

  // Writer

  /// Nodes that can still be added.
  size_t room() const { return free_.size() + options_.most_nodes + 1 - end(); }
  /// REQUIRES: room() > 0.
  uint32_t add(std::span<const float> vector, const VectorFacts& facts);
  void remove(uint32_t node);
  /// Leads links around the removed nodes and takes their numbers back. False: stopped before its end; nothing is lost.
  bool relink(const std::stop_token& stop);

  /// Numbers in use are 1 to end() - 1.
  uint32_t end() const { return end_.load(std::memory_order_relaxed); }
  State state(uint32_t node) const;
  const VectorFacts& facts(uint32_t node) const;

  // Files (vector_file.h)

  /// All of a node as it is kept in a file: scale, codes without padding, then the links of each level from the lowest.
  struct Image {
    State state = State::kFree;
    VectorFacts facts;
    float scale = 0;
    std::span<const int8_t> codes;
    std::span<const uint32_t> links;
  };
  /// Links of a node on all its levels.
  size_t link_count(uint32_t node) const;
  /// The image's spans lie in the node or in `links`, which has room for link_count.
  Image image(uint32_t node, std::span<uint32_t> links) const;
  /// Adds the next node. Links to nodes that have not come yet are taken; `finish_restore` looks at them.
  void restore(const Image& image);
  /// False: a link leads to no node, or to one that is not on its level. Then the graph must not be used.
  bool finish_restore();

 private:
  static constexpr size_t kChunk = 1024;
  struct Node;
  struct Chunk;
  struct Near {
    float similarity;
    uint32_t node;
  };
  using Links = std::span<std::atomic<uint32_t>>;
  struct Walk;

  static Walk& walk();
  const Chunk& chunk(uint32_t node) const { return *chunks_[node / kChunk].load(std::memory_order_acquire); }
  Node& node_at(uint32_t node) const;
  const int8_t* codes(uint32_t node) const;
  Links links(uint32_t node, size_t level) const;
  size_t level_of(uint32_t node) const;
  size_t most_links(size_t level) const { return level == 0 ? 2 * options_.links : options_.links; }

  uint32_t take_number();
  void grow(uint32_t node);
  float similarity(uint32_t a, uint32_t b) const;
  float similarity(const Walk& walk, uint32_t node) const;

  uint32_t descend(Walk& walk, uint32_t from, size_t from_level, size_t to_level) const;
  void search_level(Walk& walk, uint32_t from, size_t level, size_t candidates, bool all,
                    const Accept& accept) const;
  void visit_links(Walk& walk, uint32_t node, size_t level) const;
  std::vector<Found> take_best(Walk& walk, size_t count) const;

  void connect(uint32_t node);
  void select(std::vector<Near>& nearest, size_t most) const;
  void set_links(uint32_t node, size_t level, std::span<const Near> nearest);
  void link_back(uint32_t node, size_t level, Near added);
  bool leads_to_removed(uint32_t node, size_t level) const;
  void lead_around(uint32_t node, size_t level);
  void move_entry();

  const HnswOptions options_;
  const size_t stride_;  // bytes of a node's codes
  const Dot dot_;
  std::vector<std::atomic<Chunk*>> chunks_;
  std::atomic<uint32_t> entry_{kNone}, end_{1};
  std::atomic<uint64_t> posts_{0}, removed_{0}, chunk_bytes_{0};
  std::vector<uint32_t> free_;      // writer
  std::vector<Near> candidates_;    // writer's
  mutable std::vector<Near> kept_;  // writer's, of `select`
  Readers readers_;
};

}  // namespace fathom::live
