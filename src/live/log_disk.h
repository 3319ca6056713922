// The file operations of the log, apart, so that a test can stand in for a disk that is full, tears a write or fails to sync.
//
// Disk::real() is the operating system's. Thread safety: a file for one writer, `sync` from any thread beside it.
// Errors throughout: kResourceExhausted (disk full), kIo; the sentence names the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

namespace fathom::live {

class DiskFile {
 public:
  virtual ~DiskFile() = default;

  /// Takes space for the first `bytes` bytes; those not written yet read as zeros. Never makes the file shorter.
  virtual void reserve(uint64_t bytes) = 0;
  virtual void write(uint64_t offset, std::string_view bytes) = 0;
  /// Gives back what lies behind the first `bytes` bytes.
  virtual void cut(uint64_t bytes) = 0;
  virtual void sync() = 0;  // fdatasync
};

class Disk {
 public:
  virtual ~Disk() = default;
  static Disk& real();

  /// Opens for writing; `fresh`: makes it anew, empty.
  virtual std::unique_ptr<DiskFile> open(const std::filesystem::path& path, bool fresh) = 0;
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual void sync_folder(const std::filesystem::path& folder) = 0;
};

}  // namespace fathom::live
