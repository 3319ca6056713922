#include "train/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <limits>
#include <mutex>

#include "base/error.h"
#include "base/file.h"
#include "model/description.h"
#include "tensor/cpu_ops.h"
#include "train/checkpoint_file.h"
#include "train/run_support.h"
#include "train/thread_comm.h"

namespace fathom::train {
namespace {

namespace fs = std::filesystem;

model::ModelConfig tiny() {
  auto config = model::read_description(test::testdata("tiny.toml"));
  config.rope.pairing = model::RopePairing::kNeighbours;
  return config;
}

/// What a rank of a job has, without the passes: enough to save and to load.
struct Rank {
  Rank(const std::string& layout, std::unique_ptr<Communicator> world, const fs::path& folder,
       size_t keep = 3, const model::ModelConfig& config = tiny(), float ema = 0.9f)
      : pool(1),
        ops(tensor::make_cpu_ops(pool)),
        groups(make_groups(Layout::parse(layout), std::move(world))),
        parameters(config, groups.layout, groups.place, {}, *ops) {
    parameters.initialise(1, 0.02f);
    OptimiserOptions options;
    options.ema_decay = ema;
    options.bucket_floats = 1024;
    optimiser.emplace(parameters, groups, *ops, options);
    checkpoints.emplace(CheckpointOptions{folder, keep}, groups, parameters, *optimiser);
  }

  /// Numbers that tell tensor, element and kind, whatever the layout.
  void fill(float salt) {
    for (const Parameter& p : parameters.all())
      for (size_t i = 0; i < p.elements(); ++i) parameters.value(p)[i] = number(p, i, salt);
    each_state([&](const Parameter& p, size_t i, size_t kind, float& value) {
      value = number(p, i, salt + 1 + static_cast<float>(kind));
    });
  }
  size_t differences(float salt) {
    size_t count = 0;
    for (const Parameter& p : parameters.all())
      for (size_t i = 0; i < p.elements(); ++i) count += parameters.value(p)[i] != number(p, i, salt) ? 1 : 0;
    each_state([&](const Parameter& p, size_t i, size_t kind, float& value) {
      count += value != number(p, i, salt + 1 + static_cast<float>(kind)) ? 1 : 0;
    });
    return count;
  }

  ThreadPool pool;
  std::unique_ptr<tensor::DeviceOps> ops;
  Groups groups;
  Parameters parameters;
  std::optional<Optimiser> optimiser;
  std::optional<Checkpoints> checkpoints;

 private:
  static float number(const Parameter& p, size_t in_box, float salt) {
    const size_t plane = p.box.size[1] * p.box.size[2];
    const size_t a = p.box.begin[0] + in_box / plane, b = p.box.begin[1] + in_box % plane / p.box.size[2],
                 c = p.box.begin[2] + in_box % p.box.size[2];
    const size_t whole = (a * p.shape[1] + b) * p.shape[2] + c;
    return static_cast<float>(std::hash<std::string>()(p.name) % 1000) + salt * 1e4f +
           static_cast<float>(whole % 997) * 1e-3f;
  }

  template <class Visit>
  void each_state(Visit visit) {
    size_t kind = 0;
    for (const auto state :
         {OptimiserState::kFirstMoment, OptimiserState::kSecondMoment, OptimiserState::kAverage}) {
      const auto values = optimiser->state(state);
      for (const OwnedRange& owned : optimiser->owned())
        for (const Parameter& p : parameters.all())
          for (size_t i = 0; i < p.elements(); ++i)
            if (p.arena == owned.arena && p.offset + i >= owned.begin && p.offset + i < owned.end &&
                !values.empty())
              visit(p, i, kind, values[owned.state + p.offset + i - owned.begin]);
      ++kind;
    }
  }
};

void on_ranks(const std::string& layout, const std::function<void(std::unique_ptr<Communicator>)>& body) {
  run_ranks(Layout::parse(layout).ranks(), body);
}

void save(const std::string& layout, const fs::path& folder, uint64_t step, float salt, size_t keep = 3) {
  on_ranks(layout, [&](std::unique_ptr<Communicator> world) {
    Rank rank(layout, std::move(world), folder, keep);
    rank.fill(salt);
    rank.checkpoints->save({step, step * 10, 0, "{\"name\": \"test\"}"});
    rank.checkpoints->wait();
  });
}

/// The step that was loaded (empty: none), with how many numbers are not as `fill(salt)` has them, over all ranks.
std::pair<std::optional<uint64_t>, size_t> load(const std::string& layout, const fs::path& folder,
                                                float salt) {
  std::mutex mutex;
  std::pair<std::optional<uint64_t>, size_t> out{std::nullopt, 0};
  on_ranks(layout, [&](std::unique_ptr<Communicator> world) {
    Rank rank(layout, std::move(world), folder);
    const auto state = rank.checkpoints->load_newest();
    const size_t differences = state ? rank.differences(salt) : 0;
    const std::lock_guard lock(mutex);
    if (state) out.first = state->step;
    out.second += differences;
  });
  return out;
}

TEST(Checkpoint, EveryLayoutReadsWhatEveryOtherWrote) {
  const std::vector<std::string> layouts = {
      "data=1",   "data=2",     "data=2 zero=1",          "data=4 zero=2",
      "tensor=2", "pipeline=2", "data=2 tensor=2 zero=1", "pipeline=2 tensor=2"};
  for (const std::string& from : layouts) {
    const TempDir folder;
    save(from, folder.path(), 7, 1);
    for (const std::string& to : layouts) {
      const auto [step, differences] = load(to, folder.path(), 1);
      EXPECT_EQ(step, 7u) << from << " read by " << to;
      EXPECT_EQ(differences, 0u) << from << " read by " << to;
    }
  }
}

TEST(Checkpoint, AnEmptyFolderHasNone) {
  const TempDir folder;
  EXPECT_FALSE(load("data=1", folder.path(), 1).first);
  EXPECT_FALSE(load("data=1", folder.path() / "missing", 1).first);
}

TEST(Checkpoint, TheNewestAreKept) {
  const TempDir folder;
  for (uint64_t step = 1; step <= 5; ++step) save("data=2", folder.path(), step, 1, 2);
  const auto whole = list_checkpoints(folder.path());
  ASSERT_EQ(whole.size(), 2u);
  EXPECT_EQ(whole[0].filename(), "step-00000004");
  EXPECT_EQ(whole[1].filename(), "step-00000005");
}

TEST(Checkpoint, TrainingGoesOnWhileItIsWritten) {
  const TempDir folder;
  on_ranks("data=2", [&](std::unique_ptr<Communicator> world) {
    Rank rank("data=2", std::move(world), folder.path());
    rank.fill(1);
    rank.checkpoints->save({3, 30, 0, "{}"});
    rank.fill(2);  // what is saved is what was there
    rank.checkpoints->wait();
  });
  EXPECT_EQ(load("data=1", folder.path(), 1).second, 0u);
}

TEST(Checkpoint, WithoutACopyWhereTrainingStandsStill) {
  const TempDir folder;
  on_ranks("data=2 tensor=2", [&](std::unique_ptr<Communicator> world) {
    Rank rank("data=2 tensor=2", std::move(world), folder.path());
    rank.fill(1);
    rank.checkpoints->save({3, 30, 0, "{}"});
    rank.fill(2);
    rank.checkpoints->save_now({4, 40, 0, "{}"});
  });
  EXPECT_EQ(list_checkpoints(folder.path()).size(), 2u);
  EXPECT_EQ(load("data=1", folder.path(), 2), (std::pair<std::optional<uint64_t>, size_t>{4, 0}));
}

TEST(Checkpoint, WhatACrashLeavesIsNoCheckpointAndGoes) {
  const TempDir folder;
  save("data=1", folder.path(), 1, 1);
  const auto torn = folder.path() / "step-00000009";
  fs::create_directory(torn);
  fs::copy_file(folder.path() / "step-00000001/rank-00000.fck", torn / "rank-00000.fck");
  EXPECT_EQ(load("data=1", folder.path(), 1).first, 1u);
  save("data=1", folder.path(), 2, 2);
  EXPECT_FALSE(fs::exists(torn));
  EXPECT_EQ(load("data=1", folder.path(), 2).first, 2u);
}

TEST(Checkpoint, DamagedOnesArePassedOver) {
  const TempDir folder;
  save("data=2 zero=1", folder.path(), 1, 1);
  save("data=2 zero=1", folder.path(), 2, 2);
  const auto newest = folder.path() / "step-00000002";
  const std::string rank = read_file(newest / "rank-00001.fck"),
                    manifest = read_file(newest / "manifest.json");
  const auto with = [&](const char* name, const std::string& content) {
    write_file_atomic(newest / name, content);
    const auto [step, differences] = load("data=2 zero=1", folder.path(), 1);
    EXPECT_EQ(step, 1u);
    EXPECT_EQ(differences, 0u);
    write_file_atomic(newest / "rank-00001.fck", rank);
    write_file_atomic(newest / "manifest.json", manifest);
  };
  for (const size_t cut : {size_t{0}, size_t{10}, size_t{40}, rank.size() / 2, rank.size() - 4})
    with("rank-00001.fck", rank.substr(0, cut));
  with("rank-00001.fck", rank + "more");
  for (const size_t at : {size_t{3}, size_t{20}, size_t{30}, size_t{100}, rank.size() / 2, rank.size() - 1}) {
    std::string flipped = rank;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    with("rank-00001.fck", flipped);
  }
  for (const size_t at : {size_t{1}, manifest.find("\"step\"") + 8, manifest.size() / 2}) {
    std::string flipped = manifest;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    with("manifest.json", flipped);
  }
  fs::remove(newest / "rank-00000.fck");
  EXPECT_EQ(load("data=2 zero=1", folder.path(), 1).first, 1u);
}

TEST(Checkpoint, WhereNoneIsWholeNothingBeginsAnew) {
  const TempDir folder;
  save("data=1", folder.path(), 1, 1);
  write_file_atomic(folder.path() / "step-00000001/rank-00000.fck", "torn");
  try {
    load("data=1", folder.path(), 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
  }
}

TEST(Checkpoint, AnotherModelIsRefused) {
  const TempDir folder;
  save("data=1", folder.path(), 1, 1);
  auto wider = tiny();
  wider.ffn = 96;
  Rank rank("data=1", make_self_comm(), folder.path(), 3, wider);
  try {
    rank.checkpoints->load_newest();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("another model"), std::string::npos);
  }
}

TEST(Checkpoint, AnAverageThatBeginsNowBeginsWithTheWeights) {
  const TempDir folder;
  {
    Rank without("data=1", make_self_comm(), folder.path(), 3, tiny(), 0);
    without.fill(1);
    without.checkpoints->save({1, 1, 0, "{}"});
    without.checkpoints->wait();
  }
  Rank with("data=1", make_self_comm(), folder.path());
  ASSERT_TRUE(with.checkpoints->load_newest());
  const OwnedRange owned = with.optimiser->owned().front();
  EXPECT_EQ(with.optimiser->state(OptimiserState::kAverage)[owned.state],
            with.parameters.values(owned.arena)[owned.begin]);
}

/// Files of this process end at so many bytes, as they would on a full disk.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) : before_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &limit_);
    rlimit small = limit_;
    small.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &limit_);
    std::signal(SIGXFSZ, before_);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  rlimit limit_{};
  void (*before_)(int);
};

TEST(Checkpoint, AFullDiskIsToldAndOlderOnesStay) {
  const TempDir folder;
  on_ranks("data=2", [&](std::unique_ptr<Communicator> world) {
    Rank rank("data=2", std::move(world), folder.path());
    rank.fill(1);
    rank.checkpoints->save({1, 10, 0, "{}"});
    rank.checkpoints->wait();
    rank.groups.world->barrier();
    std::optional<SmallDisk> disk;
    if (rank.groups.world->rank() == 0) disk.emplace(20'000);
    rank.groups.world->barrier();
    rank.checkpoints->save({2, 20, 0, "{}"});
    try {
      rank.checkpoints->wait();
      ADD_FAILURE() << "the disk was full";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted) << error.what();
    }
    rank.groups.world->barrier();
    disk.reset();
    rank.groups.world->barrier();
    EXPECT_EQ(list_checkpoints(folder.path()).size(), 1u);
    rank.fill(3);
    rank.checkpoints->save({3, 30, 0, "{}"});
    rank.checkpoints->wait();
  });
  const auto [step, differences] = load("data=1", folder.path(), 3);
  EXPECT_EQ(step, 3u);
  EXPECT_EQ(differences, 0u);
}

TEST(Checkpoint, WholeTensorsOutOfAnyLayout) {
  const TempDir one, many;
  save("data=1", one.path(), 4, 1);
  save("data=2 tensor=2 zero=1", many.path(), 4, 1);
  const CheckpointReader a(list_checkpoints(one.path()).back()), b(list_checkpoints(many.path()).back());
  EXPECT_EQ(a.state().samples, 40u);
  EXPECT_EQ(a.tensors(), b.tensors());
  EXPECT_EQ(a.tensors().size(), model::required_tensors(tiny()).size());
  for (const auto& [name, shape] : a.tensors()) {
    EXPECT_EQ(a.read(name), b.read(name)) << name;
    EXPECT_EQ(a.read(name, true), b.read(name, true)) << name;
    EXPECT_NE(a.read(name), a.read(name, true)) << name;
  }
  EXPECT_THROW(a.read("no such tensor"), Error);
}

TEST(CheckpointFile, HeadersThatLieAreRefused) {
  const TempDir folder;
  CheckpointEntry entry;
  entry.name = "w";
  entry.shape = {1, 2, 3};
  entry.box.size = {1, 2, 3};
  entry.count = 6;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const auto refuses = [&](auto change) {
    CheckpointEntry lie = entry;
    change(lie);
    write_rank_file(folder.path() / "rank-00000.fck", {lie}, {values.data()});
    EXPECT_THROW(RankFile::open(folder.path() / "rank-00000.fck"), Error);
  };
  write_rank_file(folder.path() / "rank-00000.fck", {entry}, {values.data()});
  const RankFile sound = RankFile::open(folder.path() / "rank-00000.fck");
  EXPECT_EQ(sound.values(sound.entries().at(0))[5], 6.0f);
  refuses([](CheckpointEntry& e) { e.begin = 1; });
  refuses([](CheckpointEntry& e) { e.begin = std::numeric_limits<size_t>::max(); });
  refuses([](CheckpointEntry& e) { e.box.begin[2] = 1; });
  refuses([](CheckpointEntry& e) { e.box.size[0] = 2; });
  refuses([](CheckpointEntry& e) { e.shape[1] = size_t{1} << 39, e.shape[2] = size_t{1} << 39; });
  refuses([](CheckpointEntry& e) { e.count = 0; });
}

}  // namespace
}  // namespace fathom::train
