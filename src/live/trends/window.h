// The window as an evaluation sees it: its posts, what each stands for, and the bursting terms with the posts that use
// them. Views into the engine's samples: lives as long as one evaluation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "live/trends/clusters.h"
#include "live/trends/recent_posts.h"
#include "live/trends/term_counts.h"
#include "live/trends/term_frequencies.h"
#include "live/trends/trends.h"

namespace fathom::live {

/// Posts of one source in one language.
struct Share {
  std::string source, lang;
  uint64_t posts = 0, authors = 0;
};

struct WindowTerm {
  Burst burst;
  uint64_t hash = 0;
  TrendKind kind = TrendKind::kWord;
  std::string text;              // as analysed
  std::string display;           // as people write it
  std::vector<uint32_t> posts;   // that use it, rising
  std::vector<uint32_t> groups;  // of near-duplicates, sorted, distinct
  size_t authors = 0;
  double in_story = 0;  // the largest part of its posts that one story has
};

struct Window {
  Time oldest{}, now{};
  std::chrono::minutes bucket{};
  double sampled = 1;
  std::vector<const RecentPost*> posts;  // by time
  std::vector<double> weights;           // posts that each stands for
  std::vector<uint32_t> groups;          // of near-duplicates
  std::vector<WindowTerm> terms;         // by score
  TermFrequencies frequency;             // posts of each term, bursting or not

  size_t buckets() const { return static_cast<size_t>((now - oldest) / bucket) + 1; }
  /// Index into a volume of `buckets()` entries whose last is the present.
  size_t bucket_of(Time time) const;
};

/// The posts of both samples from `oldest` on, each key once, and their groups.
Window make_window(const Sample& bursting, const Sample& others, Time oldest, Time now);
/// Fills `posts`, `groups` and `authors` of the terms.
void find_uses(Window& window);

/// What of `posts` (indices into the window) came from where.
std::vector<Share> find_shares(const Window& window, const std::vector<uint32_t>& posts);
uint64_t posts_of(const std::vector<Share>& shares);
uint64_t authors_of(const std::vector<Share>& shares);

/// A trend with what it takes to filter it.
struct CountedTrend {
  Trend trend;
  std::vector<Share> shares;
};

/// The window's terms as trends: those that say the same told once, words joined to the phrases that they belong to.
std::vector<CountedTrend> list_trends(Window& window, size_t most);

/// The way most posts write the terms with these numbers: fills `display`.
void find_displays(Window& window, const std::vector<size_t>& terms);

/// A term's trend by itself.
CountedTrend make_trend(const Window& window, const WindowTerm& term);

}  // namespace fathom::live
