// How often each term was posted, bucket by bucket and hour by hour of the feed's clock, in bounded memory.
//
// A term that is posted again and again has exact counters: a ring of short buckets for the present and a ring of hours
// for its past. One author counts once an hour: 64 registers a term tell (nearly always) whether an author is new to it
// this hour, and what a new one weighs then (HyperLogLog read as a martingale: Ting, KDD 2014), so that a term of two
// authors and one of two million cost the same. Rare terms share count-min sketches (Cormode and Muthukrishnan, 2005):
// one of this hour and the last decides who gets exact counters once they are scarce, one of the past tells a newcomer's
// history. When the counters run out, the terms with the least in them give theirs up.
//
// The expectation of a term is its share of its past posts, times the posts of the present: so nights, weekends and
// sampling cancel out. The hours in which it stood out most are left out of its past, so that a burst does not become
// its own measure; but what came at the same hour of earlier days is expected again.
//
// Not thread-safe; the same posts in the same order give the same counts.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "live/trends/post_terms.h"

namespace fathom::live {

struct CountOptions {
  std::chrono::minutes bucket{5};
  std::chrono::hours window{1};
  std::chrono::hours history{72};
  size_t most_terms = 200'000;
};

struct Burst {
  uint32_t term = 0;  // its number
  double score = 0;   // deviations above what was to be expected
  double count = 0, expected = 0;
};

/// A count-min sketch with conservative update.
class CountSketch {
 public:
  void add(uint64_t hash, uint32_t count);
  uint32_t estimate(uint64_t hash) const;
  void halve();
  void clear() { std::fill(cells_.begin(), cells_.end(), uint16_t{0}); }

 private:
  static constexpr size_t kRows = 2, kCells = size_t{1} << 19;
  static size_t cell(uint64_t hash, size_t row);
  std::vector<uint16_t> cells_ = std::vector<uint16_t>(kRows * kCells);
};

class TermCounts {
 public:
  explicit TermCounts(const CountOptions& options);

  /// The present; never moves back.
  void advance(Time now);
  Time now() const { return now_; }

  /// One post, before its terms.
  void count_post(Time time);
  /// `weight`: what one voice is worth, 1 or less.
  void count(const PostTerm& term, std::string_view bytes, uint64_t author, Time time, float weight);

  /// Terms with at least `least` in the window that stand `score` deviations above the expected, best first.
  std::vector<Burst> bursts(double score, double least, size_t most) const;
  /// How a term stands, bursting or not. Empty when it is not counted.
  std::optional<Burst> find(uint64_t hash) const;

  const std::string& text(uint32_t term) const { return terms_[term].text; }
  TrendKind kind(uint32_t term) const { return terms_[term].kind; }
  uint64_t hash(uint32_t term) const { return terms_[term].hash; }

  /// Length of the feed's past before the window.
  std::chrono::hours past() const;
  size_t terms() const { return by_hash_.size(); }

 private:
  static constexpr size_t kRegisters = 64;
  struct Term {
    uint64_t hash = 0;
    std::string text;
    TrendKind kind = TrendKind::kWord;
    int64_t last_bucket = 0, last_hour = 0;  // the newest that the rings hold
    float before = 0;                        // posts in the past before it was counted exactly
    std::array<uint8_t, kRegisters> registers{};
    double chance = 1;  // that a new author changes a register
    int64_t registers_hour = 0;
  };

  int64_t bucket_of(Time time) const { return time.time_since_epoch() / options_.bucket; }
  int64_t hour_of(Time time) const { return time.time_since_epoch() / std::chrono::hours(1); }
  std::span<float> buckets(size_t row) { return {&rows_[row * stride_], buckets_}; }
  std::span<float> hours(size_t row) { return {&rows_[row * stride_ + buckets_], hours_}; }
  std::span<const float> buckets(size_t row) const { return {&rows_[row * stride_], buckets_}; }
  std::span<const float> hours(size_t row) const { return {&rows_[row * stride_ + buckets_], hours_}; }

  void add_to_rings(size_t row, Time time, float amount);
  uint32_t admit(const PostTerm& term, std::string_view bytes);
  float new_voice(Term& term, uint64_t author, int64_t hour);
  void make_room();
  void release(uint32_t term);
  void start_hour(int64_t hour);
  double in_window(size_t row) const;
  double hour_count(size_t row, int64_t hour) const;
  Burst measure(uint32_t term) const;
  double expected_share(uint32_t term) const;

  CountOptions options_;
  size_t buckets_, hours_, stride_;
  size_t window_buckets_;
  Time now_{};
  std::optional<Time> first_;
  int64_t hour_ = 0, halved_ = 0;

  std::vector<Term> terms_;  // the first stands for all posts
  std::vector<float> rows_;  // [term][buckets, then hours]
  std::vector<uint32_t> free_;
  std::unordered_map<uint64_t, uint32_t> by_hash_;
  CountSketch this_hour_, last_hour_, past_;
};

}  // namespace fathom::live
