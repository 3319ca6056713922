// Hits of one statement become one hit: the best place, the original before its reposts, the other keys listed.
//
// Sketches are compared first; only what is alike by them, reposts and what is kept in the end is read from its segment. One
// search, one thread; the snapshot and the log of damage must outlive it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "live/damage.h"
#include "live/duplicates.h"
#include "live/snapshot.h"
#include "live/store.h"
#include "live/top_k.h"

namespace fathom::live {

/// Empty when the post cannot be read.
std::optional<Hit> read_hit(const SegmentList& list, DamageLog& damage, const Candidate& candidate);

class Folder {
 public:
  Folder(const SegmentList& list, DamageLog& damage) : list_(list), damage_(damage) {}

  void add(const Candidate& candidate);
  size_t size() const { return entries_.size(); }
  std::vector<Hit> take(size_t limit);

 private:
  struct Entry {
    Candidate candidate;
    double score = 0;  // of the place, which may have been another one's
    uint64_t sketch = 0;
    bool repost = false;
    std::optional<Post> post;            // read when it is needed
    std::optional<Statement> statement;  // made at the first comparison
    std::vector<std::string> folded;
  };

  bool alike(Entry& a, Entry& b) const;
  const Post& post_of(Entry& entry) const;
  const Statement& statement_of(Entry& entry) const;

  const SegmentList& list_;
  DamageLog& damage_;
  std::vector<Entry> entries_;
};

}  // namespace fathom::live
