// Top-k over segments of both kinds, sealed and in memory, against a plain scorer that looks at every post: at the present and at
// older sequences, with replaced and deleted posts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "base/file.h"
#include "base/random.h"
#include "live/index.h"
#include "live/prepare.h"
#include "live/search.h"
#include "live/segment/segment.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::kStart;
using testing::make_post;

constexpr uint64_t kNever = UINT64_MAX;

/// A post as the plain scorer sees it.
struct PlainPost {
  Post post;
  std::vector<std::string> words;
  uint64_t sequence = 0;
  uint64_t ended = kNever;  // the sequence of what replaced or deleted it
};

std::string word(Random& random) {
  return fmt::format("w{}", static_cast<int>(std::exp(random.uniform() * 6)));
}

Post random_post(Random& random, uint64_t number) {
  const uint64_t words = random.chance(0.05) ? 60 + random.below(300) : 1 + random.below(16);
  std::string text;
  for (uint64_t i = 0; i < words; ++i) text += word(random) + " ";
  const auto late = std::chrono::minutes(random.below(random.chance(0.1) ? 2000 : 20));
  Post post =
      make_post(std::to_string(random.below(1500)), text, kStart + std::chrono::minutes(number) - late);
  post.source = random.chance(0.5) ? "a" : "b";
  post.lang = random.chance(0.5) ? "en" : random.chance(0.5) ? "en-GB" : "de";
  post.author.handle = fmt::format("author{}", random.below(4));
  if (random.chance(0.5)) post.author.followers = static_cast<int64_t>(random.below(100000));
  if (random.chance(0.3)) post.metrics.likes = static_cast<int64_t>(random.below(3000));
  if (random.chance(0.3)) post.metrics.views = static_cast<int64_t>(random.below(3000));
  if (random.chance(0.2)) post.links = {"https://example.org/"};
  if (random.chance(0.2)) post.reply_to = "1";
  if (random.chance(0.2)) post.repost_of = "1";
  return post;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

/// Posts over four segments: two sealed, one in memory that is full, one that is active.
class Feed {
 public:
  explicit Feed(uint64_t seed) : random_(seed) {
    for (int part = 0; part < 4; ++part) {
      indexes_.push_back(std::make_unique<Index>(sequence_));
      const uint64_t last = sequence_ + 1200 + random_.below(300);
      while (sequence_ < last) add();
    }
    for (size_t i = 0; i < 2; ++i) {
      const auto path = folder_.path() / fmt::format("{}.segment", i);
      seal(*indexes_[i], indexes_[i]->last_sequence(), path, {});
      sealed_.push_back(Segment::open(path));
    }
    sealed_through_ = sealed_.back()->last_sequence();
    for (const PlainPost& post : posts_)  // what ended since its segment was sealed
      if (post.ended != kNever && post.sequence <= sealed_through_) bury_in(sealed_, post);
    for (int i = 0; i < 150; ++i) remove(1 + random_.below(sequence_));
  }

  Collection at(uint64_t sequence) const {
    Collection all;
    for (const auto& segment : sealed_) all.members.emplace_back(segment.get());
    for (size_t i = sealed_.size(); i < indexes_.size(); ++i) all.members.emplace_back(indexes_[i].get());
    all.sequence = sequence;
    for (const auto& post : posts_) {
      if (post.sequence > sequence || post.ended <= sequence) continue;
      ++all.posts;
      all.mean_length += static_cast<double>(std::min<size_t>(255, post.words.size()));
    }
    all.mean_length /= std::max(1.0, all.posts);
    return all;
  }

  const std::vector<PlainPost>& posts() const { return posts_; }
  uint64_t sequence() const { return sequence_; }
  uint64_t sealed_through() const { return sealed_through_; }
  Random& random() { return random_; }

 private:
  void add() {
    PlainPost plain{random_post(random_, sequence_), {}, ++sequence_};
    plain.words = words_of(plain.post.text);
    end(plain.post.key());
    batch_.clear();
    batch_.add(plain.post);
    indexes_.back()->add(batch_[0], sequence_);
    newest_[plain.post.key()] = posts_.size();
    posts_.push_back(std::move(plain));
  }

  /// The newest post of a key is over from the present sequence on.
  void end(const std::string& key) {
    const auto found = newest_.find(key);
    if (found == newest_.end()) return;
    PlainPost& old = posts_[found->second];
    if (old.ended == kNever) bury(old, sequence_);
  }

  void remove(uint64_t sequence) {
    PlainPost& post = posts_[sequence - 1];
    if (post.ended == kNever) bury(post, ++sequence_);
  }

  void bury(PlainPost& post, uint64_t sequence) {
    post.ended = sequence;
    bury_in(sealed_, post);
    bury_in(indexes_, post);
  }

  template <class List>
  static void bury_in(List& list, const PlainPost& post) {
    for (auto& segment : list) {
      const uint32_t number = segment->end(post.sequence) - 1;
      if (number > 0 && segment->sequence(number) == post.sequence) segment->bury(number, post.ended);
    }
  }

  Random random_;
  TempDir folder_{"fathom-search-test"};
  uint64_t sequence_ = 0, sealed_through_ = 0;
  std::vector<PlainPost> posts_;  // by sequence
  std::map<std::string, size_t> newest_;
  std::vector<std::unique_ptr<Index>> indexes_;
  std::vector<std::shared_ptr<Segment>> sealed_;
  PreparedBatch batch_;
};

/// A random query in both forms.
struct Case {
  Query query;
  std::vector<std::string> scored, required, excluded;
  std::vector<std::vector<std::string>> phrases;
  std::optional<bool> link, reply, repost;
  std::optional<std::string> source, lang, author;
};

Case random_case(Feed& feed) {
  Random& random = feed.random();
  Case c;
  const auto add = [&](std::string_view sign, std::vector<std::string>& to) {
    const std::string w = word(random);
    c.query.text += fmt::format("{}{} ", sign, w);
    if (std::find(to.begin(), to.end(), w) == to.end()) to.push_back(w);
  };
  for (uint64_t n = random.below(4); n > 0; --n) add("", c.scored);
  if (random.chance(0.2)) add("+", c.required);
  if (random.chance(0.2)) add("-", c.excluded);
  if (random.chance(0.15)) {
    const auto& words = feed.posts()[random.below(feed.posts().size())].words;
    if (words.size() > 1) {
      const size_t at = random.below(words.size() - 1);
      c.phrases.push_back({words[at], words[at + 1]});
      c.query.text += fmt::format("\"{} {}\" ", words[at], words[at + 1]);
      for (const auto& w : c.phrases[0]) c.required.push_back(w);
    }
  }
  for (const auto& w : c.required)
    if (std::find(c.scored.begin(), c.scored.end(), w) == c.scored.end()) c.scored.push_back(w);
  const auto flag = [&](std::optional<bool>& wanted, std::string_view text) {
    if (!random.chance(0.1)) return;
    wanted = random.chance(0.5);
    c.query.text += fmt::format("{}{} ", *wanted ? "" : "-", text);
  };
  flag(c.link, "has:link");
  flag(c.reply, "is:reply");
  flag(c.repost, "is:repost");
  if (random.chance(0.1)) c.query.sources = {*(c.source = "a")};
  if (random.chance(0.1)) c.query.langs = {*(c.lang = "en")};
  if (random.chance(0.1)) c.query.authors = {*(c.author = "author1")};
  if (random.chance(0.2)) c.query.since = kStart + std::chrono::minutes(random.below(5000));
  if (random.chance(0.2)) c.query.until = kStart + std::chrono::minutes(random.below(5000));
  if (random.chance(0.1)) c.query.min_likes = static_cast<int64_t>(random.below(100));
  if (random.chance(0.1)) c.query.min_views = static_cast<int64_t>(random.below(100));
  if (random.chance(0.1)) c.query.after = random.below(feed.sequence());
  if (random.chance(0.1)) c.query.through = random.below(feed.sequence());
  if (random.chance(0.3)) c.query.order = Query::Order::kNewest;
  if (random.chance(0.3)) c.query.weights = {0, 24, 0, 0};
  if (random.chance(0.3)) c.query.weights = {1, 5, 0.5, 0.1};
  c.query.exact_count = random.chance(0.2);
  return c;
}

class PlainSearch {
 public:
  PlainSearch(const Feed& feed, const Collection& all, Time now) : feed_(feed), all_(all), now_(now) {}

  std::vector<std::pair<double, const PlainPost*>> run(const Case& c) const {
    std::vector<std::pair<double, const PlainPost*>> found;
    for (const auto& post : feed_.posts())
      if (visible(post) && matches(post, c)) found.emplace_back(score(post, c), &post);
    const bool newest = c.query.order == Query::Order::kNewest;
    std::sort(found.begin(), found.end(), [&](const auto& a, const auto& b) {
      if (newest && a.second->post.created_at != b.second->post.created_at)
        return a.second->post.created_at > b.second->post.created_at;
      if (!newest && a.first != b.first) return a.first > b.first;
      return a.second->sequence > b.second->sequence;
    });
    return found;
  }

 private:
  bool visible(const PlainPost& post) const {
    return post.sequence <= all_.sequence && post.ended > all_.sequence;
  }

  static bool matches(const PlainPost& plain, const Case& c) {
    const Post& post = plain.post;
    const Query& q = c.query;
    const auto has = [&](const std::string& w) {
      return std::find(plain.words.begin(), plain.words.end(), w) != plain.words.end();
    };
    const auto has_phrase = [&](const auto& phrase) {
      return std::search(plain.words.begin(), plain.words.end(), phrase.begin(), phrase.end()) !=
             plain.words.end();
    };
    const auto differs = [](const std::optional<bool>& wanted, bool is) { return wanted && *wanted != is; };
    if (!std::all_of(c.required.begin(), c.required.end(), has)) return false;
    if (std::any_of(c.excluded.begin(), c.excluded.end(), has)) return false;
    if (c.required.empty() && !c.scored.empty() && std::none_of(c.scored.begin(), c.scored.end(), has))
      return false;
    if (!std::all_of(c.phrases.begin(), c.phrases.end(), has_phrase)) return false;
    if (differs(c.link, !post.links.empty()) || differs(c.reply, !post.reply_to.empty()) ||
        differs(c.repost, !post.repost_of.empty()))
      return false;
    if (c.source && post.source != *c.source) return false;
    if (c.lang && !post.lang.starts_with(*c.lang)) return false;
    if (c.author && post.author.handle != *c.author) return false;
    if ((q.since && post.created_at < *q.since) || (q.until && post.created_at >= *q.until)) return false;
    if ((q.after && plain.sequence <= *q.after) || (q.through && plain.sequence > *q.through)) return false;
    if (q.min_likes && post.metrics.likes.value_or(0) < *q.min_likes) return false;
    return !q.min_views || post.metrics.views.value_or(0) >= *q.min_views;
  }

  double score(const PlainPost& plain, const Case& c) const {
    const double length = static_cast<double>(std::min<size_t>(255, plain.words.size()));
    const double ratio = std::max(1.0, length / std::max(50.0, all_.mean_length));
    double text = c.scored.empty() ? 1 : 0;
    for (const auto& w : c.scored) {
      const auto f =
          static_cast<double>(std::min<ptrdiff_t>(31, std::count(plain.words.begin(), plain.words.end(), w)));
      if (f == 0) continue;
      const double n = std::min(count(w), all_.posts);
      text += std::log(1 + (all_.posts - n + 0.5) / (n + 0.5)) * f * 1.6 / (f + 0.6 * (0.7 + 0.3 * ratio));
    }
    const RankWeights& weights = c.query.weights;
    const double likes = log_steps(static_cast<double>(plain.post.metrics.likes.value_or(0))) / 16.0;
    const double followers = log_steps(static_cast<double>(plain.post.author.followers.value_or(0))) / 16.0;
    const double hours =
        std::chrono::duration<double, std::ratio<3600>>(now_ - plain.post.created_at).count();
    const double fresh = hours <= 0 ? 1 : std::exp2(-hours / weights.half_life_hours);
    return text * (1 - weights.recency + weights.recency * fresh) *
           (1 + weights.engagement * likes + weights.author * followers);
  }

  double count(const std::string& w) const {
    uint64_t sum = 0;
    for (const auto& member : all_.members)
      std::visit([&](const auto* segment) { sum += segment->term(w) ? segment->term(w).count() : 0; },
                 member);
    return static_cast<double>(sum);
  }

  const Feed& feed_;
  const Collection& all_;
  const Time now_;
};

uint64_t sequence_of(const Collection& all, const Candidate& candidate) {
  return std::visit([&](const auto* segment) { return segment->sequence(candidate.document); },
                    all.members[candidate.segment]);
}

TEST(SearchSegments, EqualsAScanOfEveryPost) {
  Feed feed(42);
  size_t pruned = 0, hits = 0;
  for (int round = 0; round < 400; ++round) {
    const uint64_t sequence =
        round % 2 == 0 ? feed.sequence()
                       : feed.sealed_through() + feed.random().below(feed.sequence() - feed.sealed_through());
    const Collection all = feed.at(sequence);
    const Time now = kStart + std::chrono::minutes(sequence);
    const Case c = random_case(feed);
    const size_t limit = 1 + feed.random().below(25);
    const auto wanted = PlainSearch(feed, all, now).run(c);
    const Ranking got = rank(all, parse_query(c.query), c.query, now, limit);
    const std::string label = fmt::format("round {} '{}' at {}", round, c.query.text, sequence);
    ASSERT_EQ(got.best.size(), std::min(wanted.size(), limit)) << label;
    for (size_t i = 0; i < got.best.size(); ++i) {
      ASSERT_NEAR(got.best[i].score, wanted[i].first, 1e-9 * wanted[i].first) << label << " place " << i;
      if (i + 1 < wanted.size() && std::abs(wanted[i + 1].first - wanted[i].first) < 1e-9 * wanted[i].first)
        continue;
      if (i > 0 && std::abs(wanted[i - 1].first - wanted[i].first) < 1e-9 * wanted[i].first) continue;
      ASSERT_EQ(sequence_of(all, got.best[i]), wanted[i].second->sequence) << label << " place " << i;
    }
    ASSERT_LE(got.matched, wanted.size()) << label;
    if (got.exact_count) {
      ASSERT_EQ(got.matched, wanted.size()) << label;
    }
    ASSERT_TRUE(got.exact_count || !c.query.exact_count) << label;
    pruned += got.exact_count ? 0 : 1;
    hits += got.best.size();
  }
  EXPECT_GT(pruned, 20u);  // or the walk that leaves things out was not tested
  EXPECT_GT(hits, 2000u);
}

/// Posts of equal scores stand in the order of their arrival, over segments too: the later one first.
TEST(SearchSegments, TiesGoToTheLaterArrival) {
  Index first(0), second(2);
  PreparedBatch batch;
  for (int i = 0; i < 4; ++i) batch.add(make_post(std::to_string(i), "equal words"));
  for (uint64_t i = 0; i < 4; ++i) (i < 2 ? first : second).add(batch[i], i + 1);
  Collection all;
  all.members = {&first, &second};
  all.sequence = 4;
  all.posts = 4;
  Query query;
  query.text = "equal";
  for (const auto order : {Query::Order::kRelevance, Query::Order::kNewest}) {
    query.order = order;
    const Ranking got = rank(all, parse_query(query), query, kStart, 3);
    ASSERT_EQ(got.best.size(), 3u);
    for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(sequence_of(all, got.best[i]), 4 - i);
  }
}

TEST(SearchSegments, SealingChangesNoScore) {
  Random random(7);
  Index index;
  PreparedBatch batch;
  for (uint64_t i = 0; i < 3000; ++i) {
    Post post = random_post(random, i);
    post.id = std::to_string(i);  // none replaced: sealing leaves the dead out of the counts
    batch.add(post);
  }
  for (uint64_t i = 0; i < 3000; ++i) index.add(batch[i], i + 1);
  TempDir folder("fathom-search-test");
  seal(index, 0, folder.path() / "segment", {});
  const auto segment = Segment::open(folder.path() / "segment");
  Collection in_memory, sealed;
  in_memory.members = {&index};
  sealed.members = {segment.get()};
  for (Collection* all : {&in_memory, &sealed})
    all->sequence = 3000, all->posts = 2000, all->mean_length = 20;
  for (int round = 0; round < 200; ++round) {
    Query query;
    for (uint64_t n = 1 + random.below(3); n > 0; --n) query.text += word(random) + " ";
    query.require_all = random.chance(0.3);
    query.weights.author = 0.1;
    const ParsedQuery parsed = parse_query(query);
    const Time now = kStart + std::chrono::hours(40);
    const Ranking a = rank(in_memory, parsed, query, now, 20), b = rank(sealed, parsed, query, now, 20);
    ASSERT_EQ(a.best.size(), b.best.size()) << query.text;
    for (size_t i = 0; i < a.best.size(); ++i) {
      ASSERT_EQ(a.best[i].score, b.best[i].score) << query.text << " place " << i;
      ASSERT_EQ(sequence_of(in_memory, a.best[i]), sequence_of(sealed, b.best[i]))
          << query.text << " place " << i;
    }
  }
}

}  // namespace
}  // namespace fathom::live
