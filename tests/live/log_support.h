// A disk that fails when it is told to, over the real one.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "live/log_disk.h"

namespace fathom::live::testing {

/// Orders to the disk; all zero means that it works.
struct Faults {
  std::atomic<int> full{0};       // so many calls that take space or write fail
  std::atomic<int> torn{0};       // so many writes put half of their bytes down and fail
  std::atomic<int> bad_syncs{0};  // so many fdatasyncs fail, and what was not synced is lost
  std::atomic<int> syncs{0};      // counted
};

class FaultyDisk final : public Disk {
 public:
  explicit FaultyDisk(Faults& faults) : faults_(faults) {}

  std::unique_ptr<DiskFile> open(const std::filesystem::path& path, bool fresh) override {
    return std::make_unique<File>(Disk::real().open(path, fresh), faults_);
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    Disk::real().rename(from, to);
  }
  void sync_folder(const std::filesystem::path& folder) override { Disk::real().sync_folder(folder); }

 private:
  static bool strikes(std::atomic<int>& times) {
    if (times.load() <= 0) return false;
    --times;
    return true;
  }

  class File final : public DiskFile {
   public:
    File(std::unique_ptr<DiskFile> file, Faults& faults) : file_(std::move(file)), faults_(faults) {}

    void reserve(uint64_t bytes) override {
      if (strikes(faults_.full)) throw Error(ErrorCode::kResourceExhausted, "the disk is full");
      file_->reserve(bytes);
    }
    void write(uint64_t offset, std::string_view bytes) override {
      if (strikes(faults_.full)) throw Error(ErrorCode::kResourceExhausted, "the disk is full");
      if (strikes(faults_.torn)) {
        file_->write(offset, bytes.substr(0, bytes.size() / 2));
        throw Error(ErrorCode::kIo, "a short write");
      }
      {
        const std::lock_guard lock(mutex_);
        unsynced_.push_back({offset, bytes.size()});
      }
      file_->write(offset, bytes);
    }
    void cut(uint64_t bytes) override { file_->cut(bytes); }
    void sync() override {
      ++faults_.syncs;
      std::vector<Range> ranges;
      {
        const std::lock_guard lock(mutex_);
        ranges.swap(unsynced_);
      }
      if (!strikes(faults_.bad_syncs)) return file_->sync();
      for (const Range& range : ranges) file_->write(range.offset, std::string(range.bytes, '\0'));
      throw Error(ErrorCode::kIo, "fdatasync failed");
    }

   private:
    struct Range {
      uint64_t offset;
      size_t bytes;
    };
    std::unique_ptr<DiskFile> file_;
    Faults& faults_;
    std::mutex mutex_;
    std::vector<Range> unsynced_;
  };

  Faults& faults_;
};

}  // namespace fathom::live::testing
