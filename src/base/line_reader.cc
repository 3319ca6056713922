#include "base/line_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace fathom {
namespace {

constexpr size_t kReadBytes = size_t{1} << 18;
constexpr int kPollMillis = 50;  // how long a stop can go unseen while a pipe is silent

struct DecoderDeleter {
  void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
};

}  // namespace

/// The plain bytes of the input, piece by piece.
class LineReader::Bytes {
 public:
  explicit Bytes(const std::string& path) : name_(path == "-" ? "standard input" : path), raw_(kReadBytes) {
    fd_ = path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) fail("open", errno);
    struct stat info {};
    if (::fstat(fd_, &info) != 0 || S_ISDIR(info.st_mode)) {
      const int error = S_ISDIR(info.st_mode) ? EISDIR : errno;
      ::close(fd_);
      fail("read", error);
    }
    regular_ = S_ISREG(info.st_mode);
  }
  ~Bytes() { ::close(fd_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  bool is_regular() const { return regular_; }
  uint64_t position() const { return before_ + position_; }
  bool stopped() const { return stopped_; }

  /// The next piece; empty at the end, or when `stop` was requested.
  std::string_view next(const std::stop_token& stop) {
    if (!started_) start(stop);
    for (;;) {
      if (decoder_ == nullptr) {
        const auto piece = input();
        position_ = available_;
        if (!piece.empty() || !fill(stop)) return piece;
      } else {
        if (position_ == available_ && !flushing_ && !fill(stop)) {
          if (!stopped_ && in_frame_) corrupt("it ends in the middle of a zstd frame");
          return {};
        }
        const auto piece = decode();
        if (!piece.empty()) return piece;
      }
    }
  }

 private:
  [[noreturn]] void fail(std::string_view what, int error) const {
    throw Error(error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                fmt::format("cannot {} '{}': {}", what, name_, std::strerror(error)));
  }

  [[noreturn]] void corrupt(std::string_view what) const {
    throw Error(ErrorCode::kCorrupt, fmt::format("'{}' is damaged at byte {}: {}; what came before was kept",
                                                 name_, before_ + position_, what));
  }

  std::string_view input() const { return {raw_.data() + position_, available_ - position_}; }

  /// Reads until the magic number can be told, and chooses.
  void start(const std::stop_token& stop) {
    started_ = true;
    constexpr std::string_view kMagic = "\x28\xB5\x2F\xFD";
    while (available_ < kMagic.size() && append(stop)) {
    }
    if (!input().starts_with(kMagic)) return;
    decoder_.reset(ZSTD_createDStream());
    if (decoder_ == nullptr) throw Error(ErrorCode::kResourceExhausted, "no memory for a zstd decoder");
    plain_.resize(ZSTD_DStreamOutSize());
  }

  /// Replaces the input, which is used up. False at the end or when stopped.
  bool fill(const std::stop_token& stop) {
    before_ += available_;
    position_ = available_ = 0;
    return append(stop);
  }

  bool append(const std::stop_token& stop) {
    for (;;) {
      if (stop.stop_requested()) {
        stopped_ = true;
        return false;
      }
      if (!regular_) {
        pollfd waiting{fd_, POLLIN, 0};
        if (::poll(&waiting, 1, kPollMillis) == 0) continue;
      }
      const ssize_t n = ::read(fd_, raw_.data() + available_, raw_.size() - available_);
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n < 0) fail("read", errno);
      available_ += static_cast<size_t>(n);
      return n > 0;
    }
  }

  std::string_view decode() {
    ZSTD_inBuffer from{raw_.data(), available_, position_};
    ZSTD_outBuffer to{plain_.data(), plain_.size(), 0};
    const size_t result = ZSTD_decompressStream(decoder_.get(), &to, &from);
    position_ = from.pos;
    if (ZSTD_isError(result)) corrupt(ZSTD_getErrorName(result));
    in_frame_ = result != 0;
    flushing_ = to.pos == to.size;  // the decoder may hold more than fitted
    return {plain_.data(), to.pos};
  }

  const std::string name_;
  int fd_ = -1;
  bool regular_ = false;
  bool started_ = false;
  bool stopped_ = false;
  std::vector<char> raw_;
  size_t position_ = 0, available_ = 0;  // of what is not used yet in raw_
  uint64_t before_ = 0;                  // bytes of the input before raw_
  std::unique_ptr<ZSTD_DStream, DecoderDeleter> decoder_;
  std::vector<char> plain_;
  bool in_frame_ = false;
  bool flushing_ = false;
};

LineReader::LineReader(const std::string& path, size_t max_line_bytes)
    : bytes_(std::make_unique<Bytes>(path)), max_line_bytes_(max_line_bytes) {}

LineReader::~LineReader() = default;

uint64_t LineReader::number() const { return number_; }

uint64_t LineReader::position() const { return bytes_->position(); }

bool LineReader::is_regular() const { return bytes_->is_regular(); }

LineReader::Result LineReader::next(std::string& line, const std::stop_token& stop) {
  line.clear();
  bool any = false;
  bool too_long = false;
  const auto take = [&](std::string_view part) {
    any = true;
    too_long = too_long || line.size() + part.size() > max_line_bytes_;
    if (!too_long) line += part;
  };
  for (;;) {
    if (rest_.empty()) {
      rest_ = bytes_->next(stop);
      if (rest_.empty()) {
        if (bytes_->stopped()) return Result::kStopped;
        if (!any) return Result::kEnd;
        break;  // a last line without an end
      }
    }
    const size_t end = rest_.find('\n');
    take(rest_.substr(0, end));
    if (end != std::string_view::npos) {
      rest_.remove_prefix(end + 1);
      break;
    }
    rest_ = {};
  }
  ++number_;
  if (too_long) return Result::kTooLong;
  if (line.ends_with('\r')) line.pop_back();
  return Result::kLine;
}

}  // namespace fathom
