// The durable log of posts on RocksDB: what was acknowledged, in arrival order.
//
// Column families: "posts" (sequence as 8 bytes big-endian -> record of codec.h), "tombstones" (key -> sequence and time
// of the order that removed it), "default" (metadata: "format" -> "1"). The map from key to sequence is not stored: the
// index holds it in memory and recovery rebuilds it from the records.
//
// A PostLog owns its folder; another process, or a second PostLog, is refused by RocksDB's lock. `commit` and `replay` are
// for one thread at a time. After a failed commit the log stays readable, and the next commit tries to resume.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace fathom::live {

struct Tombstone {
  std::string key;
  uint64_t sequence = 0;
  Time time{};  // a post of this key that is not newer stays away
};

class PostLog {
 public:
  /// Changes that become durable together or not at all.
  class Batch {
   public:
    Batch();
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    void put(uint64_t sequence, std::string_view record);
    void remove(uint64_t sequence);
    void bury(const Tombstone& tombstone);
    void unbury(std::string_view key);
    bool empty() const;

   private:
    friend class PostLog;
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  /// Errors: kIo (also: the folder is in use), kCorrupt, kUnsupported (written by a newer version), kResourceExhausted.
  PostLog(const std::filesystem::path& folder, bool sync);
  ~PostLog();

  /// Durable when it returns. Errors: kResourceExhausted (disk full), kIo; then nothing of the batch is visible.
  void commit(Batch& batch);

  /// Calls the two functions for all that is held, merged in order of sequence. Damaged stretches are skipped and logged;
  /// returns how many there were.
  size_t replay(const std::function<void(uint64_t sequence, std::string_view record)>& on_post,
                const std::function<void(const Tombstone&)>& on_tombstone);

  /// About how many posts are held: for a progress bar.
  uint64_t estimate() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom::live
