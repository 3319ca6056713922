#include "live/trends/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "live/trends/headline.h"

namespace fathom::live {
namespace {

constexpr double kBursting = 2.0;  // deviations
constexpr double kStaying = -1.0;  // of a term that a running story stands on
constexpr double kLeast = 2.0;     // voices in the window
constexpr size_t kMostBursts = 400;
constexpr size_t kMostTrends = 100;
constexpr size_t kMostStories = 100;
constexpr size_t kBurstingKept = 20'000, kOthersKept = 20'000;
constexpr uint64_t kFewestNew = 10;  // posts between two pictures

// What a story must have.
constexpr size_t kFewestAuthors = 3, kFewestGroups = 3;
constexpr size_t kStoryTerms = 8, kQueryTerms = 4;

// A word is a story's own when so much of the story has it, and so much of what has it is the story's.
constexpr double kInStory = 0.2, kOfStory = 0.5;
constexpr double kOwnWeight = 0.5;  // against that of the heaviest bursting term

/// Whether one of the terms has all its words, or has them all.
bool told(const Window& window, const std::vector<size_t>& shown, size_t term) {
  const std::string& text = window.terms[term].text;
  return std::any_of(shown.begin(), shown.end(), [&](size_t other) {
    const std::string& known = window.terms[other].text;
    return known.find(text) != std::string::npos || text.find(known) != std::string::npos;
  });
}

CountOptions count_options(const TrendOptions& options) {
  return {options.bucket, options.window, options.history, options.most_terms};
}

}  // namespace

TrendEngine::TrendEngine(const TrendOptions& options)
    : options_(options), counts_(count_options(options)), bursting_(kBurstingKept), others_(kOthersKept) {}

void TrendEngine::add(const Sequenced& entry, uint64_t skipped) {
  sequence_ = entry.sequence;
  const Post& post = entry.post;
  if (post.deleted) {
    bursting_.remove(post.key());
    others_.remove(post.key());
    return;
  }
  counts_.advance(post.created_at);
  ++since_evaluation_;
  const int64_t bucket = counts_.now().time_since_epoch() / options_.bucket;
  if (arrived_.empty() || arrived_.back().first != bucket) arrived_.push_back({bucket, {0, 0}});
  ++arrived_.back().second.first;
  arrived_.back().second.second += skipped;
  const Time oldest = counts_.now() - options_.window;
  if (post.created_at < oldest - options_.history) return;

  find_terms(post.text, terms_);
  const float weight = repetition_.weigh(terms_.sketch, post.created_at);
  const uint64_t author = author_hash(post);
  bool hot = false;
  counts_.count_post(post.created_at);
  for (const PostTerm& term : terms_.terms) {
    counts_.count(term, terms_.term(term), author, post.created_at, weight);
    hot = hot || hot_.contains(term.hash);
  }
  if (post.created_at < oldest) return;
  (hot ? bursting_ : others_).add([&] { return recent_post(post, entry.sequence, terms_); }, oldest);
}

bool TrendEngine::due() const {
  const int64_t bucket = counts_.now().time_since_epoch() / options_.bucket;
  const uint64_t kept = bursting_.posts().size() + others_.posts().size();
  return bucket != evaluated_bucket_ && since_evaluation_ >= std::max<uint64_t>(kFewestNew, kept / 20);
}

/// The share of the window's posts that was counted.
double TrendEngine::sampled() const {
  uint64_t counted = 0, skipped = 0;
  for (const auto& [bucket, arrived] : arrived_) {
    counted += arrived.first;
    skipped += arrived.second;
  }
  return counted == 0 ? 1 : static_cast<double>(counted) / static_cast<double>(counted + skipped);
}

std::shared_ptr<const TrendPicture> TrendEngine::evaluate() {
  const Time now = counts_.now();
  const Time oldest = now - options_.window;
  evaluated_bucket_ = now.time_since_epoch() / options_.bucket;
  since_evaluation_ = 0;
  while (!arrived_.empty() && arrived_.front().first < evaluated_bucket_ - options_.window / options_.bucket)
    arrived_.pop_front();
  bursting_.expire(oldest);
  others_.expire(oldest);

  Window window = make_window(bursting_, others_, oldest, now);
  window.bucket = options_.bucket;
  window.sampled = sampled();
  find_terms_of(window);

  auto picture = std::make_shared<TrendPicture>();
  picture->sequence = sequence_;
  picture->about = {now, options_.bucket, window.sampled, counts_.past() < std::chrono::hours(24)};
  book_.update(draft_stories(window), now, options_.bucket);
  picture->trends = list_trends(window, kMostTrends);
  picture->stories = book_.running();
  if (picture->stories.size() > kMostStories) picture->stories.resize(kMostStories);
  picture->by_id = book_.all();

  hot_.clear();
  for (const auto& [term, story] : book_.terms()) hot_.insert(term);
  for (const WindowTerm& term : window.terms) hot_.insert(term.hash);
  return picture;
}

void TrendEngine::find_terms_of(Window& window) const {
  std::vector<Burst> bursts = counts_.bursts(kBursting, kLeast, kMostBursts);
  std::unordered_set<uint64_t> known;
  for (const Burst& burst : bursts) known.insert(counts_.hash(burst.term));
  for (const auto& [hash, story] : book_.terms()) {
    if (known.contains(hash)) continue;
    const auto burst = counts_.find(hash);
    if (burst && burst->count >= kLeast && burst->score >= kStaying) bursts.push_back(*burst);
  }
  std::sort(bursts.begin(), bursts.end(), [this](const Burst& a, const Burst& b) {
    return a.score != b.score ? a.score > b.score : counts_.hash(a.term) < counts_.hash(b.term);
  });
  for (const Burst& burst : bursts) {
    WindowTerm term;
    term.burst = burst;
    term.hash = counts_.hash(burst.term);
    term.kind = counts_.kind(burst.term);
    term.text = counts_.text(burst.term);
    window.terms.push_back(std::move(term));
  }
  find_uses(window);
}

/// Fills `in_story` of the terms that the cluster's posts have.
void TrendEngine::note_share(Window& window, const Cluster& cluster) {
  if (cluster.groups < kFewestGroups || cluster.authors < kFewestAuthors) return;
  std::vector<uint32_t> posts;
  for (const ClusteredPost& post : cluster.posts) posts.push_back(static_cast<uint32_t>(post.post));
  std::sort(posts.begin(), posts.end());
  for (const ClusteredTerm& member : cluster.terms) {
    WindowTerm& term = window.terms[member.term];
    const auto inside = std::count_if(term.posts.begin(), term.posts.end(), [&](uint32_t p) {
      return std::binary_search(posts.begin(), posts.end(), p);
    });
    term.in_story = static_cast<double>(inside) / static_cast<double>(std::max<size_t>(1, term.posts.size()));
  }
}

std::vector<StoryDraft> TrendEngine::draft_stories(Window& window) const {
  std::vector<ClusterTerm> terms;
  for (const WindowTerm& term : window.terms) {
    const auto before = book_.terms().find(term.hash);
    terms.push_back(
        {term.hash, term.burst.score, before == book_.terms().end() ? 0 : before->second, term.kind});
  }
  std::vector<StoryDraft> out;
  const std::vector<Cluster> clusters = find_clusters(window.posts, window.groups, window.frequency, terms);
  for (const Cluster& cluster : clusters) note_share(window, cluster);
  for (const Cluster& cluster : clusters) {
    if (cluster.authors < kFewestAuthors || cluster.groups < kFewestGroups) continue;
    // A word by itself is a trend, not a story.
    if (cluster.terms.size() == 1 && window.terms[cluster.terms.front().term].kind == TrendKind::kWord)
      continue;
    out.push_back(draft(window, cluster));
  }
  return out;
}

/// Events are linked to, tagged and passed on; small talk is not: 0.4 to 1.
double TrendEngine::anchored(const Window& window, const std::vector<uint32_t>& posts) {
  size_t count = 0;
  for (const uint32_t p : posts) {
    const RecentPost& post = *window.posts[p];
    count += post.link || post.repost || post.quote || post.tag ? 1 : 0;
  }
  return 0.4 + 0.6 * std::min(1.0, 2 * static_cast<double>(count) / static_cast<double>(posts.size()));
}

/// Words that are the story's though they do not burst: by them it is known again.
void TrendEngine::add_own_words(const Window& window, const std::vector<uint32_t>& posts, StoryDraft& draft) {
  std::unordered_map<uint64_t, double> here;
  for (const uint32_t p : posts)
    for (const uint64_t term : window.posts[p]->terms) here[term] += 1;
  double heaviest = 0;
  for (const auto& [term, weight] : draft.terms) heaviest = std::max(heaviest, weight);
  for (const auto& [term, count] : here) {
    const double share = count / static_cast<double>(posts.size());
    const double own = count / static_cast<double>(window.frequency.of(term));
    if (count < 2 || share < kInStory || own < kOfStory) continue;
    double& weight = draft.terms[term];
    weight = std::max(weight, kOwnWeight * heaviest * share);
  }
}

StoryDraft TrendEngine::draft(Window& window, const Cluster& cluster) const {
  StoryDraft out;
  Story& story = out.counted.story;
  std::vector<uint32_t> posts;
  for (const ClusteredPost& post : cluster.posts) {
    posts.push_back(static_cast<uint32_t>(post.post));
    out.posts.insert(trend_hash(window.posts[post.post]->key));
  }
  for (const uint32_t post : leading_posts(window, cluster)) story.keys.push_back(window.posts[post]->key);
  const RecentPost& first = *window.posts[posts.front()];
  story.began = first.time;
  story.updated = window.posts[posts.back()]->time;
  out.counted.shares = find_shares(window, posts);
  story.posts = posts_of(out.counted.shares);
  story.authors = authors_of(out.counted.shares);

  double sum = 0;
  for (const ClusteredTerm& term : cluster.terms) sum += term.weight;
  std::vector<size_t> shown;
  for (const ClusteredTerm& term : cluster.terms) {
    out.terms[window.terms[term.term].hash] = term.weight / sum;
    if (shown.size() < kStoryTerms && !told(window, shown, term.term)) shown.push_back(term.term);
  }
  add_own_words(window, posts, out);
  find_displays(window, shown);
  for (const size_t term : shown) {
    const CountedTrend trend = make_trend(window, window.terms[term]);
    if (story.terms.size() < kQueryTerms) story.query += (story.query.empty() ? "" : " ") + trend.trend.query;
    story.terms.push_back(trend.trend);
  }
  story.score = 0;
  for (const ClusteredTerm& term : cluster.terms)
    story.score = std::max(story.score, window.terms[term.term].burst.score);
  story.score *= std::log2(1 + static_cast<double>(cluster.authors)) * anchored(window, posts);

  std::vector<double> volume(window.buckets());
  for (const uint32_t p : posts) volume[window.bucket_of(window.posts[p]->time)] += window.weights[p];
  for (const double posts_then : volume)
    story.volume.push_back(static_cast<uint64_t>(std::llround(posts_then / window.sampled)));
  return out;
}

}  // namespace fathom::live
