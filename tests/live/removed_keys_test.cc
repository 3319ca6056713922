#include "live/removed_keys.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::kStart;
using testing::make_delete;
using testing::make_post;
using namespace std::chrono_literals;

TEST(RemovedKeys, TheLatestOrderCounts) {
  RemovedKeys keys;
  EXPECT_FALSE(keys.find(7));
  keys.add(7, kStart);
  keys.add(7, kStart - 1h);
  keys.add(0, kStart + 1h);
  EXPECT_EQ(keys.find(7), kStart);
  EXPECT_EQ(keys.find(0), kStart + 1h);
  EXPECT_FALSE(keys.find(8));
  EXPECT_EQ(keys.size(), 2u);
}

TEST(RemovedKeys, AsAMapThroughItsFile) {
  RemovedKeys keys;
  std::map<uint64_t, Time> model;
  Random random(9);
  for (int i = 0; i < 20'000; ++i) {
    // Few different low bits, so that entries crowd.
    const uint64_t hash = (random.next() & ~uint64_t{0xffff}) | random.below(1'000);
    const Time time = kStart + Micros(static_cast<int64_t>(random.below(1'000'000)));
    keys.add(hash, time);
    Time& latest = model.try_emplace(hash, time).first->second;
    latest = std::max(latest, time);
  }
  const TempDir dir;
  write_removed_keys(dir.path(), keys);
  const RemovedKeys read = read_removed_keys(dir.path());
  EXPECT_EQ(read.size(), model.size());
  for (const auto& [hash, time] : model) EXPECT_EQ(read.find(hash), time);
  EXPECT_EQ(read.encode(), keys.encode());
}

TEST(RemovedKeys, OldOnesAreForgotten) {
  RemovedKeys keys;
  for (uint64_t i = 0; i < 1'000; ++i) keys.add(i, kStart + Micros(static_cast<int64_t>(i)));
  keys.forget(kStart + Micros(100));
  EXPECT_EQ(keys.size(), 900u);
  EXPECT_FALSE(keys.find(99));
  EXPECT_TRUE(keys.find(100));
  keys.forget(kStart, 10);
  EXPECT_EQ(keys.size(), 10u);
  EXPECT_FALSE(keys.find(989));
  EXPECT_TRUE(keys.find(990));
}

TEST(RemovedKeys, DamageIsToldOf) {
  RemovedKeys keys;
  for (uint64_t i = 0; i < 5; ++i) keys.add(i, kStart);
  const std::string whole = keys.encode();
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 16);
    EXPECT_THROW(RemovedKeys::decode(damaged), Error) << at;
    EXPECT_THROW(RemovedKeys::decode(whole.substr(0, at)), Error) << at;
  }
}

template <class Done>
bool eventually(Done&& done) {
  for (int i = 0; i < 2'000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

/// A store that keeps a day of posts, ten a segment.
class RemovedPostsTest : public ::testing::Test {
 protected:
  RemovedPostsTest() {
    options_.folder = dir_.path() / "feed";
    options_.sync = false;
    options_.segment_posts = 10;
    options_.keep_for = 24h;
  }

  /// A post an hour in [from, to).
  void let_pass(int from, int to) {
    for (int n = from; n < to; ++n)
      store_->ingest({make_post("hour" + std::to_string(n), "word", kStart + n * 1h)});
  }
  void open() {
    store_.reset();
    store_ = Store::open(options_, clock_);
  }

  TempDir dir_;
  ManualClock clock_{kStart + 24h * 365};
  StoreOptions options_;
  std::unique_ptr<Store> store_;
};

TEST_F(RemovedPostsTest, StayAwayAfterRetentionAndRestart) {
  open();
  const Post post = make_post("removed", "to be removed", kStart + 30min);
  store_->ingest({make_post("first", "word", kStart), post});
  store_->ingest({make_delete("removed", kStart + 2h), make_delete("never-seen", kStart + 2h)});
  let_pass(3, 200);
  ASSERT_TRUE(eventually([&] { return store_->stats().removed_keys == 2; }));
  EXPECT_FALSE(store_->find("test:first"));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(store_->ingest({post}).stale, 1u);
    EXPECT_EQ(store_->ingest({make_post("never-seen", "late", kStart)}).stale, 1u);
    EXPECT_EQ(store_->ingest({make_delete("removed", kStart + 1h)}).duplicates, 1u);
    EXPECT_FALSE(store_->find("test:removed"));
    open();
  }
  // Written anew after the order, it is a post again.
  EXPECT_EQ(store_->ingest({make_post("removed", "anew", kStart + 199h)}).added, 1u);
  EXPECT_EQ(store_->find("test:removed")->text, "anew");
}

TEST_F(RemovedPostsTest, ADamagedListIsSetAside) {
  open();
  store_->ingest({make_delete("removed", kStart)});
  let_pass(1, 200);
  ASSERT_TRUE(eventually([&] { return store_->stats().removed_keys == 1; }));
  store_.reset();
  const auto file = options_.folder / "REMOVED";
  ASSERT_TRUE(std::filesystem::exists(file));
  std::ofstream(file, std::ios::trunc) << "no list";
  open();
  EXPECT_EQ(store_->stats().removed_keys, 0u);
  EXPECT_TRUE(std::filesystem::exists(file.string() + ".damaged"));
  EXPECT_TRUE(store_->find("test:hour199"));
}

TEST_F(RemovedPostsTest, OrdersAreForgottenByAge) {
  options_.keep_orders = 100h;
  open();
  store_->ingest({make_delete("removed", kStart)});
  let_pass(1, 60);
  ASSERT_TRUE(eventually([&] { return store_->stats().removed_keys == 1; }));
  let_pass(60, 200);
  EXPECT_TRUE(eventually([&] { return store_->stats().removed_keys == 0; }));
}

}  // namespace
}  // namespace fathom::live
