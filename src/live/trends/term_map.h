// Which standing queries new posts may concern: from a query's terms to the query.
//
// A query that requires terms stands under one of them, the longest, since long words are rare; one whose plain words are
// alternatives stands under each; one without terms (filters alone) is always asked. What it lets through is a superset of what
// matches. Not thread-safe.
#pragma once

#include <cstdint>
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
  void add(const std::string& id, const ParsedQuery& parsed);
  void remove(const std::string& id);
  /// Ids of the queries that a post of the batch may match, each once.
  std::vector<std::string> candidates(const PreparedBatch& posts) const;

 private:
  void put(std::string_view term, const std::string& id) { by_term_[term_hash(term)].push_back(id); }

  std::unordered_map<uint64_t, std::vector<std::string>> by_term_;
  std::unordered_map<std::string, std::vector<uint64_t>> terms_of_;
  std::unordered_set<std::string> always_;
};

}  // namespace fathom::live
