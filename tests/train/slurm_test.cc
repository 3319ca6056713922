#include "train/slurm.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "train/launcher.h"

namespace fathom::train {
namespace {

SlurmOptions options(const std::filesystem::path& folder) {
  SlurmOptions o;
  o.name = "starter";
  o.command = {"/opt/fathom", "train", "it's.toml", "--layout", "data=8 zero=1"};
  o.folder = folder;
  o.nodes = 2;
  o.ranks = 8;
  o.cpus_per_rank = 4;
  o.time = "1-12:00:00";
  o.partition = "long";
  return o;
}

TEST(Slurm, TheScriptAsksForWhatTheJobNeeds) {
  const std::string script = slurm_script(options("/runs/starter"));
  for (const char* line :
       {"#!/bin/bash\n", "#SBATCH --job-name=starter\n", "#SBATCH --nodes=2\n", "#SBATCH --ntasks=8\n",
        "#SBATCH --cpus-per-task=4\n", "#SBATCH --time=1-12:00:00\n", "#SBATCH --partition=long\n",
        "#SBATCH --requeue\n", "#SBATCH --signal=B:USR1@120\n",
        "#SBATCH --output=\"/runs/starter/slurm-%j.log\"\n",
        "'/opt/fathom' 'train' 'it'\\''s.toml' '--layout' 'data=8 zero=1' &\n"})
    EXPECT_NE(script.find(line), std::string::npos) << line << "\n" << script;
  EXPECT_EQ(script.find("--account"), std::string::npos);
}

TEST(Slurm, TheScriptIsOneThatBashTakes) {
  const TempDir folder;
  write_file_atomic(folder.path() / "job", slurm_script(options(folder.path())));
  EXPECT_TRUE(run_process({"bash", "-n", (folder.path() / "job").string()}).ok());
}

TEST(Slurm, QuotedForAShell) {
  for (const std::string word : {"plain", "two words", "it's", "$(reboot)", "a\nb", ""})
    EXPECT_EQ(run_process({"sh", "-c", "printf %s " + shell_quoted(word)}).out, word);
}

TEST(Slurm, WhatWouldLeaveItsLineIsRefused) {
  SlurmOptions o = options("/runs/starter");
  o.time = "1\n#SBATCH --uid=0";
  EXPECT_THROW(slurm_script(o), Error);
  o = options("/runs/\"x\"");
  EXPECT_THROW(slurm_script(o), Error);
}

TEST(Launcher, NamesTheRankThatDied) {
  const auto death = find_rank_death(
      "step 3\n-----\nmpirun noticed that process rank 5 with PID 0 on node here exited on signal 9 "
      "(Killed).\n");
  ASSERT_TRUE(death);
  EXPECT_EQ(death->rank, 5u);
  EXPECT_EQ(death->signal, 9);
  EXPECT_FALSE(find_rank_death("all is well"));
  EXPECT_FALSE(find_rank_death("process rank x exited on signal 9"));
  EXPECT_FALSE(find_rank_death("process rank 5"));
}

}  // namespace
}  // namespace fathom::train
