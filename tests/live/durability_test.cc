// Damage on disk is named and contained: a bit flipped in any file of a store, files that vanish, leftovers of a crash, a disk
// that fills up in the middle of a seal. The store opens, and what does not lie in what was damaged is there.
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>
#include <thread>

#include "base/checksum.h"
#include "base/error.h"
#include "base/random.h"
#include "live/codec.h"
#include "live/file_size_limit.h"
#include "live/manifest.h"
#include "live/segment/format.h"
#include "live/store_support.h"

namespace fathom::live {
namespace {

using testing::FileSizeLimit;
using testing::kStart;
using testing::make_delete;
using testing::make_post;
using namespace std::chrono_literals;

StoreOptions options_of(const std::filesystem::path& folder, size_t segment_posts = 20) {
  StoreOptions options;
  options.folder = folder;
  options.sync = false;
  options.segment_posts = segment_posts;
  return options;
}

template <class Done>
bool eventually(Done&& done) {
  for (int i = 0; i < 2'000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

constexpr int kPosts = 150;

/// A folder with sealed segments, merged ones, changes and a tail in the log: posts 0..149, every tenth removed and every
/// eleventh replaced. Returns the keys that live.
std::set<std::string> make_folder(const std::filesystem::path& folder, const Clock& clock) {
  std::set<std::string> alive;
  const auto store = Store::open(options_of(folder), clock);
  const auto sealed = [&](uint64_t posts) {
    return eventually([&] { return store->stats().sealed_posts >= posts; });
  };
  for (int n = 0; n < kPosts; ++n) {
    const std::string id = std::to_string(n);
    store->ingest({make_post(id, "word number" + id)});
    alive.insert("test:" + id);
    if (n == 100) {
      EXPECT_TRUE(sealed(50));
    }
    if (n % 10 == 9) {
      store->ingest({make_delete(std::to_string(n - 5), kStart + 1h)});
      alive.erase("test:" + std::to_string(n - 5));
    }
    if (n % 11 == 10) store->ingest({make_post(std::to_string(n - 9), "word said anew")});
  }
  store->count({{"test:1", {5, 0, 0}}});
  EXPECT_TRUE(sealed(70));
  return alive;
}

std::set<std::string> keys_of(const Store& store) {
  std::set<std::string> keys;
  for (const auto& entry : store.tail(0, 10'000)) EXPECT_TRUE(keys.insert(entry.post.key()).second);
  return keys;
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename() != "LOCK") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

class DurabilityTest : public ::testing::Test {
 protected:
  DurabilityTest() : alive_(make_folder(whole_, clock_)) {}

  /// A copy of the folder that a test may damage.
  std::filesystem::path copy() {
    const auto folder = dir_.path() / ("copy" + std::to_string(copies_++));
    std::filesystem::copy(whole_, folder, std::filesystem::copy_options::recursive);
    return folder;
  }

  TempDir dir_{"fathom-durability-test"};
  ManualClock clock_{kStart + 24h};
  std::filesystem::path whole_ = dir_.path() / "whole";
  std::set<std::string> alive_;
  int copies_ = 0;
};

TEST_F(DurabilityTest, AFlippedBitAnywhere) {
  Random random(3);
  for (int round = 0; round < 42; ++round) {
    const auto folder = copy();
    const auto files = files_in(folder);
    const auto& path = files[static_cast<size_t>(round) % files.size()];
    const std::string name = path.filename().string();
    std::string content = read_file(path);
    if (content.empty()) continue;
    const size_t at = random.below(content.size());
    content[at] = static_cast<char>(content[at] ^ (1 << random.below(8)));
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;

    size_t held =
        0;  // how many posts may be lost: those of the damaged segment, or of the last call in the log
    if (const auto range = segment_range(name); range && name.ends_with(".seg"))
      held = range->last - range->first + 1;
    else if (name.starts_with("log-"))
      held = 1;
    {
      const auto store = Store::open(options_of(folder), clock_);
      const std::set<std::string> found = keys_of(*store);
      EXPECT_EQ(store->newest(10'000).size(), found.size());
      for (const auto& key : alive_) EXPECT_LE(store->find(key).has_value(), found.contains(key)) << key;
      std::set<std::string> lost, risen;
      std::set_difference(alive_.begin(), alive_.end(), found.begin(), found.end(),
                          std::inserter(lost, lost.end()));
      std::set_difference(found.begin(), found.end(), alive_.begin(), alive_.end(),
                          std::inserter(risen, risen.end()));
      EXPECT_LE(lost.size(), held) << name << " at " << at;
      // An order to remove that was itself damaged removes nothing; no other file brings back what was removed.
      EXPECT_LE(risen.size(), held) << name << " at " << at;
      EXPECT_EQ(store->ingest({make_post("new", "still writable")}).added, 1u);
    }
    EXPECT_TRUE(Store::open(options_of(folder), clock_)->find("test:new").has_value());
    std::filesystem::remove_all(folder);
  }
}

/// Damages the records of one segment, which are not looked at when it is opened. Returns its range.
SegmentRange damage_records(const std::filesystem::path& folder) {
  for (const auto& path : files_in(folder)) {
    if (path.extension() != ".seg") continue;
    std::string content = read_file(path);
    SegmentFooter footer;
    std::memcpy(&footer, content.data() + content.size() - sizeof footer, sizeof footer);
    SegmentFile::Entry entry;
    for (size_t at = footer.table_offset; entry.kind != static_cast<uint32_t>(SectionKind::kRecords);
         at += sizeof entry)
      std::memcpy(&entry, content.data() + at, sizeof entry);
    for (size_t at = entry.offset; at < entry.offset + entry.size; at += 16)
      content[at] = static_cast<char>(content[at] ^ 4);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    return *segment_range(path.filename().string());
  }
  ADD_FAILURE() << "there is no segment";
  return {};
}

TEST_F(DurabilityTest, ADamagedRecordIsLeftOutAndCounted) {
  const auto folder = copy();
  const auto range = damage_records(folder);
  const auto store = Store::open(options_of(folder), clock_);
  const auto found = keys_of(*store);
  EXPECT_LT(found.size(), alive_.size());
  EXPECT_GE(found.size(), alive_.size() - (range.last - range.first + 1));
  const uint64_t damaged = store->stats().damaged_records;
  EXPECT_EQ(damaged, alive_.size() - found.size());
  EXPECT_EQ(store->newest(1'000).size(), found.size());
  Query query;
  query.text = "word";
  query.fold = false;
  query.limit = 1'000;
  EXPECT_EQ(store->search(query).hits.size(), found.size());
  EXPECT_EQ(store->stats().damaged_records, damaged) << "each is counted once";
  for (const auto& key : alive_) {
    EXPECT_EQ(store->find(key).has_value(), found.contains(key)) << key;
    if (found.contains(key)) continue;
    // What its source sends again is there again.
    EXPECT_NO_THROW(store->ingest({make_post(key.substr(5), "word sent again")}));
    EXPECT_TRUE(store->find(key).has_value()) << key;
  }
  EXPECT_EQ(keys_of(*store), alive_);
}

TEST_F(DurabilityTest, ADamagedSegmentIsSetAside) {
  const auto folder = copy();
  std::filesystem::path segment;
  for (const auto& path : files_in(folder))
    if (path.extension() == ".seg") segment = path;
  ASSERT_FALSE(segment.empty());
  std::ofstream(segment, std::ios::trunc) << "no segment";
  const auto store = Store::open(options_of(folder), clock_);
  const auto range = segment_range(segment.filename().string());
  EXPECT_GE(keys_of(*store).size(), alive_.size() - (range->last - range->first + 1));
  EXPECT_TRUE(std::filesystem::exists(segment.string() + ".damaged"));
  EXPECT_FALSE(std::filesystem::exists(segment));
  // The manifest no longer names it.
  EXPECT_TRUE(eventually(
      [&] { return read_file(folder / "MANIFEST").find(segment.filename().string()) == std::string::npos; }));
}

TEST_F(DurabilityTest, WithoutManifestOrChanges) {
  for (const bool changes : {false, true}) {
    const auto folder = copy();
    for (const auto& path : files_in(folder))
      if (changes ? path.extension() == ".changes" : path.filename() == "MANIFEST")
        std::filesystem::remove(path);
    const auto store = Store::open(options_of(folder), clock_);
    EXPECT_EQ(keys_of(*store), alive_);
    EXPECT_EQ(store->find("test:1")->text, "word said anew");
    EXPECT_EQ(store->stats().posts, alive_.size());
    EXPECT_GE(store->feed_time(), kStart);
  }
}

TEST_F(DurabilityTest, LeftoversOfACrashAreRemoved) {
  const auto folder = copy();
  const SegmentRange later{1'000, 1'010};
  const std::vector<std::string> leftovers = {segment_file(later), segment_file(later) + ".a1B2c3",
                                              changes_file(later, 1'011), "MANIFEST.x1Y2z3"};
  for (const auto& file : leftovers) std::ofstream(folder / file) << "half";
  EXPECT_EQ(keys_of(*Store::open(options_of(folder), clock_)), alive_);
  for (const auto& file : leftovers) EXPECT_FALSE(std::filesystem::exists(folder / file)) << file;
}

TEST_F(DurabilityTest, ANewerFormatIsLeftAlone) {
  const auto folder = copy();
  std::string text = read_file(folder / "MANIFEST");
  text.replace(text.find(" 2\n"), 3, " 9\n");
  text.resize(text.rfind("checksum"));
  text += fmt::format("checksum {:016x}\n", checksum64(text));
  std::ofstream(folder / "MANIFEST", std::ios::trunc) << text;
  try {
    Store::open(options_of(folder), clock_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  }
  EXPECT_EQ(read_file(folder / "MANIFEST"), text);
}

TEST(Durability, ADiskThatFillsUpWhileSegmentsAreSealed) {
  const TempDir dir;
  const ManualClock clock(kStart + 24h);
  auto store = Store::open(options_of(dir.path() / "feed", 10), clock);
  int taken = 0;
  {
    const FileSizeLimit limit(1'000);  // the log takes some posts, a segment does not fit
    try {
      for (; taken < 200; ++taken) store->ingest({make_post(std::to_string(taken), "a word")});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
    }
    EXPECT_LT(taken, 200);
    EXPECT_EQ(store->stats().posts, static_cast<uint64_t>(taken));
  }
  for (int n = taken; n < 100; ++n) store->ingest({make_post(std::to_string(n), "a word")});
  EXPECT_TRUE(eventually([&] { return store->stats().sealed_posts >= 60; })) << store->stats().sealed_posts;
  EXPECT_EQ(keys_of(*store).size(), 100u);
  store.reset();
  EXPECT_EQ(keys_of(*Store::open(options_of(dir.path() / "feed", 10), clock)).size(), 100u);
}

std::string big_endian(uint64_t value) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

/// A folder as the first version of the store wrote it.
void write_old_folder(const std::filesystem::path& folder, const std::vector<Post>& posts) {
  rocksdb::DBOptions options;
  options.create_if_missing = options.create_missing_column_families = true;
  std::vector<rocksdb::ColumnFamilyDescriptor> columns;
  for (const char* name : {"default", "posts", "tombstones"})
    columns.emplace_back(name, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(rocksdb::DB::Open(options, folder.string(), columns, &handles, &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  rocksdb::WriteBatch batch;
  ASSERT_TRUE(batch.Put(handles[0], "format", "1").ok());
  uint64_t sequence = 0;
  for (const Post& post : posts) {
    const std::string number = big_endian(++sequence);
    const auto time = static_cast<uint64_t>(post.created_at.time_since_epoch().count());
    const auto status = post.deleted ? batch.Put(handles[2], post.key(), number + big_endian(time))
                                     : batch.Put(handles[1], number, encode_record(post));
    ASSERT_TRUE(status.ok());
  }
  ASSERT_TRUE(db->Write({}, &batch).ok());
  for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
  db->Close();
}

TEST(Durability, AFolderOfTheFirstVersionIsTakenOver) {
  const TempDir dir;
  const ManualClock clock(kStart + 24h);
  const auto folder = dir.path() / "feed";
  write_old_folder(folder,
                   {make_post("1", "first words"), make_delete("2", kStart), make_post("3", "third words")});
  std::ofstream(folder / "log-00000000000000000001") << "of a take-over that was interrupted";
  for (int round = 0; round < 2; ++round) {
    const auto store = Store::open(options_of(folder), clock);
    const auto tail = store->tail(0, 10);
    ASSERT_EQ(tail.size(), 2u);
    EXPECT_EQ(tail[0].sequence, 1u);
    EXPECT_EQ(tail[1].sequence, 3u);
    EXPECT_EQ(tail[1].post.text, "third words");
    EXPECT_EQ(store->ingest({make_post("2", "late", kStart - 1h)}).stale, 1u);
    EXPECT_FALSE(std::filesystem::exists(folder / "CURRENT"));
    EXPECT_TRUE(std::filesystem::exists(folder / "rocksdb.old" / "CURRENT"));
  }
}

}  // namespace
}  // namespace fathom::live
