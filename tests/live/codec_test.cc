// The stored record: round trip, comparison without the time of receipt, and that no damaged record gets through.
#include "live/codec.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

Post full_post() {
  Post post = testing::make_post("a:b", "text \xC3\xA9", testing::kStart - std::chrono::microseconds(7));
  post.author = {"h", "i", "n", 5};
  post.lang = "en";
  post.url = "https://u.example/";
  post.reply_to = "r";
  post.repost_of = "o";
  post.quote_of = "q";
  post.links = {"https://l.example/1", "https://l.example/2"};
  post.tags = {"t"};
  post.metrics = {1, std::nullopt, 1'000'000'000'000, 0};
  post.sensitive = post.fiction = true;
  return post;
}

TEST(Codec, RoundTrip) {
  for (const Post& post : {full_post(), testing::make_post("1", "")}) {
    const std::string record = encode_record(post);
    EXPECT_EQ(to_json(decode_record(record)), to_json(post));
    EXPECT_EQ(record_key(record), post.key());
    EXPECT_EQ(record_text(record), post.text);
  }
}

TEST(Codec, TimesBefore1970) {
  const Post post = testing::make_post("1", "old", std::chrono::sys_days{std::chrono::year{1901} / 2 / 3});
  EXPECT_EQ(decode_record(encode_record(post)).created_at, post.created_at);
}

TEST(Codec, SameContentIgnoresOnlyTheTimeOfReceipt) {
  Post a = full_post(), b = full_post();
  b.received_at += std::chrono::hours(1);
  EXPECT_TRUE(same_content(encode_record(a), encode_record(b)));
  b.metrics.likes = 2;
  EXPECT_FALSE(same_content(encode_record(a), encode_record(b)));
}

TEST(Codec, EveryTruncationIsRefused) {
  const std::string record = encode_record(full_post());
  for (size_t size = 0; size < record.size(); ++size)
    EXPECT_THROW(decode_record(record.substr(0, size)), Error) << size;
  EXPECT_THROW(decode_record(record + "x"), Error);
}

TEST(Codec, DamageNeverCrashes) {
  Random random(3);
  const std::string record = encode_record(full_post());
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = record;
    damaged[random.below(damaged.size())] = static_cast<char>(random.next());
    try {
      decode_record(damaged);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    }
  }
}

TEST(Codec, OrdersAndCounts) {
  const Order order{testing::kStart - std::chrono::microseconds(3), "test:1:2"};
  const std::string bytes = encode_order(order);
  EXPECT_EQ(decode_order(bytes).time, order.time);
  EXPECT_EQ(decode_order(bytes).key, order.key);
  const std::vector<CountUpdate> updates = {{"test:1", {1, -2, 3}}, {"test:2", {INT32_MAX, INT32_MIN, 0}}};
  const std::string list = encode_counts(updates);
  const auto decoded = decode_counts(list);
  ASSERT_EQ(decoded.size(), updates.size());
  for (size_t i = 0; i < updates.size(); ++i) {
    EXPECT_EQ(decoded[i].key, updates[i].key);
    EXPECT_EQ(decoded[i].change.likes, updates[i].change.likes);
    EXPECT_EQ(decoded[i].change.reposts, updates[i].change.reposts);
    EXPECT_EQ(decoded[i].change.replies, updates[i].change.replies);
  }
  for (size_t cut = 0; cut < list.size(); ++cut) EXPECT_THROW(decode_counts(list.substr(0, cut)), Error);
  EXPECT_THROW(decode_counts(list + "x"), Error);
  EXPECT_THROW(decode_order(bytes.substr(0, 3)), Error);
}

}  // namespace
}  // namespace fathom::live
