#include "base/progress.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace fathom {
namespace {

using namespace std::chrono_literals;

TEST(HumanCount, KeepsOneDecimal) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1000), "1.0 k");
  EXPECT_EQ(human_count(1234567), "1.2 M");
  EXPECT_EQ(human_count(999999), "1.0 M");
  EXPECT_EQ(human_count(2.5e9), "2.5 G");
  EXPECT_EQ(human_count(7e15), "7000.0 T");
}

TEST(Progress, SaysNothingWhereThereIsNoTerminal) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("reading", 100, "posts");
    progress.update(50);
    std::this_thread::sleep_for(1100ms);
    progress.update(100);
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

/// What `act` writes to standard error when that is a terminal. Runs in a process of its own.
template <class Act>
std::string on_terminal(Act act) {
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    act();
    ::_exit(0);
  }
  std::string all;
  char chunk[4096];
  for (;;) {
    const ssize_t n = ::read(terminal, chunk, sizeof chunk);
    if (n <= 0) break;  // EIO: the child has ended
    all.append(chunk, static_cast<size_t>(n));
  }
  ::close(terminal);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  return all;
}

TEST(Progress, DrawsABarAfterASecond) {
  const auto drawn = on_terminal([] {
    Progress progress("reading", 200, "posts");
    progress.update(10);
    std::this_thread::sleep_for(1050ms);
    progress.update(100);
  });
  EXPECT_NE(drawn.find("reading [##############..............]  50%"), std::string::npos) << drawn;
  EXPECT_EQ(drawn.find("  5%"), std::string::npos) << drawn;
}

TEST(Progress, ShortWorkIsSilent) {
  EXPECT_EQ(on_terminal([] {
              Progress progress("reading", 200, "posts");
              for (uint64_t i = 0; i <= 200; ++i) progress.update(i);
            }),
            "");
}

TEST(Progress, AnUnknownTotalCounts) {
  const auto drawn = on_terminal([] {
    Progress progress("reading", 0, "posts");
    std::this_thread::sleep_for(1050ms);
    progress.update(4200);
  });
  EXPECT_NE(drawn.find("reading: 4.2 k posts"), std::string::npos) << drawn;
}

}  // namespace
}  // namespace fathom
