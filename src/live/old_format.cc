#include "live/old_format.h"

#include <fmt/format.h>
#include <rocksdb/db.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "live/codec.h"
#include "live/log.h"

namespace fathom::live {
namespace {

// Column families: "posts" (sequence as 8 bytes big-endian -> record of codec.h), "tombstones" (key -> sequence and time of the
// order that removed it, 8 bytes big-endian each), "default" ("format" -> "1").
constexpr std::string_view kFormat = "1";
constexpr size_t kNumberBytes = 8;
enum Column : size_t { kMeta = 0, kPosts = 1, kTombstones = 2 };
constexpr const char* kColumnNames[] = {"default", "posts", "tombstones"};
constexpr size_t kBatch = 4096;

std::string_view view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

uint64_t from_big_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kNumberBytes; ++i) value = (value << 8) | static_cast<uint8_t>(bytes[i]);
  return value;
}

/// An entry that owns its payload.
struct Entry {
  uint64_t sequence = 0;
  LogKind kind = LogKind::kPost;
  std::string payload;
};

class OldFolder {
 public:
  explicit OldFolder(const std::filesystem::path& folder) : folder_(folder) {
    rocksdb::DBOptions options;
    options.create_missing_column_families = true;
    // A write that was torn by a crash ends the log; what precedes it is whole.
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    options.info_log_level = rocksdb::WARN_LEVEL;
    std::vector<rocksdb::ColumnFamilyDescriptor> columns;
    for (const char* name : kColumnNames) columns.emplace_back(name, rocksdb::ColumnFamilyOptions());
    rocksdb::DB* opened = nullptr;
    check(rocksdb::DB::Open(options, folder.string(), columns, &columns_, &opened));
    db_.reset(opened);
    std::string format;
    check(db_->Get({}, columns_[kMeta], "format", &format));
    if (format != kFormat)
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("the feed in '{}' has format {}, which this program does not know; use the version "
                      "that wrote it",
                      folder.string(), format));
  }

  ~OldFolder() {
    for (auto* column : columns_) db_->DestroyColumnFamilyHandle(column);
    if (db_) db_->Close();
  }
  OldFolder(const OldFolder&) = delete;
  OldFolder& operator=(const OldFolder&) = delete;

  /// Calls `on_entry` for posts and orders, merged in order of sequence.
  void read(const std::function<void(Entry)>& on_entry) const {
    const auto orders = read_orders();
    auto order = orders.begin();
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, columns_[kPosts]));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      if (it->key().size() != kNumberBytes) continue;
      const uint64_t sequence = from_big_endian(view(it->key()));
      for (; order != orders.end() && order->sequence < sequence; ++order) on_entry(*order);
      on_entry({sequence, LogKind::kPost, std::string(view(it->value()))});
    }
    check(it->status());
    for (; order != orders.end(); ++order) on_entry(*order);
  }

  uint64_t estimate() const {
    uint64_t count = 0;
    db_->GetIntProperty(columns_[kPosts], "rocksdb.estimate-num-keys", &count);
    return count;
  }

 private:
  std::vector<Entry> read_orders() const {
    std::vector<Entry> orders;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, columns_[kTombstones]));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      const auto value = view(it->value());
      if (value.size() != 2 * kNumberBytes) continue;
      const auto micros = static_cast<int64_t>(from_big_endian(value.substr(kNumberBytes)));
      orders.push_back(
          {from_big_endian(value), LogKind::kBury, encode_order({Time(Micros(micros)), view(it->key())})});
    }
    check(it->status());
    std::sort(orders.begin(), orders.end(),
              [](const Entry& a, const Entry& b) { return a.sequence < b.sequence; });
    return orders;
  }

  void check(const rocksdb::Status& status) const {
    if (status.ok()) return;
    const std::string detail = status.ToString();
    if (status.IsIOError() && detail.find("lock") != std::string::npos)
      throw Error(ErrorCode::kIo,
                  fmt::format("the feed's folder '{}' is in use by another process; stop it, or name "
                              "another folder",
                              folder_.string()));
    throw Error(
        status.IsCorruption() ? ErrorCode::kCorrupt : ErrorCode::kIo,
        fmt::format("cannot read '{}', written by an earlier version: {}; restore the folder from a backup, "
                    "or move it away to start empty",
                    folder_.string(), detail));
  }

  std::filesystem::path folder_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> columns_;
};

bool is_old_file(const std::string& name) {
  const std::string_view extension = std::string_view(name).substr(std::min(name.rfind('.'), name.size()));
  return name == "CURRENT" || name == "IDENTITY" || name == "LOG" || name.starts_with("LOG.old") ||
         name.starts_with("MANIFEST-") || name.starts_with("OPTIONS-") || extension == ".log" ||
         extension == ".sst" || extension == ".dbtmp";
}

void remove_new_files(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("log-")) std::filesystem::remove(entry.path());
}

void copy_to_log(const std::filesystem::path& folder) {
  const OldFolder old(folder);
  LogOptions options;
  options.folder = folder;
  const auto log = Log::open(options);
  Progress progress("taking over the feed of an earlier version", old.estimate(), "posts");
  uint64_t copied = 0;
  std::vector<Entry> batch;
  const auto write = [&] {
    std::vector<LogEntry> entries;
    for (const Entry& entry : batch) entries.push_back({entry.sequence, entry.kind, entry.payload});
    log->append(entries);
    log->sync(log->last());
    copied += batch.size();
    progress.update(copied);
    batch.clear();
  };
  old.read([&](Entry entry) {
    batch.push_back(std::move(entry));
    if (batch.size() == kBatch) write();
  });
  write();
}

/// "CURRENT" goes first: without it the folder is of the new format.
void move_old_files(const std::filesystem::path& folder) {
  const auto aside = folder / "rocksdb.old";
  std::filesystem::create_directories(aside);
  std::filesystem::rename(folder / "CURRENT", aside / "CURRENT");
  std::vector<std::filesystem::path> old;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_regular_file() && is_old_file(entry.path().filename().string())) old.push_back(entry.path());
  for (const auto& path : old) std::filesystem::rename(path, aside / path.filename());
}

}  // namespace

void take_over_old_format(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder / "CURRENT", ignored)) return;
  try {
    remove_new_files(folder);
    copy_to_log(folder);
    move_old_files(folder);
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(ErrorCode::kIo, fmt::format("cannot take over the feed in '{}': {}", folder.string(),
                                            error.code().message()));
  }
  log().info(
      "the feed in '{}' was taken over from an earlier version; its files are in 'rocksdb.old' there and may "
      "be "
      "deleted",
      folder.string());
}

}  // namespace fathom::live
