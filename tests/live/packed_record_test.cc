// Records as memory keeps them: the same bytes come back, whatever a post has.
#include "live/packed_record.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "live/codec.h"

namespace fathom::live {
namespace {

std::string some_bytes(Random& random, size_t most) {
  std::string bytes(random.below(most + 1), '\0');
  for (char& c : bytes) c = static_cast<char>(random.below(256));
  return bytes;
}

Post some_post(Random& random) {
  Post post;
  post.source = "source" + std::to_string(random.below(3));
  post.id = some_bytes(random, 20) + "i";
  post.text = some_bytes(random, 300);
  for (auto* field : {&post.author.handle, &post.author.id, &post.author.name, &post.lang, &post.url,
                      &post.reply_to, &post.repost_of, &post.quote_of})
    if (random.chance(0.4)) *field = some_bytes(random, 200);
  if (random.chance(0.5)) post.author.followers = static_cast<int64_t>(random.next());
  if (random.chance(0.5)) post.metrics.likes = static_cast<int64_t>(random.below(1000));
  for (uint64_t i = random.below(3); i > 0; --i) post.links.push_back(some_bytes(random, 150));
  for (uint64_t i = random.below(3); i > 0; --i) post.tags.push_back(some_bytes(random, 40));
  post.sensitive = random.chance(0.5);
  post.fiction = random.chance(0.5);
  const auto time = [&] { return Time(Micros(static_cast<int64_t>(random.next() >> random.below(64)))); };
  post.created_at = time();
  post.received_at = time();
  return post;
}

TEST(PackedRecord, GivesTheRecordBackByteForByte) {
  Random random(3);
  for (int i = 0; i < 2000; ++i) {
    const Post post = some_post(random);
    const std::string record = encode_record(post);
    const int64_t created = post.created_at.time_since_epoch().count();
    const bool with_source = random.chance(0.3);
    std::string packed(packed_room(record), '\0');
    packed.resize(pack_record(record, created, with_source, packed.data()));
    ASSERT_EQ(unpack_record(packed, with_source ? "" : post.source, created), record);
    ASSERT_EQ(packed_text(packed), post.text);
    ASSERT_EQ(packed_id(packed), with_source ? post.key() : post.id);
  }
}

TEST(PackedRecord, LeavesOutWhatMostPostsDoNotHave) {
  Post post;
  post.source = "bench";
  post.id = "1";
  post.text = "one two three";
  post.created_at = Time(Micros(1'770'000'000'000'000));
  post.received_at = post.created_at + std::chrono::milliseconds(40);
  const std::string record = encode_record(post);
  std::string packed(packed_room(record), '\0');
  EXPECT_LT(pack_record(record, post.created_at.time_since_epoch().count(), false, packed.data()),
            post.id.size() + post.text.size() + 12);
}

}  // namespace
}  // namespace fathom::live
