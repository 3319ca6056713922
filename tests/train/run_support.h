// Test support: a folder with a small run in it: data, description and RUN.toml.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "train/dataset.h"
#include "train/run_config.h"

namespace fathom::test {

inline std::filesystem::path testdata(const std::string& name) {
  return std::filesystem::path(FATHOM_SOURCE_DIR) / "tests/train/testdata" / name;
}

/// Documents in which each token follows from the one before it, most of the time: something to learn.
inline void write_tokens(const std::filesystem::path& folder, uint64_t seed, size_t documents, size_t vocab) {
  train::DatasetWriter writer(folder, vocab, false, "test");
  Random random(seed);
  for (size_t d = 0; d < documents; ++d) {
    std::vector<int32_t> tokens = {static_cast<int32_t>(random.below(vocab))};
    while (tokens.size() < 60) {
      const auto next = (static_cast<size_t>(tokens.back()) * 5 + 1) % vocab;
      tokens.push_back(static_cast<int32_t>(random.chance(0.1) ? random.below(vocab) : next));
    }
    writer.add(tokens);
  }
  writer.finish("{}");
}

class SmallRun {
 public:
  SmallRun() : folder_("fathom-run") {
    write_tokens(folder_.path() / "train", 1, 200, 64);
    write_tokens(folder_.path() / "held-out", 2, 40, 64);
    write_file_atomic(file(), fmt::format(R"(seed = 3
precision = "f32"
folder = "run"
[model]
description = "{}"
[data]
train = "train"
held_out = "held-out"
length = 32
[batch]
sequences = 8
micro = 2
[schedule]
learning_rate = 1e-2
steps = 12
warmup = 2
[checkpoint]
steps = 4
minutes = 0
[evaluate]
every = 0
batches = 2
)",
                                          testdata("tiny.toml").string()));
  }

  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path file() const { return folder_.path() / "run.toml"; }
  train::RunConfig config(std::vector<std::string> changes = {}) const {
    return train::read_run(file(), changes, path());
  }

 private:
  TempDir folder_;
};

}  // namespace fathom::test
