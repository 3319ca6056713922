#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/config.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxSecretBytes = 16 * 1024;

class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// The file that was looked at is the one that is read: its rights are asked of the open file.
void check_rights(int file, const std::string& path) {
  struct stat about {};
  if (::fstat(file, &about) != 0 || !S_ISREG(about.st_mode))
    throw Error(ErrorCode::kInvalidArgument, fmt::format("the secret '{}' is no file", path));
  if ((about.st_mode & 077) != 0)
    throw Error(ErrorCode::kPermissionDenied,
                fmt::format("others may read the secret '{}': chmod 600 it, and change the secret", path));
  if (about.st_uid != ::geteuid() && about.st_uid != 0)
    throw Error(ErrorCode::kPermissionDenied,
                fmt::format("the secret '{}' belongs to another user: chown it", path));
}

std::string read_secret_file(const std::string& path) {
  const OpenFile file(path);
  if (file.get() < 0)
    throw Error(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kPermissionDenied,
                fmt::format("cannot read the secret '{}': {}", path, std::strerror(errno)));
  check_rights(file.get(), path);
  std::string value(kMaxSecretBytes + 1, '\0');
  size_t size = 0;
  for (ssize_t n = 1; n > 0 && size < value.size(); size += static_cast<size_t>(std::max<ssize_t>(n, 0)))
    n = ::read(file.get(), value.data() + size, value.size() - size);
  if (size > kMaxSecretBytes)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the secret '{}' is longer than {} bytes", path, kMaxSecretBytes));
  value.resize(size);
  return value;
}

std::string read_secret_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0')
    throw Error(ErrorCode::kNotFound,
                fmt::format("the environment variable {} of a secret is not set", name));
  return value;
}

}  // namespace

std::string read_secret(std::string_view reference) {
  std::string raw;
  if (reference.starts_with('$')) {
    raw = read_secret_variable(std::string(reference.substr(1)));
  } else if (reference.starts_with("file:")) {
    raw = read_secret_file(std::string(reference.substr(5)));
  } else {
    throw Error(ErrorCode::kInvalidArgument,
                "a secret is given as $VARIABLE or as file:PATH of a file that only its owner may read");
  }
  const std::string value(trim(raw));
  const bool plain = std::all_of(value.begin(), value.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (value.empty() || !plain)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the secret {} is empty or has characters that no key has", reference));
  return value;
}

}  // namespace fathom::live
