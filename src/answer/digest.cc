#include "answer/digest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "answer/ground.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr double kSameStory = 0.3;    // cosine from which two posts are one story
constexpr size_t kFewestWords = 5;    // of content, for a post to lead a story
constexpr double kGoodEnough = 0.25;  // of the best sentence's score, for a newer one to replace it
constexpr size_t kMostClusters = 400;
constexpr size_t kDigestPosts = 1000;
constexpr size_t kStories = 6;       // told where a digest was not asked for by name,
constexpr size_t kMostStories = 12;  // and where it was
constexpr size_t kManyStories = 7;   // from here on there are headings
constexpr size_t kVolumeSpans = 8;

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
    for (Story& story : stories) count(story);
    return stories;
  }

  /// One story of the posts with these indices; nothing when none of them tells it.
  std::optional<Story> only(const std::vector<size_t>& members) {
    count_terms();
    Cluster& c = clusters_.emplace_back();
    for (const size_t i : members) {
      for (const auto& [term, weight] : vector_of(evidence_[i])) c.sum[term] += weight;
      c.members.push_back(i);
    }
    c.length = norm(c.sum);
    Story story;
    if (!tell(c, story)) return std::nullopt;
    count(story);
    return story;
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

  /// What is said about a story besides: posts, sources, volume, who says otherwise, names.
  void count(Story& story) const {
    std::set<std::string_view> sources;
    std::vector<Time> times;
    std::map<std::string, size_t> names;
    for (const size_t i : story.evidence) {
      const Evidence& e = evidence_[i];
      story.posts += 1 + e.copies;
      sources.insert(e.post.source);
      times.push_back(e.post.created_at);
      std::set<std::string_view> own;
      for (const Word& word : e.words) {
        if (word.kind == WordKind::kWord && is_name(word) && counts(word) && own.insert(word.folded).second)
          ++names[word.folded];
      }
    }
    story.sources = sources.size();
    story.volume = volume_of(times);
    for (const auto& [name, posts] : names)
      if (2 * posts > story.evidence.size()) story.names.push_back(name);
    story.dispute = find_dispute(evidence_, story.evidence, evidence_[story.lead.index], story.lead.passage);
  }

  static std::vector<uint64_t> volume_of(std::vector<Time> times) {
    if (times.size() < 4) return {};
    const auto [first, last] = std::ranges::minmax(times);
    const int64_t span = (last - first).count() / static_cast<int64_t>(kVolumeSpans) + 1;
    std::vector<uint64_t> out(kVolumeSpans);
    for (const Time time : times) ++out[static_cast<size_t>((time - first).count() / span)];
    return out;
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
    if (slice(e.post.text, passage).find('?') != std::string_view::npos)
      score *= 0.1;  // asks, and tells nothing
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

namespace {

/// "\u2581\u2583\u2588": the highest column is the most posts.
std::string sparkline(const std::vector<uint64_t>& volume) {
  const uint64_t most = volume.empty() ? 0 : *std::ranges::max_element(volume);
  std::string out;
  if (most == 0) return out;
  for (const uint64_t posts : volume) append_utf8(out, static_cast<char32_t>(0x2581 + posts * 7 / most));
  return out;
}

bool write_story(const Story& story, const Reading& reading, const Phrases& phrases, Composer& out) {
  const Evidence& lead = reading.evidence[story.lead.index];
  std::string line = fmt::format("- {} - {}, {}", quoted(slice(lead.post.text, story.lead.passage)),
                                 attribution(lead), time_in(phrases, lead.post.created_at, reading.as_of));
  if (story.posts > 1) {
    const std::string volume = sparkline(story.volume);
    line += fmt::format(" ({}{}{})", say(phrases.volume, story.posts, story.sources),
                        volume.empty() ? "" : " ", volume);
  }
  if (!out.claim(line, {{&lead, story.lead.passage}}, "\n")) return false;
  if (!story.dispute) return true;
  const Evidence& other = reading.evidence[story.dispute->index];
  const std::string words = quoted(slice(other.post.text, story.dispute->passage));
  const std::string when = time_in(phrases, other.post.created_at, reading.as_of);
  const bool earlier = story.dispute->figure && other.post.created_at < lead.post.created_at;
  return out.claim(earlier ? say(phrases.earlier, when, words, attribution(other))
                           : say(phrases.but, attribution(other), when, words),
                   {{&other, story.dispute->passage}}, "\n  ");
}

/// Which heading each story stands under: the name that most of the others share; none for those without company.
std::vector<std::string> topics_of(const std::vector<Story>& stories) {
  std::vector<std::string> out(stories.size());
  if (stories.size() < kManyStories) return out;
  while (true) {
    std::map<std::string, size_t> shared;
    for (size_t i = 0; i < stories.size(); ++i)
      if (out[i].empty())
        for (const std::string& name : stories[i].names) ++shared[name];
    const auto most = std::ranges::max_element(shared, {}, [](const auto& entry) { return entry.second; });
    if (most == shared.end() || most->second < 2) return out;
    for (size_t i = 0; i < stories.size(); ++i)
      if (out[i].empty() && std::ranges::find(stories[i].names, most->first) != stories[i].names.end())
        out[i] = most->first;
  }
}

/// As the story's posts write it.
std::string display_name(const Story& story, const Reading& reading, const std::string& folded) {
  std::map<std::string, size_t> forms;
  for (const size_t i : story.evidence) {
    const Evidence& e = reading.evidence[i];
    for (const Word& word : e.words)
      if (word.folded == folded && word.kind == WordKind::kWord && word.capital)
        ++forms[std::string(slice(e.post.text, word.span))];
  }
  const auto most = std::ranges::max_element(forms, {}, [](const auto& form) { return form.second; });
  return most == forms.end() ? folded : most->first;
}

}  // namespace

bool write_digest(const std::vector<Story>& stories, const Reading& reading, const Phrases& phrases,
                  Composer& out) {
  const std::vector<std::string> topics = topics_of(stories);
  const bool headed = std::ranges::any_of(topics, [](const std::string& topic) { return !topic.empty(); });
  std::vector<bool> told(stories.size());
  const auto tell_topic = [&](const std::string& topic) {
    for (size_t i = 0; i < stories.size(); ++i) {
      if (told[i] || topics[i] != topic) continue;
      told[i] = true;
      if (!write_story(stories[i], reading, phrases, out)) return false;
    }
    return true;
  };
  for (size_t i = 0; i < stories.size(); ++i) {
    if (told[i] || topics[i].empty()) continue;
    out.heading(display_name(stories[i], reading, topics[i]));
    if (!tell_topic(topics[i])) return false;
  }
  if (headed) out.heading(phrases.more);
  const bool written = tell_topic("");
  out.heading("");
  return written;
}

namespace {

/// Asks for a digest and for nothing in particular.
bool names_a_digest(const Term& term) {
  static constexpr auto kWords = std::to_array<std::string_view>(
      {"digest",   "summary", "summarise", "summarize", "summari", "news",    "story", "stori",
       "headline", "recap",   "brief",     "update",    "catch",   "missed",  "miss",  "overview",
       "give",     "tell",    "feed",      "posts",     "post",    "roundup", "top"});
  return std::ranges::find(kWords, term.word.folded) != kWords.end() ||
         std::ranges::find(kWords, term.word.stem) != kWords.end();
}

bool plain(const SearchParameters& search) {
  return !search.from && !search.to && search.sources.empty() && search.handles.empty() &&
         search.not_handles.empty() && !search.min_likes && !search.min_views;
}

/// The stories that the feed follows, with their posts; empty where there are none.
std::vector<Story> live_stories(const Task& task, size_t limit, Reading& reading) {
  live::TrendFilter filter;
  filter.limit = limit;
  std::vector<Story> out;
  for (const live::Story& followed : task.trends->stories(filter)) {
    std::vector<size_t> members;
    for (const std::string& key : followed.keys) {
      if (auto post = task.store.find(key)) {
        members.push_back(reading.evidence.size());
        reading.evidence.push_back(prepare(std::move(*post)));
      }
    }
    auto story = members.empty() ? std::nullopt : Clusterer(reading).only(members);
    if (!story || reading.evidence[story->lead.index].trust < kMinTrust) continue;
    story->posts = std::max(story->posts, followed.posts);
    story->sources = std::max<uint64_t>(story->sources, followed.sources.size());
    if (!followed.volume.empty()) story->volume = followed.volume;
    out.push_back(std::move(*story));
  }
  Step step;
  step.tool = "get_trends";
  step.found = out.size();
  step.read = reading.evidence.size();
  reading.steps.push_back(step);
  step_sink(task, {})(step);
  return out;
}

/// The posts of the window, about the subject where there is one.
Reading read_for_digest(const Task& task, const Plan& plan) {
  const StepSink on_step = step_sink(task, {});
  if (!plan.terms.empty() && plan.ask != Ask::kDigest) {
    Reading reading = read_posts(task.store, plan, task.request.search, on_step);
    std::erase_if(reading.evidence, [&](const Evidence& e) { return !reading.relevance->passes(e); });
    const bool named = std::ranges::any_of(plan.terms, [](const Term& term) { return term.name; });
    if (named || !reading.evidence.empty()) return reading;
  }
  return read_newest(task.store, plan, task.request.search, kDigestPosts, on_step);
}

}  // namespace

void digest(const Task& task, const Plan& asked) {
  const bool by_name = task.request.mode == Mode::kDigest;
  Plan plan = asked;
  if (by_name) {
    std::erase_if(plan.terms, names_a_digest);
    if (plan.terms.empty()) plan.ask = Ask::kDigest;
    plan.overview = true;
  }
  size_t limit = std::min(by_name ? kMostStories : kStories, task.request.search.max_results);
  if (task.style.sentences > 0) limit = std::min(limit, task.style.sentences);
  Reading reading;
  reading.as_of = task.now;
  std::vector<Story> stories;
  const bool now =
      plan.terms.empty() && !plan.window.since && !plan.window.until && plain(task.request.search);
  if (now && task.trends != nullptr && by_name) stories = live_stories(task, limit, reading);
  if (stories.size() < kStories / 2) {
    std::vector<Step> before = std::move(reading.steps);
    reading = read_for_digest(task, plan);
    reading.steps.insert(reading.steps.begin(), before.begin(), before.end());
    stories = find_stories(reading, limit);
  }
  if (plan.latest) {
    std::ranges::stable_sort(stories, [&](const Story& a, const Story& b) {
      return reading.evidence[a.lead.index].post.created_at > reading.evidence[b.lead.index].post.created_at;
    });
  }
  task.answer.steps = reading.steps;
  std::vector<Evidence> told;
  size_t spare = task.request.search.max_results - stories.size();  // posts that may be read besides
  for (Story& story : stories) {
    // What was asked about is no heading: all of it is.
    std::erase_if(story.names, [&](const std::string& name) {
      return std::ranges::any_of(plan.terms, [&](const Term& term) { return term.word.folded == name; });
    });
    told.push_back(reading.evidence[story.lead.index]);
    if (story.dispute && spare == 0) story.dispute.reset();
    if (!story.dispute) continue;
    told.push_back(reading.evidence[story.dispute->index]);
    --spare;
  }
  report_read(task, told);
  if (stories.empty()) return say_nothing_found(task);
  task.answer.writer = "extract";
  task.out.opening(task.style.opening(task.phrases.code));
  write_digest(stories, reading, task.phrases, task.out);
}

}  // namespace fathom::answer
