#include "base/process.h"

#include <gtest/gtest.h>

#include <csignal>

#include "base/error.h"

namespace fathom {
namespace {

TEST(Process, OutputAndExitCode) {
  const ProcessResult result = run_process({"sh", "-c", "echo one; echo two; exit 7"});
  EXPECT_EQ(result.out, "one\ntwo\n");
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_EQ(result.signal, 0);
  EXPECT_FALSE(result.ok());
}

TEST(Process, TheSignalThatEndedIt) { EXPECT_EQ(run_process({"sh", "-c", "kill -9 $$"}).signal, SIGKILL); }

TEST(Process, AnOutputWithoutEndIsCut) {
  const ProcessResult result = run_process({"sh", "-c", "head -c 3000000 /dev/zero"});
  EXPECT_TRUE(result.ok());
  EXPECT_GE(result.out.size(), size_t{1} << 20);
  EXPECT_LT(result.out.size(), size_t{2} << 20);
}

TEST(Process, SignalsHeldBackHereReachTheOther) {
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &term, &before);
  EXPECT_EQ(run_process({"sh", "-c", "kill -TERM $$; exit 0"}).signal, SIGTERM);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(Process, AProgramThatIsNotThere) {
  EXPECT_FALSE(find_program("no-such-program-of-ours"));
  EXPECT_TRUE(find_program("sh"));
  try {
    run_process({"no-such-program-of-ours"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

}  // namespace
}  // namespace fathom
