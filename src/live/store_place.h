// Where a document lies: in an index in memory or in a sealed segment, and what the writer asks of either.
//
// Views: the list of segments must outlive them. For the writer's thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "live/facts.h"
#include "live/snapshot.h"

namespace fathom::live {

struct Place {
  Index* memory = nullptr;    // one of the two
  Segment* sealed = nullptr;  //
  uint32_t number = 0;        // 0: nowhere

  explicit operator bool() const { return number != 0; }

  /// Calls `f` with the index or the segment.
  template <class F>
  auto visit(F&& f) const {
    return memory != nullptr ? f(*memory) : f(*sealed);
  }

  const void* part() const { return memory != nullptr ? static_cast<const void*>(memory) : sealed; }
  uint64_t sequence() const {
    return visit([this](const auto& part) { return part.sequence(number); });
  }
  DocumentFacts facts() const {
    return visit([this](const auto& part) { return part.facts(number); });
  }
  std::string record() const {
    return visit([this](const auto& part) { return part.record(number); });
  }
  std::string key() const {
    return visit([this](const auto& part) { return part.key(number); });
  }
  /// A post, and nothing has ended it as far as the writer knows.
  bool lives() const {
    return (facts().flags & DocumentFacts::kTombstone) == 0 &&
           visit([&](const auto& part) { return part.alive(number, UINT64_MAX); });
  }
  void bury(uint64_t sequence) const {
    visit([&](auto& part) { part.bury(number, sequence); });
  }
  void add_counts(const CountChange& change) const {
    visit([&](auto& part) { part.add_counts(number, change); });
  }
};

/// Calls `f` with the index or the segment at `place`, counted from the oldest: the sealed ones, then those in memory.
template <class F>
auto visit_part(const SegmentList& list, size_t place, F&& f) {
  if (place < list.sealed.size()) return f(std::as_const(*list.sealed[place]));
  return f(std::as_const(*list.memory[place - list.sealed.size()]));
}
inline size_t count_parts(const SegmentList& list) { return list.sealed.size() + list.memory.size(); }

/// The newest document of a key in all segments, dead or not.
Place locate(const SegmentList& list, uint64_t key_hash, std::string_view key);
/// Asks for the memory that `locate` will read.
void prefetch_key(const SegmentList& list, uint64_t key_hash);

}  // namespace fathom::live
