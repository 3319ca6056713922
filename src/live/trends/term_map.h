// Which standing queries new posts may concern: from the rarest term that a query needs to the query, and from there to all that
// it needs.
//
// A query stands under one of the terms that it requires, the one that the fewest posts so far had, or under each of a list of
// which it requires one (authors, alternatives), and is looked at only when a post has that term; what else it requires is held
// against the same post at once. One without terms (filters alone) is always asked. What it lets through is a superset of what
// matches: phrases, filters and what is excluded are the search's to look at. Not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "live/analysis.h"
#include "live/prepare.h"
#include "live/query.h"

namespace fathom::live {

class TermMap {
 public:
  /// A query and the posts of the batch between which all lie that it may match, by number.
  struct Candidate {
    std::string id;
    size_t first = 0, last = 0;
    bool operator==(const Candidate&) const = default;
  };

  TermMap();
  void add(const std::string& id, const ParsedQuery& parsed);
  void remove(const std::string& id);
  /// By id, each once. None of an empty batch.
  std::vector<Candidate> candidates(const PreparedBatch& posts);

 private:
  using Terms = std::vector<uint64_t>;
  struct Entry {
    std::string id;
    std::vector<Terms> needs;  // of each list a post must have one
    size_t key = 0;            // the list that it stands under
    size_t first = 0, last = 0;
    bool found = false;  // in the batch
  };

  static std::vector<Terms> needs_of(const ParsedQuery& parsed);
  uint64_t seen(const Terms& terms) const;
  uint32_t& counter(uint64_t term);
  void look_up(std::span<const PreparedTerm> terms, size_t post, std::vector<uint32_t>& found);

  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  std::unordered_map<std::string, uint32_t> numbers_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> by_term_;
  std::unordered_set<uint32_t> always_;
  std::vector<uint32_t> seen_;  // posts that had a term, by its hash: rare terms share
  Terms of_post_;               // sorted; reused
};

}  // namespace fathom::live
