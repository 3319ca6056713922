// Posts by chance, and the comparison of what an index and a segment say of them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "live/codec.h"
#include "live/index.h"
#include "live/query.h"
#include "live/segment/segment.h"

namespace fathom::live::testing {

inline constexpr int64_t kStart = 1'700'000'000'000'000;

/// Words drawn by Zipf's law, mentions, tags, links, other scripts, long texts; the same for the same seed.
class PostMaker {
 public:
  explicit PostMaker(uint64_t seed) : random_(seed) {}

  Post post() {
    Post post;
    const uint64_t number = next_++;
    post.source = random_.chance(0.8) ? "alpha" : fmt::format("beta{}", random_.below(3));
    post.id = random_.chance(0.9) ? std::to_string(500'000'000'000 + number * 4099)
                                  : fmt::format("n{}-{}", number, "x");
    post.author.handle = fmt::format("Author{}", random_.below(200));
    if (random_.chance(0.3)) post.author.name = "Somebody Élse";
    if (random_.chance(0.5)) post.author.followers = static_cast<int64_t>(random_.below(1'000'000));
    if (random_.chance(0.5))
      post.metrics.likes = static_cast<int64_t>(random_.below(random_.chance(0.01) ? 1'000'000'000 : 20));
    if (random_.chance(0.3)) post.metrics.views = static_cast<int64_t>(random_.below(10000));
    if (random_.chance(0.2)) post.metrics.reposts = static_cast<int64_t>(random_.below(100));
    post.lang = random_.chance(0.7) ? "en" : random_.chance(0.5) ? "" : "pt-br";
    post.url = fmt::format("https://example.com/{}/status/{}", post.author.handle, post.id);
    if (random_.chance(0.2)) post.reply_to = std::to_string(random_.below(1000));
    if (random_.chance(0.1)) post.repost_of = "77";
    if (random_.chance(0.1)) post.links.push_back(fmt::format("https://site{}.org/page", random_.below(50)));
    if (random_.chance(0.1)) post.tags.push_back(fmt::format("Topic{}", random_.below(20)));
    post.sensitive = random_.chance(0.05);
    post.created_at = Time(Micros(kStart + static_cast<int64_t>(number) * 250'000 -
                                  static_cast<int64_t>(random_.below(5)) * 60'000'000));
    post.received_at = post.created_at + Micros(static_cast<int64_t>(random_.below(3'000'000)));
    post.text = text();
    return post;
  }

  std::vector<Post> posts(size_t count) {
    std::vector<Post> posts;
    for (size_t i = 0; i < count; ++i) posts.push_back(post());
    return posts;
  }

  std::string word() {
    return fmt::format("w{}", static_cast<int>(std::exp(random_.uniform() * std::log(3000.0))));
  }
  Random& random() { return random_; }

 private:
  std::string text() {
    size_t words = 1 + random_.below(20);
    if (random_.chance(0.01)) words = 300 + random_.below(200);
    std::string text;
    if (random_.chance(0.1)) text += fmt::format("@author{} ", random_.below(200));
    for (size_t i = 0; i < words; ++i) {
      const double kind = random_.uniform();
      if (kind < 0.03)
        text += fmt::format("#BigNews{} ", random_.below(10));
      else if (kind < 0.05)
        text += "the U.S. and l'aquila ";
      else if (kind < 0.06)
        text += "東京都 地震 ";
      else if (kind < 0.07)
        text += fmt::format("https://t.example/{} ", random_.next());
      else if (kind < 0.08)
        text += "again again again ";
      else
        text += word() + (random_.chance(0.1) ? ", " : " ");
    }
    if (random_.chance(0.003))
      for (int i = 0; i < 40; ++i) text += "storm ";
    return text;
  }

  Random random_;
  uint64_t next_ = 1;
};

inline std::string shown(const Post& post) { return encode_record(post); }

/// Everything that both kinds offer is equal for the documents alive at `sequence`.
template <class A, class B>
void expect_same(const A& a, const B& b, uint64_t sequence) {
  uint32_t next = 1;
  for (uint32_t number = 1; number <= a.documents(); ++number) {
    if (!a.alive(number, sequence)) continue;  // numbers differ by those left out
    ASSERT_LE(next, b.documents());
    const uint32_t other = next++;
    ASSERT_EQ(a.sequence(number), b.sequence(other));
    const DocumentFacts x = a.facts(number), y = b.facts(other);
    ASSERT_EQ(x.created, y.created);
    ASSERT_EQ(x.likes, y.likes);
    ASSERT_EQ(a.sources().name(x.source), b.sources().name(y.source));
    ASSERT_EQ(a.langs().name(x.lang), b.langs().name(y.lang));
    ASSERT_EQ(x.length, y.length);
    ASSERT_EQ(x.engagement, y.engagement);
    ASSERT_EQ(x.author, y.author);
    ASSERT_EQ(x.flags, y.flags);
    const RankFacts r = b.rank_facts(other);
    ASSERT_EQ(x.length, r.length);
    ASSERT_EQ(x.engagement, r.engagement);
    ASSERT_EQ(x.author, r.author);
    ASSERT_EQ(x.flags, r.flags);
    ASSERT_EQ(a.sketch(number), b.sketch(other));
    ASSERT_EQ(a.record(number), b.record(other));
    ASSERT_EQ(shown(a.post(number)), shown(b.post(other)));
    ASSERT_EQ(a.text(number), b.text(other));
    ASSERT_EQ(a.key(number), b.key(other));
    ASSERT_EQ(b.find_key(key_hash(b.key(other)), b.key(other)), other);
    const TimeBounds& bounds = b.bounds(other >> kBlockBits);
    ASSERT_LE(bounds.oldest, y.created);
    ASSERT_GE(bounds.newest, y.created);
    ASSERT_GE(bounds.engagement, y.engagement);
    ASSERT_GE(bounds.author, y.author);
  }
  ASSERT_EQ(next, b.documents() + 1);
}

/// The postings of one term, and the bounds over them.
template <class A, class B>
void expect_same_postings(const A& a, const B& b, std::string_view name, uint64_t sequence) {
  const auto ours = a.term(name);
  const auto theirs = b.term(name);
  std::vector<std::pair<uint64_t, uint32_t>> x, y;
  if (ours) {
    auto cursor = a.cursor(ours, a.documents() + 1);
    for (uint32_t d = cursor.document(); d != 0; d = cursor.seek(d - 1))
      if (a.alive(d, sequence)) x.emplace_back(a.sequence(d), cursor.frequency());
  }
  if (theirs) {
    auto cursor = b.cursor(theirs, b.documents() + 1);
    for (uint32_t d = cursor.document(); d != 0;) {
      y.emplace_back(b.sequence(d), cursor.frequency());
      const BlockBound bound = cursor.block(d);
      ASSERT_LE(bound.lowest, d);
      ASSERT_GE(bound.max_frequency, cursor.frequency());
      ASSERT_LE(bound.min_length, b.rank_facts(d).length);
      ASSERT_GE(theirs.max_frequency(), cursor.frequency());
      ASSERT_LE(theirs.min_length(), b.rank_facts(d).length);
      d = cursor.seek(d - 1);
    }
    ASSERT_EQ(theirs.count(), y.size());
  }
  ASSERT_EQ(x, y) << name;
}

}  // namespace fathom::live::testing
