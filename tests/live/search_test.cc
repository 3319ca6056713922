// The index's top-k against a plain scorer that looks at every post, on random corpora of several blocks.
#include "live/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/random.h"
#include "live/hash.h"
#include "live/posting.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::kStart;
using testing::make_post;
using testing::TestStore;

/// A post as the plain scorer sees it. Words are "w<number>": the analyser leaves them as they are.
struct PlainPost {
  Post post;
  std::map<std::string, int> words;
  size_t arrival = 0;
};

struct PlainHit {
  std::string id;
  double score;
};

std::string word(Random& random) {
  // Word n in about 1 of n posts: from very common to rare.
  const double u = random.uniform();
  return "w" + std::to_string(static_cast<int>(std::exp(u * 7)));
}

std::vector<PlainPost> corpus(Random& random, size_t count) {
  std::vector<PlainPost> posts;
  for (size_t i = 0; i < count; ++i) {
    std::string text;
    PlainPost plain;
    for (uint64_t n = 1 + random.below(20); n > 0; --n) {
      const std::string w = word(random);
      text += w + " ";
      ++plain.words[w];
    }
    // Mostly in order of time, as feeds are, with stragglers.
    const auto at =
        kStart + std::chrono::minutes(i) - std::chrono::minutes(random.below(random.chance(0.1) ? 5000 : 30));
    plain.post = make_post(std::to_string(i), text, at);
    plain.post.author.handle = "author" + std::to_string(random.below(5));
    if (random.chance(0.3)) plain.post.metrics.likes = static_cast<int64_t>(random.below(3000));
    plain.arrival = i;
    posts.push_back(std::move(plain));
  }
  return posts;
}

/// What a random query asks for, in both forms.
struct Case {
  Query query;
  std::set<std::string> words, required, excluded;
  std::optional<std::string> author;
};

Case random_case(Random& random) {
  Case c;
  const auto add = [&](const std::string& sign, std::set<std::string>& to) {
    const std::string w = word(random);
    c.query.text += sign + w + " ";
    to.insert(w);
  };
  for (uint64_t n = random.below(5); n > 0; --n) add("", c.words);
  if (random.chance(0.25)) add("+", c.required);
  if (random.chance(0.25)) add("-", c.excluded);
  c.words.insert(c.required.begin(), c.required.end());
  if (random.chance(0.2)) {
    c.author = "author" + std::to_string(random.below(5));
    c.query.authors = {*c.author};
  }
  if (random.chance(0.3)) c.query.since = kStart + std::chrono::minutes(random.below(4000));
  if (random.chance(0.2)) c.query.until = kStart + std::chrono::minutes(random.below(4000));
  if (random.chance(0.2)) c.query.min_likes = static_cast<int64_t>(random.below(100));
  if (random.chance(0.3)) c.query.order = Query::Order::kNewest;
  if (random.chance(0.3)) c.query.weights = {0, 24, 0};
  if (random.chance(0.3)) c.query.weights = {1, 5, 0.5};
  c.query.limit = 1 + random.below(30);
  c.query.fold = false;
  c.query.exact_count = random.chance(0.2);
  return c;
}

bool matches(const PlainPost& post, const Case& c) {
  const auto has = [&](const std::string& w) { return post.words.contains(w); };
  if (!std::all_of(c.required.begin(), c.required.end(), has)) return false;
  if (std::any_of(c.excluded.begin(), c.excluded.end(), has)) return false;
  if (c.required.empty() && !c.words.empty() && std::none_of(c.words.begin(), c.words.end(), has))
    return false;
  if (c.author && post.post.author.handle != *c.author) return false;
  if (c.query.since && post.post.created_at < *c.query.since) return false;
  if (c.query.until && post.post.created_at >= *c.query.until) return false;
  return !c.query.min_likes || post.post.metrics.likes.value_or(0) >= *c.query.min_likes;
}

class PlainSearch {
 public:
  PlainSearch(const std::vector<PlainPost>& posts, Time now) : posts_(posts), now_(now) {
    double total = 0;
    for (const auto& post : posts)
      for (const auto& [w, n] : post.words) total += n, ++with_[w];
    mean_ = total / static_cast<double>(posts.size());
  }

  /// All matches, best first.
  std::vector<PlainHit> run(const Case& c) const {
    std::vector<std::pair<PlainHit, const PlainPost*>> found;
    for (const auto& post : posts_)
      if (matches(post, c)) found.push_back({{post.post.id, score(post, c)}, &post});
    const bool newest = c.query.order == Query::Order::kNewest;
    std::sort(found.begin(), found.end(), [&](const auto& a, const auto& b) {
      if (newest && a.second->post.created_at != b.second->post.created_at)
        return a.second->post.created_at > b.second->post.created_at;
      if (!newest && a.first.score != b.first.score) return a.first.score > b.first.score;
      return a.second->arrival > b.second->arrival;
    });
    std::vector<PlainHit> hits;
    for (auto& [hit, post] : found) hits.push_back(std::move(hit));
    return hits;
  }

  double score(const PlainPost& post, const Case& c) const {
    double text = c.words.empty() ? 1 : 0, length = 0;
    for (const auto& [w, n] : post.words) length += n;
    for (const auto& w : c.words) {
      const auto found = post.words.find(w);
      if (found == post.words.end()) continue;
      const double n = with_.at(w);
      const double idf = std::log(1 + (static_cast<double>(posts_.size()) - n + 0.5) / (n + 0.5));
      text += idf * found->second * 1.6 /
              (found->second + 0.6 * (1 - 0.3 + 0.3 * std::max(1.0, length / std::max(50.0, mean_))));
    }
    const RankWeights& weights = c.query.weights;
    const double hours = std::chrono::duration<double, std::ratio<3600>>(now_ - post.post.created_at).count();
    const double fresh = hours <= 0 ? 1 : std::exp2(-hours / weights.half_life_hours);
    const double engagement = kLogStep * log_steps(static_cast<double>(post.post.metrics.likes.value_or(0)));
    return text * (1 - weights.recency + weights.recency * fresh) * (1 + weights.engagement * engagement);
  }

 private:
  const std::vector<PlainPost>& posts_;
  Time now_;
  double mean_ = 1;
  std::map<std::string, double> with_;
};

TEST(Search, EqualsAScanOfEveryPost) {
  Random random(2026);
  const auto posts = corpus(random, 5000);
  TestStore s;
  std::vector<Post> batch;
  for (const auto& post : posts) batch.push_back(post.post);
  s.store->ingest(batch);
  const PlainSearch plain(posts, s.store->feed_time());
  size_t pruned = 0, hits = 0;
  for (int round = 0; round < 250; ++round) {
    const Case c = random_case(random);
    const auto wanted = plain.run(c);
    const auto got = s.store->search(c.query);
    const std::string label = "round " + std::to_string(round) + " '" + c.query.text + "'";
    ASSERT_EQ(got.hits.size(), std::min(wanted.size(), c.query.limit)) << label;
    for (size_t i = 0; i < got.hits.size(); ++i) {
      ASSERT_NEAR(got.hits[i].score, wanted[i].score, 1e-4 * wanted[i].score) << label << " place " << i;
      // Scores that differ in the last bits only may change places.
      if (got.hits[i].post.id == wanted[i].id) continue;
      const auto& post = posts[std::stoul(got.hits[i].post.id)];
      ASSERT_NEAR(plain.score(post, c), wanted[i].score, 1e-6 * wanted[i].score) << label << " place " << i;
    }
    ASSERT_LE(got.matched, wanted.size()) << label;
    if (got.matched_exact) {
      ASSERT_EQ(got.matched, wanted.size()) << label;
    }
    ASSERT_TRUE(got.matched_exact || !c.query.exact_count) << label;
    pruned += got.matched_exact ? 0 : 1;
    hits += got.hits.size();
  }
  EXPECT_GT(pruned, 10u);  // or the walk that leaves things out was not tested
  EXPECT_GT(hits, 1000u);
}

TEST(Search, ExpansionIsAskedFor) {
  std::vector<Post> posts;
  for (int i = 0; i < 50; ++i)
    posts.push_back(make_post(std::to_string(i), "something else number" + std::to_string(i)));
  posts.push_back(make_post("a", "flood: the levee holds"));
  posts.push_back(make_post("b", "a picture of the levee"));
  const TestStore s(posts);
  Query query;
  query.text = "flood";
  EXPECT_EQ(s.ids(query), (std::vector<std::string>{"a"}));
  EXPECT_TRUE(s.store->search(query).expansion.empty());
  query.expand = true;
  EXPECT_EQ(s.ids(query), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(s.store->search(query).expansion.empty());
}

TEST(Posting, CursorFindsTheNewestAtOrBelow) {
  Random random(5);
  Arena arena;
  PostingList list;
  list.name(arena.copy("x"), 1);
  std::vector<uint32_t> documents;
  for (uint32_t d = 1; d < 30000; d += 1 + static_cast<uint32_t>(random.below(5))) {
    documents.push_back(d);
    list.append(d, 1 + d % 40, 10, arena);
  }
  for (int round = 0; round < 300; ++round) {
    const auto end = static_cast<uint32_t>(1 + random.below(31000));
    PostingCursor cursor(&list, arena, end);
    uint32_t limit = end - 1;
    for (int hop = 0; hop < 200 && limit > 0; ++hop) {
      const auto next = std::upper_bound(documents.begin(), documents.end(), limit);
      const uint32_t wanted = next == documents.begin() ? 0 : *(next - 1);
      ASSERT_EQ(cursor.seek(limit), wanted);
      if (wanted == 0) break;
      ASSERT_EQ(cursor.frequency(), std::min<uint32_t>(1 + wanted % 40, kMaxFrequency));
      limit = wanted -
              static_cast<uint32_t>(std::min<uint64_t>(wanted, random.below(random.chance(0.1) ? 4000 : 10)));
    }
  }
  EXPECT_EQ(PostingCursor(nullptr, arena, 10).document(), 0u);
  EXPECT_EQ(PostingCursor(&list, arena, 1).document(), 0u);
}

TEST(HashIndex, FindsAllThroughGrowth) {
  HashIndex index;
  const auto hash = [](uint32_t n) { return hash_bytes(std::to_string(n), 1); };
  for (uint32_t n = 1; n <= 20000; ++n) index.insert(hash(n), n);
  for (uint32_t n = 1; n <= 20000; n += 2) index.replace(hash(n), n, n + 100000);
  for (uint32_t n = 1; n <= 20000; ++n) {
    const uint32_t wanted = n % 2 == 1 ? n + 100000 : n;
    ASSERT_EQ(index.find(hash(n), [&](uint32_t found) { return found == wanted; }), wanted);
  }
  EXPECT_EQ(index.find(hash(30000), [](uint32_t n) { return n == 30000; }), 0u);
}

}  // namespace
}  // namespace fathom::live
