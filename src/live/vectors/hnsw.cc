// The graph as readers see it: walking and scanning.
#include "live/vectors/hnsw.h"

#include <algorithm>

#include "base/error.h"
#include "live/vectors/hnsw_node.h"

namespace fathom::live {
namespace {

constexpr auto kNearerLast = [](const auto& a, const auto& b) { return a.similarity < b.similarity; };
constexpr auto kFartherLast = [](const auto& a, const auto& b) { return a.similarity > b.similarity; };

}  // namespace

Hnsw::Hnsw(const HnswOptions& options)
    : options_(options),
      stride_(padded(options.dimensions)),
      dot_(dot_kernels().back().dot),
      chunks_(options.most_nodes / kChunk + 1) {
  FATHOM_CHECK(options.dimensions >= 1 && options.dimensions <= size_t{1} << 16);
  FATHOM_CHECK(options.most_nodes >= 1 && options.most_nodes <= size_t{1} << 28);
  FATHOM_CHECK(options.links >= 2 && options.links <= 64 && options.build_candidates >= 1);
}

Hnsw::~Hnsw() {
  for (const auto& chunk : chunks_) delete chunk.load(std::memory_order_relaxed);
}

uint64_t Hnsw::bytes() const { return chunk_bytes_.load(std::memory_order_relaxed); }

Hnsw::Walk& Hnsw::walk() {
  thread_local Walk own;
  return own;
}

std::vector<Hnsw::Found> Hnsw::find(std::span<const float> vector, size_t count, size_t candidates,
                                    const Accept& accept) const {
  FATHOM_CHECK(vector.size() == options_.dimensions);
  const auto reading = readers_.enter();
  const uint32_t entry = entry_.load(std::memory_order_acquire);
  if (entry == kNone || count == 0) return {};
  Walk& own = walk();
  own.start(vector, stride_, end_.load(std::memory_order_relaxed));
  const uint32_t from = descend(own, entry, level_of(entry), 0);
  search_level(own, from, 0, std::max(count, candidates), false, accept);
  return take_best(own, count);
}

std::vector<Hnsw::Found> Hnsw::scan(std::span<const float> vector, size_t count, const Accept& accept) const {
  FATHOM_CHECK(vector.size() == options_.dimensions);
  const auto reading = readers_.enter();
  if (count == 0) return {};
  const uint32_t end = end_.load(std::memory_order_acquire);
  Walk& own = walk();
  own.start(vector, stride_, 0);
  for (uint32_t node = 1; node < end; ++node) {
    const Node& at = node_at(node);
    if (at.state.load(std::memory_order_acquire) != State::kLive || (accept && !accept(at.facts))) continue;
    const Near near{similarity(own, node), node};
    if (own.best.size() == count && near.similarity <= own.best.front().similarity) continue;
    if (own.best.size() == count) {
      std::pop_heap(own.best.begin(), own.best.end(), kFartherLast);
      own.best.pop_back();
    }
    own.best.push_back(near);
    std::push_heap(own.best.begin(), own.best.end(), kFartherLast);
  }
  return take_best(own, count);
}

std::vector<Hnsw::Found> Hnsw::take_best(Walk& own, size_t count) const {
  std::sort_heap(own.best.begin(), own.best.end(), kFartherLast);
  std::vector<Found> found;
  found.reserve(std::min(count, own.best.size()));
  for (const Near& near : own.best) {
    if (found.size() == count) break;
    found.push_back({node_at(near.node).facts, near.similarity});
  }
  return found;
}

/// Collects the neighbours that were not seen yet and asks for their codes, so that memory answers for all of them at once.
void Hnsw::visit_links(Walk& own, uint32_t node, size_t level) const {
  own.fresh.clear();
  for (const auto& link : links(node, level)) {
    const uint32_t next = link.load(std::memory_order_acquire);
    if (next == kNone) break;
    if (!own.see(next)) continue;
    const int8_t* at = codes(next);
    for (size_t line = 0; line < stride_; line += kCodeBlock) __builtin_prefetch(at + line);
    own.fresh.push_back(next);
  }
}

/// The nearest node on the levels from `from_level` down to above `to_level`, by going to a nearer neighbour while there is one.
uint32_t Hnsw::descend(Walk& own, uint32_t from, size_t from_level, size_t to_level) const {
  Near nearest{similarity(own, from), from};
  for (size_t level = from_level; level > to_level; --level) {
    own.next_level();
    own.see(nearest.node);
    for (bool moved = true; moved;) {
      moved = false;
      visit_links(own, nearest.node, level);
      for (const uint32_t next : own.fresh) {
        const Near near{similarity(own, next), next};
        if (near.similarity <= nearest.similarity) continue;
        nearest = near;
        moved = true;
      }
    }
  }
  return nearest.node;
}

/// Algorithm 2 of the paper. `all`: removed ones too. Leaves the result in `best`.
void Hnsw::search_level(Walk& own, uint32_t from, size_t level, size_t candidates, bool all,
                        const Accept& accept) const {
  own.next_level();
  const auto take = [&](uint32_t node) {
    const Near near{similarity(own, node), node};
    const bool full = own.best.size() >= candidates;
    if (full && near.similarity <= own.best.front().similarity) return;
    own.ahead.push_back(near);
    std::push_heap(own.ahead.begin(), own.ahead.end(), kNearerLast);
    const Node& at = node_at(node);
    if (!all && (at.state.load(std::memory_order_acquire) != State::kLive || (accept && !accept(at.facts))))
      return;
    if (full) {
      std::pop_heap(own.best.begin(), own.best.end(), kFartherLast);
      own.best.pop_back();
    }
    own.best.push_back(near);
    std::push_heap(own.best.begin(), own.best.end(), kFartherLast);
  };
  own.see(from);
  take(from);
  while (!own.ahead.empty()) {
    const Near nearest = own.ahead.front();
    if (own.best.size() >= candidates && nearest.similarity < own.best.front().similarity) break;
    std::pop_heap(own.ahead.begin(), own.ahead.end(), kNearerLast);
    own.ahead.pop_back();
    visit_links(own, nearest.node, level);
    for (const uint32_t next : own.fresh) take(next);
  }
}

}  // namespace fathom::live
