#include "live/log_disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"

namespace fathom::live {
namespace {

[[noreturn]] void fail(std::string_view what, const std::filesystem::path& path, int error) {
  if (error == ENOSPC || error == EDQUOT || error == EFBIG)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("cannot {} '{}': the disk is full; free some space and try again", what, path.string()));
  throw Error(ErrorCode::kIo, fmt::format("cannot {} '{}': {}", what, path.string(), std::strerror(error)));
}

class RealFile final : public DiskFile {
 public:
  RealFile(std::filesystem::path path, bool fresh) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | (fresh ? O_CREAT | O_TRUNC : 0), 0644);
    if (fd_ < 0) fail("open", path_, errno);
  }
  ~RealFile() override { ::close(fd_); }
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  void reserve(uint64_t bytes) override {
    const int error = ::posix_fallocate(fd_, 0, static_cast<off_t>(bytes));
    if (error != 0) fail("write to", path_, error);
  }

  void write(uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("write to", path_, errno);
      offset += static_cast<uint64_t>(n);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }

  void cut(uint64_t bytes) override {
    if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) fail("shorten", path_, errno);
  }

  void sync() override {
    if (::fdatasync(fd_) != 0) fail("sync", path_, errno);
  }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

class RealDisk final : public Disk {
 public:
  std::unique_ptr<DiskFile> open(const std::filesystem::path& path, bool fresh) override {
    return std::make_unique<RealFile>(path, fresh);
  }

  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) fail("replace", to, errno);
  }

  void sync_folder(const std::filesystem::path& folder) override {
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) fail("open", folder, errno);
    const int error = ::fsync(fd) == 0 ? 0 : errno;
    ::close(fd);
    if (error != 0) fail("sync", folder, error);
  }
};

}  // namespace

Disk& Disk::real() {
  static RealDisk disk;  // holds nothing
  return disk;
}

}  // namespace fathom::live
