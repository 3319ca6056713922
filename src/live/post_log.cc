#include "live/post_log.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace fathom::live {
namespace {

constexpr std::string_view kFormat = "1";
constexpr size_t kSequenceBytes = 8;
enum Column : size_t { kMeta = 0, kPosts = 1, kTombstones = 2 };
constexpr const char* kColumnNames[] = {"default", "posts", "tombstones"};

rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

std::array<char, kSequenceBytes> big_endian(uint64_t value) {
  std::array<char, kSequenceBytes> bytes{};
  for (size_t i = 0; i < kSequenceBytes; ++i)
    bytes[i] = static_cast<char>(value >> (8 * (kSequenceBytes - 1 - i)));
  return bytes;
}

uint64_t from_big_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kSequenceBytes; ++i) value = (value << 8) | static_cast<uint8_t>(bytes[i]);
  return value;
}

[[noreturn]] void throw_status(const std::filesystem::path& folder, std::string_view what,
                               const rocksdb::Status& status) {
  const std::string detail = status.ToString();
  const bool locked = status.IsIOError() && detail.find("lock") != std::string::npos;
  if (locked)
    throw Error(ErrorCode::kIo,
                fmt::format("the feed's folder '{}' is in use by another process; stop it, or name "
                            "another folder",
                            folder.string()));
  if (status.IsNoSpace() || detail.find("No space left") != std::string::npos)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("cannot {} '{}': the disk is full; free some space and try again", what,
                            folder.string()));
  const bool corrupt = status.IsCorruption();
  throw Error(
      corrupt ? ErrorCode::kCorrupt : ErrorCode::kIo,
      fmt::format("cannot {} '{}': {}{}", what, folder.string(), detail,
                  corrupt ? "; restore the folder from a backup, or move it away to start empty" : ""));
}

rocksdb::ColumnFamilyOptions column_options() {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = size_t{64} << 20;
  options.compression = rocksdb::kLZ4Compression;
  options.bottommost_compression = rocksdb::kZSTD;
  return options;
}

rocksdb::DBOptions database_options() {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.max_open_files = 256;
  options.keep_log_file_num = 2;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_background_jobs = 2;
  // A write that was torn by a crash ends the log; what precedes it is whole.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.avoid_flush_during_shutdown = true;
  return options;
}

}  // namespace

struct PostLog::Impl {
  std::filesystem::path folder;
  bool sync = true;
  bool failed = false;  // the last commit did not go through
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> columns;

  ~Impl() { close(); }

  void open() {
    std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
    for (const char* name : kColumnNames) descriptors.emplace_back(name, column_options());
    rocksdb::DB* opened = nullptr;
    const auto status =
        rocksdb::DB::Open(database_options(), folder.string(), descriptors, &columns, &opened);
    if (!status.ok()) throw_status(folder, "open", status);
    db.reset(opened);
  }

  void close() {
    if (!db) return;
    for (auto* column : columns) db->DestroyColumnFamilyHandle(column);
    columns.clear();
    db->Close();
    db.reset();
  }

  /// RocksDB refuses writes after an error: it is told that the cause may be gone, and opened anew if that is not enough.
  /// The write that failed may turn out to be whole on disk; it was reported as failed, so either outcome is right.
  void resume() {
    if (db && db->Resume().ok()) return;
    close();
    open();
  }

  void check_format() {
    std::string format;
    const auto status = db->Get({}, columns[kMeta], "format", &format);
    if (status.IsNotFound()) {
      rocksdb::WriteOptions options;
      options.sync = sync;
      if (const auto put = db->Put(options, columns[kMeta], "format", slice(kFormat)); !put.ok())
        throw_status(folder, "write to", put);
      return;
    }
    if (!status.ok()) throw_status(folder, "read", status);
    if (format != kFormat)
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format(
              "the feed in '{}' has format {}, this program reads format {}; use the version that wrote it",
              folder.string(), format, kFormat));
  }

  std::vector<Tombstone> tombstones() const {
    std::vector<Tombstone> all;
    const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}, columns[kTombstones]));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      const auto value = view(it->value());
      if (value.size() != 2 * kSequenceBytes) continue;
      const auto micros = static_cast<int64_t>(from_big_endian(value.substr(kSequenceBytes)));
      all.push_back({std::string(view(it->key())), from_big_endian(value), Time(Micros(micros))});
    }
    if (!it->status().ok()) throw_status(folder, "read", it->status());
    std::sort(all.begin(), all.end(),
              [](const Tombstone& a, const Tombstone& b) { return a.sequence < b.sequence; });
    return all;
  }
};

struct PostLog::Batch::Impl {
  struct Operation {
    enum class Kind : uint8_t { kPut, kRemove, kBury, kUnbury } kind;
    uint64_t sequence;
    std::string_view record;  // of kPut: the caller's, until commit
    std::string key, value;   // of kBury and kUnbury
  };
  std::vector<Operation> operations;
};

PostLog::Batch::Batch() : impl_(std::make_unique<Impl>()) {}
PostLog::Batch::~Batch() = default;

void PostLog::Batch::put(uint64_t sequence, std::string_view record) {
  impl_->operations.push_back({Impl::Operation::Kind::kPut, sequence, record, {}, {}});
}

void PostLog::Batch::remove(uint64_t sequence) {
  impl_->operations.push_back({Impl::Operation::Kind::kRemove, sequence, {}, {}, {}});
}

void PostLog::Batch::bury(const Tombstone& tombstone) {
  const auto sequence = big_endian(tombstone.sequence);
  const auto time = big_endian(static_cast<uint64_t>(tombstone.time.time_since_epoch().count()));
  std::string value(sequence.data(), sequence.size());
  value.append(time.data(), time.size());
  impl_->operations.push_back({Impl::Operation::Kind::kBury, 0, {}, tombstone.key, std::move(value)});
}

void PostLog::Batch::unbury(std::string_view key) {
  impl_->operations.push_back({Impl::Operation::Kind::kUnbury, 0, {}, std::string(key), {}});
}

bool PostLog::Batch::empty() const { return impl_->operations.empty(); }

PostLog::PostLog(const std::filesystem::path& folder, bool sync) : impl_(std::make_unique<Impl>()) {
  impl_->folder = folder;
  impl_->sync = sync;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    throw Error(ErrorCode::kIo, fmt::format("cannot create '{}': {}", folder.string(), error.message()));
  impl_->open();
  impl_->check_format();
}

PostLog::~PostLog() = default;

void PostLog::commit(Batch& batch) {
  Impl& m = *impl_;
  if (m.failed) m.resume();
  rocksdb::WriteBatch writes;
  rocksdb::Status status;
  using Kind = Batch::Impl::Operation::Kind;
  for (const auto& operation : batch.impl_->operations) {
    const auto sequence = big_endian(operation.sequence);
    const rocksdb::Slice row(sequence.data(), sequence.size());
    switch (operation.kind) {
      case Kind::kPut: status = writes.Put(m.columns[kPosts], row, slice(operation.record)); break;
      case Kind::kRemove: status = writes.Delete(m.columns[kPosts], row); break;
      case Kind::kBury:
        status = writes.Put(m.columns[kTombstones], slice(operation.key), slice(operation.value));
        break;
      case Kind::kUnbury: status = writes.Delete(m.columns[kTombstones], slice(operation.key)); break;
    }
    if (!status.ok()) throw_status(m.folder, "write to", status);
  }
  rocksdb::WriteOptions options;
  options.sync = m.sync;
  status = m.db->Write(options, &writes);
  m.failed = !status.ok();
  if (m.failed) throw_status(m.folder, "write to", status);
}

size_t PostLog::replay(const std::function<void(uint64_t, std::string_view)>& on_post,
                       const std::function<void(const Tombstone&)>& on_tombstone) {
  Impl& m = *impl_;
  const auto tombstones = m.tombstones();
  auto tombstone = tombstones.begin();
  rocksdb::ReadOptions options;
  options.readahead_size = size_t{4} << 20;
  options.fill_cache = false;
  size_t damaged = 0;
  uint64_t next = 0, step = 1;
  for (bool done = false; !done;) {
    const std::unique_ptr<rocksdb::Iterator> it(m.db->NewIterator(options, m.columns[kPosts]));
    const auto from = big_endian(next);
    for (it->Seek({from.data(), from.size()}); it->Valid(); it->Next()) {
      if (it->key().size() != kSequenceBytes) continue;
      const uint64_t sequence = from_big_endian(view(it->key()));
      for (; tombstone != tombstones.end() && tombstone->sequence < sequence; ++tombstone)
        on_tombstone(*tombstone);
      on_post(sequence, view(it->value()));
      next = sequence + 1;
      step = 1;
    }
    done = it->status().ok();
    if (done) break;
    if (!it->status().IsCorruption()) throw_status(m.folder, "read", it->status());
    // A damaged block: steps past it, further each time, until posts are found again or none are left.
    if (step == 1) {
      ++damaged;
      log().error("the feed in '{}' is damaged after post {}: {}; what can be read is kept",
                  m.folder.string(), next, it->status().ToString());
    }
    done = step > (uint64_t{1} << 40);
    next += step;
    step *= 2;
  }
  for (; tombstone != tombstones.end(); ++tombstone) on_tombstone(*tombstone);
  return damaged;
}

uint64_t PostLog::estimate() const {
  uint64_t count = 0;
  impl_->db->GetIntProperty(impl_->columns[kPosts], "rocksdb.estimate-num-keys", &count);
  return count;
}

}  // namespace fathom::live
