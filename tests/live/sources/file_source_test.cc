#include "live/sources/file_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "base/line_reader.h"
#include "base/random.h"
#include "support/http_server.h"  // eventually
#include "support/memory_store.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using test::eventually;

std::string line_of(int id, Time created) {
  return fmt::format(R"({{"id":"{}","author":"a","text":"post {}","created_at":"{}"}})", id, id,
                     format_time(created)) +
         "\n";
}

/// One post a second.
std::string lines_of(int count, Time start = Time(1000000s)) {
  std::string all;
  for (int i = 0; i < count; ++i) all += line_of(i, start + std::chrono::seconds(i));
  return all;
}

std::string compress(std::string_view plain) {
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 3));
  return out;
}

/// Collects what a source delivers, with the time of each post's delivery.
class CollectingSink final : public Sink {
 public:
  explicit CollectingSink(const Clock& clock, std::string cursor = {})
      : clock_(clock), cursor_(std::move(cursor)) {}
  std::string cursor() const override { return cursor_; }
  bool deliver(Post post) override {
    if (stop_after_ == ids.size()) return false;
    ids.push_back(std::stoi(post.id));
    times.push_back(clock_.now());
    posts.push_back(std::move(post));
    return true;
  }
  void advance(std::string cursor) override { cursor_ = std::move(cursor); }
  void set_live() override { ++lives; }
  void reject(std::string_view why) override { rejected.emplace_back(why); }
  void warn(std::string_view) override {}
  void stop_after(size_t posts_taken) { stop_after_ = posts_taken; }

  std::vector<int> ids;
  std::vector<Time> times;
  std::vector<Post> posts;
  std::vector<std::string> rejected;
  int lives = 0;

 private:
  const Clock& clock_;
  std::string cursor_;
  size_t stop_after_ = ~size_t{0};
};

class FileSourceTest : public ::testing::Test {
 protected:
  std::string write(std::string_view content, std::string_view name = "feed.jsonl") {
    const auto path = folder_.path() / name;
    write_file_atomic(path, content);
    return path.string();
  }
  CollectingSink run(const FileSourceOptions& options, std::string cursor = {}) {
    CollectingSink sink(clock_, std::move(cursor));
    make_file_source(options, clock_)->run(sink, {});
    return sink;
  }
  FileSourceOptions file(std::string path) {
    FileSourceOptions options;
    options.path = std::move(path);
    return options;
  }

  TempDir folder_;
  ManualClock clock_{Time(5000000s)};
};

std::vector<int> numbers(int begin, int end) {
  std::vector<int> all;
  for (int i = begin; i < end; ++i) all.push_back(i);
  return all;
}

TEST_F(FileSourceTest, ReadsPlainAndCompressedAlike) {
  const auto text = lines_of(2000);
  for (const auto& content :
       {text, compress(text), compress(text.substr(0, 777)) + compress(text.substr(777))}) {
    const auto sink = run(file(write(content)));
    EXPECT_EQ(sink.ids, numbers(0, 2000));
    EXPECT_EQ(sink.posts[5].text, "post 5");
    EXPECT_EQ(sink.posts[5].source, "file");
    EXPECT_EQ(sink.posts[5].received_at, Time(5000000s));
    EXPECT_TRUE(sink.rejected.empty());
    EXPECT_EQ(sink.lives, 1);
  }
}

TEST_F(FileSourceTest, ALastLineWithoutAnEndCounts) {
  auto text = lines_of(3);
  text.pop_back();
  EXPECT_EQ(run(file(write(text))).ids, numbers(0, 3));
}

TEST_F(FileSourceTest, EmptyFilesAndEmptyLinesAreFine) {
  EXPECT_TRUE(run(file(write(""))).ids.empty());
  EXPECT_TRUE(run(file(write(compress("")))).ids.empty());
  EXPECT_EQ(run(file(write("\n \r\n" + line_of(0, {}) + "\r\n"))).ids, numbers(0, 1));
}

TEST_F(FileSourceTest, BadLinesAreRejectedByNumber) {
  const auto sink = run(file(write(line_of(0, {}) + "nonsense\n" + line_of(1, {}) + "{\"id\":\"2\"}\n" +
                                   std::string(kMaxLineBytes + 1, 'x') + "\n" + line_of(2, {}))));
  EXPECT_EQ(sink.ids, numbers(0, 3));
  ASSERT_EQ(sink.rejected.size(), 3u);
  EXPECT_NE(sink.rejected[0].find("line 2 "), std::string::npos) << sink.rejected[0];
  EXPECT_NE(sink.rejected[1].find("line 4 "), std::string::npos) << sink.rejected[1];
  EXPECT_NE(sink.rejected[2].find("line 5 "), std::string::npos) << sink.rejected[2];
}

TEST_F(FileSourceTest, ATruncatedFrameIsNamedAndWhatCameBeforeIsKept) {
  const auto plain = lines_of(20000);
  const auto packed = compress(plain);
  const auto path = write(std::string_view(packed).substr(0, packed.size() * 3 / 4));
  CollectingSink sink(clock_);
  try {
    make_file_source(file(path), clock_)->run(sink, {});
    FAIL() << "a truncated frame was taken for whole";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_NE(std::string(error.what()).find(fmt::format("byte {}", packed.size() * 3 / 4)),
              std::string::npos)
        << error.what();
  }
  EXPECT_GT(sink.ids.size(), 1000u);
  EXPECT_EQ(sink.ids, numbers(0, static_cast<int>(sink.ids.size())));
  EXPECT_TRUE(sink.rejected.empty());
}

TEST_F(FileSourceTest, ADamagedFrameIsNamed) {
  auto packed = compress(lines_of(20000));
  packed[packed.size() / 2] = static_cast<char>(packed[packed.size() / 2] ^ 0x55);
  packed[packed.size() / 2 + 1] = static_cast<char>(packed[packed.size() / 2 + 1] ^ 0x55);
  const auto first = lines_of(50);
  CollectingSink sink(clock_);
  const auto path = write(compress(first) + packed.substr(0, 3) + "garbage");
  try {
    make_file_source(file(path), clock_)->run(sink, {});
    FAIL() << "garbage was taken for zstd";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
  }
  EXPECT_EQ(sink.ids, numbers(0, 50));
}

TEST_F(FileSourceTest, MissingFilesAndFoldersAreNamed) {
  for (const auto& path : {(folder_.path() / "none").string(), folder_.path().string()}) {
    try {
      run(file(path));
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
  }
}

TEST_F(FileSourceTest, KeepsARate) {
  auto options = file(write(lines_of(11)));
  options.pace = Pace::kRate;
  options.posts_per_second = 4;
  const auto sink = run(options);
  ASSERT_EQ(sink.times.size(), 11u);
  for (size_t i = 0; i < 11; ++i) EXPECT_EQ(sink.times[i] - sink.times[0], i * 250ms);
  EXPECT_EQ(sink.posts[10].received_at, sink.times[10]);
}

TEST_F(FileSourceTest, KeepsTheFeedsPace) {
  const Time t(1000000s);
  auto options = file(write(line_of(0, t) + line_of(1, t + 10s) + line_of(2, t + 5s) + line_of(3, t + 30s)));
  options.pace = Pace::kFeed;
  options.speed = 2;
  const auto sink = run(options);
  ASSERT_EQ(sink.times.size(), 4u);
  EXPECT_EQ(sink.times[1] - sink.times[0], 5s);
  EXPECT_EQ(sink.times[2] - sink.times[0], 5s);  // out of order: at once, not back in time
  EXPECT_EQ(sink.times[3] - sink.times[0], 15s);
}

TEST_F(FileSourceTest, LeadsComeAtOnce) {
  const Time t(1000000s);
  const auto path = write(lines_of(20));
  const auto delays = [&](auto set) {
    auto options = file(path);
    options.pace = Pace::kFeed;
    set(options);
    const auto sink = run(options);
    int at_once = 0;
    for (const Time time : sink.times) at_once += time == sink.times[0] ? 1 : 0;
    EXPECT_EQ(sink.ids, numbers(0, 20));
    EXPECT_EQ(sink.times.back() - sink.times.front(), std::chrono::seconds(20 - at_once));
    return at_once;
  };
  // The first post after the lead is due at once as well: the pace begins with it.
  EXPECT_EQ(delays([](auto&) {}), 1);
  EXPECT_EQ(delays([&](auto& o) { o.lead_until = t + 8s; }), 9);
  EXPECT_EQ(delays([](auto& o) { o.lead_duration = 5s; }), 6);
  EXPECT_EQ(delays([](auto& o) { o.lead_fraction = 0.5; }), 11);
  EXPECT_EQ(delays([](auto& o) { o.lead_fraction = 0.0; }), 1);
  auto whole = file(path);
  whole.pace = Pace::kFeed;
  whole.lead_fraction = 1.0;
  const auto sink = run(whole);
  EXPECT_EQ(sink.times.front(), sink.times.back());
}

TEST_F(FileSourceTest, GoesOnFromItsCursor) {
  const auto options = file(write(lines_of(1700)));
  for (const size_t first_part : {0u, 1u, 499u, 500u, 1234u, 1700u}) {
    CollectingSink first(clock_);
    first.stop_after(first_part);
    make_file_source(options, clock_)->run(first, {});
    CollectingSink second(clock_, first.cursor());
    make_file_source(options, clock_)->run(second, {});
    // At most the lines since the last cursor come twice, none is left out.
    ASSERT_FALSE(second.ids.empty() && first_part < 1700);
    const int again = second.ids.empty() ? 1700 : second.ids.front();
    EXPECT_LE(again, static_cast<int>(first_part));
    EXPECT_GT(again + 500, static_cast<int>(first_part));
    EXPECT_EQ(second.ids, numbers(again, 1700));
    CollectingSink third(clock_, second.cursor());
    make_file_source(options, clock_)->run(third, {});
    EXPECT_TRUE(third.ids.empty());
  }
}

TEST_F(FileSourceTest, APacedFeedGoesOnExactlyAndWithoutItsLead) {
  auto options = file(write(lines_of(40)));
  options.pace = Pace::kFeed;
  options.lead_duration = 10s;
  CollectingSink first(clock_);
  first.stop_after(20);
  make_file_source(options, clock_)->run(first, {});
  const auto second = run(options, first.cursor());
  EXPECT_EQ(second.ids, numbers(20, 40));
  EXPECT_EQ(second.times.back() - second.times.front(), 19s);
}

TEST_F(FileSourceTest, AnotherFileStartsFromItsBeginning) {
  const auto first = run(file(write(lines_of(30))));
  const auto second = run(file(write(lines_of(40, Time(2000000s)))), first.cursor());
  EXPECT_EQ(second.ids, numbers(0, 40));
  const auto third = run(file(write(lines_of(5))), "no cursor of ours");
  EXPECT_EQ(third.ids, numbers(0, 5));
}

TEST_F(FileSourceTest, AFileThatOnlyBeginsAlikeStartsFromItsBeginning) {
  const auto first = run(file(write(lines_of(30))));
  const auto changed = lines_of(20) + line_of(77, {}) + lines_of(30);
  EXPECT_EQ(run(file(write(changed)), first.cursor()).ids.size(), 51u);
  EXPECT_EQ(run(file(write(lines_of(29))), first.cursor()).ids, numbers(0, 29));
}

TEST_F(FileSourceTest, AFileThatGrewGoesOn) {
  const auto first = run(file(write(lines_of(30))));
  EXPECT_EQ(run(file(write(lines_of(45))), first.cursor()).ids, numbers(30, 45));
}

TEST_F(FileSourceTest, ReadsAPipeAsItComesAndStopsWhileItIsSilent) {
  const auto path = (folder_.path() / "pipe").string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  test::MemoryStore store;
  const auto cursors = open_cursor_file(folder_.path() / "cursors.json");
  const SystemClock clock;
  SourceRunner runner(store, *cursors, clock);
  runner.add(make_file_source(file(path), clock));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const auto say = [&](const std::string& text) {
    EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  };
  say(line_of(1, {}));
  EXPECT_TRUE(eventually([&] { return store.stats().posts == 1; }));
  say(line_of(2, {}));
  EXPECT_TRUE(eventually([&] { return store.stats().posts == 2; }));
  const auto begin = std::chrono::steady_clock::now();
  runner.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  ::close(fd);
}

TEST_F(FileSourceTest, AShareOfAPipeIsRefused) {
  const auto path = (folder_.path() / "pipe").string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  auto options = file(path);
  options.lead_fraction = 0.5;
  EXPECT_THROW(run(options), Error);
}

TEST_F(FileSourceTest, StopEndsALongWait) {
  auto options = file(write(line_of(0, Time(0s)) + line_of(1, Time(864000s))));
  options.pace = Pace::kFeed;
  test::MemoryStore store;
  const auto cursors = open_cursor_file(folder_.path() / "cursors.json");
  const SystemClock clock;
  SourceRunner runner(store, *cursors, clock);
  runner.add(make_file_source(options, clock));
  ASSERT_TRUE(eventually([&] { return store.stats().posts == 1; }));
  const auto begin = std::chrono::steady_clock::now();
  runner.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST(FileSourceOptionsTest, ContradictionsAreRefused) {
  const ManualClock clock;
  FileSourceOptions options;
  EXPECT_THROW(make_file_source(options, clock), Error);
  options.path = "-";
  make_file_source(options, clock);
  options.pace = Pace::kRate;
  EXPECT_THROW(make_file_source(options, clock), Error);
  options.pace = Pace::kFeed;
  options.speed = 0;
  EXPECT_THROW(make_file_source(options, clock), Error);
  options.speed = 1;
  options.lead_duration = 5s;
  options.lead_fraction = 0.5;
  EXPECT_THROW(make_file_source(options, clock), Error);
  options.lead_duration.reset();
  options.lead_fraction = 1.5;
  EXPECT_THROW(make_file_source(options, clock), Error);
}

TEST(FileSourceOptionsTest, PacesAndLeadsAreRead) {
  FileSourceOptions options;
  parse_pace("250/s", options);
  EXPECT_EQ(options.pace, Pace::kRate);
  EXPECT_EQ(options.posts_per_second, 250);
  parse_pace("feed*2.5", options);
  EXPECT_EQ(options.pace, Pace::kFeed);
  EXPECT_EQ(options.speed, 2.5);
  parse_pace("feed", options);
  EXPECT_EQ(options.speed, 1);
  parse_pace("at-once", options);
  EXPECT_EQ(options.pace, Pace::kAtOnce);
  for (const char* text :
       {"", "fast", "0/s", "-1/s", "nan/s", "inf/s", "x/s", "feed*", "feed*0", "feed*-1", "1 /s"})
    EXPECT_THROW(parse_pace(text, options), Error) << text;

  const auto lead = [](std::string_view text) {
    FileSourceOptions read;
    parse_lead(text, read);
    return read;
  };
  EXPECT_DOUBLE_EQ(*lead("25%").lead_fraction, 0.25);
  EXPECT_EQ(*lead("6h").lead_duration, 6h);
  EXPECT_EQ(*lead("90m").lead_duration, 90min);
  EXPECT_EQ(*lead("1.5s").lead_duration, 1500ms);
  EXPECT_EQ(*lead("2d").lead_duration, 48h);
  EXPECT_EQ(*lead("2026-01-31").lead_until, *parse_time("2026-01-31"));
  for (const char* text : {"", "%", "101%", "-1%", "5", "5w", "h", "1e999s", "nanh", "yesterday"})
    EXPECT_THROW(lead(text), Error) << text;
}

TEST_F(FileSourceTest, EveryBufferBoundaryIsCrossed) {  // long lines against the size of a read
  Random random(3);
  std::string text;
  std::vector<std::string> expected;
  for (int i = 0; i < 400; ++i) {
    expected.emplace_back(random.below(6000), static_cast<char>('a' + i % 26));
    text += expected.back() + (random.chance(0.5) ? "\n" : "\r\n");
  }
  for (const auto& content : {text, compress(text)}) {
    LineReader lines(write(content), 100000);
    std::string line;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(lines.next(line, {}), LineReader::Result::kLine);
      ASSERT_EQ(line, expected[i]);
      ASSERT_EQ(lines.number(), i + 1);
    }
    EXPECT_EQ(lines.next(line, {}), LineReader::Result::kEnd);
    EXPECT_EQ(lines.next(line, {}), LineReader::Result::kEnd);
  }
}

TEST_F(FileSourceTest, ReadsTheRealPostsWhereTheyAre) {
  const auto path =
      std::filesystem::path(FATHOM_SOURCE_DIR) / "../shared/data/posts/posts_hackernews.jsonl.zst";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "the real posts are not at ../shared/data";
  LineReader lines(path.string(), kMaxLineBytes);
  std::string line;
  size_t posts = 0;
  while (lines.next(line, {}) == LineReader::Result::kLine) {
    EXPECT_NO_THROW(parse_post(line, {}, "file")) << "line " << lines.number();
    ++posts;
  }
  EXPECT_EQ(posts, 27566u);
}

}  // namespace
}  // namespace fathom::live
