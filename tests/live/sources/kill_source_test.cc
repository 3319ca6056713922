// A file source killed with SIGKILL in mid-ingest, again and again: each start goes on from the kept cursor, and in the end
// every post of the file is in the store exactly once.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <thread>

#include "base/file.h"
#include "base/random.h"
#include "live/source.h"
#include "live/sources/file_source.h"
#include "live/store.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;

constexpr const char* kFolder = "FATHOM_KILL_SOURCE_CHILD_FOLDER";
constexpr int kPosts = 20000;

void write_feed(const std::filesystem::path& path) {
  std::string all;
  for (int i = 0; i < kPosts; ++i)
    all += fmt::format(R"({{"id":"{}","author":"a{}","text":"post number {}","created_at":"{}"}})", i, i % 50,
                       i, format_time(Time(1000000s) + std::chrono::seconds(i))) +
           "\n";
  write_file_atomic(path, all);
}

/// What `serve` does with a file, at a pace at which a kill hits it in the middle however fast the machine is.
bool ingest_feed(const std::filesystem::path& folder) {
  const SystemClock clock;
  const auto store = Store::open({folder / "store", true}, clock);
  const auto cursors = open_cursor_file(folder / "cursors.json");
  RunnerOptions options;
  options.flush_interval = 2ms;
  options.batch_posts = 100;
  options.queue_posts = 200;
  options.cursor_interval = 5ms;
  SourceRunner runner(*store, *cursors, clock, options);
  FileSourceOptions file;
  file.path = (folder / "feed.jsonl").string();
  file.pace = Pace::kRate;
  file.posts_per_second = 20000;
  runner.add(make_file_source(file, clock));
  runner.wait_finished({});
  return runner.status().front().state == SourceState::kFinished;
}

// Not a test of its own: the program starts itself with this one selected.
TEST(KillSourceChild, DISABLED_IngestsUntilKilled) {
  const char* folder = std::getenv(kFolder);
  if (folder == nullptr) GTEST_SKIP() << "runs only as a child of KillSource.NothingIsLostAndNothingDoubled";
  _exit(ingest_feed(folder) ? 0 : 1);  // the end of the process is what the parent waits for
}

/// How many lines the kept cursor says were read.
uint64_t lines_read(const std::filesystem::path& folder) {
  return std::strtoull(open_cursor_file(folder / "cursors.json")->load("file").c_str(), nullptr, 10);
}

/// Runs the child until its cursor stands at `lines` or more, then kills it: by progress and not by time, so that fast and
/// slow machines show the same. Returns whether the child came to the end of the feed.
bool run_child(const std::filesystem::path& folder, uint64_t lines) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv(kFolder, folder.c_str(), 1);
    ::execl("/proc/self/exe", "live_test", "--gtest_filter=KillSourceChild.*",
            "--gtest_also_run_disabled_tests", "--gtest_brief=1", nullptr);
    _exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (lines_read(folder) >= lines) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return false;
    }
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child failed";
  return true;
}

uint64_t stored(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / "store")) return 0;
  const SystemClock clock;
  return Store::open({folder / "store", true}, clock)->stats().posts;
}

TEST(KillSource, NothingIsLostAndNothingDoubled) {
  const TempDir dir;
  write_feed(dir.path() / "feed.jsonl");
  Random random(11);
  int killed_midway = 0;
  bool finished = false;
  // Every round gets further than the one before it, so the end comes within kPosts / 1000 rounds.
  while (!finished) {
    const uint64_t before = lines_read(dir.path());
    finished = run_child(dir.path(), before + 1000 + random.below(3000));
    const uint64_t posts = stored(dir.path());
    if (!finished && posts > 0 && posts < kPosts) ++killed_midway;
    // A line that the cursor says was read is in the store.
    ASSERT_LE(lines_read(dir.path()), posts);
  }
  EXPECT_GE(killed_midway, 1) << "no kill hit the ingest: the test has shown nothing";

  const SystemClock clock;
  const auto store = Store::open({dir.path() / "store", true}, clock);
  EXPECT_EQ(store->stats().posts, static_cast<uint64_t>(kPosts));
  std::set<std::string> ids;
  uint64_t after = 0;
  for (auto posts = store->tail(after, 1000); !posts.empty(); posts = store->tail(after, 1000)) {
    for (const auto& one : posts)
      EXPECT_TRUE(ids.insert(one.post.id).second) << one.post.id << " is there twice";
    after = posts.back().sequence;
  }
  EXPECT_EQ(ids.size(), static_cast<size_t>(kPosts));
}

}  // namespace
}  // namespace fathom::live
