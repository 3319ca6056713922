// Pages of keys and values: what is shared, what is copied, what is given up, and that nobody gets what is another's.
#include "infer/kv_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>
#include <vector>

#include "base/random.h"
#include "model/config.h"

namespace fathom::infer {
namespace {

using Tokens = std::vector<int32_t>;
constexpr size_t kPage = KvPool::kPositions;

/// One layer with one head of one dimension.
model::ModelConfig smallest() {
  model::ModelConfig config;
  config.layers = 1;
  config.heads = config.kv_heads = config.head_dim = 1;
  config.d_model = 1;
  return config;
}

/// A pool whose keys are numbers that tell which tokens they were computed from: the running hash of all up to there.
class Pages {
 public:
  explicit Pages(size_t pages) : pool(smallest(), tensor::DType::kF32, pages) {}

  static float mark(const Tokens& tokens, size_t position) {
    uint32_t hash = 17;
    for (size_t i = 0; i <= position; ++i) hash = (hash * 31 + static_cast<uint32_t>(tokens[i])) % 65521;
    return static_cast<float>(hash);
  }

  /// "Computes" tokens that are not there yet; false when there are no pages.
  static bool compute(KvSequence& kv, const Tokens& tokens) {
    const size_t from = kv.tokens().size();
    if (!kv.reserve(tokens.size())) return false;
    const auto layer = kv.layer(0);
    for (size_t p = from; p < tokens.size(); ++p) {
      const float value = mark(tokens, p);
      tensor::append_kv(layer, p, &value, &value);
    }
    kv.extend(std::span(tokens).subspan(from));
    return true;
  }

  static void expect_content(const KvSequence& kv, const Tokens& tokens) {
    const auto layer = kv.layer(0);
    for (size_t p = 0; p < kv.tokens().size(); ++p) {
      ASSERT_EQ(kv.tokens()[p], tokens[p]);
      float value = 0;
      std::memcpy(&value, layer.key_head(p / kPage, 0) + p % kPage * sizeof(float), sizeof(float));
      ASSERT_EQ(value, mark(tokens, p)) << "position " << p;
    }
  }

  KvPool pool;
};

Tokens counted(size_t count, int32_t first = 1) {
  Tokens out(count);
  for (size_t i = 0; i < count; ++i) out[i] = first + static_cast<int32_t>(i);
  return out;
}

TEST(KvCache, FullPagesAreSharedAndThePartOfThelastOneIsCopied) {
  Pages pages(10);
  const Tokens first = counted(2 * kPage + 10);
  {
    KvSequence kv(pages.pool);
    ASSERT_TRUE(Pages::compute(kv, first));
    EXPECT_EQ(pages.pool.used(), 3u);
  }
  EXPECT_EQ(pages.pool.used(), 3u);  // kept to be found
  EXPECT_EQ(pages.pool.available(), 10u);

  KvSequence a(pages.pool), b(pages.pool);
  Tokens longer = first;
  longer.insert(longer.end(), {7, 7, 7});
  EXPECT_EQ(a.adopt(longer), first.size());
  EXPECT_EQ(b.adopt(longer), first.size());
  EXPECT_EQ(pages.pool.used(), 3u);
  Tokens other = first;
  other.push_back(8);
  ASSERT_TRUE(Pages::compute(a, longer));
  ASSERT_TRUE(Pages::compute(b, other));
  EXPECT_EQ(pages.pool.used(), 5u);  // a last page for each beside the first one's
  Pages::expect_content(a, longer);
  Pages::expect_content(b, other);
}

TEST(KvCache, OnlyWhatIsEqualFromTheFirstTokenOnIsFound) {
  Pages pages(20);
  {
    KvSequence kv(pages.pool);
    ASSERT_TRUE(Pages::compute(kv, counted(3 * kPage)));
  }
  // The second page's tokens at the beginning, and after another first page.
  KvSequence shifted(pages.pool);
  EXPECT_EQ(shifted.adopt(counted(2 * kPage, 1 + static_cast<int32_t>(kPage))), 0u);
  Tokens changed = counted(3 * kPage);
  changed[0] = 99;
  KvSequence other(pages.pool);
  EXPECT_EQ(other.adopt(changed), 0u);
  // A difference within the second page: the tokens up to it are taken, the page is copied.
  changed = counted(3 * kPage);
  changed[kPage + 5] = 99;
  EXPECT_EQ(other.adopt(changed), kPage + 5);
  ASSERT_TRUE(Pages::compute(other, changed));
  Pages::expect_content(other, changed);
  KvSequence original(pages.pool);
  EXPECT_EQ(original.adopt(counted(3 * kPage)), 3 * kPage);
  Pages::expect_content(original, counted(3 * kPage));
}

TEST(KvCache, EqualPagesComputedApartBecomeOne) {
  Pages pages(10);
  KvSequence a(pages.pool), b(pages.pool);
  ASSERT_TRUE(Pages::compute(a, counted(2 * kPage)));
  ASSERT_TRUE(Pages::compute(b, counted(2 * kPage)));
  EXPECT_EQ(pages.pool.used(), 4u);
  EXPECT_FALSE(a.same_place(b));
  a.publish();
  b.publish();
  EXPECT_EQ(pages.pool.used(), 2u);
  EXPECT_TRUE(a.same_place(b));
  Pages::expect_content(b, counted(2 * kPage));
}

TEST(KvCache, ShorterEndsAreContainedInLongerOnes) {
  Pages pages(10);
  for (const size_t length : {5u, 9u, 7u, 20u, 3u}) {
    KvSequence kv(pages.pool);
    kv.adopt(counted(length - 1));
    ASSERT_TRUE(Pages::compute(kv, counted(length)));
  }
  EXPECT_EQ(pages.pool.used(), 1u);
  KvSequence kv(pages.pool);
  EXPECT_EQ(kv.adopt(counted(30)), 20u);
}

TEST(KvCache, WhatWasUnusedLongestIsGivenUpAndChildrenBeforeParents) {
  Pages pages(4);
  const Tokens old = counted(2 * kPage), young = counted(2 * kPage, 500);
  for (const Tokens& tokens : {old, young}) {
    KvSequence kv(pages.pool);
    ASSERT_TRUE(Pages::compute(kv, tokens));
  }
  {
    KvSequence third(pages.pool);
    ASSERT_TRUE(Pages::compute(third, counted(kPage, 900)));
  }
  KvSequence a(pages.pool);
  EXPECT_EQ(a.adopt(old), kPage);
  KvSequence b(pages.pool);
  EXPECT_EQ(b.adopt(young), 2 * kPage);
}

TEST(KvCache, HeldPagesAreNeverTaken) {
  Pages pages(3);
  KvSequence a(pages.pool), b(pages.pool);
  ASSERT_TRUE(Pages::compute(a, counted(2 * kPage)));
  EXPECT_FALSE(Pages::compute(b, counted(kPage + 1, 300)));
  EXPECT_TRUE(b.tokens().empty());
  EXPECT_EQ(pages.pool.available(), 1u);
  ASSERT_TRUE(Pages::compute(b, counted(kPage, 300)));
  EXPECT_FALSE(b.reserve(kPage + 1));
  Pages::expect_content(a, counted(2 * kPage));
  a.discard();
  EXPECT_TRUE(b.reserve(kPage + 1));
}

TEST(KvCache, TruncatingLeavesPublishedPagesToOthers) {
  Pages pages(10);
  const Tokens tokens = counted(2 * kPage + 3);
  KvSequence a(pages.pool);
  ASSERT_TRUE(Pages::compute(a, tokens));
  a.publish();
  a.truncate(kPage + 4);
  Tokens other(tokens.begin(), tokens.begin() + kPage + 4);
  other.insert(other.end(), 40, 5);
  ASSERT_TRUE(Pages::compute(a, other));
  Pages::expect_content(a, other);
  KvSequence b(pages.pool);
  EXPECT_EQ(b.adopt(tokens), 2 * kPage);
  Pages::expect_content(b, tokens);
}

TEST(KvCache, WhatIsDiscardedIsNotFound) {
  Pages pages(4);
  KvSequence a(pages.pool);
  ASSERT_TRUE(Pages::compute(a, counted(kPage + 3)));
  a.discard();
  EXPECT_EQ(pages.pool.used(), 0u);
  KvSequence b(pages.pool);
  EXPECT_EQ(b.adopt(counted(kPage)), 0u);
}

/// Many sequences over few pages, doing everything in any order; each always holds exactly its own content.
TEST(KvCache, NothingIsEverAnothers) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Random random(seed);
    Pages pages(14);
    struct One {
      Tokens tokens;  // that it is to have
      std::unique_ptr<KvSequence> kv;
    };
    std::deque<One> all;
    for (int round = 0; round < 400; ++round) {
      if (all.size() < 4 && random.below(3) == 0) {
        // Few different tokens, so that beginnings are shared at every length.
        Tokens tokens(1 + random.below(3 * kPage));
        int32_t run = 0;
        for (auto& t : tokens) t = random.below(16) == 0 ? run = static_cast<int32_t>(random.below(3)) : run;
        all.push_back({tokens, std::make_unique<KvSequence>(pages.pool)});
      }
      if (all.empty()) continue;
      const size_t i = random.below(all.size());
      One& one = all[i];
      const size_t has = one.kv->tokens().size();
      switch (random.below(6)) {
        case 0: one.kv->adopt(one.tokens); break;
        case 1:
        case 2: {
          const size_t end = has + random.below(one.tokens.size() - has + 1);
          if (end > has)
            Pages::compute(*one.kv,
                           Tokens(one.tokens.begin(), one.tokens.begin() + static_cast<ptrdiff_t>(end)));
          break;
        }
        case 3: one.kv->publish(); break;
        case 4: one.kv->truncate(random.below(has + 1)); break;
        default:
          if (random.below(4) == 0) one.kv->discard();
          if (random.below(2) == 0) all.erase(all.begin() + static_cast<ptrdiff_t>(i));
      }
      for (const One& o : all) Pages::expect_content(*o.kv, o.tokens);
      if (HasFatalFailure()) return;
      ASSERT_LE(pages.pool.used(), 14u);
    }
    all.clear();
    EXPECT_EQ(pages.pool.available(), 14u);
  }
}

}  // namespace
}  // namespace fathom::infer
