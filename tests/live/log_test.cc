// The log: what was appended and synced comes back whole and in order, whatever the disk did.
#include "live/log.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <thread>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "live/log_format.h"
#include "live/log_support.h"

namespace fathom::live {
namespace {

using testing::Faults;
using testing::FaultyDisk;
using ::testing::HasSubstr;

using Entries = std::map<uint64_t, std::string>;

std::string payload_of(uint64_t sequence) {
  return fmt::format("payload {} {}", sequence, std::string(sequence * 7 % 300, 'x'));
}

/// Appends `count` posts as one batch.
void append(Log& log, uint64_t first, uint64_t count) {
  std::vector<std::string> payloads;
  std::vector<LogEntry> entries;
  for (uint64_t i = 0; i < count; ++i) payloads.push_back(payload_of(first + i));
  for (uint64_t i = 0; i < count; ++i) entries.push_back({first + i, LogKind::kPost, payloads[i]});
  log.append(entries);
}

Entries replay(Log& log, uint64_t after = 0, size_t damaged = 0) {
  Entries found;
  uint64_t before = after;
  EXPECT_EQ(log.replay(after,
                       [&](const LogEntry& entry) {
                         EXPECT_GT(entry.sequence, before);
                         before = entry.sequence;
                         EXPECT_EQ(entry.payload, payload_of(entry.sequence));
                         found.emplace(entry.sequence, entry.payload);
                       }),
            damaged);
  return found;
}

void expect_range(const Entries& found, uint64_t first, uint64_t last) {
  ASSERT_EQ(found.size(), last - first + 1);
  EXPECT_EQ(found.begin()->first, first);
  EXPECT_EQ(found.rbegin()->first, last);
}

class LogTest : public ::testing::Test {
 protected:
  std::unique_ptr<Log> open(size_t file_bytes = size_t{64} << 20) {
    return Log::open({dir_.path(), sync_, file_bytes, &disk_});
  }
  static void overwrite(const std::filesystem::path& path, std::string_view content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  }
  std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path()))
      if (entry.path().filename().string().starts_with("log-")) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }

  TempDir dir_{"fathom-log-test"};
  bool sync_ = true;
  Faults faults_;
  FaultyDisk disk_{faults_};
};

TEST_F(LogTest, ComesBackAfterReopening) {
  {
    const auto log = open();
    EXPECT_EQ(log->last(), 0u);
    EXPECT_TRUE(replay(*log).empty());
    append(*log, 1, 3);
    EXPECT_EQ(log->last(), 3u);
    EXPECT_EQ(log->synced(), 0u);
    log->sync(3);
    EXPECT_EQ(log->synced(), 3u);
    append(*log, 4, 1);
  }
  for (uint64_t last = 4; last < 7; ++last) {
    const auto log = open();
    EXPECT_EQ(log->last(), last);
    EXPECT_EQ(log->synced(), last);
    expect_range(replay(*log), 1, last);
    expect_range(replay(*log, 2), 3, last);
    append(*log, last + 1, 1);
  }
}

TEST_F(LogTest, FilesFollowEachOtherAndAreDropped) {
  auto log = open(4096);
  for (uint64_t s = 1; s <= 200; s += 5) append(*log, s, 5);
  log->sync(200);
  const auto many = files();
  EXPECT_GT(many.size(), 5u);
  const uint64_t bytes = log->bytes();
  expect_range(replay(*log), 1, 200);
  log->drop_through(100);
  EXPECT_LT(log->bytes(), bytes);
  EXPECT_LT(files().size(), many.size());
  expect_range(replay(*log, 100), 101, 200);
  log->drop_through(200);
  EXPECT_EQ(files().size(), 1u);
  log.reset();
  EXPECT_EQ(open(4096)->last(), 200u);
}

TEST_F(LogTest, SequencesMayLeaveGaps) {
  const auto log = open();
  append(*log, 10, 2);
  append(*log, 20, 2);
  EXPECT_EQ(replay(*log).size(), 4u);
}

TEST_F(LogTest, KindsAndEmptyPayloads) {
  const auto log = open();
  const LogEntry entries[] = {{1, LogKind::kBury, ""}, {2, LogKind::kCount, "c"}};
  log->append(entries);
  log->append({});
  std::vector<LogKind> kinds;
  log->replay(0, [&](const LogEntry& entry) { kinds.push_back(entry.kind); });
  EXPECT_THAT(kinds, ::testing::ElementsAre(LogKind::kBury, LogKind::kCount));
}

TEST_F(LogTest, AFullDiskLeavesNothingBehind) {
  auto log = open(4096);
  append(*log, 1, 2);
  for (int fault = 1; fault <= 3; ++fault) {
    faults_.full = fault;
    EXPECT_THROW(append(*log, 3, 50), Error);
    faults_.full = 0;
    EXPECT_EQ(log->last(), 2u);
  }
  append(*log, 3, 1);
  log->sync(3);
  expect_range(replay(*log), 1, 3);
  log.reset();
  expect_range(replay(*open(4096)), 1, 3);
}

TEST_F(LogTest, AShortWriteIsNotReadLater) {
  auto log = open();
  append(*log, 1, 1);
  faults_.torn = 1;
  EXPECT_THROW(append(*log, 2, 40), Error);  // intact frames of what failed stand behind the end
  append(*log, 2, 1);
  expect_range(replay(*log), 1, 2);
  log.reset();
  expect_range(replay(*open()), 1, 2);
}

TEST_F(LogTest, AFailedSyncIsNotTrustedAgain) {
  auto log = open(4096);
  append(*log, 1, 5);
  log->sync(5);
  append(*log, 6, 5);
  append(*log, 11, 60);  // in another file
  faults_.bad_syncs = 1;
  log->sync(70);
  EXPECT_EQ(log->synced(), 70u);
  append(*log, 71, 5);
  log->sync(75);
  expect_range(replay(*log), 1, 75);
  log.reset();
  expect_range(replay(*open(4096)), 1, 75);
}

TEST_F(LogTest, AFailedFirstSyncOfAFile) {
  auto log = open();
  append(*log, 1, 5);
  faults_.bad_syncs = 1;
  log->sync(5);
  log.reset();
  expect_range(replay(*open()), 1, 5);
}

TEST_F(LogTest, ADiskThatNeverSyncsIsAnErrorUntilItDoes) {
  auto log = open();
  append(*log, 1, 5);
  faults_.bad_syncs = 1000;
  EXPECT_THROW(log->sync(5), Error);
  EXPECT_THROW(log->sync(5), Error);
  EXPECT_THROW(append(*log, 6, 1), Error);
  EXPECT_EQ(log->synced(), 0u);
  EXPECT_EQ(log->last(), 5u);
  faults_.bad_syncs = 0;
  append(*log, 6, 1);
  log->sync(6);
  log.reset();
  expect_range(replay(*open()), 1, 6);
}

/// Tries until it works: a fault may strike twice where several threads order one.
template <class Work>
void insist(Work&& work) {
  for (;;) {
    try {
      return work();
    } catch (const Error&) {
    }
  }
}

TEST_F(LogTest, ManyWaitForOneSync) {
  const auto log = open(20'000);
  std::mutex mutex;
  uint64_t next = 1;
  constexpr uint64_t kAppends = 30;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (uint64_t i = 0; i < kAppends; ++i) {
        uint64_t mine = 0;
        {
          const std::lock_guard lock(mutex);
          mine = next + 2;
          insist([&] { append(*log, next, 3); });
          next += 3;
        }
        if (i % 16 == 0) faults_.bad_syncs = 1;
        insist([&] { log->sync(mine); });
        EXPECT_GE(log->synced(), mine);
      }
    });
  for (auto& thread : threads) thread.join();
  expect_range(replay(*log), 1, next - 1);
}

TEST_F(LogTest, AFolderInUseIsRefused) {
  const auto log = open();
  try {
    open();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_THAT(error.what(), HasSubstr("in use"));
  }
}

TEST_F(LogTest, ANewerVersionIsRefused) {
  append(*open(), 1, 1);
  const auto path = files().at(0);
  std::string content = read_file(path);
  content[8] = 2;
  const uint32_t checksum = crc32c(content.substr(0, 24));
  content.replace(24, sizeof checksum, reinterpret_cast<const char*>(&checksum), sizeof checksum);
  overwrite(path, content);
  try {
    open();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr(path.string()));
  }
}

TEST_F(LogTest, ATornEndLosesWholeBatchesFromTheEnd) {
  sync_ = false;
  {
    const auto log = open();
    for (uint64_t s = 1; s <= 12; s += 3) append(*log, s, 3);
  }
  const auto path = files().at(0);
  const std::string content = read_file(path);
  Random random(7);
  size_t before = 12;
  for (size_t cut = content.size(); cut + 5 > 5; cut -= std::min<size_t>(cut, 5)) {
    std::string torn = content.substr(0, cut);
    const size_t smear = random.below(40);
    for (size_t i = 0; i < smear; ++i) torn += static_cast<char>(random.next());
    if (random.below(2) == 0) torn.append(500, '\0');
    overwrite(path, torn);
    auto log = open();
    const auto found = replay(*log);
    EXPECT_EQ(found.size() % 3, 0u);
    EXPECT_EQ(found.size(), log->last());
    EXPECT_LE(found.size(), before);
    before = found.size();
    append(*log, log->last() + 1, 1);
    const uint64_t last = log->last();
    log.reset();
    expect_range(replay(*open()), 1, last);
    if (cut == 0) break;
  }
  EXPECT_EQ(before, 0u);
}

TEST_F(LogTest, AFlippedBitCostsTheFrameItHits) {
  sync_ = false;
  constexpr uint64_t kLast = 60;
  {
    const auto log = open(4096);
    for (uint64_t s = 1; s <= kLast; s += 3) append(*log, s, 3);
  }
  const auto all = files();
  ASSERT_GT(all.size(), 1u);
  Random random(11);
  for (int round = 0; round < 150; ++round) {
    const auto& path = all[random.below(all.size())];
    const std::string content = read_file(path);
    std::string flipped = content;
    const size_t at = random.below(flipped.size());
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << random.below(8)));
    overwrite(path, flipped);
    {
      const auto log = open(4096);
      Entries found;
      log->replay(0, [&](const LogEntry& entry) {
        EXPECT_EQ(entry.payload, payload_of(entry.sequence));
        found.emplace(entry.sequence, entry.payload);
      });
      const bool in_last_batch = path == all.back() && found.rbegin()->first == kLast - 3;
      EXPECT_GE(found.size(), in_last_batch ? kLast - 3 : kLast - 1) << "byte " << at;
      if (at < kLogHeaderBytes) {
        EXPECT_EQ(found.size(), kLast);
      }
    }
    overwrite(path, content);
  }
}

TEST_F(LogTest, DamageIsCounted) {
  sync_ = false;
  {
    const auto log = open(4096);
    for (uint64_t s = 1; s <= 60; s += 3) append(*log, s, 3);
  }
  const auto all = files();
  for (const size_t from_end : {200, 1}) {
    std::string content = read_file(all[0]);
    const std::string whole = content;
    content[content.size() - from_end] ^= 1;
    overwrite(all[0], content);
    EXPECT_EQ(replay(*open(4096), 0, 1).size(), 59u);
    overwrite(all[0], whole);
  }
}

TEST_F(LogTest, AMissingFileCostsWhatItHeld) {
  {
    const auto log = open(4096);
    for (uint64_t s = 1; s <= 60; s += 3) append(*log, s, 3);
  }
  std::filesystem::remove(files().at(1));
  const auto log = open(4096);
  const auto found = replay(*log);
  EXPECT_EQ(found.begin()->first, 1u);
  EXPECT_EQ(found.rbegin()->first, 60u);
  EXPECT_LT(found.size(), 60u);
}

TEST_F(LogTest, AnUnfinishedRewriteIsRemoved) {
  append(*open(), 1, 2);
  std::ofstream(dir_.path() / "log-00000000000000000001.tmp") << "half";
  expect_range(replay(*open()), 1, 2);
  EXPECT_EQ(files().size(), 1u);
}

}  // namespace
}  // namespace fathom::live
