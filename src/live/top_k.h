// The k best candidates so far.
//
// Candidates come from the newest arrival back, and a tie goes to the later arrival: so one that only equals the least of k is
// not taken. Not thread-safe.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace fathom::live {

struct Candidate {
  uint32_t segment = 0;   // in the snapshot, oldest first: the sealed ones, then those in memory
  uint32_t document = 0;  // in the segment
  uint32_t matched_terms = 0;
  int64_t created = 0;
  double score = 0, text_score = 0;
};

class TopK {
 public:
  TopK(size_t capacity, bool by_time) : capacity_(capacity), by_time_(by_time) {
    heap_.reserve(std::min<size_t>(capacity, 1024));
  }

  size_t capacity() const { return capacity_; }
  bool full() const { return heap_.size() == capacity_; }
  /// What a candidate must exceed; below every one until there are k, or `k` others are known to exceed it.
  double least_score() const { return least_score_; }
  int64_t least_created() const { return least_created_; }

  /// k candidates are known to score at least so much; they are still to be pushed.
  void expect(double score) {
    least_score_ = std::max(least_score_, std::nextafter(score, -std::numeric_limits<double>::infinity()));
  }

  bool would_enter(const Candidate& c) const {
    return capacity_ > 0 && (by_time_ ? !full() || c.created > least_created_ : c.score > least_score_);
  }

  void push(const Candidate& candidate) {
    const auto order = [this](const Candidate& a, const Candidate& b) { return better(a, b); };
    if (full()) {
      std::pop_heap(heap_.begin(), heap_.end(), order);
      heap_.back() = candidate;
    } else {
      heap_.push_back(candidate);
    }
    std::push_heap(heap_.begin(), heap_.end(), order);
    if (!full()) return;
    least_score_ = std::max(least_score_, heap_.front().score);
    least_created_ = heap_.front().created;
  }

  std::vector<Candidate> sorted() && {
    std::sort(heap_.begin(), heap_.end(),
              [this](const Candidate& a, const Candidate& b) { return better(a, b); });
    return std::move(heap_);
  }

 private:
  bool better(const Candidate& a, const Candidate& b) const {
    if (by_time_ && a.created != b.created) return a.created > b.created;
    if (!by_time_ && a.score != b.score) return a.score > b.score;
    return std::pair(a.segment, a.document) > std::pair(b.segment, b.document);
  }

  const size_t capacity_;
  const bool by_time_;
  std::vector<Candidate> heap_;  // the worst on top
  double least_score_ = -1;
  int64_t least_created_ = std::numeric_limits<int64_t>::min();
};

}  // namespace fathom::live
