#include "model/pull.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "model/inspect.h"

namespace fathom::model {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPiece = size_t{1} << 20;
constexpr auto kFirstWait = std::chrono::seconds(1);
constexpr auto kLongestWait = std::chrono::seconds(60);

[[noreturn]] void throw_io(std::string_view what, const fs::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(full ? ErrorCode::kResourceExhausted : ErrorCode::kIo,
              fmt::format("cannot {} '{}': {}{}", what, path.string(), std::strerror(error),
                          full ? "; make room and run the command again: it goes on from there" : ""));
}

/// The digest by which a server names a file.
class Checksum {
 public:
  explicit Checksum(const HubFile& file)
      : expected_(file.sha256.empty() ? file.git_sha1 : file.sha256),
        digest_(file.sha256.empty() ? DigestKind::kSha1 : DigestKind::kSha256) {
    // Git hashes a file with its size before it.
    if (file.sha256.empty()) digest_.update(fmt::format("blob {}{}", *file.size, '\0'));
  }
  void update(std::string_view bytes) { digest_.update(bytes); }
  bool holds() { return digest_.finish() == expected_; }

 private:
  std::string expected_;
  Digest digest_;
};

/// A file that grows over several runs.
class Part {
 public:
  Part(fs::path path, const HubFile& file) : path_(std::move(path)), file_(file), sum_(file) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd_ < 0) throw_io("create", path_, errno);
    try {
      begin();
    } catch (...) {
      ::close(fd_);
      throw;
    }
  }
  ~Part() {
    if (fd_ >= 0) ::close(fd_);
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  uint64_t size() const { return size_; }

  void restart() {
    if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) throw_io("empty", path_, errno);
    size_ = 0;
    sum_ = Checksum(file_);
  }

  void append(std::string_view bytes) {
    sum_.update(bytes);
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw_io("write", path_, errno);
      bytes.remove_prefix(static_cast<size_t>(n));
      size_ += static_cast<uint64_t>(n);
    }
  }

  /// Checks the whole and puts it in its place.
  void finish(const fs::path& place) {
    if (!sum_.holds()) {
      ::unlink(path_.c_str());
      throw Error(
          ErrorCode::kCorrupt,
          fmt::format(
              "what came as '{}' does not have the checksum that the server names; it was thrown away: "
              "run the command again",
              file_.name));
    }
    if (::fsync(fd_) != 0) throw_io("sync", path_, errno);
    if (::rename(path_.c_str(), place.c_str()) != 0) throw_io("rename to", place, errno);
    const int folder = ::open(place.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = folder >= 0 && ::fsync(folder) == 0;
    const int error = errno;
    if (folder >= 0) ::close(folder);
    if (!synced) throw_io("sync", place.parent_path(), error);
  }

 private:
  void begin() {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) throw_io("examine", path_, errno);
    if (!S_ISREG(info.st_mode))
      throw Error(ErrorCode::kIo, fmt::format("'{}' is no plain file", path_.string()));
    lock();
    if (::fstat(fd_, &info) != 0) throw_io("examine", path_, errno);
    if (static_cast<uint64_t>(info.st_size) > *file_.size)
      restart();
    else
      read_back(static_cast<uint64_t>(info.st_size));
  }

  /// Two runs that wrote one part would each take the other's bytes for their own. File systems without locks go without.
  void lock() {
    struct stat mine {
    }, there{};
    const bool taken = ::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    // Who had it until now may have put it in its place, or thrown it away.
    const bool gone = ::fstat(fd_, &mine) != 0 || ::lstat(path_.c_str(), &there) != 0 ||
                      mine.st_ino != there.st_ino || mine.st_dev != there.st_dev;
    if (taken || gone)
      throw Error(ErrorCode::kIo, fmt::format("another run is fetching '{}'; let it end, and run the command "
                                              "again",
                                              file_.name));
  }

  void read_back(uint64_t size) {
    std::string piece(kPiece, '\0');
    while (size_ < size) {
      const ssize_t n = ::read(fd_, piece.data(), std::min<uint64_t>(piece.size(), size - size_));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw_io("read", path_, errno);
      if (n == 0) break;
      sum_.update({piece.data(), static_cast<size_t>(n)});
      size_ += static_cast<uint64_t>(n);
    }
  }

  fs::path path_;
  const HubFile& file_;
  Checksum sum_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

bool has_checksum(const fs::path& path, const HubFile& file) {
  std::error_code gone;
  if (fs::file_size(path, gone) != *file.size || gone) return false;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw_io("open", path, errno);
  Checksum sum(file);
  std::string piece(kPiece, '\0');
  ssize_t n = 0;
  while ((n = ::read(fd, piece.data(), piece.size())) > 0) sum.update({piece.data(), static_cast<size_t>(n)});
  ::close(fd);
  return n == 0 && sum.holds();
}

/// Whether trying again may help.
bool is_passing(const Error& error) {
  return error.code() == ErrorCode::kNetwork || error.code() == ErrorCode::kDeadlineExceeded;
}

bool is_passing(int status) { return status == 408 || status == 429 || status >= 500; }

/// "bytes 100-199/200": where the piece begins and what the whole has.
bool continues(const HttpResponse& response, uint64_t from, uint64_t whole) {
  const auto found = response.headers.find("content-range");
  return found != response.headers.end() &&
         found->second == fmt::format("bytes {}-{}/{}", from, whole - 1, whole);
}

class Puller {
 public:
  Puller(const HubName& name, const PullOptions& options, Transport& transport, const Clock& clock,
         const std::function<void(const PullProgress&)>& progress, const std::stop_token& stop)
      : name_(name),
        options_(options),
        transport_(transport),
        clock_(clock),
        progress_(progress),
        stop_(stop),
        hub_(transport, options.endpoint, options.token) {}

  PullResult run() {
    HubListing listing;
    persist([&] { listing = hub_.list(name_, options_.revision, stop_); });
    auto files = choose_files(listing, name_);
    result_.commit = listing.commit;
    for (HubFile& file : files) {
      persist([&] { hub_.complete(name_, listing.commit, file, stop_); });
      result_.bytes += *file.size;
    }
    const bool plain =
        std::all_of(files.begin(), files.end(), [](const auto& f) { return f.name.ends_with(".gguf"); });
    const fs::path base = plain ? options_.folder : options_.folder / name_.name;
    if (!plain) unfinished_ = base / kUnfinished;
    for (const HubFile& file : files) {
      // Parts of one GGUF file lie side by side, whatever folder the server has them in.
      const fs::path place = base / (plain ? fs::path(file.name).filename() : fs::path(file.name));
      fs::create_directories(place.parent_path());
      fetch(file, place);
      result_.files.push_back(place);
    }
    if (!plain) fs::remove(unfinished_);
    result_.path = plain ? result_.files.front() : base;
    return std::move(result_);
  }

 private:
  template <class Call>
  void persist(Call call) {
    for (int tried = 1;; ++tried) {
      try {
        return call();
      } catch (const Error& error) {
        if (!is_passing(error) || tried >= options_.tries) throw;
      }
      wait(tried, 0);
    }
  }

  void fetch(const HubFile& file, const fs::path& place) {
    report(file, 0);
    if (fs::exists(place)) {
      if (has_checksum(place, file)) return done(file);
      if (!options_.force)
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("'{}' is there already with other content; --force "
                                "replaces it",
                                place.string()));
    }
    const std::string sum = file.sha256.empty() ? file.git_sha1 : file.sha256;
    Part part(place.parent_path() / fmt::format(".{}.{}.part", place.filename().string(), sum.substr(0, 16)),
              file);
    require_room(place, *file.size - part.size());
    if (!unfinished_.empty() && !fs::exists(unfinished_))
      write_file_atomic(unfinished_, "This model is being fetched; 'fathom pull' goes on with it.\n");
    transfer(file, part);
    part.finish(place);
    done(file);
  }

  void transfer(const HubFile& file, Part& part) {
    std::string version;  // ETag of what the part came from, in this run
    int idle = 0;         // tries without a byte
    while (part.size() < *file.size) {
      const uint64_t before = part.size();
      int asked_to_wait = 0;
      try {
        const HttpResponse response = get(file, part, version);
        if (is_passing(response.status)) {
          asked_to_wait = retry_after(response);
          if (idle + 1 >= options_.tries) hub_.refuse(response, fmt::format("file '{}'", file.name));
        } else if (response.status == 416) {
          part.restart();  // the server has no such range: the part is none of this file
        } else if (response.status != 200 && response.status != 206) {
          hub_.refuse(response, fmt::format("file '{}' of '{}'", file.name, name_.repository()));
        }
      } catch (const Error& error) {
        if (!is_passing(error) || (part.size() <= before && idle + 1 >= options_.tries)) throw;
      }
      if (part.size() >= *file.size) return;
      idle = part.size() > before ? 0 : idle + 1;
      if (idle >= options_.tries)
        throw Error(
            ErrorCode::kNetwork,
            fmt::format("'{}' does not come: {} tries brought nothing; try again later", file.name, idle));
      wait(std::max(1, idle), asked_to_wait);
    }
  }

  HttpResponse get(const HubFile& file, Part& part, std::string& version) {
    HttpRequest request = hub_.request(name_, result_.commit, file.name);
    const uint64_t from = part.size();
    if (from > 0) request.headers["Range"] = fmt::format("bytes={}-", from);
    if (from > 0 && !version.empty()) request.headers["If-Range"] = version;
    request.on_head = [&](const HttpResponse& head) { return begin(head, file, part, from, version); };
    return transport_.stream(
        request,
        [&](std::string_view bytes) {
          if (bytes.size() > *file.size - part.size()) throw_too_long(file);
          part.append(bytes);
          result_.fetched += bytes.size();
          report(file, part.size());
          return part.size() < *file.size;
        },
        stop_);
  }

  /// Whether what comes can be used, and where it belongs.
  bool begin(const HttpResponse& head, const HubFile& file, Part& part, uint64_t from,
             std::string& version) const {
    const auto etag = head.headers.find("etag");
    version = etag != head.headers.end() && etag->second.starts_with('"') ? etag->second : "";
    if (head.status == 206) {
      if (continues(head, from, *file.size)) return true;
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("the server answers with another range of '{}' than was asked for", file.name));
    }
    const auto length = head.headers.find("content-length");
    if (length != head.headers.end() && length->second != std::to_string(*file.size))
      throw Error(ErrorCode::kCorrupt, fmt::format("'{}' should have {} bytes and the server sends {}",
                                                   file.name, *file.size, length->second.substr(0, 20)));
    if (from > 0) part.restart();
    return true;
  }

  [[noreturn]] static void throw_too_long(const HubFile& file) {
    throw Error(
        ErrorCode::kCorrupt,
        fmt::format("the server sends more than the {} bytes that '{}' should have", *file.size, file.name));
  }

  static int retry_after(const HttpResponse& response) {
    const auto found = response.headers.find("retry-after");
    if (found == response.headers.end() || found->second.size() > 5 || found->second.empty() ||
        found->second.find_first_not_of("0123456789") != std::string::npos)
      return 0;
    return std::stoi(found->second);
  }

  void wait(int tried, int asked_seconds) {
    std::chrono::seconds time = kFirstWait * (1 << std::min(tried - 1, 5));
    time = std::min<std::chrono::seconds>(std::max(time, std::chrono::seconds(asked_seconds)), kLongestWait);
    if (!clock_.sleep(time, stop_))
      throw Error(ErrorCode::kCancelled, "the download was stopped; it can be resumed");
  }

  void require_room(const fs::path& place, uint64_t bytes) const {
    std::error_code unknown;
    const auto space = fs::space(place.parent_path(), unknown);
    if (!unknown && space.available < bytes)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("'{}' needs {}B more and the disk has {}B left; make room", place.string(),
                              human_count(static_cast<double>(bytes)),
                              human_count(static_cast<double>(space.available))));
  }

  void report(const HubFile& file, uint64_t of_this) const {
    if (progress_) progress_({file.name, before_ + of_this, result_.bytes});
  }

  void done(const HubFile& file) {
    before_ += *file.size;
    report(file, 0);
  }

  const HubName& name_;
  const PullOptions& options_;
  Transport& transport_;
  const Clock& clock_;
  const std::function<void(const PullProgress&)>& progress_;
  const std::stop_token& stop_;
  Hub hub_;
  PullResult result_;
  fs::path unfinished_;  // the mark of a folder that is being fetched; empty: none
  uint64_t before_ = 0;  // bytes of files that are finished
};

}  // namespace

PullResult pull(const HubName& name, const PullOptions& options, Transport& transport, const Clock& clock,
                const std::function<void(const PullProgress&)>& progress, const std::stop_token& stop) {
  return Puller(name, options, transport, clock, progress, stop).run();
}

}  // namespace fathom::model
