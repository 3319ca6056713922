#include "live/trends/term_map.h"

#include <algorithm>

namespace fathom::live {
namespace {

constexpr size_t kCounters = size_t{1} << 16;

std::vector<uint64_t> hashes(const std::vector<std::string>& terms) {
  std::vector<uint64_t> out;
  for (const std::string& term : terms) out.push_back(term_hash(term));
  return out;
}

}  // namespace

TermMap::TermMap() : seen_(kCounters) {}

std::vector<TermMap::Terms> TermMap::needs_of(const ParsedQuery& parsed) {
  std::vector<Terms> needs;
  // Long words are rare: they come first, for as long as nothing else is known.
  std::vector<std::string> required = parsed.required;
  std::stable_sort(required.begin(), required.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });
  for (const std::string& term : required) needs.push_back({term_hash(term)});
  for (const auto& list : parsed.any_of) needs.push_back(hashes(list));
  if (parsed.one_must_match) needs.push_back(hashes(parsed.scored));
  std::erase_if(needs, [](const Terms& terms) { return terms.empty(); });
  return needs;
}

uint32_t& TermMap::counter(uint64_t term) { return seen_[term % kCounters]; }

uint64_t TermMap::seen(const Terms& terms) const {
  uint64_t sum = 0;
  for (const uint64_t term : terms) sum += seen_[term % kCounters];
  return sum;
}

void TermMap::add(const std::string& id, const ParsedQuery& parsed) {
  auto number = static_cast<uint32_t>(entries_.size());
  if (free_.empty()) {
    entries_.emplace_back();
  } else {
    number = free_.back();
    free_.pop_back();
  }
  Entry& entry = entries_[number];
  entry = {};
  entry.id = id;
  entry.needs = needs_of(parsed);
  numbers_.insert_or_assign(id, number);
  if (entry.needs.empty()) {
    always_.insert(number);
    return;
  }
  const auto rarest = std::min_element(entry.needs.begin(), entry.needs.end(),
                                       [this](const Terms& a, const Terms& b) { return seen(a) < seen(b); });
  entry.key = static_cast<size_t>(rarest - entry.needs.begin());
  for (const uint64_t term : *rarest) by_term_[term].push_back(number);
}

void TermMap::remove(const std::string& id) {
  const auto known = numbers_.find(id);
  if (known == numbers_.end()) return;
  const uint32_t number = known->second;
  numbers_.erase(known);
  always_.erase(number);
  Entry& entry = entries_[number];
  if (!entry.needs.empty()) {
    for (const uint64_t term : entry.needs[entry.key]) {
      const auto list = by_term_.find(term);
      if (list == by_term_.end()) continue;
      std::erase(list->second, number);
      if (list->second.empty()) by_term_.erase(list);
    }
  }
  entry = {};
  free_.push_back(number);
}

/// Adds to `found` the queries that this post is the first of the batch to concern.
void TermMap::look_up(std::span<const PreparedTerm> terms, size_t post, std::vector<uint32_t>& found) {
  of_post_.clear();
  for (const PreparedTerm& term : terms) of_post_.push_back(term.hash);
  std::sort(of_post_.begin(), of_post_.end());
  const auto has_one = [this](const Terms& list) {
    return std::any_of(list.begin(), list.end(), [this](uint64_t term) {
      return std::binary_search(of_post_.begin(), of_post_.end(), term);
    });
  };
  for (const uint64_t term : of_post_) {
    ++counter(term);
    const auto list = by_term_.find(term);
    if (list == by_term_.end()) continue;
    for (const uint32_t number : list->second) {
      Entry& entry = entries_[number];
      if (!std::all_of(entry.needs.begin(), entry.needs.end(), has_one)) continue;
      entry.last = post;
      if (entry.found) continue;
      entry.found = true;
      entry.first = post;
      found.push_back(number);
    }
  }
}

std::vector<TermMap::Candidate> TermMap::candidates(const PreparedBatch& posts) {
  if (posts.empty()) return {};
  std::vector<uint32_t> found;
  for (size_t post = 0; post < posts.size(); ++post) look_up(posts[post].terms, post, found);
  std::vector<Candidate> out;
  for (const uint32_t number : found) {
    Entry& entry = entries_[number];
    out.push_back({entry.id, entry.first, entry.last});
    entry.found = false;
  }
  for (const uint32_t number : always_) out.push_back({entries_[number].id, 0, posts.size() - 1});
  std::sort(out.begin(), out.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  return out;
}

}  // namespace fathom::live
