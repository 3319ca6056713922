// The durable log: what was acknowledged, in order of sequence, until sealed segments hold it.
//
// Files "log-<first sequence, 20 digits>" of about `file_bytes`, in the format of log_format.h, space taken ahead
// (posix_fallocate), so that a full disk is known before a record is begun; a file's entries end where the next file's begin.
// Opening cuts off what a crash left of an append at the end (it was never acknowledged); damage with intact frames behind it
// costs the frames it touches, is named in the program's log and counted.
//
// Writing and syncing are apart, so that a post can be found before its disk has answered: `append` puts frames in the
// file (page cache), `sync` makes them durable, one fdatasync for all who wait (group commit, as in DeWitt et al. 1984).
//
// Ownership: owns its folder by a lock on "LOCK"; a second Log on it throws. Thread safety: `append`, `replay` and
// `drop_through` for one thread at a time; `sync` and `synced` for any.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace fathom::live {

class Disk;

enum class LogKind : uint8_t {
  kPost = 1,   // payload: a record of codec.h
  kBury = 2,   // an order to remove a key: time i64, then the key
  kCount = 3,  // changes of posts' counts: see codec.h
};

struct LogEntry {
  uint64_t sequence = 0;
  LogKind kind = LogKind::kPost;
  std::string_view payload;
};

struct LogOptions {
  std::filesystem::path folder;
  bool sync = true;  // false only for tests and benchmarks that say so
  size_t file_bytes = size_t{64} << 20;
  Disk* disk = nullptr;  // the real one, unless a test brings its own; outlives the log
};

class Log {
 public:
  /// Errors: kIo (also: in use by another process), kUnsupported (a newer version), kResourceExhausted (disk full).
  static std::unique_ptr<Log> open(const LogOptions& options);
  virtual ~Log() = default;

  /// All of `entries` or none, also after a crash: sequences rise, the first above all before. Errors: kResourceExhausted (disk full), kIo;
  /// then the log is as it was before the call and stays usable.
  virtual void append(std::span<const LogEntry> entries) = 0;

  /// Returns when everything up to `sequence` is durable. A failed fdatasync is not trusted again on that file: what was not
  /// synced is written anew to another file; errors (kIo, kResourceExhausted) only if that fails too, and until it works.
  virtual void sync(uint64_t sequence) = 0;
  virtual uint64_t synced() const = 0;
  virtual uint64_t last() const = 0;

  /// Calls `on_entry` for all entries above `after`, in order; returns how many damaged stretches were left out.
  virtual size_t replay(uint64_t after, const std::function<void(const LogEntry&)>& on_entry) = 0;

  /// Removes files whose entries are all at or below `sequence`.
  virtual void drop_through(uint64_t sequence) = 0;
  virtual uint64_t bytes() const = 0;
};

}  // namespace fathom::live
