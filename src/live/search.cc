#include "live/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "live/posting.h"

namespace fathom::live {
namespace {

// Up to this many postings a walk of all of them is so cheap that the count of matches is exact.
constexpr uint64_t kCheapPostings = 4096;
constexpr double kRoundingMargin = 1 + 1e-9;  // bounds and scores are summed in different orders
constexpr double kForgottenHalfLives = 64;
constexpr uint32_t kBlockSize = 1u << kBlockBits;

double bm25(double idf, double frequency, double length_ratio) {
  return idf * frequency * (kBm25K1 + 1) / (frequency + kBm25K1 * (1 - kBm25B + kBm25B * length_ratio));
}

/// A term that earns a score.
struct ScoredTerm {
  PostingCursor cursor;
  double idf = 0;
  double bound = 0;  // no document has more from this term
  uint32_t postings = 0;
};

/// Documents that have one of a few terms.
class AnyOf {
 public:
  AnyOf(const Index& index, const std::vector<std::string>& terms, uint32_t end) {
    for (const auto& term : terms) {
      const auto list = index.term(term);
      if (!list) continue;
      cursors_.push_back(index.cursor(list, end));
      postings_ += list.count();
    }
  }

  uint32_t seek(uint32_t document) {
    uint32_t best = 0;
    for (auto& cursor : cursors_) best = std::max(best, cursor.seek(document));
    return best;
  }
  uint64_t postings() const { return postings_; }

 private:
  std::vector<PostingCursor> cursors_;
  uint64_t postings_ = 0;
};

/// The k best so far; the worst of them on top.
class BestOf {
 public:
  BestOf(size_t capacity, bool by_time) : capacity_(capacity), by_time_(by_time) {}

  bool full() const { return capacity_ > 0 && heap_.size() == capacity_; }
  double least_score() const { return full() ? heap_.front().score : -1; }
  int64_t least_created() const {
    return full() ? heap_.front().created : std::numeric_limits<int64_t>::min();
  }

  bool better(const Candidate& a, const Candidate& b) const {
    if (by_time_ && a.created != b.created) return a.created > b.created;
    if (!by_time_ && a.score != b.score) return a.score > b.score;
    return a.document > b.document;
  }

  bool would_enter(const Candidate& c) const {
    return capacity_ > 0 && (!full() || better(c, heap_.front()));
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
  }

  std::vector<Candidate> sorted() && {
    std::sort(heap_.begin(), heap_.end(),
              [this](const Candidate& a, const Candidate& b) { return better(a, b); });
    return std::move(heap_);
  }

 private:
  size_t capacity_;
  bool by_time_;
  std::vector<Candidate> heap_;
};

/// The numbers under which an index knows the names that a query allows. A language allows its regions: "en" takes "en-gb".
std::vector<uint16_t> numbers_of(const Names& names, const std::vector<std::string>& wanted, bool regions) {
  std::vector<uint16_t> numbers;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string_view name = names.name(i);
    const auto fits = [&](const std::string& w) {
      return name == w || (regions && name.size() > w.size() && name.starts_with(w) && name[w.size()] == '-');
    };
    if (std::any_of(wanted.begin(), wanted.end(), fits)) numbers.push_back(static_cast<uint16_t>(i));
  }
  return numbers;
}

bool has_number(const std::vector<uint16_t>& sorted, uint16_t number) {
  return std::binary_search(sorted.begin(), sorted.end(), number);
}

class Searcher {
 public:
  Searcher(const Index& index, const View& snapshot, const ParsedQuery& parsed, const Query& query,
           Time feed_time, size_t count)
      : index_(index),
        snapshot_(snapshot),
        parsed_(parsed),
        query_(query),
        now_(feed_time.time_since_epoch().count()),
        newest_first_(query.order == Query::Order::kNewest),
        best_(count, newest_first_) {
    open_terms();
    open_filters();
  }

  Ranking run() {
    if (!parsed_.never && !impossible_ && snapshot_.end > 1) walk();
    ranking_.best = std::move(best_).sorted();
    return std::move(ranking_);
  }

 private:
  void open_terms() {
    for (const auto& term : parsed_.scored) {
      const auto list = index_.term(term);
      const uint32_t count = list.count();
      ranking_.terms.emplace_back(term, count);
      if (count == 0) continue;
      ScoredTerm scored;
      scored.cursor = index_.cursor(list, snapshot_.end);
      scored.postings = count;
      const double n = std::min<double>(count, snapshot_.posts);
      scored.idf = std::log(1 + (snapshot_.posts - n + 0.5) / (n + 0.5));
      scored.bound = bm25(scored.idf, list.max_frequency(), list.min_length() / snapshot_.mean_length);
      terms_.push_back(scored);
    }
    // From the least that a term can add to the most: MaxScore sets the first ones aside.
    std::stable_sort(terms_.begin(), terms_.end(),
                     [](const auto& a, const auto& b) { return a.bound < b.bound; });
    double sum = 0;
    for (const auto& term : terms_) bounds_.push_back(sum += term.bound);
    parts_.resize(terms_.size());
  }

  void open_filters() {
    for (const auto& term : parsed_.required)
      required_.emplace_back(index_, std::vector<std::string>{term}, snapshot_.end);
    for (const auto& group : parsed_.any_of) required_.emplace_back(index_, group, snapshot_.end);
    if (!parsed_.excluded.empty()) excluded_.emplace_back(index_, parsed_.excluded, snapshot_.end);
    std::sort(required_.begin(), required_.end(),
              [](const AnyOf& a, const AnyOf& b) { return a.postings() < b.postings(); });
    sources_ = numbers_of(index_.sources(), parsed_.sources, false);
    langs_ = numbers_of(index_.langs(), parsed_.langs, true);
    impossible_ = (!required_.empty() && required_.front().postings() == 0) ||
                  (!parsed_.sources.empty() && sources_.empty()) ||
                  (!parsed_.langs.empty() && langs_.empty()) || (parsed_.one_must_match && terms_.empty());
    constexpr auto kMin = std::numeric_limits<int64_t>::min(), kMax = std::numeric_limits<int64_t>::max();
    since_ = parsed_.since ? parsed_.since->time_since_epoch().count() : kMin;
    until_ = parsed_.until ? parsed_.until->time_since_epoch().count() : kMax;
    uint64_t postings = snapshot_.end;
    if (!required_.empty()) {
      postings = required_.front().postings();
    } else if (!terms_.empty()) {
      postings = 0;
      for (const auto& term : terms_) postings += term.postings;
    }
    exhaustive_ = query_.exact_count || postings <= kCheapPostings;
  }

  // The walk

  void walk() {
    const uint32_t last = snapshot_.end - 1;
    for (uint32_t number = last >> kBlockBits;; --number) {
      const TimeBounds& block = index_.bounds(number);
      if (in_time(block) && can_improve(block)) {
        const uint32_t low = std::max<uint32_t>(1, number << kBlockBits);
        const uint32_t high = std::min(last, (number << kBlockBits) + kBlockSize - 1);
        walk_block(low, high, factor_bound(block));
      }
      if (number == 0) return;
      if (since_ > block.newest_before) return;  // all that is left is older
      if (!exhaustive_ && newest_first_ && best_.full() && block.newest_before <= best_.least_created()) {
        ranking_.exact_count = false;
        return;
      }
    }
  }

  bool in_time(const TimeBounds& block) const {
    return block.newest.load(std::memory_order_relaxed) >= since_ &&
           block.oldest.load(std::memory_order_relaxed) < until_;
  }

  double factor_bound(const TimeBounds& block) const {
    const int64_t newest = block.newest.load(std::memory_order_relaxed);
    const double engagement = kLogStep * block.engagement.load(std::memory_order_relaxed);
    return recency_factor(query_.weights, newest, now_) * (1 + query_.weights.engagement * engagement) *
           kRoundingMargin;
  }

  bool can_improve(const TimeBounds& block) {
    if (exhaustive_ || !best_.full()) return true;
    const bool can = newest_first_ ? block.newest.load(std::memory_order_relaxed) > best_.least_created()
                                   : factor_bound(block) * text_bound() > best_.least_score();
    if (!can) ranking_.exact_count = false;
    return can;
  }

  double text_bound() const { return bounds_.empty() ? 1.0 : bounds_.back(); }

  void walk_block(uint32_t low, uint32_t high, double factor) {
    if (!required_.empty()) return walk_required(low, high);
    if (!terms_.empty()) return walk_terms(low, high, factor);
    for (uint32_t document = high; document >= low; --document) consider(document, 0);
  }

  void walk_required(uint32_t low, uint32_t high) {
    uint32_t document = high;
    while (document >= low) {
      document = intersect(document);
      if (document < low) return;
      consider(document, 0);
      --document;
    }
  }

  /// The newest document at or below `document` that all the required lists have; 0 if there is none.
  uint32_t intersect(uint32_t document) {
    for (size_t i = 0; i < required_.size();) {
      const uint32_t found = required_[i].seek(document);
      if (found == 0) return 0;
      i = found == document ? i + 1 : 0;
      document = found;
    }
    return document;
  }

  void walk_terms(uint32_t low, uint32_t high, double factor) {
    size_t aside = terms_set_aside(factor);
    double least = best_.least_score();
    uint32_t document = high;
    while (document >= low) {
      if (aside == terms_.size()) return;
      uint32_t found = 0;
      for (size_t i = aside; i < terms_.size(); ++i) found = std::max(found, terms_[i].cursor.seek(document));
      if (found < low) return;
      consider(found, aside);
      document = found - 1;
      if (best_.least_score() > least) {
        least = best_.least_score();
        aside = terms_set_aside(factor);
      }
    }
  }

  /// How many of the first terms together cannot lift a document of this block above the least of the best.
  size_t terms_set_aside(double factor) {
    if (exhaustive_ || newest_first_ || !best_.full()) return 0;
    const double least = best_.least_score();
    size_t count = 0;
    while (count < terms_.size() && bounds_[count] * factor <= least) ++count;
    if (count > 0) ranking_.exact_count = false;
    return count;
  }

  // One document

  void consider(uint32_t number, size_t aside) {
    const DocumentFacts document = index_.facts(number);
    if (document.created < since_ || document.created >= until_ || !index_.alive(number, snapshot_.sequence))
      return;
    if (!passes_columns(document)) return;
    for (auto& list : excluded_)
      if (list.seek(number) == number) return;
    Candidate candidate;
    candidate.document = number;
    candidate.created = document.created;
    const double factor = factor_of(document);
    if (too_old(document) || !score(document, factor, aside, candidate)) {
      ranking_.exact_count = false;
      return;
    }
    if (parsed_.one_must_match && candidate.matched_terms == 0) return;
    if (!exhaustive_ && !best_.would_enter(candidate)) {
      ++ranking_.matched;
      if (has_phrases() || parsed_.min_views) ranking_.exact_count = false;  // not looked at closely
      return;
    }
    if (!passes_record(number)) return;
    ++ranking_.matched;
    if (best_.would_enter(candidate)) best_.push(candidate);
  }

  /// The newest are wanted and there are enough newer ones.
  bool too_old(const DocumentFacts& document) const {
    return newest_first_ && !exhaustive_ && best_.full() && document.created <= best_.least_created();
  }

  bool passes_columns(const DocumentFacts& document) const {
    if ((document.flags & DocumentFacts::kTombstone) != 0) return false;
    if (parsed_.min_likes && document.likes < *parsed_.min_likes) return false;
    if (parsed_.has_link && *parsed_.has_link != ((document.flags & DocumentFacts::kHasLink) != 0))
      return false;
    if (!parsed_.sources.empty() && !has_number(sources_, document.source)) return false;
    return parsed_.langs.empty() || has_number(langs_, document.lang);
  }

  bool has_phrases() const { return !parsed_.phrases.empty() || !parsed_.excluded_phrases.empty(); }

  /// What only the stored post can tell.
  bool passes_record(uint32_t number) const {
    if (parsed_.min_views && index_.post(number).metrics.views.value_or(0) < *parsed_.min_views) return false;
    if (!has_phrases()) return true;
    const auto has = [&](const Phrase& phrase) { return index_.has_phrase(number, phrase); };
    return std::all_of(parsed_.phrases.begin(), parsed_.phrases.end(), has) &&
           std::none_of(parsed_.excluded_phrases.begin(), parsed_.excluded_phrases.end(), has);
  }

  double factor_of(const DocumentFacts& document) const {
    return recency_factor(query_.weights, document.created, now_) *
           (1 + query_.weights.engagement * kLogStep * document.engagement);
  }

  /// Fills in the scores; false when the document cannot be among the best. The terms from `aside` on are those that the
  /// walk follows; the ones before are asked only while they could still make a difference.
  bool score(const DocumentFacts& document, double factor, size_t aside, Candidate& candidate) {
    const double length_ratio = document.length / snapshot_.mean_length;
    double followed = 0;
    for (size_t i = aside; i < terms_.size(); ++i) followed += look_up(i, candidate, length_ratio);
    for (size_t i = aside; i-- > 0;) {
      if ((followed + bounds_[i]) * factor * kRoundingMargin < best_.least_score()) return false;
      followed += look_up(i, candidate, length_ratio);
    }
    double text = 0;  // in a fixed order, so that equal posts have equal scores to the last bit
    for (const double part : parts_) text += part;
    candidate.text_score = text;
    candidate.score = (parsed_.scored.empty() ? 1.0 : text) * factor;
    return true;
  }

  /// What term `i` adds to the candidate.
  double look_up(size_t i, Candidate& candidate, double length_ratio) {
    ScoredTerm& term = terms_[i];
    if (term.cursor.seek(candidate.document) != candidate.document) return parts_[i] = 0;
    ++candidate.matched_terms;
    return parts_[i] = bm25(term.idf, term.cursor.frequency(), length_ratio);
  }

  const Index& index_;
  const View& snapshot_;
  const ParsedQuery& parsed_;
  const Query& query_;
  const int64_t now_;
  const bool newest_first_;
  BestOf best_;
  std::vector<ScoredTerm> terms_;
  std::vector<double> bounds_;  // of the first n + 1 terms together
  std::vector<double> parts_;   // what each term adds to the document at hand
  std::vector<AnyOf> required_, excluded_;
  std::vector<uint16_t> sources_, langs_;
  int64_t since_ = 0, until_ = 0;
  bool impossible_ = false;
  bool exhaustive_ = false;
  Ranking ranking_;
};

}  // namespace

double recency_factor(const RankWeights& weights, int64_t created, int64_t now) {
  if (weights.recency <= 0 || created >= now) return 1;
  constexpr double kMicrosPerHour = 3.6e9;
  const double age = (static_cast<double>(now) - static_cast<double>(created)) / kMicrosPerHour;
  const double half_lives = weights.half_life_hours > 0 ? age / weights.half_life_hours : kForgottenHalfLives;
  const double fresh = half_lives >= kForgottenHalfLives ? 0 : std::exp2(-half_lives);
  return 1 - weights.recency + weights.recency * fresh;
}

View::View(const Index& index, uint64_t published)
    : sequence(published), end(index.end(published)), posts(static_cast<double>(index.posts())) {
  if (posts > 0) mean_length = std::max(1.0, static_cast<double>(index.words()) / posts);
}

Ranking rank(const Index& index, const View& snapshot, const ParsedQuery& parsed, const Query& query,
             Time feed_time, size_t count) {
  return Searcher(index, snapshot, parsed, query, feed_time, count).run();
}

}  // namespace fathom::live
