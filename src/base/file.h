// Files: whole reads, atomic replacement, memory maps, temporary folders. Every failure is an Error that names the path.
//
// A MappedFile owns its mapping; spans into it live as long as it does. All functions are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// The whole file. Errors: kNotFound, kIo, kResourceExhausted beyond `max_bytes`.
std::string read_file(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 32);

/// The files of `folder` with this extension (".toml"), by name. Errors: kNotFound where the folder cannot be read.
std::vector<std::filesystem::path> files_of(const std::filesystem::path& folder, std::string_view extension);

/// A file written piece by piece beside `path`, which it replaces only when it is whole. Not thread-safe.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  /// Removes what was written, unless committed.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Errors: kIo; kResourceExhausted when the disk is full.
  void write(std::string_view bytes);
  /// Replaces bytes that were written before: a header, once what it counts is known. Errors: as write.
  void overwrite(uint64_t offset, std::string_view bytes);
  /// Syncs, renames over `path` and syncs the folder: after a crash the old or the new content stands.
  void commit();

 private:
  std::filesystem::path path_;
  std::string aside_;
  int fd_ = -1;
};

/// An AtomicFile in one go.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

/// A read-only mapping of a whole file.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  void unmap() noexcept;

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// A fresh folder, removed with all it holds at the end of the scope.
class TempDir {
 public:
  explicit TempDir(std::string_view prefix = "fathom");
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace fathom
