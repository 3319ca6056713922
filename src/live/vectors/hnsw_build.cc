// The graph as its writer sees it: adding, removing, re-linking, files.
#include <algorithm>

#include "base/error.h"
#include "live/vectors/hnsw.h"
#include "live/vectors/hnsw_node.h"

namespace fathom::live {
namespace {

constexpr size_t kMostAround = 256;  // candidates when links are led around removed nodes

}  // namespace

Hnsw::State Hnsw::state(uint32_t node) const { return node_at(node).state.load(std::memory_order_relaxed); }

const VectorFacts& Hnsw::facts(uint32_t node) const { return node_at(node).facts; }

void Hnsw::grow(uint32_t node) {
  auto& slot = chunks_[node / kChunk];
  if (slot.load(std::memory_order_relaxed) != nullptr) return;
  auto made = std::make_unique<Chunk>(node / kChunk * kChunk, options_, stride_);
  chunk_bytes_.fetch_add(made->bytes, std::memory_order_relaxed);
  slot.store(made.release(), std::memory_order_release);
}

uint32_t Hnsw::take_number() {
  FATHOM_CHECK(room() > 0);
  if (!free_.empty()) {
    const uint32_t node = free_.back();
    free_.pop_back();
    return node;
  }
  const uint32_t node = end();
  grow(node);
  end_.store(node + 1, std::memory_order_release);
  return node;
}

uint32_t Hnsw::add(std::span<const float> vector, const VectorFacts& facts) {
  FATHOM_CHECK(vector.size() == options_.dimensions);
  const uint32_t node = take_number();
  Node& at = node_at(node);
  at.facts = facts;
  at.scale = quantise(vector, {const_cast<int8_t*>(codes(node)), stride_});
  for (size_t level = 0; level <= at.level; ++level) set_links(node, level, {});
  at.state.store(State::kLive, std::memory_order_release);
  connect(node);
  posts_.fetch_add(1, std::memory_order_relaxed);
  return node;
}

/// Algorithm 1 of the paper. The node has links of its own on all levels before any other leads to it, so that nobody who comes
/// to it finds it a dead end.
void Hnsw::connect(uint32_t node) {
  const Node& at = node_at(node);
  const uint32_t entry = entry_.load(std::memory_order_relaxed);
  if (entry == kNone) return entry_.store(node, std::memory_order_release);
  Walk& own = walk();
  own.start(codes(node), at.scale, end());
  const size_t top = level_of(entry), shared = std::min<size_t>(top, at.level);
  uint32_t from = descend(own, entry, top, shared);
  for (size_t level = shared + 1; level-- > 0;) {
    search_level(own, from, level, options_.build_candidates, true, {});
    candidates_ = own.best;
    select(candidates_, options_.links);
    set_links(node, level, candidates_);
    if (!candidates_.empty()) from = candidates_.front().node;
  }
  for (size_t level = 0; level <= shared; ++level) {
    for (const auto& link : links(node, level)) {
      const uint32_t to = link.load(std::memory_order_relaxed);
      if (to == kNone) break;
      link_back(to, level, {similarity(node, to), node});
    }
  }
  if (at.level > top) entry_.store(node, std::memory_order_release);
}

/// Algorithm 4 of the paper: the nearest first, but none that is nearer to one already chosen, so that links lead in all
/// directions. Leaves at most `most`, the nearest first.
void Hnsw::select(std::vector<Near>& nearest, size_t most) const {
  std::sort(nearest.begin(), nearest.end(), [](const Near& a, const Near& b) {
    return a.similarity != b.similarity ? a.similarity > b.similarity : a.node < b.node;
  });
  kept_.clear();
  for (const Near& next : nearest) {
    if (kept_.size() == most) break;
    const bool apart = std::all_of(kept_.begin(), kept_.end(), [&](const Near& other) {
      return similarity(next.node, other.node) <= next.similarity;
    });
    if (apart) kept_.push_back(next);
  }
  nearest.swap(kept_);
}

void Hnsw::set_links(uint32_t node, size_t level, std::span<const Near> nearest) {
  const Links to = links(node, level);
  for (size_t i = 0; i < to.size(); ++i)
    to[i].store(i < nearest.size() ? nearest[i].node : kNone, std::memory_order_release);
}

void Hnsw::link_back(uint32_t node, size_t level, Near added) {
  const Links to = links(node, level);
  for (auto& link : to) {
    const uint32_t other = link.load(std::memory_order_relaxed);
    if (other == added.node) return;
    if (other == kNone) return link.store(added.node, std::memory_order_release);
  }
  candidates_.clear();
  for (const auto& link : to) {
    const uint32_t other = link.load(std::memory_order_relaxed);
    candidates_.push_back({similarity(node, other), other});
  }
  candidates_.push_back(added);
  select(candidates_, to.size());
  set_links(node, level, candidates_);
}

void Hnsw::remove(uint32_t node) {
  Node& at = node_at(node);
  FATHOM_CHECK(at.state.load(std::memory_order_relaxed) == State::kLive);
  at.state.store(State::kRemoved, std::memory_order_release);
  posts_.fetch_sub(1, std::memory_order_relaxed);
  removed_.fetch_add(1, std::memory_order_relaxed);
}

bool Hnsw::relink(const std::stop_token& stop) {
  for (uint32_t node = 1; node < end(); ++node) {
    if (state(node) != State::kLive) continue;
    if (stop.stop_requested()) return false;
    for (size_t level = 0; level <= level_of(node); ++level)
      if (leads_to_removed(node, level)) lead_around(node, level);
  }
  move_entry();
  readers_.wait_for_all();
  for (uint32_t node = 1; node < end(); ++node) {
    if (state(node) != State::kRemoved) continue;
    node_at(node).state.store(State::kFree, std::memory_order_relaxed);
    free_.push_back(node);
  }
  removed_.store(0, std::memory_order_relaxed);
  return true;
}

bool Hnsw::leads_to_removed(uint32_t node, size_t level) const {
  for (const auto& link : links(node, level)) {
    const uint32_t to = link.load(std::memory_order_relaxed);
    if (to == kNone) break;
    if (state(to) == State::kRemoved) return true;
  }
  return false;
}

/// New links among the old ones and what the removed ones led to, through as many of them as it takes.
void Hnsw::lead_around(uint32_t node, size_t level) {
  Walk& own = walk();
  own.start(codes(node), node_at(node).scale, end());
  own.see(node);
  std::vector<uint32_t> through{node};
  std::vector<Near> around;
  for (size_t i = 0; i < through.size() && around.size() < kMostAround; ++i) {
    visit_links(own, through[i], level);
    for (const uint32_t next : own.fresh) {
      if (state(next) == State::kRemoved)
        through.push_back(next);
      else
        around.push_back({similarity(node, next), next});
    }
  }
  select(around, most_links(level));
  set_links(node, level, around);
  for (const Near& to : around) link_back(to.node, level, {to.similarity, node});
}

/// The entry is live and on the highest level that has a live node.
void Hnsw::move_entry() {
  const uint32_t entry = entry_.load(std::memory_order_relaxed);
  if (entry != kNone && state(entry) == State::kLive) return;
  uint32_t highest = kNone;
  for (uint32_t node = 1; node < end(); ++node) {
    if (state(node) != State::kLive) continue;
    if (highest == kNone || level_of(node) > level_of(highest)) highest = node;
  }
  entry_.store(highest, std::memory_order_release);
}

size_t Hnsw::link_count(uint32_t node) const {
  return (2 + Chunk::level_of(node, options_.links)) * options_.links;
}

Hnsw::Image Hnsw::image(uint32_t node, std::span<uint32_t> into) const {
  const Node& at = node_at(node);
  size_t count = 0;
  for (size_t level = 0; level <= at.level; ++level)
    for (const auto& link : links(node, level)) into[count++] = link.load(std::memory_order_relaxed);
  return {at.state.load(std::memory_order_relaxed),
          at.facts,
          at.scale,
          {codes(node), options_.dimensions},
          into.first(count)};
}

void Hnsw::restore(const Image& image) {
  FATHOM_CHECK(image.codes.size() == options_.dimensions);
  const uint32_t node = take_number();
  FATHOM_CHECK(image.links.size() == link_count(node));
  Node& at = node_at(node);
  at.facts = image.facts;
  at.scale = image.scale;
  std::copy(image.codes.begin(), image.codes.end(), const_cast<int8_t*>(codes(node)));
  size_t next = 0;
  for (size_t level = 0; level <= at.level; ++level)
    for (auto& link : links(node, level)) link.store(image.links[next++], std::memory_order_relaxed);
  at.state.store(image.state, std::memory_order_relaxed);
  if (image.state == State::kLive) posts_.fetch_add(1, std::memory_order_relaxed);
  if (image.state == State::kRemoved) removed_.fetch_add(1, std::memory_order_relaxed);
}

bool Hnsw::finish_restore() {
  for (uint32_t node = 1; node < end(); ++node) {
    if (state(node) == State::kFree) {
      free_.push_back(node);
      continue;
    }
    for (size_t level = 0; level <= level_of(node); ++level) {
      for (const auto& link : links(node, level)) {
        const uint32_t to = link.load(std::memory_order_relaxed);
        if (to == kNone) continue;  // one after it may come to light when the list grows
        if (to >= end() || to == node || level_of(to) < level || state(to) == State::kFree) return false;
      }
    }
  }
  entry_.store(kNone, std::memory_order_relaxed);
  move_entry();
  return true;
}

}  // namespace fathom::live
