// Bursting terms -> trends as people would name them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "live/trends/window.h"

namespace fathom::live {
namespace {

constexpr size_t kFewestAuthors = 3, kFewestGroups = 2;
constexpr double kRising = 1.2;   // deviations, weighed
constexpr double kBelongs = 0.5;  // of the rarer word's posts are in the pair: they belong together
constexpr double kSame = 0.7;     // of both terms' groups are shared: one trend
constexpr size_t kSurfaces = 40;  // posts looked at for the way a term is written
constexpr size_t kLongestPhrase = 80;

size_t shared(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  std::vector<uint32_t> out;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
  return out.size();
}

std::pair<std::string_view, std::string_view> halves(std::string_view pair) {
  const size_t space = pair.find(' ');
  return {pair.substr(0, space), pair.substr(space + 1)};
}

/// How much a word is of one thing: most of the posts with "still" have nothing else in common, most with "Rovers" have.
/// Tags and phrases are of one thing by themselves.
double weigh(const WindowTerm& term) {
  if (term.kind == TrendKind::kHashtag || term.kind == TrendKind::kCashtag) return 1;
  if (term.kind == TrendKind::kPair) return 0.7 + 0.3 * term.in_story;
  return 0.2 + 0.8 * term.in_story;
}

class Lister {
 public:
  explicit Lister(Window& window) : window_(window), dropped_(window.terms.size()) {
    for (size_t t = 0; t < window.terms.size(); ++t) by_text_.emplace(window.terms[t].text, t);
  }

  std::vector<size_t> run(size_t most) {
    for (size_t t = 0; t < dropped_.size(); ++t) {
      const WindowTerm& term = window_.terms[t];
      dropped_[t] = term.burst.score * weigh(term) < kRising || term.authors < kFewestAuthors ||
                    term.groups.size() < kFewestGroups ||
                    (term.kind == TrendKind::kPair && !belongs_together(term));
    }
    std::vector<size_t> out;
    for (size_t t = 0; t < dropped_.size() && out.size() < most; ++t) {
      if (dropped_[t]) continue;
      const auto same =
          std::find_if(out.begin(), out.end(), [&](size_t kept) { return says_the_same(kept, t); });
      if (same == out.end()) {
        out.push_back(t);
      } else if (says_more(t, *same)) {
        *same = t;  // in its place
      }
    }
    return out;
  }

 private:
  bool belongs_together(const WindowTerm& pair) const {
    const auto [first, second] = halves(pair.text);
    for (const std::string_view word : {first, second}) {
      const auto found = by_text_.find(std::string(word));
      if (found == by_text_.end()) continue;  // the word by itself is nothing special
      const WindowTerm& other = window_.terms[found->second];
      if (static_cast<double>(pair.groups.size()) >= kBelongs * static_cast<double>(other.groups.size()))
        return true;
    }
    return by_text_.find(std::string(first)) == by_text_.end() &&
           by_text_.find(std::string(second)) == by_text_.end();
  }

  bool says_the_same(size_t a, size_t b) const {
    const WindowTerm &x = window_.terms[a], &y = window_.terms[b];
    const auto both = static_cast<double>(shared(x.groups, y.groups));
    const bool within = x.text.find(y.text) != std::string::npos || y.text.find(x.text) != std::string::npos;
    const auto larger = static_cast<double>(std::max(x.groups.size(), y.groups.size()));
    const auto smaller = static_cast<double>(std::min(x.groups.size(), y.groups.size()));
    return both >= kSame * (within ? smaller : larger);
  }

  /// A phrase instead of its word, where most posts have all of it.
  bool says_more(size_t a, size_t b) const {
    const WindowTerm &x = window_.terms[a], &y = window_.terms[b];
    return x.kind == TrendKind::kPair && y.kind == TrendKind::kWord &&
           static_cast<double>(x.groups.size()) >= kSame * static_cast<double>(y.groups.size());
  }

  const Window& window_;
  std::unordered_map<std::string, size_t> by_text_;
  std::vector<bool> dropped_;
};

/// Counts the ways in which one term is written.
struct Surfaces {
  std::unordered_map<std::string, size_t> counts;
  size_t seen = 0;

  std::string best() const {
    const std::pair<const std::string, size_t>* most = nullptr;
    for (const auto& entry : counts)
      if (most == nullptr || entry.second > most->second ||
          (entry.second == most->second && entry.first < most->first))
        most = &entry;
    return most == nullptr ? std::string() : most->first;
  }
};

std::string surface(std::string_view text, const PostTerm& term) {
  return std::string(text.substr(term.begin, term.end - term.begin));
}

}  // namespace

void find_displays(Window& window, const std::vector<size_t>& terms) {
  std::unordered_map<uint64_t, Surfaces> wanted;
  std::unordered_set<uint32_t> posts;
  for (const size_t t : terms) {
    const WindowTerm& term = window.terms[t];
    if (!term.display.empty()) continue;
    wanted.emplace(term.hash, Surfaces{});
    // The newest posts tell how it is written now.
    const size_t from = term.posts.size() > kSurfaces ? term.posts.size() - kSurfaces : 0;
    posts.insert(term.posts.begin() + static_cast<std::ptrdiff_t>(from), term.posts.end());
  }
  thread_local PostTerms found;
  for (const uint32_t p : posts) {
    const std::string& text = window.posts[p]->text;
    find_terms(text, found);
    for (const PostTerm& term : found.terms) {
      const auto at = wanted.find(term.hash);
      if (at != wanted.end()) ++at->second.counts[surface(text, term)];
    }
  }
  for (const size_t t : terms) {
    WindowTerm& term = window.terms[t];
    const auto at = wanted.find(term.hash);
    if (at != wanted.end()) term.display = at->second.best();
    if (term.display.empty() || term.display.size() > kLongestPhrase) term.display = term.text;
  }
}

CountedTrend make_trend(const Window& window, const WindowTerm& term) {
  CountedTrend out;
  out.shares = find_shares(window, term.posts);
  Trend& trend = out.trend;
  trend.text = term.display.empty() ? term.text : term.display;
  trend.query = term.kind == TrendKind::kPair ? fmt::format("\"{}\"", trend.text) : trend.text;
  trend.score = term.burst.score * weigh(term);
  trend.expected = term.burst.expected;
  trend.posts = posts_of(out.shares);
  trend.authors = authors_of(out.shares);
  trend.volume.resize(window.buckets());
  std::vector<double> volume(trend.volume.size());
  for (const uint32_t p : term.posts) volume[window.bucket_of(window.posts[p]->time)] += window.weights[p];
  for (size_t i = 0; i < volume.size(); ++i)
    trend.volume[i] = static_cast<uint64_t>(std::llround(volume[i] / window.sampled));
  trend.first_seen = term.posts.empty() ? window.now : window.posts[term.posts.front()]->time;
  return out;
}

namespace {

/// Two pairs that overlap in a word and are posted together are three words that belong together: "Priory Hill pumping".
void lengthen(Window& window, const std::vector<size_t>& terms) {
  std::unordered_map<std::string_view, std::vector<size_t>> by_first;
  for (size_t t = 0; t < window.terms.size(); ++t)
    if (window.terms[t].kind == TrendKind::kPair) by_first[halves(window.terms[t].text).first].push_back(t);
  std::vector<std::pair<size_t, size_t>> joined;
  for (const size_t t : terms) {
    const WindowTerm& term = window.terms[t];
    if (term.kind != TrendKind::kPair) continue;
    for (const size_t next : by_first[halves(term.text).second]) {
      const WindowTerm& other = window.terms[next];
      const auto both = static_cast<double>(shared(term.groups, other.groups));
      if (both < kSame * static_cast<double>(std::max(term.groups.size(), other.groups.size()))) continue;
      joined.emplace_back(t, next);
      break;
    }
  }
  for (const auto& [t, next] : joined) {
    find_displays(window, {next});
    const std::string_view more = window.terms[next].display;
    std::string& display = window.terms[t].display;
    const size_t space = more.find(' ');
    if (space != std::string_view::npos && std::string_view(display).ends_with(more.substr(0, space)))
      display += more.substr(space);
  }
}

}  // namespace

std::vector<CountedTrend> list_trends(Window& window, size_t most) {
  std::stable_sort(window.terms.begin(), window.terms.end(), [](const WindowTerm& a, const WindowTerm& b) {
    return a.burst.score * weigh(a) > b.burst.score * weigh(b);
  });
  const std::vector<size_t> chosen = Lister(window).run(most);
  find_displays(window, chosen);
  lengthen(window, chosen);
  std::vector<CountedTrend> out;
  for (const size_t t : chosen) out.push_back(make_trend(window, window.terms[t]));
  return out;
}

}  // namespace fathom::live
