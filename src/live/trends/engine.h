// The counting behind Trends, without thread or store: posts in, pictures of the present out.
//
// Deterministic: the same posts in the same order, evaluated at the same places, give the same result. Not thread-safe;
// pictures are immutable and shared.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "live/store.h"
#include "live/trends/recent_posts.h"
#include "live/trends/story_book.h"
#include "live/trends/term_counts.h"
#include "live/trends/trends.h"

namespace fathom::live {

/// What readers see until the next evaluation.
struct TrendPicture {
  TrendResult about;
  uint64_t sequence = 0;  // counted up to here
  std::vector<CountedTrend> trends;
  std::vector<CountedStory> stories;
  std::map<std::string, CountedStory> by_id;  // quiet ones and ids that were merged too
};

class TrendEngine {
 public:
  explicit TrendEngine(const TrendOptions& options);

  /// Counts one post. `skipped`: posts passed over since the last one, for which it stands too.
  void add(const Sequenced& entry, uint64_t skipped = 0);
  /// Whether enough has come and the feed's clock has moved far enough for another picture.
  bool due() const;
  std::shared_ptr<const TrendPicture> evaluate();

  Time now() const { return counts_.now(); }
  size_t terms() const { return counts_.terms(); }

 private:
  void find_terms_of(Window& window) const;
  std::vector<StoryDraft> draft_stories(Window& window) const;
  StoryDraft draft(Window& window, const Cluster& cluster) const;
  static void note_share(Window& window, const Cluster& cluster);
  static void add_own_words(const Window& window, const std::vector<uint32_t>& posts, StoryDraft& draft);
  static double anchored(const Window& window, const std::vector<uint32_t>& posts);
  double sampled() const;

  const TrendOptions options_;
  TermCounts counts_;
  Repetition repetition_;
  Sample bursting_, others_;
  StoryBook book_;
  std::unordered_set<uint64_t> hot_;  // terms that burst, or that stories stand on
  PostTerms terms_;                   // reused
  uint64_t sequence_ = 0;
  int64_t evaluated_bucket_ = 0;
  uint64_t since_evaluation_ = 0;
  std::deque<std::pair<int64_t, std::pair<uint64_t, uint64_t>>> arrived_;  // bucket: counted, passed over
};

}  // namespace fathom::live
