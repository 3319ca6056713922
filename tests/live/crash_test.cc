// Nothing that was acknowledged is lost: a child process ingests and is killed with SIGKILL at random moments; a log torn or
// smeared at its end loses whole calls from the end and nothing else; a full disk is an error and reads go on.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "live/file_size_limit.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::FileSizeLimit;
using testing::kStart;
using testing::make_delete;
using testing::make_post;
using testing::TestStore;

constexpr const char* kFolder = "FATHOM_CRASH_CHILD_FOLDER";
constexpr const char* kPipe = "FATHOM_CRASH_CHILD_PIPE";
constexpr const char* kFirst = "FATHOM_CRASH_CHILD_FIRST";
constexpr size_t kPostsPerCall = 7;

/// Segments of a few calls: seals and merges run all the time.
StoreOptions small_segments(const std::filesystem::path& folder) {
  StoreOptions options;
  options.folder = folder;
  options.segment_posts = 40;
  return options;
}

/// What the child ingests in call `n`: new posts, and the removal of one of the call before.
std::vector<Post> call(size_t n) {
  std::vector<Post> posts;
  for (size_t i = 0; i < kPostsPerCall; ++i)
    posts.push_back(
        make_post("c" + std::to_string(n) + "-" + std::to_string(i), "word call" + std::to_string(n)));
  if (n > 0) posts.push_back(make_delete("c" + std::to_string(n - 1) + "-0", kStart + std::chrono::hours(1)));
  return posts;
}

// Not a test of its own: the program starts itself with this one selected, since a process with threads cannot be forked.
TEST(CrashChild, DISABLED_IngestsUntilKilled) {
  const char* folder = std::getenv(kFolder);
  if (folder == nullptr) GTEST_SKIP() << "runs only as a child of Crash.SigkillLosesNothingAcknowledged";
  const int pipe = std::atoi(std::getenv(kPipe));
  SystemClock clock;
  const auto store = Store::open(small_segments(folder), clock);
  for (size_t n = std::strtoul(std::getenv(kFirst), nullptr, 10);; ++n) {
    store->ingest(call(n));
    const uint64_t acknowledged = n;
    if (::write(pipe, &acknowledged, sizeof acknowledged) != sizeof acknowledged) _exit(1);
  }
}

/// Starts the child, lets it acknowledge something, kills it after `patience`; returns the last call acknowledged.
std::optional<uint64_t> run_child(const std::filesystem::path& folder, size_t first,
                                  std::chrono::microseconds patience) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    ::setenv(kFolder, folder.c_str(), 1);
    ::setenv(kPipe, std::to_string(ends[1]).c_str(), 1);
    ::setenv(kFirst, std::to_string(first).c_str(), 1);
    ::execl("/proc/self/exe", "live_test", "--gtest_filter=CrashChild.*", "--gtest_also_run_disabled_tests",
            "--gtest_brief=1", nullptr);
    _exit(127);
  }
  ::close(ends[1]);
  std::optional<uint64_t> last;
  uint64_t acknowledged = 0;
  if (::read(ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged) last = acknowledged;
  std::this_thread::sleep_for(patience);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  while (::read(ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged) last = acknowledged;
  ::close(ends[0]);
  return last;
}

/// Each call is there whole or not at all; returns how many are.
size_t whole_calls(const Store& store, size_t calls_at_most) {
  size_t whole = 0;
  for (size_t n = 0; n < calls_at_most; ++n) {
    size_t present = 0;
    for (size_t i = 1; i < kPostsPerCall; ++i)
      present += store.find("test:c" + std::to_string(n) + "-" + std::to_string(i)).has_value() ? 1 : 0;
    EXPECT_TRUE(present == 0 || present == kPostsPerCall - 1) << "call " << n << " is torn";
    if (present == 0) break;
    const bool next_is_there = store.find("test:c" + std::to_string(n + 1) + "-1").has_value();
    EXPECT_EQ(store.find("test:c" + std::to_string(n) + "-0").has_value(), !next_is_there)
        << "deletion after call " << n;
    ++whole;
  }
  return whole;
}

TEST(Crash, SigkillLosesNothingAcknowledged) {
  const TempDir dir;
  const auto folder = dir.path() / "feed";
  Random random(static_cast<uint64_t>(::getpid()));
  size_t next = 0;
  for (int round = 0; round < 10; ++round) {
    const auto last = run_child(folder, next, std::chrono::microseconds(random.below(60'000)));
    ASSERT_TRUE(last.has_value()) << "the child did not start";
    SystemClock clock;
    const auto store = Store::open(small_segments(folder), clock);
    const size_t found = whole_calls(*store, *last + 3);
    ASSERT_GE(found, *last + 1) << "acknowledged posts are lost in round " << round;
    ASSERT_LE(found, *last + 2) << "more is there than was sent";
    Query query;
    query.text = "call" + std::to_string(*last);
    query.fold = false;
    ASSERT_GE(store->search(query).hits.size(), kPostsPerCall - 1);
    ASSERT_EQ(store->stats().posts, found * (kPostsPerCall - 1) + 1);
    next = found;
  }
  EXPECT_GT(next, 0u);
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    EXPECT_NE(entry.path().extension(), ".damaged") << entry.path();
}

std::filesystem::path log_file(const std::filesystem::path& folder) {
  std::filesystem::path newest;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("log-") && (newest.empty() || entry.path() > newest))
      newest = entry.path();
  return newest;
}

TEST(Crash, ATornLogLosesWholeCallsFromTheEnd) {
  const TempDir dir;
  SystemClock clock;
  constexpr size_t kCalls = 20;
  {
    const auto store = Store::open({dir.path() / "feed", true}, clock);
    for (size_t n = 0; n < kCalls; ++n) store->ingest(call(n));
  }
  const auto log = log_file(dir.path() / "feed");
  ASSERT_FALSE(log.empty());
  const auto size = std::filesystem::file_size(log);
  Random random(17);
  size_t last_found = kCalls + 1;
  for (int round = 0; round < 12; ++round) {
    const auto copy = dir.path() / ("copy" + std::to_string(round));
    std::filesystem::copy(dir.path() / "feed", copy, std::filesystem::copy_options::recursive);
    const auto torn = copy / log.filename();
    const auto cut = size - size * static_cast<uint64_t>(round) / 12;
    std::filesystem::resize_file(torn, cut);
    if (round % 2 == 1) {  // what a crash may leave behind the last whole write
      std::ofstream out(torn, std::ios::app | std::ios::binary);
      for (uint64_t n = random.below(300); n > 0; --n) out.put(static_cast<char>(random.next()));
    }
    const auto store = Store::open({copy, true}, clock);
    const size_t found = whole_calls(*store, kCalls + 1);
    EXPECT_TRUE(round > 0 || found == kCalls);
    EXPECT_LE(found, last_found);
    EXPECT_EQ(store->stats().posts, found == 0 ? 0 : found * (kPostsPerCall - 1) + 1);
    EXPECT_EQ(store->ingest({make_post("after", "still writable")}).added, 1u);
    last_found = found;
  }
  EXPECT_LT(last_found, kCalls / 2);
}

TEST(Crash, AFullDiskIsAnErrorAndReadsGoOn) {
  TestStore s({make_post("1", "before the disk is full")});
  std::vector<Post> many;
  for (int i = 0; i < 200; ++i) many.push_back(make_post("m" + std::to_string(i), std::string(1000, 'x')));
  {
    const FileSizeLimit limit(16 * 1024);
    EXPECT_THROW(s.store->ingest(many), Error);
    EXPECT_THROW(s.store->ingest(many), Error);
    EXPECT_EQ(s.ids("disk"), std::vector<std::string>{"1"});
    EXPECT_EQ(s.store->stats().posts, 1u);
    EXPECT_FALSE(s.store->find("test:m0").has_value());
  }
  // With room again the store writes again.
  EXPECT_EQ(s.store->ingest({make_post("2", "after the disk was full")}).added, 1u);
  s.reopen();
  EXPECT_EQ(s.ids("disk").size(), 2u);
}

}  // namespace
}  // namespace fathom::live
