#include "live/trends/clusters.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

namespace fathom::live {
namespace {

constexpr double kBefore = 0.1;        // more alike, when they were of one story
constexpr double kAlike = 0.22;        // average likeness at which clusters are joined
constexpr double kAboveChance = 2.5;   // times as often together as if they were strangers
constexpr double kSameName = 0.4;      // of both clusters' posts have a word that is theirs
constexpr double kOwn = 0.8;           // of a word's posts are in the two clusters
constexpr size_t kFewestTogether = 2;  // groups
constexpr double kSameStory = 0.3;     // cosine of two clusters' words at which they are one

using Groups = std::vector<uint32_t>;  // sorted, distinct

size_t shared(const Groups& a, const Groups& b) {
  size_t count = 0;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    if (*x < *y) {
      ++x;
    } else if (*y < *x) {
      ++y;
    } else {
      ++count, ++x, ++y;
    }
  }
  return count;
}

double likeness(const Groups& a, const Groups& b, double all) {
  const auto together = static_cast<double>(shared(a, b));
  if (together < kFewestTogether) return 0;
  const auto of_a = static_cast<double>(a.size()), of_b = static_cast<double>(b.size());
  if (together < kAboveChance * of_a * of_b / all) return 0;
  return together / (std::min(of_a, of_b) + 1);
}

/// The clusters that are left when no two are alike any more; each a list of terms.
class Linkage {
 public:
  Linkage(const std::vector<Groups>& uses, const std::vector<ClusterTerm>& terms, double all)
      : count_(uses.size()), alike_(count_ * count_) {
    for (size_t a = 0; a < count_; ++a) {
      members_.push_back({a});
      for (size_t b = a + 1; b < count_; ++b) {
        double alike = likeness(uses[a], uses[b], all);
        if (alike > 0 && terms[a].story != 0 && terms[a].story == terms[b].story) alike += kBefore;
        at(a, b) = at(b, a) = alike;
      }
    }
    for (size_t a = 0; a < count_; ++a) find_nearest(a);
  }

  std::vector<std::vector<size_t>> join() {
    for (;;) {
      const auto best = static_cast<size_t>(
          std::distance(nearest_.begin(),
                        std::max_element(nearest_.begin(), nearest_.end(),
                                         [](const auto& x, const auto& y) { return x.first < y.first; })));
      if (count_ == 0 || nearest_[best].first < kAlike) break;
      merge(best, nearest_[best].second);
    }
    std::erase_if(members_, [](const auto& list) { return list.empty(); });
    return std::move(members_);
  }

 private:
  double& at(size_t a, size_t b) { return alike_[a * count_ + b]; }

  void find_nearest(size_t a) {
    nearest_.resize(count_);
    nearest_[a] = {-1, a};
    if (members_[a].empty()) return;
    for (size_t b = 0; b < count_; ++b)
      if (b != a && !members_[b].empty() && at(a, b) > nearest_[a].first) nearest_[a] = {at(a, b), b};
  }

  void merge(size_t a, size_t b) {
    const auto of_a = static_cast<double>(members_[a].size()), of_b = static_cast<double>(members_[b].size());
    for (size_t c = 0; c < count_; ++c)
      at(a, c) = at(c, a) = (of_a * at(a, c) + of_b * at(b, c)) / (of_a + of_b);
    members_[a].insert(members_[a].end(), members_[b].begin(), members_[b].end());
    members_[b].clear();
    for (size_t c = 0; c < count_; ++c)
      if (c == a || c == b || nearest_[c].second == a || nearest_[c].second == b) find_nearest(c);
  }

  size_t count_;
  std::vector<double> alike_;
  std::vector<std::vector<size_t>> members_;
  std::vector<std::pair<double, size_t>> nearest_;
};

class Clustering {
 public:
  Clustering(const std::vector<const RecentPost*>& posts, const std::vector<uint32_t>& groups,
             const TermFrequencies& frequency, const std::vector<ClusterTerm>& terms)
      : posts_(posts),
        groups_(groups),
        frequency_(frequency),
        terms_(terms),
        of_post_(posts.size()),
        uses_(terms.size()) {
    std::unordered_map<uint64_t, size_t> numbers;
    for (size_t t = 0; t < terms.size(); ++t) numbers.emplace(terms[t].hash, t);
    for (size_t p = 0; p < posts.size(); ++p) {
      for (const uint64_t hash : posts[p]->terms) {
        const auto found = numbers.find(hash);
        if (found == numbers.end()) continue;
        of_post_[p].push_back(found->second);
        uses_[found->second].push_back(groups[p]);
      }
    }
    for (Groups& list : uses_) {
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
    }
  }

  std::vector<Cluster> run() {
    const size_t all = std::unordered_set<uint32_t>(groups_.begin(), groups_.end()).size();
    for (const auto& members : Linkage(uses_, terms_, std::max(1.0, static_cast<double>(all))).join())
      add_cluster(members);
    share_posts();
    if (join_alike()) share_posts();
    for (Cluster& cluster : clusters_) finish(cluster);
    return std::move(clusters_);
  }

 private:
  /// A term weighs as much as its groups keep to the cluster's other terms, and as it stands out.
  void add_cluster(const std::vector<size_t>& members) {
    Cluster cluster;
    std::unordered_map<uint32_t, size_t> used;  // group -> terms of the cluster
    for (const size_t t : members)
      for (const uint32_t group : uses_[t]) ++used[group];
    for (const size_t t : members) {
      double company = 0;
      for (const uint32_t group : uses_[t]) company += used[group] > 1 ? 1 : 0;
      const double share =
          members.size() == 1 ? 0.5 : company / static_cast<double>(std::max<size_t>(1, uses_[t].size()));
      const double plain = terms_[t].kind == TrendKind::kWord ? 1 : 1.5;  // tags and pairs say more
      cluster.terms.push_back({t, plain * (0.1 + share) * std::log1p(std::max(0.5, terms_[t].score))});
    }
    std::sort(cluster.terms.begin(), cluster.terms.end(), heavier);
    clusters_.push_back(std::move(cluster));
  }

  /// Clusters whose posts use the same words, or a name that hardly any others use, are one story, though its bursting
  /// terms fell apart: a name that is posted all day bursts no more, and yet holds the story together. True: some were joined.
  bool join_alike() {
    const size_t count = clusters_.size();
    std::vector<Words> words;
    for (const Cluster& cluster : clusters_) words.push_back(words_of(cluster));
    std::vector<Nearest> nearest(count);  // of each, among those behind it
    for (size_t x = 0; x < count; ++x) nearest[x] = nearest_behind(words, x);
    std::vector<bool> gone(count);
    for (;;) {
      const auto best = std::max_element(nearest.begin(), nearest.end(),
                                         [](const Nearest& x, const Nearest& y) { return x.same < y.same; });
      if (count == 0 || best->same <= 1) break;
      const auto a = static_cast<size_t>(best - nearest.begin());
      const size_t b = best->other;
      join(clusters_[a], clusters_[b]);
      words[a] = words_of(clusters_[a]);
      words[b] = {};
      gone[b] = true;
      nearest[b] = {};
      for (size_t x = 0; x < count; ++x)
        if (!gone[x] && (x == a || nearest[x].other == a || nearest[x].other == b))
          nearest[x] = nearest_behind(words, x);
      for (size_t x = 0; x < a; ++x)
        if (const double same = sameness(words[x], words[a]); same > nearest[x].same) nearest[x] = {same, a};
    }
    size_t kept = 0;
    for (size_t c = 0; c < count; ++c)
      if (!gone[c] && kept++ != c) clusters_[kept - 1] = std::move(clusters_[c]);
    clusters_.resize(kept);
    return kept < count;
  }

  static void join(Cluster& into, const Cluster& other) {
    into.terms.insert(into.terms.end(), other.terms.begin(), other.terms.end());
    into.posts.insert(into.posts.end(), other.posts.begin(), other.posts.end());
    std::sort(into.terms.begin(), into.terms.end(), heavier);
  }

  /// A word that more than one voice of a cluster uses.
  struct Word {
    uint64_t term = 0;
    double weight = 0;  // of the cluster's words, which have unit length together
    double share = 0;   // of the cluster's posts
    double posts = 0;
  };
  using Words = std::vector<Word>;  // by term

  struct Nearest {
    double same = 0;
    size_t other = 0;
  };

  Nearest nearest_behind(const std::vector<Words>& words, size_t x) const {
    Nearest nearest;
    for (size_t y = x + 1; y < words.size(); ++y)
      if (const double same = sameness(words[x], words[y]); same > nearest.same) nearest = {same, y};
    return nearest;
  }

  Words words_of(const Cluster& cluster) const {
    std::vector<std::pair<uint64_t, bool>> uses;  // of a term, by a voice that was not heard before
    std::unordered_set<uint32_t> heard;
    for (const ClusteredPost& post : cluster.posts) {
      const bool first = heard.insert(post.group).second;
      for (const uint64_t term : posts_[post.post]->terms)
        if (frequency_.of(term) > 1) uses.emplace_back(term, first);
    }
    std::sort(uses.begin(), uses.end());
    Words words;
    double square = 0;
    for (size_t i = 0, end = 0; i < uses.size(); i = end) {
      double voices = 0;
      for (end = i; end < uses.size() && uses[end].first == uses[i].first; ++end) voices += uses[end].second;
      if (voices < 2) continue;
      const auto posts = static_cast<double>(end - i);
      const double rarity =
          static_cast<double>(posts_.size() + 1) / static_cast<double>(frequency_.of(uses[i].first));
      const double weight = voices * std::log(rarity);
      square += weight * weight;
      words.push_back({uses[i].first, weight, posts / static_cast<double>(cluster.posts.size()), posts});
    }
    for (Word& word : words) word.weight /= std::sqrt(std::max(square, 1e-9));
    return words;
  }

  /// Above 1: one story.
  double sameness(const Words& a, const Words& b) const {
    double cosine = 0, name = 0;
    for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
      if (x->term != y->term) {
        x->term < y->term ? ++x : ++y;
        continue;
      }
      cosine += x->weight * y->weight;
      const double own = (x->posts + y->posts) / static_cast<double>(frequency_.of(x->term));
      if (own >= kOwn) name = std::max(name, own * std::min(x->share, y->share));
      ++x, ++y;
    }
    return std::max(cosine / kSameStory, name / kSameName);
  }

  static bool heavier(const ClusteredTerm& a, const ClusteredTerm& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.term < b.term;
  }

  void share_posts() {
    for (Cluster& cluster : clusters_) cluster.posts.clear();
    std::vector<std::pair<size_t, double>> home(terms_.size());  // cluster and weight of each term
    for (size_t c = 0; c < clusters_.size(); ++c)
      for (const ClusteredTerm& term : clusters_[c].terms) home[term.term] = {c, term.weight};
    std::unordered_map<size_t, double> sums;
    for (size_t p = 0; p < posts_.size(); ++p) {
      sums.clear();
      for (const size_t t : of_post_[p]) sums[home[t].first] += home[t].second;
      size_t best = clusters_.size();
      double most = 0;
      for (const auto& [c, sum] : sums) {
        if (sum > most || (sum == most && c < best)) best = c, most = sum;
      }
      if (best == clusters_.size()) continue;
      // One weak word is no sign.
      if (most < 0.35 * clusters_[best].terms.front().weight) continue;
      clusters_[best].posts.push_back({p, groups_[p], most});
    }
  }

  void finish(Cluster& cluster) const {
    std::unordered_set<uint32_t> groups;
    std::unordered_set<uint64_t> authors;
    for (const ClusteredPost& post : cluster.posts) {
      groups.insert(post.group);
      authors.insert(posts_[post.post]->author);
    }
    cluster.groups = groups.size();
    cluster.authors = authors.size();
  }

  const std::vector<const RecentPost*>& posts_;
  const std::vector<uint32_t>& groups_;
  const TermFrequencies& frequency_;
  const std::vector<ClusterTerm>& terms_;
  std::vector<std::vector<size_t>> of_post_;  // terms of each post
  std::vector<Groups> uses_;                  // groups of each term
  std::vector<Cluster> clusters_;
};

}  // namespace

std::vector<uint32_t> near_duplicate_groups(const std::vector<const RecentPost*>& posts) {
  std::vector<uint32_t> parent(posts.size());
  std::iota(parent.begin(), parent.end(), 0u);
  const auto root = [&parent](uint32_t at) {
    while (parent[at] != at) at = parent[at] = parent[parent[at]];
    return at;
  };
  // Half of the sketch's bytes being equal is taken for the same text, as repeated posts are.
  std::unordered_map<uint64_t, uint32_t> first;
  for (uint32_t p = 0; p < posts.size(); ++p) {
    const uint64_t sketch = posts[p]->sketch;
    if (sketch == 0) continue;
    for (const uint64_t half : {sketch & 0xFFFFFFFFu, (sketch >> 32) | (uint64_t{1} << 40)}) {
      const auto [found, fresh] = first.emplace(half, p);
      if (fresh) continue;
      const uint32_t a = root(found->second), b = root(p);
      parent[std::max(a, b)] = std::min(a, b);
    }
  }
  for (uint32_t p = 0; p < posts.size(); ++p) parent[p] = root(p);
  return parent;
}

std::vector<Cluster> find_clusters(const std::vector<const RecentPost*>& posts,
                                   const std::vector<uint32_t>& groups, const TermFrequencies& frequency,
                                   const std::vector<ClusterTerm>& terms) {
  if (terms.empty()) return {};
  return Clustering(posts, groups, frequency, terms).run();
}

}  // namespace fathom::live
