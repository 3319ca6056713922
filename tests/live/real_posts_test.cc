// The real posts, where they are at hand: all of them in, real events found, counts kept over a restart.
#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>

#include "base/text.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::TestStore;

const std::filesystem::path kFolder =
    std::filesystem::path(FATHOM_SOURCE_DIR) / ".." / "shared" / "data" / "posts";
constexpr const char* kFiles[] = {"crisislex", "stocknet", "congress2016", "hackernews"};

std::string unpack(const std::filesystem::path& path) {
  const std::string packed = read_file(path);
  std::string out;
  ZSTD_DStream* stream = ZSTD_createDStream();
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  std::string chunk(1 << 20, '\0');
  while (in.pos < in.size) {
    ZSTD_outBuffer to{chunk.data(), chunk.size(), 0};
    const size_t status = ZSTD_decompressStream(stream, &to, &in);
    if (ZSTD_isError(status) != 0) break;
    out.append(chunk, 0, to.pos);
  }
  ZSTD_freeDStream(stream);
  return out;
}

size_t ingest_lines(Store& store, std::string_view lines, Time received) {
  std::vector<Post> batch;
  size_t count = 0;
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    if (const auto line = lines.substr(0, end); !line.empty()) batch.push_back(parse_post(line, received));
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    if (batch.size() < 5000 && !lines.empty()) continue;
    count += batch.size();
    store.ingest(std::exchange(batch, {}));
  }
  return count;
}

struct Event {
  const char* query;
  const char* within;  // a word that the first hits must carry
  const char* from;    // and the days in which they were posted
  const char* to;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FATHOM_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FATHOM_TEST_SANITIZED 1
#endif
#endif
#ifdef FATHOM_TEST_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST(RealPosts, AllGoInAndEventsAreFound) {
  if (kSanitized) GTEST_SKIP() << "takes minutes under a sanitizer; the other tests cover the same code";
  if (!std::filesystem::exists(kFolder)) GTEST_SKIP() << "the real posts are not beside this checkout";
  TestStore s;
  s.clock.set(*parse_time("2026-11-23"));
  size_t count = 0;
  for (const char* name : kFiles)
    count += ingest_lines(*s.store, unpack(kFolder / ("posts_" + std::string(name) + ".jsonl.zst")),
                          s.clock.now());
  EXPECT_EQ(count, 314789u);
  const auto stats = s.store->stats();
  EXPECT_EQ(stats.posts, count);
  EXPECT_EQ(format_time(s.store->feed_time()).substr(0, 7), "2026-08");
  constexpr Event kEvents[] = {
      {"hurricane sandy power outage", "sandy", "2012-10-20", "2012-11-15"},
      {"\"boston marathon\" explosion until:2013-06-01", "boston", "2013-04-15", "2013-05-01"},
      {"scalia supreme court since:2016-01-01 until:2017-01-01", "scalia", "2016-02-13", "2016-06-01"},
      {"terremoto emilia until:2012-07-01", "emilia", "2012-05-19", "2012-07-01"},
      {"$AAPL earnings iphone until:2016-12-31", "aapl", "2014-01-01", "2016-12-31"},
      {"openai gpt-4o launch source:hackernews", "4o", "2024-05-01", "2026-12-31"},
  };
  for (const Event& event : kEvents) {
    Query query;
    query.text = event.query;
    query.limit = 3;
    query.weights = {0, 24, 0};  // words alone: these events are long past
    const auto found = s.store->search(query);
    ASSERT_EQ(found.hits.size(), 3u) << event.query;
    for (const auto& hit : found.hits) {
      EXPECT_NE(to_lower_ascii(hit.post.text).find(event.within), std::string::npos)
          << event.query << " -> " << hit.post.text;
      EXPECT_GE(hit.post.created_at, *parse_time(event.from)) << event.query << " -> " << hit.post.text;
      EXPECT_LT(hit.post.created_at, *parse_time(event.to)) << event.query << " -> " << hit.post.text;
    }
  }
  s.reopen();
  EXPECT_EQ(s.store->stats().posts, stats.posts);
  EXPECT_EQ(s.store->stats().terms, stats.terms);
}

}  // namespace
}  // namespace fathom::live
