// The search within one segment: a template over Index and Segment, which offer the same names (segment/segment.h).
//
// Two steps, because a term's weight needs its count in every segment: the constructor looks the terms up, `run` walks.
//
// A walk goes down the blocks of 1024 documents. One that lies outside the times asked for, or whose bound (the newest time, the
// most engagement and author in it, all terms at their best) is not above the least of the best so far, is passed over. In the
// others the terms that matter there (MaxScore) lead from document to document, and what a document can reach is bounded in three
// steps, cheap ones first: its postings and length; the terms set aside, from the strongest down, each by its best in the
// segment, then by that of the block of postings; the columns. Before the first walk some of the newest documents of the rarest
// terms are scored, so that the bar is high from the start.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "live/facts.h"
#include "live/search_filters.h"
#include "live/search_plan.h"

namespace fathom::live {

template <class S>
class SegmentSearch {
 public:
  SegmentSearch(const S& segment, uint32_t number, const SearchPlan& plan)
      : segment_(segment), number_(number), columns_(segment, plan.parsed) {
    const ParsedQuery& parsed = plan.parsed;
    low_ = plan.after == 0 ? 1 : std::max<uint32_t>(1, segment.end(plan.after));
    end_ = segment.end(plan.through);
    looked_up_.reserve(parsed.scored.size() + parsed.expansion.size());
    for (const auto& term : parsed.scored) looked_up_.push_back(segment.term(term));
    for (const auto& [term, weight] : parsed.expansion) looked_up_.push_back(segment.term(term));
    for (const auto& term : parsed.required) required_.emplace_back(segment, std::vector<std::string>{term});
    for (const auto& group : parsed.any_of) required_.emplace_back(segment, group);
    if (parsed.one_must_match && !parsed.any_of.empty()) required_.emplace_back(segment, all_scored(parsed));
    if (!parsed.excluded.empty()) excluded_.emplace_back(segment, parsed.excluded);
    std::sort(required_.begin(), required_.end(),
              [](const AnyOf<S>& a, const AnyOf<S>& b) { return a.postings() < b.postings(); });
  }

  /// Documents with the i-th scored term, dead ones included.
  uint64_t documents_with(size_t i) const { return looked_up_[i] ? looked_up_[i].count() : 0; }

  /// How many postings a walk of all that could match would read.
  uint64_t cost() const {
    if (!required_.empty()) return required_.front().postings();
    if (looked_up_.empty()) return end_ > low_ ? end_ - low_ : 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < looked_up_.size(); ++i) sum += documents_with(i);
    return sum;
  }

  void run(SearchPlan& plan) {
    if (end_ <= low_ || cost() == 0 || columns_.none()) return;
    if (!required_.empty() && required_.front().postings() == 0) return;
    plan_ = &plan;
    const uint32_t block = next_in_time((end_ - 1) >> kBlockBits);
    if (block == kNoBlock) return;
    open(std::min(end_, (block + 1) << kBlockBits));
    if (can_prune() && required_.empty() && excluded_.empty() && !plan.has_phrases && !plan.best.full())
      raise_the_bar();
    walk(block);
  }

 private:
  static constexpr uint32_t kNoBlock = std::numeric_limits<uint32_t>::max();
  static constexpr uint64_t kMuchLonger =
      12;                                  // times: to look each document up is cheaper than to walk the list
  static constexpr size_t kSeedTries = 4;  // documents looked at for each that is wanted, for the first bar
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::min();
  static constexpr double kLongAgo = 1e17;  // microseconds

  /// A term that earns a score and occurs here.
  struct Scored {
    typename S::Cursor cursor;
    size_t term = 0;          // in the plan
    double bound = 0;         // no document here has more from this term
    double bound_so_far = 0;  // the sum of this one's and those before
  };

  // Opening

  static std::vector<std::string> all_scored(const ParsedQuery& parsed) {
    std::vector<std::string> terms = parsed.scored;
    for (const auto& [term, weight] : parsed.expansion) terms.push_back(term);
    return terms;
  }

  void open(uint32_t end) {
    top_ = end - 1;
    for (size_t i = 0; i < looked_up_.size(); ++i) {
      const auto& term = looked_up_[i];
      if (!term) continue;
      Scored scored{segment_.cursor(term, end)};
      scored.term = i;
      scored.bound = plan_->part(i, term.max_frequency(), term.min_length()) * kRoundingMargin;
      scored_.push_back(std::move(scored));
    }
    // From the least that a term can add to the most: MaxScore sets the first ones aside.
    std::stable_sort(scored_.begin(), scored_.end(),
                     [](const auto& a, const auto& b) { return a.bound < b.bound; });
    double sum = 0;
    for (auto& scored : scored_) scored.bound_so_far = sum += scored.bound;
    parts_.assign(looked_up_.size(), 0);
    for (auto& list : required_) list.open(segment_, end);
    for (auto& list : excluded_) list.open(segment_, end);
    for (const auto& phrase : plan_->parsed.phrases) phrases_.push_back(segment_.phrase(phrase, end));
    for (const auto& phrase : plan_->parsed.excluded_phrases)
      excluded_phrases_.push_back(segment_.phrase(phrase, end));
  }

  bool can_prune() const { return !plan_->exhaustive && !plan_->newest_first; }
  double text_bound() const {
    return text_of_none() ? 1.0 : scored_.empty() ? 0.0 : scored_.back().bound_so_far;
  }
  bool text_of_none() const { return looked_up_.empty(); }

  // Blocks

  bool in_time(const TimeBounds& block) const {
    return block.newest.load(std::memory_order_relaxed) >= plan_->since &&
           block.oldest.load(std::memory_order_relaxed) < plan_->until;
  }

  /// The first block from `number` down that lies in the times asked for.
  uint32_t next_in_time(uint32_t number) const {
    const uint32_t last = low_ >> kBlockBits;
    for (;; --number) {
      const TimeBounds& block = segment_.bounds(number);
      if (in_time(block)) return number;
      if (number == last || block.newest_before < plan_->since) return kNoBlock;
    }
  }

  void walk(uint32_t number) {
    const uint32_t last = low_ >> kBlockBits;
    for (;; --number) {
      const TimeBounds& block = segment_.bounds(number);
      if (in_time(block) && enter(block)) {
        const uint32_t low = std::max(low_, number << kBlockBits);
        const uint32_t high = std::min(top_, (number << kBlockBits) + (1u << kBlockBits) - 1);
        walk_block(low, high);
      }
      if (number == last || plan_->since > block.newest_before || all_older(block)) return;
    }
  }

  /// The newest are wanted, and what is left is not newer than those there are.
  bool all_older(const TimeBounds& block) {
    if (!plan_->newest_first || plan_->exhaustive || !plan_->best.full()) return false;
    if (block.newest_before > plan_->best.least_created()) return false;
    plan_->exact_count = false;
    return true;
  }

  /// Whether a document of the block can be among the best; if so `factor_` and `aside_` hold for it.
  bool enter(const TimeBounds& block) {
    if (plan_->exhaustive) return true;
    bool can = true;
    if (plan_->newest_first) {
      can = !plan_->best.full() || block.newest.load(std::memory_order_relaxed) > plan_->best.least_created();
    } else {
      recency_ = recency_bound(block);
      factor_ = recency_ * plan_->popularity(block.engagement.load(std::memory_order_relaxed),
                                             block.author.load(std::memory_order_relaxed));
      set_aside();
      can = needed_ < text_bound();
    }
    if (!can) plan_->exact_count = false;
    return can;
  }

  /// Blocks grow older along the way, so that the recency of one bounds that of the next; it is computed anew when it would be
  /// an eighth of the half-life off.
  double recency_bound(const TimeBounds& block) {
    const int64_t newest = block.newest.load(std::memory_order_relaxed);
    if (newest <= recency_until_ && newest >= recency_from_) return recency_;
    recency_until_ = newest;
    recency_from_ = newest - static_cast<int64_t>(
                                 std::min(plan_->weights.half_life_hours * kMicrosPerHour / 8, kLongAgo));
    if (plan_->weights.recency <= 0) return 1;  // and no margin: a tie is not looked at again
    return recency_factor(plan_->weights, newest, plan_->now) * kRoundingMargin;
  }

  /// How many of the first terms together cannot lift a document of this block above the least of the best.
  void set_aside() {
    needed_ = plan_->best.least_score() / (factor_ * kRoundingMargin);
    aside_ = 0;
    while (aside_ < scored_.size() && scored_[aside_].bound_so_far <= needed_) ++aside_;
    if (aside_ > 0) plan_->exact_count = false;
  }

  void walk_block(uint32_t low, uint32_t high) {
    if (!required_.empty()) return walk_required(low, high);
    if (!scored_.empty()) return walk_scored(low, high);
    for (uint32_t document = high; document >= low; --document) consider(document);
  }

  void walk_required(uint32_t low, uint32_t high) {
    BlockSet all;
    required_[0].mark(low, high, all);
    for (size_t i = 1; i < required_.size(); ++i) {
      if (required_[i].postings() > kMuchLonger * required_[0].postings())
        keep_by_seeking(required_[i], low, all);
      else
        keep_by_marking(required_[i], low, high, all);
    }
    all.for_each(low, [this](uint32_t document) { consider(document); });
  }

  static void keep_by_marking(AnyOf<S>& list, uint32_t low, uint32_t high, BlockSet& documents) {
    BlockSet other;
    list.mark(low, high, other);
    documents.keep(other);
  }

  static void keep_by_seeking(AnyOf<S>& list, uint32_t low, BlockSet& documents) {
    documents.for_each(low, [&](uint32_t document) {
      if (list.seek(document) != document) documents.remove(document);
    });
  }

  void walk_scored(uint32_t low, uint32_t high) {
    if (!can_prune()) aside_ = 0;
    for (uint32_t document = high; document >= low; --document) {
      uint32_t found = 0;
      for (size_t i = aside_; i < scored_.size(); ++i)
        found = std::max(found, scored_[i].cursor.seek(document));
      if (found < low) return;
      document = found;
      consider(found);
    }
  }

  // One document

  void consider(uint32_t number) {
    const RankFacts quick = segment_.rank_facts(number);
    if (!columns_.passes(quick)) return;
    if (can_prune() && !can_reach(number, quick)) {
      plan_->exact_count = false;
      return;
    }
    const DocumentFacts facts = segment_.facts(number);
    if (facts.created < plan_->since || facts.created >= plan_->until || !columns_.passes(facts)) return;
    if (too_old(facts)) {
      plan_->exact_count = false;
      return;
    }
    if (!segment_.alive(number, plan_->sequence)) return;
    for (auto& list : excluded_)
      if (list.seek(number) == number) return;
    if (!can_prune()) look_up_all(number, facts.length);
    const Candidate candidate = make_candidate(number, facts);
    const bool enters = plan_->best.would_enter(candidate);
    if (!enters && !plan_->exhaustive) {
      if (plan_->has_phrases || plan_->parsed.min_views)
        plan_->exact_count = false;  // not looked at closely
      else
        ++plan_->matched;
      return;
    }
    if (!passes_post(number)) return;
    ++plan_->matched;
    if (!enters) return;
    plan_->best.push(candidate);
    if (can_prune()) set_aside();
  }

  /// Bounds the score, from what is at hand to what must be looked up. Fills in `parts_` unless it is false.
  bool can_reach(uint32_t number, const RankFacts& quick) {
    const double least = plan_->best.least_score();
    const double factor = recency_ * plan_->popularity(quick.engagement, quick.author);
    double sum = 0;
    for (size_t i = scored_.size(); i-- > aside_;) sum += look_up(scored_[i], number, quick.length);
    for (size_t i = aside_; i-- > 0;) {
      if ((sum + scored_[i].bound_so_far) * factor * kRoundingMargin <= least) return false;
      const double weaker = i > 0 ? scored_[i - 1].bound_so_far : 0;
      if ((sum + weaker + block_bound(scored_[i], number)) * factor * kRoundingMargin <= least) return false;
      sum += look_up(scored_[i], number, quick.length);
    }
    return text_score() * factor > least;
  }

  /// What a term can add at most to this document, by the block of its postings that would hold it (block-max: Ding and Suel,
  /// 2011): told without unpacking the block.
  double block_bound(Scored& scored, uint32_t number) const {
    const BlockBound block = scored.cursor.block(number);
    if (block.max_frequency == 0) return 0;
    return plan_->part(scored.term, block.max_frequency, block.min_length) * kRoundingMargin;
  }

  void look_up_all(uint32_t number, uint8_t length) {
    for (auto& scored : scored_) look_up(scored, number, length);
  }

  /// What a term adds to a document.
  double look_up(Scored& scored, uint32_t number, uint8_t length) {
    const bool has = scored.cursor.seek(number) == number;
    return parts_[scored.term] = has ? plan_->part(scored.term, scored.cursor.frequency(), length) : 0;
  }

  /// Summed in the query's order, so that equal posts have equal scores to the last bit.
  double text_score() const {
    if (text_of_none()) return 1;
    double sum = 0;
    for (const double part : parts_) sum += part;
    return sum;
  }

  bool too_old(const DocumentFacts& facts) const {
    return plan_->newest_first && !plan_->exhaustive && plan_->best.full() &&
           facts.created <= plan_->best.least_created();
  }

  /// REQUIRES: `parts_` are the document's.
  Candidate make_candidate(uint32_t number, const DocumentFacts& facts) const {
    Candidate candidate;
    candidate.segment = number_;
    candidate.document = number;
    candidate.created = facts.created;
    const auto plain =
        parts_.begin() + static_cast<ptrdiff_t>(std::min(parts_.size(), plan_->parsed.scored.size()));
    candidate.matched_terms =
        static_cast<uint32_t>(std::count_if(parts_.begin(), plain, [](double part) { return part > 0; }));
    const double text = text_score();
    candidate.text_score = text_of_none() ? 0 : text;
    candidate.score = text * plan_->factor(facts);
    return candidate;
  }

  /// What only the stored post or its positions can tell. Documents come in falling order.
  bool passes_post(uint32_t number) {
    const auto has = [number](auto& phrase) { return phrase.has(number); };
    return passes_views(number) && std::all_of(phrases_.begin(), phrases_.end(), has) &&
           std::none_of(excluded_phrases_.begin(), excluded_phrases_.end(), has);
  }

  bool passes_views(uint32_t number) const {
    const auto& least = plan_->parsed.min_views;
    return !least || segment_.post(number).metrics.views.value_or(0) >= *least;
  }

  // The first bar

  /// Scores the newest documents of each term, the rarest first, until there are k: the best cannot be worse than those.
  void raise_the_bar() {
    const size_t wanted = plan_->best.capacity();
    std::vector<double> scores;
    for (size_t i = scored_.size(); i-- > 0 && scores.size() < wanted;) seed(i, wanted, scores);
    if (wanted == 0 || scores.size() < wanted) return;
    std::nth_element(scores.begin(), scores.begin() + static_cast<ptrdiff_t>(wanted - 1), scores.end(),
                     std::greater<>());
    plan_->best.expect(scores[wanted - 1]);
  }

  void seed(size_t leader, size_t wanted, std::vector<double>& scores) {
    const std::vector<Scored> from_the_top = scored_;  // cursors only go back
    uint32_t document = top_;
    for (size_t tries = kSeedTries * wanted; tries > 0 && scores.size() < wanted && document >= low_;
         --tries, --document) {
      document = scored_[leader].cursor.seek(document);
      if (document < low_) break;
      const DocumentFacts facts = segment_.facts(document);
      if (facts.created < plan_->since &&
          segment_.bounds(document >> kBlockBits).newest_before < plan_->since)
        break;
      look_up_all(document, facts.length);
      const bool counted = std::any_of(scored_.begin() + static_cast<ptrdiff_t>(leader) + 1, scored_.end(),
                                       [&](const Scored& rarer) { return parts_[rarer.term] > 0; });
      if (!counted && passes_all(document, facts)) scores.push_back(make_candidate(document, facts).score);
    }
    scored_ = from_the_top;
  }

  bool passes_all(uint32_t number, const DocumentFacts& facts) const {
    return facts.created >= plan_->since && facts.created < plan_->until &&
           columns_.passes(segment_.rank_facts(number)) && columns_.passes(facts) &&
           segment_.alive(number, plan_->sequence) && passes_views(number);
  }

  const S& segment_;
  const uint32_t number_;
  ColumnFilter<S> columns_;
  uint32_t low_ = 1, end_ = 1;  // documents in [low_, end_)
  uint32_t top_ = 0;            // where the walk begins
  std::vector<typename S::Term> looked_up_;
  std::vector<AnyOf<S>> required_, excluded_;
  std::vector<typename S::PhraseCursor> phrases_, excluded_phrases_;

  SearchPlan* plan_ = nullptr;
  std::vector<Scored> scored_;  // by rising bound
  std::vector<double> parts_;   // of the document at hand, by the plan's terms
  size_t aside_ = 0;            // of `scored_`, in this block
  double recency_ = 1;          // bound of this block
  double factor_ = 1;           // the same with engagement and author
  double needed_ = -1;          // a text's score must exceed it, in this block
  int64_t recency_until_ = kNever, recency_from_ = 0;
};

}  // namespace fathom::live
