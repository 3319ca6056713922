#include "live/trends/story_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace fathom::live {
namespace {

constexpr double kSharedPosts = 0.25;  // of the smaller of the two: the same story
constexpr double kFairPart = 0.25;     // of the posts that the story which brings most brings
constexpr double kSharedTerms = 0.45;  // of the weight
constexpr double kTermHalfLifeHours = 1;
constexpr auto kQuiet = std::chrono::hours(6);  // after which the same words are a new story
constexpr auto kForgotten = std::chrono::hours(24);
constexpr size_t kMostKept = 2000;
constexpr size_t kLongestVolume = 288;

/// Posts of both, where they are enough to be one story; else 0.
size_t shared_posts(const std::unordered_set<uint64_t>& a, const std::unordered_set<uint64_t>& b) {
  const auto& fewer = a.size() < b.size() ? a : b;
  const auto& more = a.size() < b.size() ? b : a;
  const auto both = static_cast<size_t>(
      std::count_if(fewer.begin(), fewer.end(), [&](uint64_t post) { return more.contains(post); }));
  return both < 2 || static_cast<double>(both) < kSharedPosts * static_cast<double>(fewer.size()) ? 0 : both;
}

double shared_terms(const std::unordered_map<uint64_t, double>& a,
                    const std::unordered_map<uint64_t, double>& b) {
  double sum = 0;
  for (const auto& [term, weight] : a) {
    const auto other = b.find(term);
    if (other != b.end()) sum += std::min(weight, other->second);
  }
  return sum;
}

}  // namespace

std::vector<StoryBook::Claim> StoryBook::claims(const std::vector<StoryDraft>& drafts) const {
  std::vector<Claim> all;
  for (size_t d = 0; d < drafts.size(); ++d) {
    for (const auto& [id, kept] : stories_) {
      Claim claim{d, id, kept.number, shared_posts(drafts[d].posts, kept.posts), 0};
      const bool in_time = drafts[d].counted.story.updated - kept.seen <= kQuiet;
      if (claim.posts == 0 && in_time) claim.terms = shared_terms(drafts[d].terms, kept.terms);
      if (claim.posts > 0 || claim.terms >= kSharedTerms) all.push_back(std::move(claim));
    }
  }
  return all;
}

/// The story of each draft, empty for a new one. By posts: stories choose, the oldest first, among the drafts that no other
/// story brings far more to. Then by terms, the most alike first. Leaves of the claims those by posts, most posts first.
std::vector<std::string> StoryBook::name(std::vector<Claim>& claims, size_t drafts) {
  std::vector<size_t> most(drafts);  // posts that a story shares with the draft
  for (const Claim& claim : claims) most[claim.draft] = std::max(most[claim.draft], claim.posts);
  std::sort(claims.begin(), claims.end(), [](const Claim& a, const Claim& b) {
    if ((a.posts > 0) != (b.posts > 0)) return a.posts > 0;
    if (a.posts == 0 && a.terms != b.terms) return a.terms > b.terms;
    return std::tie(a.number, b.posts, a.draft) < std::tie(b.number, a.posts, b.draft);
  });
  std::vector<std::string> named(drafts);
  std::unordered_set<std::string> taken;
  for (const Claim& claim : claims) {
    const bool fair = static_cast<double>(claim.posts) >= kFairPart * static_cast<double>(most[claim.draft]);
    if ((claim.posts > 0 && !fair) || !named[claim.draft].empty() || taken.contains(claim.id)) continue;
    named[claim.draft] = claim.id;
    taken.insert(claim.id);
  }
  std::erase_if(claims, [](const Claim& claim) { return claim.posts == 0; });
  std::stable_sort(claims.begin(), claims.end(),
                   [](const Claim& a, const Claim& b) { return a.posts > b.posts; });
  return named;
}

void StoryBook::update(std::vector<StoryDraft> drafts, Time now, std::chrono::minutes bucket) {
  std::vector<Claim> all = claims(drafts);
  const std::vector<std::string> named = name(all, drafts.size());
  std::unordered_set<std::string> settled(named.begin(), named.end());
  // What another story's posts now stand in has become part of it.
  for (const Claim& claim : all)
    if (!named[claim.draft].empty() && settled.insert(claim.id).second)
      merged_[claim.id] = named[claim.draft];
  for (auto& [id, kept] : stories_) kept.running = false;
  for (size_t d = 0; d < drafts.size(); ++d) {
    Kept& kept = named[d].empty() ? found(drafts[d], now) : stories_.at(named[d]);
    take_over(kept, std::move(drafts[d]), now, bucket);
  }
  for (const auto& [id, into] : merged_) stories_.erase(id);
  forget(now);
  show();
}

/// A new story, named after its first post and its hour, so that the same feed gives the same ids.
StoryBook::Kept& StoryBook::found(StoryDraft& draft, Time now) {
  const Story& story = draft.counted.story;
  const std::string seed =
      fmt::format("{} {}", story.keys.empty() ? story.query : story.keys.front(), format_time(now));
  std::string id;
  for (size_t attempt = 0; id.empty() || stories_.contains(id) || merged_.contains(id); ++attempt)
    id = fmt::format("st_{:012x}", trend_hash(fmt::format("{} {}", seed, attempt)) & 0xFFFFFFFFFFFFull);
  Kept& kept = stories_[id];
  kept.number = ++founded_;
  kept.counted.story.id = id;
  kept.counted.story.began = story.began;
  return kept;
}

void StoryBook::take_over(Kept& kept, StoryDraft draft, Time now, std::chrono::minutes bucket) {
  const std::string id = kept.counted.story.id;
  const Time began = std::min(kept.counted.story.began, draft.counted.story.began);
  kept.counted = std::move(draft.counted);
  Story& story = kept.counted.story;
  story.id = id;
  story.began = began;
  kept.posts = std::move(draft.posts);
  // What it was about stays for a while.
  const double hours = std::chrono::duration<double, std::ratio<3600>>(now - kept.seen).count();
  for (auto& [term, weight] : kept.terms) weight *= std::exp2(-hours / kTermHalfLifeHours);
  for (const auto& [term, weight] : draft.terms) kept.terms[term] = std::max(kept.terms[term], weight);
  std::erase_if(kept.terms, [](const auto& entry) { return entry.second < 0.01; });
  kept.seen = now;
  kept.running = true;
  const int64_t present = now.time_since_epoch() / bucket;
  for (size_t i = 0; i < story.volume.size(); ++i) {
    uint64_t& at = kept.volume[present - static_cast<int64_t>(story.volume.size() - 1 - i)];
    // The oldest bucket of the window is only in part in it.
    at = i == 0 ? std::max(at, story.volume[i]) : story.volume[i];
  }
  while (!kept.volume.empty() && kept.volume.begin()->first <= present - static_cast<int64_t>(kLongestVolume))
    kept.volume.erase(kept.volume.begin());
  while (kept.volume.size() > 1 && kept.volume.begin()->second == 0) kept.volume.erase(kept.volume.begin());
  const int64_t first = kept.volume.begin()->first;
  story.volume.assign(static_cast<size_t>(present - first + 1), 0);
  for (const auto& [at, posts] : kept.volume) story.volume[static_cast<size_t>(at - first)] = posts;
}

void StoryBook::forget(Time now) {
  std::erase_if(stories_, [now](const auto& entry) { return now - entry.second.seen > kForgotten; });
  while (stories_.size() > kMostKept) {
    stories_.erase(std::min_element(stories_.begin(), stories_.end(), [](const auto& a, const auto& b) {
      return a.second.seen < b.second.seen;
    }));
  }
  const auto end_of = [this](std::string id) {
    for (size_t steps = 0; steps < merged_.size() && !stories_.contains(id); ++steps) {
      const auto next = merged_.find(id);
      if (next == merged_.end()) break;
      id = next->second;
    }
    return id;
  };
  for (auto& [id, into] : merged_) into = end_of(into);
  std::erase_if(merged_, [this](const auto& entry) { return !stories_.contains(entry.second); });
}

void StoryBook::show() {
  running_.clear();
  shown_.clear();
  terms_.clear();
  std::unordered_map<uint64_t, std::pair<double, size_t>> owner;  // weight and story of each term
  for (const auto& [id, kept] : stories_) {
    shown_.emplace(id, kept.counted);
    if (!kept.running) continue;
    running_.push_back(kept.counted);
    for (const auto& [term, weight] : kept.terms) {
      auto& [most, story] = owner[term];
      if (weight > most) most = weight, story = running_.size();
    }
  }
  for (const auto& [term, weight_and_story] : owner) terms_.emplace(term, weight_and_story.second);
  for (const auto& [id, into] : merged_) shown_.emplace(id, shown_.at(into));
  std::sort(running_.begin(), running_.end(), [](const CountedStory& a, const CountedStory& b) {
    return a.story.score != b.story.score ? a.story.score > b.story.score : a.story.id < b.story.id;
  });
}

}  // namespace fathom::live
