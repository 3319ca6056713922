// Judges trends and stories by the sample world, whose storylines are the truth.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/text.h"
#include "live/trends/engine.h"
#include "live/world.h"
#include "live/world/scenario.h"

namespace fathom::live::testing {

/// Which storyline each post belongs to: it states one of its facts, names it, or answers or passes on such a post.
class StorylineOf {
 public:
  StorylineOf(const World& world, const std::filesystem::path& scenarios) {
    const auto stories = world::load_scenarios(scenarios).storylines;
    for (const WorldFact& fact : world.truth.facts)
      for (const std::string& id : fact.posts) labels_.emplace(id, fact.storyline);
    for (const Post& post : world.posts) {
      if (labels_.contains(post.id)) continue;
      std::string label = named(post, stories);
      for (const std::string& parent : {post.reply_to, post.repost_of, post.quote_of})
        if (label.empty() && labels_.contains(parent)) label = labels_[parent];
      if (!label.empty()) labels_[post.id] = label;
    }
  }

  /// Empty for small talk and spam.
  const std::string& of(const std::string& id) const {
    static const std::string none;
    const auto found = labels_.find(id);
    return found == labels_.end() ? none : found->second;
  }

 private:
  static std::string named(const Post& post, const std::vector<world::Storyline>& stories) {
    const std::string text = to_lower_ascii(post.text);
    for (const auto& story : stories) {
      const auto speaks = [&](const world::CastMember& member) {
        return member.handle == post.author.handle;
      };
      if (std::any_of(story.cast.begin(), story.cast.end(), speaks)) return story.id;
      for (const std::string& name : story.names)
        if (text.find(to_lower_ascii(name)) != std::string::npos) return story.id;
      for (const std::string& tag : story.tags)
        if (text.find("#" + to_lower_ascii(tag)) != std::string::npos) return story.id;
    }
    return {};
  }

  std::unordered_map<std::string, std::string> labels_;
};

struct Judgement {
  double purity = 0;  // of the stories: mean share of a story's leading posts that are of its storyline
  double story_precision = 0;  // share of the stories that are of one storyline
  double recall = 0;           // share of the storylines that move which have a story
  double trend_precision = 0;  // share of the trends whose posts are of one storyline that moves
  double fragments = 0;        // stories for each storyline found
  double delay = 0;            // minutes from a storyline's third voice within an hour to its story: median
  double first_delay = 0;      // from its first post: median
  double changes = 0;          // names that a storyline's chief story had in the day
  size_t moments = 0, found = 0;
};

/// Replays a world and judges at every full hour from 08:00 on.
class WorldJudge {
 public:
  static constexpr size_t kStories = 30, kTrends = 20;
  static constexpr size_t kVoices = 5;  // in the last hour: a storyline that moves
  static constexpr double kMostly = 0.6;

  WorldJudge(const World& world, const std::filesystem::path& scenarios)
      : world_(world), truth_(world, scenarios) {
    for (const Post& post : world.posts) by_key_[post.key()] = &post;
  }

  Judgement run() {
    TrendEngine engine{TrendOptions{}};
    uint64_t sequence = 0;
    Time next = world_day() + std::chrono::hours(8);
    for (const Post& post : world_.posts) {
      note_voice(post);
      engine.add({++sequence, post});
      if (!engine.due()) continue;
      const auto picture = engine.evaluate();
      note_stories(*picture);
      if (picture->about.as_of < next) continue;
      judge(*picture);
      while (next <= picture->about.as_of) next += std::chrono::hours(1);
    }
    return sum_up();
  }

 private:
  struct Line {
    std::map<std::string, Time> voices;  // author -> last post
    std::optional<Time> first, third, story;
    std::set<std::string> ids;
  };

  void note_voice(const Post& post) {
    const std::string& label = truth_.of(post.id);
    if (label.empty()) return;
    Line& line = lines_[label];
    line.voices[post.author.handle] = post.created_at;
    if (!line.first) line.first = post.created_at;
    if (!line.third && voices(line, post.created_at) >= 3) line.third = post.created_at;
  }

  static size_t voices(const Line& line, Time now) {
    return static_cast<size_t>(std::count_if(line.voices.begin(), line.voices.end(), [&](const auto& voice) {
      return voice.second > now - std::chrono::hours(1);
    }));
  }

  /// The storyline of most of these posts, and their share.
  std::pair<std::string, double> majority(const std::vector<std::string>& keys) const {
    std::map<std::string, double> counts;
    for (const std::string& key : keys) counts[truth_.of(by_key_.at(key)->id)] += 1;
    std::pair<std::string, double> best;
    for (const auto& [label, count] : counts)
      if (!label.empty() && count > best.second) best = {label, count};
    best.second /= std::max(1.0, static_cast<double>(keys.size()));
    return best;
  }

  void note_stories(const TrendPicture& picture) {
    std::set<std::string> chief;  // storylines whose best story was met
    for (size_t i = 0; i < std::min(kStories, picture.stories.size()); ++i) {
      const Story& story = picture.stories[i].story;
      const auto [label, share] = majority(story.keys);
      if (share < kMostly) continue;
      Line& line = lines_[label];
      if (!line.story) line.story = picture.about.as_of;
      if (chief.insert(label).second) line.ids.insert(story.id);
    }
  }

  void judge(const TrendPicture& picture) {
    ++moments_;
    std::set<std::string> moving, found;
    for (const auto& [label, line] : lines_)
      if (voices(line, picture.about.as_of) >= kVoices) moving.insert(label);
    size_t good = 0;
    const size_t shown = std::min(kStories, picture.stories.size());
    for (size_t i = 0; i < shown; ++i) {
      const auto [label, share] = majority(picture.stories[i].story.keys);
      purity_.push_back(share);
      if (share < kMostly) continue;
      ++good;
      found.insert(label);
    }
    if (shown > 0) precision_.push_back(static_cast<double>(good) / static_cast<double>(shown));
    if (!found.empty()) fragments_.push_back(static_cast<double>(good) / static_cast<double>(found.size()));
    size_t hit = 0;
    for (const std::string& label : moving) hit += found.count(label);
    if (!moving.empty()) recall_.push_back(static_cast<double>(hit) / static_cast<double>(moving.size()));
    judge_trends(picture, moving);
  }

  void judge_trends(const TrendPicture& picture, const std::set<std::string>& moving) {
    size_t good = 0;
    const size_t shown = std::min(kTrends, picture.trends.size());
    for (size_t i = 0; i < shown; ++i) {
      const auto [label, share] = majority(posts_with(picture.trends[i].trend.text, picture.about.as_of));
      good += share >= kMostly && moving.contains(label) ? 1 : 0;
    }
    if (shown > 0) trends_.push_back(static_cast<double>(good) / static_cast<double>(shown));
  }

  /// The posts of the last hour that have the words as they are shown.
  std::vector<std::string> posts_with(const std::string& text, Time now) const {
    std::vector<std::string> out;
    for (const Post& post : world_.posts)
      if (post.created_at <= now && post.created_at > now - std::chrono::hours(1) &&
          to_lower_ascii(post.text).find(to_lower_ascii(text)) != std::string::npos)
        out.push_back(post.key());
    return out;
  }

  static double mean(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return values.empty() ? 0 : sum / static_cast<double>(values.size());
  }
  static double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }

  Judgement sum_up() const {
    Judgement out;
    std::vector<double> delays, first_delays, changes;
    for (const auto& entry : lines_) {
      const auto& line = entry.second;
      if (!line.story || !line.third) continue;
      ++out.found;
      const auto minutes = [&](Time since) {
        return std::max(0.0, std::chrono::duration<double, std::ratio<60>>(*line.story - since).count());
      };
      delays.push_back(minutes(*line.third));
      first_delays.push_back(minutes(*line.first));
      changes.push_back(static_cast<double>(line.ids.size()));
    }
    out.purity = mean(purity_);
    out.story_precision = mean(precision_);
    out.recall = mean(recall_);
    out.trend_precision = mean(trends_);
    out.fragments = mean(fragments_);
    out.delay = median(delays);
    out.first_delay = median(first_delays);
    out.changes = mean(changes);
    out.moments = moments_;
    return out;
  }

  const World& world_;
  StorylineOf truth_;
  std::unordered_map<std::string, const Post*> by_key_;
  std::map<std::string, Line> lines_;
  std::vector<double> purity_, precision_, recall_, trends_, fragments_;
  size_t moments_ = 0;
};

}  // namespace fathom::live::testing
