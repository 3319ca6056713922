#include "live/trends/window.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>
#include <unordered_set>

namespace fathom::live {
namespace {

void sort_unique(std::vector<uint32_t>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

uint64_t rounded(double value) { return static_cast<uint64_t>(std::llround(value)); }

}  // namespace

size_t Window::bucket_of(Time time) const {
  const size_t last = buckets() - 1;
  if (time >= now) return last;
  const auto back = static_cast<size_t>(now.time_since_epoch() / bucket - time.time_since_epoch() / bucket);
  return back > last ? 0 : last - back;
}

Window make_window(const Sample& bursting, const Sample& others, Time oldest, Time now) {
  Window window;
  window.oldest = oldest;
  window.now = now;
  struct Kept {
    const RecentPost* post;
    double weight;
  };
  std::vector<Kept> kept;
  std::unordered_map<std::string_view, size_t> by_key;
  for (const Sample* sample : {&bursting, &others}) {
    for (const RecentPost& post : sample->posts()) {
      if (post.time < oldest || post.time > now) continue;
      const auto [known, fresh] = by_key.emplace(post.key, kept.size());
      const Kept entry{&post, static_cast<double>(sample->stride())};
      if (fresh) {
        kept.push_back(entry);
      } else if (post.sequence > kept[known->second].post->sequence) {
        kept[known->second] = entry;  // an edit
      }
    }
  }
  std::sort(kept.begin(), kept.end(), [](const Kept& a, const Kept& b) {
    return a.post->time != b.post->time ? a.post->time < b.post->time : a.post->sequence < b.post->sequence;
  });
  size_t terms = 0;
  for (const Kept& entry : kept) {
    window.posts.push_back(entry.post);
    window.weights.push_back(entry.weight);
    terms += entry.post->terms.size();
  }
  window.frequency = TermFrequencies(terms);
  for (const RecentPost* post : window.posts)
    for (const uint64_t term : post->terms) window.frequency.add(term);
  window.groups = near_duplicate_groups(window.posts);
  return window;
}

void find_uses(Window& window) {
  std::unordered_map<uint64_t, size_t> numbers;
  for (size_t t = 0; t < window.terms.size(); ++t) numbers.emplace(window.terms[t].hash, t);
  for (uint32_t p = 0; p < window.posts.size(); ++p) {
    for (const uint64_t hash : window.posts[p]->terms) {
      const auto found = numbers.find(hash);
      if (found != numbers.end()) window.terms[found->second].posts.push_back(p);
    }
  }
  for (WindowTerm& term : window.terms) {
    std::unordered_set<uint64_t> authors;
    for (const uint32_t p : term.posts) {
      term.groups.push_back(window.groups[p]);
      authors.insert(window.posts[p]->author);
    }
    sort_unique(term.groups);
    term.authors = authors.size();
  }
}

std::vector<Share> find_shares(const Window& window, const std::vector<uint32_t>& posts) {
  struct Sum {
    double posts = 0, widest = 1;
    std::unordered_set<uint64_t> authors;
  };
  std::map<std::pair<std::string_view, std::string_view>, Sum> sums;
  for (const uint32_t p : posts) {
    const RecentPost& post = *window.posts[p];
    Sum& sum = sums[{post.source, post.lang}];
    sum.posts += window.weights[p];
    sum.widest = std::max(sum.widest, window.weights[p]);
    sum.authors.insert(post.author);
  }
  std::vector<Share> out;
  for (const auto& [where, sum] : sums) {
    const double all = sum.posts / window.sampled;
    const double authors = static_cast<double>(sum.authors.size()) * sum.widest / window.sampled;
    out.push_back(
        {std::string(where.first), std::string(where.second), rounded(all), rounded(std::min(all, authors))});
  }
  return out;
}

uint64_t posts_of(const std::vector<Share>& shares) {
  uint64_t sum = 0;
  for (const Share& share : shares) sum += share.posts;
  return sum;
}

uint64_t authors_of(const std::vector<Share>& shares) {
  uint64_t sum = 0;
  for (const Share& share : shares) sum += share.authors;
  return sum;
}

}  // namespace fathom::live
