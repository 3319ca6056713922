#include "answer/digest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr double kSameStory = 0.3;      // cosine from which two posts are one story
constexpr size_t kFewestWords = 5;      // of content, for a post to lead a story
constexpr double kSameStatement = 0.6;  // share of words from which two sentences state the same figure
constexpr double kGoodEnough = 0.25;    // of the best sentence's score, for a newer one to replace it
constexpr size_t kMostClusters = 400;

using Vector = std::unordered_map<std::string_view, double>;

double norm(const Vector& v) {
  double sum = 0;
  for (const auto& [term, weight] : v) sum += weight * weight;
  return std::sqrt(sum);
}

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (const auto& [term, weight] : a) {
    const auto found = b.find(term);
    if (found != b.end()) sum += weight * found->second;
  }
  return sum;
}

double heard(const live::Post& post) {
  const double total = static_cast<double>(std::max<int64_t>(post.metrics.likes.value_or(0), 0)) +
                       2 * static_cast<double>(std::max<int64_t>(post.metrics.reposts.value_or(0), 0)) +
                       static_cast<double>(std::max<int64_t>(post.metrics.replies.value_or(0), 0));
  return std::log2(1 + total);
}

class Clusterer {
 public:
  explicit Clusterer(const Reading& reading) : evidence_(reading.evidence), as_of_(reading.as_of) {}

  std::vector<Story> run(size_t limit) {
    count_terms();
    cluster();
    std::vector<Story> stories;
    for (Cluster& c : clusters_) {
      Story story;
      if (tell(c, story)) stories.push_back(std::move(story));
    }
    std::ranges::stable_sort(stories, [](const Story& a, const Story& b) { return a.weight > b.weight; });
    if (stories.size() > limit) stories.resize(limit);
    return stories;
  }

 private:
  struct Cluster {
    Vector sum;
    double length = 0;
    std::vector<size_t> members;
  };

  static bool counts(const Word& word) {
    return is_content(word) && word.kind != WordKind::kNumber && word.folded.size() >= 3;
  }

  void count_terms() {
    for (const Evidence& e : evidence_) {
      std::unordered_set<std::string_view> seen;
      for (const Word& word : e.words) {
        if (counts(word) && seen.insert(word.stem).second) ++frequency_[word.stem];
      }
    }
  }

  Vector vector_of(const Evidence& e) const {
    Vector out;
    const double all = static_cast<double>(evidence_.size());
    for (const Word& word : e.words) {
      if (!counts(word)) continue;
      const double count = static_cast<double>(frequency_.at(word.stem));
      const double idf = std::log(all / count + 1);
      out[word.stem] = idf * (is_name(word) ? 1.5 : 1);
    }
    return out;
  }

  double quality(const Evidence& e) const {
    const double age = std::chrono::duration<double, std::ratio<3600>>(as_of_ - e.post.created_at).count();
    return e.trust * (1 + 0.35 * heard(e.post) + 0.3 * std::log2(1 + static_cast<double>(e.copies))) *
           std::exp2(-std::clamp(age, 0.0, 1000.0) / 24);
  }

  void cluster() {
    std::vector<size_t> order;
    for (size_t i = 0; i < evidence_.size(); ++i) {
      if (evidence_[i].trust >= 0.5) order.push_back(i);
    }
    std::ranges::stable_sort(
        order, [&](size_t a, size_t b) { return quality(evidence_[a]) > quality(evidence_[b]); });
    for (const size_t i : order) {
      const Vector v = vector_of(evidence_[i]);
      const double length = norm(v);
      if (length == 0) continue;
      Cluster* best = nullptr;
      double best_cosine = kSameStory;
      for (Cluster& c : clusters_) {
        const double cosine = dot(v, c.sum) / (length * c.length);
        if (cosine >= best_cosine) {
          best_cosine = cosine;
          best = &c;
        }
      }
      if (best == nullptr) {
        if (clusters_.size() >= kMostClusters) continue;
        best = &clusters_.emplace_back();
      }
      for (const auto& [term, weight] : v) best->sum[term] += weight;
      best->length = norm(best->sum);
      best->members.push_back(i);
    }
  }

  /// The weight of a story and the sentence that tells it; false when no post of it can.
  bool tell(Cluster& c, Story& story) const {
    std::unordered_set<std::string> authors;
    double weight = 0;
    for (const size_t i : c.members) {
      const bool fresh = authors.insert(evidence_[i].post.author.handle).second;
      weight += quality(evidence_[i]) * (fresh ? 1 : 0.2);
    }
    // Ten people weigh more than one who is heard ten times as far, but not ten times as much.
    story.weight = std::sqrt(weight) * std::log2(2 + static_cast<double>(authors.size()));
    story.evidence = c.members;
    double best = 0;
    for (const size_t i : c.members) {
      const Evidence& e = evidence_[i];
      for (const Span sentence : e.sentences) {
        const Span passage = clean_span(e.post.text, sentence);
        const double score = telling(c, e, passage) * quality(e);
        if (score > best) {
          best = score;
          story.lead = {i, passage, score, {}, false};
        }
      }
    }
    if (best > 0) bring_up_to_date(c, story, best);
    return best > 0;
  }

  /// A figure that changes: the newest sentence that says the same with other numbers, from a post that can be trusted.
  void bring_up_to_date(const Cluster& c, Story& story, double best) const {
    const Quote first = story.lead;
    const Evidence& old = evidence_[first.index];
    if (!has_number(old, first.passage)) return;
    const auto words = stems_in(old, first.passage);
    Time newest = old.post.created_at;
    for (const size_t i : c.members) {
      const Evidence& e = evidence_[i];
      if (e.trust < 1 || e.post.created_at <= newest) continue;
      for (const Span sentence : e.sentences) {
        const Span passage = clean_span(e.post.text, sentence);
        if (!has_number(e, passage) || telling(c, e, passage) * quality(e) < kGoodEnough * best) continue;
        if (alike(words, stems_in(e, passage)) < kSameStatement) continue;
        newest = e.post.created_at;
        story.lead = {i, passage, first.score, {}, false};
      }
    }
  }

  static bool has_number(const Evidence& e, Span passage) {
    return std::ranges::any_of(e.words, [&](const Word& word) {
      return word.kind == WordKind::kNumber && word.span.begin >= passage.begin &&
             word.span.end <= passage.end;
    });
  }

  static std::unordered_set<std::string_view> stems_in(const Evidence& e, Span passage) {
    std::unordered_set<std::string_view> out;
    for (const Word& word : e.words) {
      if (word.span.begin >= passage.begin && word.span.end <= passage.end && counts(word))
        out.insert(word.stem);
    }
    return out;
  }

  /// Common stems as a share of the smaller set; two at least.
  static double alike(const std::unordered_set<std::string_view>& a,
                      const std::unordered_set<std::string_view>& b) {
    const auto common =
        std::ranges::count_if(a, [&](const std::string_view stem) { return b.contains(stem); });
    const size_t smaller = std::min(a.size(), b.size());
    return common < 2 ? 0 : static_cast<double>(common) / static_cast<double>(smaller);
  }

  double telling(const Cluster& c, const Evidence& e, Span passage) const {
    if (passage.size() == 0 || passage.size() > 300) return 0;
    double sum = 0;
    size_t content = 0;
    bool personal = false;
    for (const Word& word : e.words) {
      if (word.span.begin < passage.begin || word.span.end > passage.end) continue;
      personal = personal || word.folded == "i" || word.folded == "my" || word.folded == "i'm";
      if (!counts(word)) continue;
      ++content;
      const auto found = c.sum.find(word.stem);
      if (found != c.sum.end()) sum += found->second;
    }
    if (content < kFewestWords && !(content >= 2 && e.sentences.size() == 1)) return 0;
    double score = sum / (c.length + 1e-9) / (3 + static_cast<double>(content));
    if (slice(e.post.text, passage).find('?') != std::string_view::npos) score *= 0.4;
    if (personal) score *= 0.6;
    if (!e.post.reply_to.empty()) score *= 0.5;
    return score;
  }

  const std::vector<Evidence>& evidence_;
  Time as_of_;
  std::unordered_map<std::string_view, size_t> frequency_;
  std::vector<Cluster> clusters_;
};

}  // namespace

std::vector<Story> find_stories(const Reading& reading, size_t limit) {
  return Clusterer(reading).run(limit);
}

bool write_digest(const std::vector<Story>& stories, const Reading& reading, Composer& out) {
  for (const Story& story : stories) {
    const Evidence& evidence = reading.evidence[story.lead.index];
    const std::string line =
        fmt::format("- {} - {}, {}", quoted(slice(evidence.post.text, story.lead.passage)),
                    attribution(evidence), written_time(evidence.post.created_at, reading.as_of));
    if (!out.claim(line, {{&evidence, story.lead.passage}}, "\n")) return false;
  }
  return true;
}

}  // namespace fathom::answer
