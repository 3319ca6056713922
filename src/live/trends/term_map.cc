#include "live/trends/term_map.h"

#include <algorithm>

namespace fathom::live {
namespace {

/// Of these terms every matching post has at least one. Empty: nothing is known.
std::vector<std::string> needed_terms(const ParsedQuery& parsed) {
  if (!parsed.required.empty()) {
    const auto longest = std::max_element(parsed.required.begin(), parsed.required.end(),
                                          [](const auto& a, const auto& b) { return a.size() < b.size(); });
    return {*longest};
  }
  if (!parsed.any_of.empty()) return parsed.any_of.front();
  return parsed.one_must_match ? parsed.scored : std::vector<std::string>{};
}

}  // namespace

void TermMap::add(const std::string& id, const ParsedQuery& parsed) {
  const auto terms = needed_terms(parsed);
  if (terms.empty()) always_.insert(id);
  for (const std::string& term : terms) {
    put(term, id);
    terms_of_[id].push_back(term_hash(term));
  }
}

void TermMap::remove(const std::string& id) {
  always_.erase(id);
  const auto terms = terms_of_.find(id);
  if (terms == terms_of_.end()) return;
  for (const uint64_t term : terms->second) {
    const auto list = by_term_.find(term);
    if (list == by_term_.end()) continue;
    std::erase(list->second, id);
    if (list->second.empty()) by_term_.erase(list);
  }
  terms_of_.erase(terms);
}

std::vector<std::string> TermMap::candidates(const PreparedBatch& posts) const {
  std::unordered_set<std::string> found(always_);
  std::unordered_set<uint64_t> seen;
  for (size_t i = 0; i < posts.size(); ++i) {
    for (const PreparedTerm& term : posts[i].terms) {
      const auto list = by_term_.find(term.hash);
      if (list == by_term_.end() || !seen.insert(term.hash).second) continue;
      found.insert(list->second.begin(), list->second.end());
    }
  }
  std::vector<std::string> out(found.begin(), found.end());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace fathom::live
