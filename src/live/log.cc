#include "live/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "live/log_disk.h"
#include "live/log_format.h"

namespace fathom::live {
namespace {

constexpr uint64_t kSmallestReserve = size_t{64} << 10, kLargestReserve = size_t{8} << 20;
constexpr size_t kMaxUnsyncedBytes = size_t{1} << 30;
constexpr size_t kSpareChunks = 4, kSpareBytes = size_t{16} << 20;
constexpr std::string_view kPrefix = "log-", kUnfinished = ".tmp";

/// Keeps other processes, and other logs of this one, out of a folder.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder) {
    const auto path = folder / "LOCK";
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0)
      throw Error(ErrorCode::kIo, fmt::format("cannot open '{}': {}", path.string(), std::strerror(errno)));
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    ::close(fd_);
    throw Error(ErrorCode::kIo,
                fmt::format("the feed's folder '{}' is in use by another process; stop it, or "
                            "name another folder",
                            folder.string()));
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

/// A file of the folder: its entries begin at `first`.
struct Stored {
  uint64_t first = 0;
  uint64_t bytes = 0;
};

/// The last file, open for writing.
struct Current {
  std::shared_ptr<DiskFile> file;
  uint64_t end = 0;       // where the next batch goes
  uint64_t reserved = 0;  // bytes that have their space
  bool empty = true;
};

/// What one append wrote, kept until it is synced.
struct Chunk {
  std::string bytes;
  uint64_t first = 0, last = 0;
};

std::optional<uint64_t> sequence_of(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(kPrefix)) return {};
  const char* end = name.data() + name.size();
  uint64_t first = 0;
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, first);
  return error == std::errc() && stop == end ? std::optional(first) : std::nullopt;
}

class FileLog final : public Log {
 public:
  explicit FileLog(const LogOptions& options)
      : options_(options),
        disk_(options.disk != nullptr ? *options.disk : Disk::real()),
        lock_(made(options.folder)) {
    find_files();
    if (!stored_.empty()) continue_last();
  }

  ~FileLog() override {
    try {
      if (current_.file) current_.file->cut(current_.end);
    } catch (const Error&) {  // the reserve stays: zeros, which a reader knows
    }
  }

  void append(std::span<const LogEntry> entries) override;
  void sync(uint64_t sequence) override;
  uint64_t synced() const override { return synced_.load(std::memory_order_acquire); }
  uint64_t last() const override { return last_.load(std::memory_order_acquire); }
  size_t replay(uint64_t after, const std::function<void(const LogEntry&)>& on_entry) override;
  void drop_through(uint64_t sequence) override;
  uint64_t bytes() const override;

 private:
  static const std::filesystem::path& made(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error)
      throw Error(ErrorCode::kIo, fmt::format("cannot create '{}': {}", folder.string(), error.message()));
    return folder;
  }

  std::filesystem::path path_of(uint64_t first) const {
    return options_.folder / fmt::format("{}{:020}", kPrefix, first);
  }

  void find_files();
  void continue_last();
  void check_backlog() const;
  Chunk build(std::span<const LogEntry> entries);
  void write(Current& current, std::string_view bytes) const;
  void begin_file(uint64_t first);
  void synced_through(uint64_t sequence);
  void sync_files(const std::vector<std::shared_ptr<DiskFile>>& files, bool folder) const;
  void rewrite();
  void install(Current current, uint64_t first);

  const LogOptions options_;
  Disk& disk_;
  const FolderLock lock_;

  std::mutex write_mutex_;  // of whoever writes: append, and rewrite after a failed sync
  Current current_;

  mutable std::mutex mutex_;  // of what follows; taken after write_mutex_ where both are
  std::condition_variable synced_changed_;
  std::deque<Stored> stored_;                     // oldest first, the current one last
  std::vector<std::shared_ptr<DiskFile>> dirty_;  // earlier files that are not synced yet
  std::deque<Chunk> unsynced_;
  size_t unsynced_bytes_ = 0;
  std::vector<std::string> spares_;
  bool folder_dirty_ = false;
  bool syncing_ = false;
  std::atomic<bool> failed_{false};  // the files of `unsynced_` are not to be trusted
  std::atomic<uint64_t> synced_{0}, last_{0};
};

void FileLog::find_files() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(options_.folder, error)) {
    std::error_code ignored;
    const auto& path = entry.path();
    if (const auto first = sequence_of(path))
      stored_.push_back({*first, static_cast<uint64_t>(std::filesystem::file_size(path, ignored))});
    else if (path.extension() == kUnfinished && path.filename().string().starts_with(kPrefix))
      std::filesystem::remove(path, ignored);
  }
  if (error)
    throw Error(ErrorCode::kIo,
                fmt::format("cannot read '{}': {}", options_.folder.string(), error.message()));
  std::sort(stored_.begin(), stored_.end(),
            [](const Stored& a, const Stored& b) { return a.first < b.first; });
}

/// Finds where the last file ends, cuts off what a crash left there and makes sure that all before is on disk.
void FileLog::continue_last() {
  const Stored& last = stored_.back();
  const auto path = path_of(last.first);
  const std::string content = read_file(path, SIZE_MAX);
  check_log_header(content, path.string());
  const LogScan scan = scan_log(content, last.first, UINT64_MAX, [](const LogEntry&) {});
  if (scan.torn)
    log().warn("the end of '{}' was torn by a crash: {} bytes behind the last whole record are cut off",
               path.string(), content.size() - scan.end);
  current_.file = disk_.open(path, false);
  current_.end = scan.end;
  current_.empty = scan.last == 0;
  current_.file->cut(scan.end);
  if (content.size() < kLogHeaderBytes) current_.file->write(0, log_header(last.first));
  current_.reserved = scan.end;
  stored_.back().bytes = scan.end;
  const uint64_t sequence = scan.last != 0 ? scan.last : last.first - std::min<uint64_t>(last.first, 1);
  last_.store(sequence, std::memory_order_release);
  synced_.store(sequence, std::memory_order_release);
  if (!options_.sync) return;
  for (size_t i = 0; i + 1 < stored_.size(); ++i) disk_.open(path_of(stored_[i].first), false)->sync();
  current_.file->sync();
  disk_.sync_folder(options_.folder);
}

void FileLog::check_backlog() const {
  const std::lock_guard lock(mutex_);
  if (unsynced_bytes_ > kMaxUnsyncedBytes)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("{} bytes wait for the disk of '{}', which does not keep up; try again later",
                            unsynced_bytes_, options_.folder.string()));
}

Chunk FileLog::build(std::span<const LogEntry> entries) {
  Chunk chunk;
  {
    const std::lock_guard lock(mutex_);
    if (!spares_.empty()) {
      chunk.bytes = std::move(spares_.back());
      spares_.pop_back();
    }
  }
  chunk.bytes.clear();
  uint64_t before = last();
  for (size_t i = 0; i < entries.size(); ++i) {
    FATHOM_CHECK(entries[i].sequence > before);
    before = entries[i].sequence;
    append_frame(chunk.bytes, entries[i], i + 1 == entries.size());
  }
  chunk.first = entries.front().sequence;
  chunk.last = before;
  return chunk;
}

/// Space first, then bytes; after an error the file is as it was.
void FileLog::write(Current& current, std::string_view bytes) const {
  const uint64_t end = current.end + bytes.size();
  try {
    if (end > current.reserved) {
      const uint64_t ahead = std::clamp(current.end, kSmallestReserve, kLargestReserve);
      current.file->reserve(end + ahead);
      current.reserved = end + ahead;
    }
    current.file->write(current.end, bytes);
  } catch (const Error&) {
    current.file->cut(current.end);
    current.reserved = current.end;
    throw;
  }
  current.end = end;
}

void FileLog::begin_file(uint64_t first) {
  const auto path = path_of(first);
  Current next;
  next.file = disk_.open(path, true);
  try {
    write(next, log_header(first));
  } catch (const Error&) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    throw;
  }
  const std::lock_guard lock(mutex_);
  if (current_.file) {
    current_.file->cut(current_.end);
    dirty_.push_back(current_.file);
  }
  current_ = std::move(next);
  stored_.push_back({first, current_.end});
  folder_dirty_ = true;
}

void FileLog::append(std::span<const LogEntry> entries) {
  if (entries.empty()) return;
  const std::lock_guard writing(write_mutex_);
  if (failed_.load(std::memory_order_acquire)) rewrite();
  check_backlog();
  Chunk chunk = build(entries);
  const bool full = current_.end + chunk.bytes.size() > options_.file_bytes && !current_.empty;
  if (!current_.file || full) begin_file(chunk.first);
  write(current_, chunk.bytes);
  current_.empty = false;
  const std::lock_guard lock(mutex_);
  stored_.back().bytes = current_.end;
  last_.store(chunk.last, std::memory_order_release);
  unsynced_bytes_ += chunk.bytes.size();
  unsynced_.push_back(std::move(chunk));
  if (!options_.sync) synced_through(unsynced_.back().last);
}

/// The caller holds mutex_.
void FileLog::synced_through(uint64_t sequence) {
  while (!unsynced_.empty() && unsynced_.front().last <= sequence) {
    unsynced_bytes_ -= unsynced_.front().bytes.size();
    if (spares_.size() < kSpareChunks && unsynced_.front().bytes.capacity() <= kSpareBytes)
      spares_.push_back(std::move(unsynced_.front().bytes));
    unsynced_.pop_front();
  }
  synced_.store(sequence, std::memory_order_release);
}

void FileLog::sync_files(const std::vector<std::shared_ptr<DiskFile>>& files, bool folder) const {
  for (const auto& file : files) file->sync();
  if (folder) disk_.sync_folder(options_.folder);
}

/// Whoever finds nobody syncing syncs for all that have appended by now; the others wait for that, or for the next.
void FileLog::sync(uint64_t sequence) {
  std::unique_lock lock(mutex_);
  FATHOM_CHECK(sequence <= last());
  while (synced() < sequence) {
    if (syncing_) {
      synced_changed_.wait(lock);
      continue;
    }
    syncing_ = true;
    const uint64_t target = last();
    auto files = dirty_;
    const size_t earlier = files.size();
    files.push_back(current_.file);
    const bool folder = std::exchange(folder_dirty_, false);
    std::exception_ptr error;
    lock.unlock();
    try {
      if (failed_.load(std::memory_order_acquire)) throw Error(ErrorCode::kIo, "not synced before");
      sync_files(files, folder);
    } catch (const Error& failure) {
      error = std::current_exception();
      failed_.store(true, std::memory_order_release);
      log().error("{}; what was not synced is written anew", failure.what());
    }
    if (error) {
      try {
        const std::lock_guard writing(write_mutex_);
        rewrite();
        error = nullptr;
      } catch (const Error&) {
        error = std::current_exception();
      }
    }
    lock.lock();
    syncing_ = false;
    if (!error && synced() < target) {
      dirty_.erase(dirty_.begin(), dirty_.begin() + static_cast<std::ptrdiff_t>(earlier));
      synced_through(target);
    }
    synced_changed_.notify_all();
    if (error) std::rethrow_exception(error);
  }
}

/// Linux marks pages clean when their write fails, so that a second fdatasync may report success for bytes that never reached
/// the disk (Rebello et al., ATC 2020): all that was not synced goes to a file of its own, from memory. The caller holds
/// write_mutex_.
void FileLog::rewrite() {
  if (!failed_.load(std::memory_order_acquire)) return;
  uint64_t first = 0;
  std::vector<std::string_view> pieces;
  {
    const std::lock_guard lock(mutex_);
    if (!unsynced_.empty()) first = unsynced_.front().first;
    for (const Chunk& chunk : unsynced_) pieces.push_back(chunk.bytes);
  }
  if (pieces.empty()) {
    failed_.store(false, std::memory_order_release);
    return;
  }
  const auto path = path_of(first);
  auto aside = path;
  aside += kUnfinished;
  Current next;
  next.file = disk_.open(aside, true);
  try {
    write(next, log_header(first));
    for (const std::string_view piece : pieces) write(next, piece);
    next.file->sync();
    disk_.rename(aside, path);
    disk_.sync_folder(options_.folder);
  } catch (const Error&) {
    std::error_code ignored;
    std::filesystem::remove(aside, ignored);
    throw;
  }
  next.empty = false;
  install(std::move(next), first);
}

/// The rewritten file takes the place of all that held what it holds.
void FileLog::install(Current current, uint64_t first) {
  const std::lock_guard lock(mutex_);
  while (!stored_.empty() && stored_.back().first >= first) {
    std::error_code ignored;
    if (stored_.back().first > first) std::filesystem::remove(path_of(stored_.back().first), ignored);
    stored_.pop_back();
  }
  stored_.push_back({first, current.end});
  current_ = std::move(current);
  dirty_.clear();
  failed_.store(false, std::memory_order_release);
  synced_through(last());
}

size_t FileLog::replay(uint64_t after, const std::function<void(const LogEntry&)>& on_entry) {
  size_t damaged = 0;
  for (size_t i = 0; i < stored_.size(); ++i) {
    const uint64_t limit = i + 1 < stored_.size() ? stored_[i + 1].first : UINT64_MAX;
    if (limit <= after + 1) continue;
    const auto path = path_of(stored_[i].first);
    const std::string content = read_file(path, SIZE_MAX);
    check_log_header(content, path.string());
    const LogScan scan = scan_log(content, stored_[i].first, limit, [&](const LogEntry& entry) {
      if (entry.sequence > after) on_entry(entry);
    });
    const bool cut_short = scan.torn && limit != UINT64_MAX && scan.last + 1 < limit;
    if (scan.damaged == 0 && !cut_short) continue;
    damaged += scan.damaged + (cut_short ? 1 : 0);
    log().error("'{}' is damaged at byte {}: the posts that stood there are lost, those around them are kept",
                path.string(), scan.damaged > 0 ? scan.damaged_at : scan.end);
  }
  return damaged;
}

void FileLog::drop_through(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  while (stored_.size() > 1 && stored_[1].first <= sequence + 1) {
    std::error_code error;
    std::filesystem::remove(path_of(stored_.front().first), error);
    if (error) {
      log().warn("cannot remove '{}': {}", path_of(stored_.front().first).string(), error.message());
      return;
    }
    stored_.pop_front();
  }
}

uint64_t FileLog::bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const Stored& file : stored_) sum += file.bytes;
  return sum;
}

}  // namespace

std::unique_ptr<Log> Log::open(const LogOptions& options) { return std::make_unique<FileLog>(options); }

}  // namespace fathom::live
