#include "live/trends/term_counts.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace fathom::live {
namespace {

constexpr uint32_t kAll = 0;              // the row of all posts
constexpr double kLeftOut = 0.25;         // of the past's hours: those in which the term stood out
constexpr double kOverdispersion = 0.25;  // of the expected: people do not post as atoms decay
constexpr double kFloor = 1.0;            // of the variance, so that two posts of a rare word are no burst
constexpr double kPriorPosts = 60;        // that a young feed is taken to have had, without the term
constexpr uint8_t kMostRank = 58;

}  // namespace

size_t CountSketch::cell(uint64_t hash, size_t row) {
  const uint64_t mixed = row == 0 ? hash : hash * 0x9E3779B97F4A7C15ull;
  return row * kCells + (mixed >> 45);
}

void CountSketch::add(uint64_t hash, uint32_t count) {
  const uint32_t sum = std::min<uint32_t>(estimate(hash) + count, UINT16_MAX);
  for (size_t row = 0; row < kRows; ++row) {
    uint16_t& at = cells_[cell(hash, row)];
    at = std::max(at, static_cast<uint16_t>(sum));
  }
}

uint32_t CountSketch::estimate(uint64_t hash) const {
  uint32_t least = UINT16_MAX;
  for (size_t row = 0; row < kRows; ++row) least = std::min<uint32_t>(least, cells_[cell(hash, row)]);
  return least;
}

void CountSketch::halve() {
  for (uint16_t& at : cells_) at = static_cast<uint16_t>(at / 2);
}

TermCounts::TermCounts(const CountOptions& options) : options_(options) {
  FATHOM_CHECK(options.bucket.count() > 0 && options.window >= options.bucket && options.history.count() > 0);
  window_buckets_ = static_cast<size_t>(options.window / options.bucket);
  buckets_ = window_buckets_ + 1;
  hours_ = static_cast<size_t>(options.history.count() + options.window.count() + 1);
  stride_ = buckets_ + hours_;
  terms_.resize(1);
  rows_.resize(stride_);
}

void TermCounts::advance(Time now) {
  if (now <= now_) return;
  now_ = now;
  if (!first_) {
    first_ = now;
    hour_ = halved_ = hour_of(now);
  }
  if (hour_of(now) != hour_) start_hour(hour_of(now));
}

void TermCounts::start_hour(int64_t hour) {
  if (hour == hour_ + 1) {
    std::swap(this_hour_, last_hour_);
  } else {
    last_hour_.clear();
  }
  this_hour_.clear();
  hour_ = hour;
  if (hour - halved_ < options_.history.count()) return;
  past_.halve();
  halved_ = hour;
}

void TermCounts::add_to_rings(size_t row, Time time, float amount) {
  Term& term = terms_[row];
  const auto put = [amount](std::span<float> ring, int64_t& newest, int64_t at) {
    const auto size = static_cast<int64_t>(ring.size());
    if (at <= newest - size) return;
    for (int64_t i = std::max(newest + 1, at - size + 1); i <= at; ++i)
      ring[static_cast<size_t>(i % size)] = 0;
    newest = std::max(newest, at);
    ring[static_cast<size_t>(at % size)] += amount;
  };
  put(buckets(row), term.last_bucket, bucket_of(time));
  put(hours(row), term.last_hour, hour_of(time));
}

void TermCounts::count_post(Time time) {
  if (time.time_since_epoch().count() < 0) return;
  if (first_ && time < *first_) first_ = time;
  add_to_rings(kAll, time, 1);
}

void TermCounts::count(const PostTerm& term, std::string_view bytes, uint64_t author, Time time,
                       float weight) {
  if (time.time_since_epoch().count() < 0) return;
  const auto known = by_hash_.find(term.hash);
  const uint32_t number = known != by_hash_.end() ? known->second : admit(term, bytes);
  if (number == kAll) return;
  const float voice = new_voice(terms_[number], author, hour_of(time));
  if (voice > 0) add_to_rings(number, time, voice * weight);
}

uint32_t TermCounts::admit(const PostTerm& term, std::string_view bytes) {
  const size_t used = by_hash_.size();
  const uint32_t wanted = 2 * used < options_.most_terms ? 1 : 4 * used < 3 * options_.most_terms ? 2 : 4;
  if (wanted > 1) {
    this_hour_.add(term.hash, 1);
    if (this_hour_.estimate(term.hash) + last_hour_.estimate(term.hash) < wanted) {
      past_.add(term.hash, 1);
      return kAll;
    }
  }
  if (used >= options_.most_terms) make_room();
  uint32_t number = static_cast<uint32_t>(terms_.size());
  if (!free_.empty()) {
    number = free_.back();
    free_.pop_back();
  } else {
    terms_.emplace_back();
    rows_.resize(terms_.size() * stride_);
  }
  Term& fresh = terms_[number];
  fresh = Term();
  fresh.hash = term.hash;
  fresh.text = bytes;
  fresh.kind = term.kind;
  fresh.before = static_cast<float>(past_.estimate(term.hash));
  std::fill_n(rows_.begin() + static_cast<std::ptrdiff_t>(number * stride_), stride_, 0.0F);
  by_hash_.emplace(term.hash, number);
  return number;
}

/// What this author adds to the term's voices of the hour: 0 when he was heard.
float TermCounts::new_voice(Term& term, uint64_t author, int64_t hour) {
  if (hour > term.registers_hour) {
    term.registers.fill(0);
    term.chance = 1;
    term.registers_hour = hour;
  }
  const uint64_t mixed = (author ^ term.hash) * 0x9E3779B97F4A7C15ull;
  uint8_t& rank = term.registers[mixed >> 58];
  const auto zeros = static_cast<uint8_t>(std::min<int>(std::countr_zero(mixed ^ (mixed >> 29)), kMostRank));
  const auto found = static_cast<uint8_t>(zeros + 1);
  if (found <= rank) return 0;
  const auto voices = static_cast<float>(1 / term.chance);
  term.chance += (std::ldexp(1.0, -found) - std::ldexp(1.0, -rank)) / kRegisters;
  rank = found;
  return voices;
}

/// The quarter of the terms with the least in their rings goes.
void TermCounts::make_room() {
  std::vector<std::pair<float, uint32_t>> held;
  held.reserve(by_hash_.size());
  for (const auto& [hash, number] : by_hash_) {
    float sum = 0;
    for (size_t back = 0; back < 6; ++back)
      sum += static_cast<float>(hour_count(number, hour_ - static_cast<int64_t>(back)));
    held.emplace_back(sum, number);
  }
  const auto quarter = held.begin() + static_cast<std::ptrdiff_t>(held.size() / 4 + 1);
  std::nth_element(held.begin(), quarter - 1, held.end());
  for (auto at = held.begin(); at != quarter; ++at) release(at->second);
}

void TermCounts::release(uint32_t number) {
  double sum = 0;
  for (const float count : hours(number)) sum += static_cast<double>(count);
  past_.add(terms_[number].hash, static_cast<uint32_t>(std::min(sum, 60'000.0)));
  by_hash_.erase(terms_[number].hash);
  terms_[number] = Term();
  free_.push_back(number);
}

double TermCounts::in_window(size_t row) const {
  const int64_t newest = bucket_of(now_);
  const auto size = static_cast<int64_t>(buckets_);
  const auto ring = buckets(row);
  double sum = 0;
  const int64_t oldest =
      std::max(newest - static_cast<int64_t>(window_buckets_), terms_[row].last_bucket - size + 1);
  for (int64_t at = oldest; at <= std::min(newest, terms_[row].last_bucket); ++at)
    sum += static_cast<double>(ring[static_cast<size_t>(at % size)]);
  return sum;
}

double TermCounts::hour_count(size_t row, int64_t hour) const {
  const auto size = static_cast<int64_t>(hours_);
  const int64_t newest = terms_[row].last_hour;
  if (hour > newest || hour <= newest - size || hour < 0) return 0;
  return static_cast<double>(hours(row)[static_cast<size_t>(hour % size)]);
}

std::chrono::hours TermCounts::past() const {
  if (!first_) return std::chrono::hours(0);
  const int64_t end = hour_of(now_ - options_.window);
  const int64_t begin = std::max(hour_of(*first_), end - options_.history.count());
  return std::chrono::hours(std::max<int64_t>(0, end - begin));
}

/// The term's share of all posts before the window.
double TermCounts::expected_share(uint32_t number) const {
  thread_local std::vector<std::pair<double, double>> past;  // the term's and all posts of an hour
  past.clear();
  const int64_t end = hour_of(now_ - options_.window);
  for (int64_t hour = end - this->past().count(); hour < end; ++hour) {
    const double all = hour_count(kAll, hour);
    if (all > 0) past.emplace_back(hour_count(number, hour), all);
  }
  std::sort(past.begin(), past.end(),
            [](const auto& a, const auto& b) { return a.first * b.second > b.first * a.second; });
  double mine = static_cast<double>(terms_[number].before), all = kPriorPosts;
  const auto left_out = static_cast<size_t>(kLeftOut * static_cast<double>(past.size()));
  for (size_t i = left_out; i < past.size(); ++i) {
    mine += past[i].first;
    all += past[i].second;
  }
  double share = mine / all;
  // The same hour of earlier days.
  double same = 0, same_all = 0;
  const int64_t begin = hour_of(*first_);
  for (int64_t day = hour_of(now_) - 24; day > hour_of(now_) - options_.history.count() && day - 1 >= begin;
       day -= 24) {
    for (int64_t hour = day - 1; hour <= day; ++hour) {
      same += hour_count(number, hour);
      same_all += hour_count(kAll, hour);
    }
  }
  if (same_all > 0) share = std::max(share, same / same_all);
  return share;
}

Burst TermCounts::measure(uint32_t number) const {
  Burst burst;
  burst.term = number;
  burst.count = in_window(number);
  burst.expected = expected_share(number) * in_window(kAll);
  const double spread = kOverdispersion * burst.expected;
  burst.score = (burst.count - burst.expected) / std::sqrt(burst.expected + kFloor + spread * spread);
  return burst;
}

std::optional<Burst> TermCounts::find(uint64_t hash) const {
  const auto known = by_hash_.find(hash);
  if (known == by_hash_.end()) return std::nullopt;
  return measure(known->second);
}

std::vector<Burst> TermCounts::bursts(double score, double least, size_t most) const {
  std::vector<Burst> out;
  const int64_t oldest = bucket_of(now_) - static_cast<int64_t>(window_buckets_);
  for (uint32_t number = 1; number < terms_.size(); ++number) {
    if (terms_[number].last_bucket < oldest || in_window(number) < least) continue;
    const Burst burst = measure(number);
    if (burst.score >= score) out.push_back(burst);
  }
  const auto better = [this](const Burst& a, const Burst& b) {
    return a.score != b.score ? a.score > b.score : terms_[a.term].hash < terms_[b.term].hash;
  };
  std::sort(out.begin(), out.end(), better);
  if (out.size() > most) out.resize(most);
  return out;
}

}  // namespace fathom::live
