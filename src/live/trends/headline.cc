#include "live/trends/headline.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "live/duplicates.h"

namespace fathom::live {
namespace {

constexpr double kHalfLifeHours = 1.5;

/// The words of a story and how much each is its own.
class Middle {
 public:
  Middle(const Window& window, const Cluster& cluster) {
    std::unordered_set<uint32_t> heard;
    for (const ClusteredPost& post : cluster.posts) {
      if (!heard.insert(post.group).second) continue;  // one voice a group
      for (const uint64_t term : window.posts[post.post]->terms) weights_[term] += 1;
    }
    const auto all = static_cast<double>(window.posts.size());
    for (auto& [term, weight] : weights_)
      weight *= std::log(1 + all / static_cast<double>(window.frequency.of(term))) /
                static_cast<double>(heard.size());
  }

  /// Cosine of the post's words with the middle's, up to a factor.
  double nearness(const RecentPost& post) const {
    double sum = 0;
    for (const uint64_t term : post.terms) {
      const auto found = weights_.find(term);
      if (found != weights_.end()) sum += found->second;
    }
    return sum / std::sqrt(static_cast<double>(post.terms.size()) + 4);
  }

 private:
  std::unordered_map<uint64_t, double> weights_;
};

size_t words_in(std::string_view text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), ' ')) + 1;
}

double form(const RecentPost& post) {
  double factor = 1;
  if (post.reply) factor *= 0.4;
  if (post.quote) factor *= 0.7;
  if (post.link) factor *= 1.1;
  if (post.sensitive) factor *= 0.5;
  if (words_in(post.text) < 5) factor *= 0.5;
  if (post.text.find('?') != std::string::npos) factor *= 0.75;
  if (post.text.find("!!") != std::string::npos) factor *= 0.8;
  // A report begins with a capital or a figure, in scripts that have them.
  if (!post.text.empty() && post.text.front() >= 'a' && post.text.front() <= 'z') factor *= 0.75;
  return factor;
}

std::string_view main_language(const Window& window, const Cluster& cluster) {
  std::map<std::string_view, size_t> counts;
  for (const ClusteredPost& post : cluster.posts) ++counts[window.posts[post.post]->lang];
  const auto most = std::max_element(counts.begin(), counts.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == counts.end() ? std::string_view() : most->first;
}

}  // namespace

std::vector<uint32_t> leading_posts(const Window& window, const Cluster& cluster, size_t most) {
  const Middle middle(window, cluster);
  const std::string_view lang = main_language(window, cluster);
  struct Candidate {
    uint32_t post = 0;
    bool repost = true;
    double score = 0;
    size_t size = 0;
  };
  std::map<uint32_t, Candidate> best;  // of each group
  for (const ClusteredPost& member : cluster.posts) {
    const RecentPost& post = *window.posts[member.post];
    const double hours = std::chrono::duration<double, std::ratio<3600>>(window.now - post.time).count();
    double score = middle.nearness(post) * form(post) * (1 + 0.12 * static_cast<double>(post.engagement)) *
                   (0.5 + 0.5 * std::exp2(-hours / kHalfLifeHours));
    if (post.lang != lang) score *= 0.5;
    Candidate& of_group = best[member.group];
    ++of_group.size;
    if (of_group.size == 1 || (of_group.repost && !post.repost) ||
        (of_group.repost == post.repost && score > of_group.score)) {
      of_group.post = static_cast<uint32_t>(member.post);
      of_group.repost = post.repost;
      of_group.score = score;
    }
  }
  std::vector<Candidate> order;
  for (auto& [group, candidate] : best) {
    candidate.score *=
        (candidate.repost ? 0.5 : 1) * (1 + 0.3 * std::log(static_cast<double>(candidate.size)));
    order.push_back(candidate);
  }
  std::sort(order.begin(), order.end(), [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.post < b.post;
  });
  std::vector<uint32_t> out;
  for (const Candidate& candidate : order) {
    if (out.size() == most) break;
    out.push_back(candidate.post);
  }
  return out;
}

std::string headline_text(std::string_view text, size_t most) {
  if (is_repost_text(text)) {
    const size_t colon = text.find(": ");
    if (colon != std::string_view::npos) text = text.substr(colon + 2);
  }
  std::string line;
  for (const char c : trim(text)) {
    const bool space = c == '\n' || c == '\r' || c == '\t' || c == ' ';
    if (!space) {
      line += c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  if (line.size() <= most) return line;
  size_t end = line.rfind(' ', most);
  if (end == std::string::npos || end < most / 2) {
    end = most;
    end -= incomplete_utf8_tail(std::string_view(line).substr(0, end));
  }
  line.resize(end);
  return line + "\xE2\x80\xA6";
}

}  // namespace fathom::live
