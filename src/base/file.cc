#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

[[noreturn]] void throw_io(std::string_view what, const std::filesystem::path& path, int error) {
  const auto code = error == ENOENT                                          ? ErrorCode::kNotFound
                    : (error == ENOSPC || error == EDQUOT || error == EFBIG) ? ErrorCode::kResourceExhausted
                                                                             : ErrorCode::kIo;
  throw Error(code, fmt::format("cannot {} '{}': {}", what, path.string(), std::strerror(error)));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

size_t file_size(int fd, const std::filesystem::path& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw_io("examine", path, errno);
  if (S_ISDIR(info.st_mode)) throw_io("read", path, EISDIR);
  return static_cast<size_t>(info.st_size);
}

void write_all(int fd, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io("write", path, errno);
    content.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

std::string read_file(const std::filesystem::path& path, size_t max_bytes) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) throw_io("open", path, errno);
  file_size(fd.get(), path);  // refuses a folder
  std::string content;
  char chunk[1 << 16];
  for (;;) {  // the size on record is not trusted: pipes and /proc report none
    const ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io("read", path, errno);
    if (n == 0) return content;
    if (content.size() + static_cast<size_t>(n) > max_bytes)
      throw Error(
          ErrorCode::kResourceExhausted,
          fmt::format("'{}' is larger than the {} bytes that may be read from it", path.string(), max_bytes));
    content.append(chunk, static_cast<size_t>(n));
  }
}

AtomicFile::AtomicFile(std::filesystem::path path)
    : path_(std::move(path)), aside_(path_.string() + ".XXXXXX") {
  fd_ = ::mkostemp(aside_.data(), O_CLOEXEC);
  if (fd_ < 0) throw_io("create", aside_, errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(aside_.c_str());
}

void AtomicFile::write(std::string_view bytes) { write_all(fd_, bytes, aside_); }

void AtomicFile::overwrite(uint64_t offset, std::string_view bytes) {
  if (::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) throw_io("write", aside_, errno);
  write_all(fd_, bytes, aside_);
  if (::lseek(fd_, 0, SEEK_END) < 0) throw_io("write", aside_, errno);
}

void AtomicFile::commit() {
  if (::fchmod(fd_, 0644) != 0 || ::fsync(fd_) != 0) throw_io("sync", aside_, errno);
  if (::rename(aside_.c_str(), path_.c_str()) != 0) throw_io("replace", path_, errno);
  ::close(std::exchange(fd_, -1));
  const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const Descriptor dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() < 0 || ::fsync(dir.get()) != 0) throw_io("sync", folder, errno);
}

std::vector<std::filesystem::path> files_of(const std::filesystem::path& folder, std::string_view extension) {
  std::error_code failed;
  std::vector<std::filesystem::path> files;
  for (std::filesystem::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed))
    if (entry->path().extension() == extension) files.push_back(entry->path());
  if (failed)
    throw Error(ErrorCode::kNotFound,
                fmt::format("the folder '{}' cannot be read: {}", folder.string(), failed.message()));
  std::sort(files.begin(), files.end());
  return files;
}

void write_file_atomic(const std::filesystem::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) throw_io("open", path, errno);
  size_ = file_size(fd.get(), path);
  if (size_ == 0) return;  // mmap refuses an empty range
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) throw_io("map", path, errno);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void MappedFile::unmap() noexcept {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

TempDir::TempDir(std::string_view prefix) {
  std::string name = (std::filesystem::temp_directory_path() / fmt::format("{}.XXXXXX", prefix)).string();
  if (::mkdtemp(name.data()) == nullptr) throw_io("create", name, errno);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace fathom
