#include "live/log_format.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "base/crc32c.h"
#include "base/error.h"

namespace fathom::live {
namespace {

constexpr std::string_view kMagic = "fathomlg";
constexpr uint32_t kVersion = 1;
constexpr size_t kVersionAt = 8, kChecksumAt = 24;
constexpr size_t kSizeBytes = 4, kWords = 8, kMinSize = 9;

static_assert(std::endian::native == std::endian::little, "the log is written as the processor has it");

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T get(std::string_view bytes, size_t at) {
  T value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// A frame that is whole and in its place.
struct Frame {
  LogEntry entry;
  bool last_of_batch = false;
  size_t bytes = 0;
};

class Scanner {
 public:
  Scanner(std::string_view file, uint64_t first, uint64_t limit,
          const std::function<void(const LogEntry&)>& on_entry)
      : file_(file), next_(first), limit_(limit), on_entry_(on_entry) {}

  LogScan run() {
    size_t at = kLogHeaderBytes;
    while (at < file_.size()) {
      if (const auto frame = frame_at(at)) {
        at += frame->bytes;
        take(*frame, at);
        continue;
      }
      const size_t found = next_frame(at);
      if (found == file_.size()) break;
      step_over(at);
      at = found;
    }
    result_.torn = !batch_.empty() || (at < file_.size() && !only_zeros(at));
    if (limit_ != UINT64_MAX) deliver(result_.end);  // another file follows: the batch was whole once
    return result_;
  }

 private:
  std::optional<Frame> frame_at(size_t at) const {
    if (file_.size() - at < kFrameOverhead) return {};
    const auto size = get<uint32_t>(file_, at);
    if (size < kMinSize || size > file_.size() - at - kWords) return {};
    Frame frame;
    frame.entry.sequence = get<uint64_t>(file_, at + kWords);
    if (frame.entry.sequence < next_ || frame.entry.sequence >= limit_) return {};
    const std::string_view body = file_.substr(at + kWords, size);
    if (crc32c(body, crc32c(file_.substr(at, kSizeBytes))) != get<uint32_t>(file_, at + kSizeBytes))
      return {};
    const auto kind = static_cast<uint8_t>(body[8]);
    frame.entry.kind = static_cast<LogKind>(kind & ~kLastOfBatch);
    frame.entry.payload = body.substr(kMinSize);
    frame.last_of_batch = (kind & kLastOfBatch) != 0;
    frame.bytes = kWords + size;
    return frame;
  }

  /// The first intact frame behind `at`, or the file's end.
  size_t next_frame(size_t at) const {
    for (++at; at + kFrameOverhead <= file_.size(); ++at)
      if (frame_at(at)) return at;
    return file_.size();
  }

  bool only_zeros(size_t at) const { return file_.find_first_not_of('\0', at) == std::string_view::npos; }

  void take(const Frame& frame, size_t end) {
    next_ = frame.entry.sequence + 1;
    batch_.push_back(frame.entry);
    if (frame.last_of_batch) deliver(end);
  }

  void step_over(size_t at) {
    if (result_.damaged++ == 0) result_.damaged_at = at;
    deliver(at);
  }

  void deliver(size_t end) {
    for (const LogEntry& entry : batch_) on_entry_(entry);
    if (!batch_.empty()) result_.last = batch_.back().sequence;
    batch_.clear();
    result_.end = end;
  }

  std::string_view file_;
  uint64_t next_, limit_;
  const std::function<void(const LogEntry&)>& on_entry_;
  std::vector<LogEntry> batch_;
  LogScan result_;
};

}  // namespace

std::string log_header(uint64_t first_sequence) {
  std::string out(kMagic);
  put(out, kVersion);
  put(out, uint32_t{0});
  put(out, first_sequence);
  put(out, crc32c(out));
  put(out, uint32_t{0});
  return out;
}

void check_log_header(std::string_view file, std::string_view path) {
  if (file.size() < kLogHeaderBytes || file.substr(0, kMagic.size()) != kMagic) return;
  if (crc32c(file.substr(0, kChecksumAt)) != get<uint32_t>(file, kChecksumAt)) return;
  const auto version = get<uint32_t>(file, kVersionAt);
  if (version != kVersion)
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' has version {}, this program reads version {}; use the version that wrote it", path,
                    version, kVersion));
}

void append_frame(std::string& out, const LogEntry& entry, bool last_of_batch) {
  const size_t at = out.size();
  put(out, static_cast<uint32_t>(kMinSize + entry.payload.size()));
  put(out, uint32_t{0});
  put(out, entry.sequence);
  out += static_cast<char>(static_cast<uint8_t>(entry.kind) | (last_of_batch ? kLastOfBatch : 0));
  out += entry.payload;
  const std::string_view frame = std::string_view(out).substr(at);
  const uint32_t checksum = crc32c(frame.substr(kWords), crc32c(frame.substr(0, kSizeBytes)));
  std::memcpy(out.data() + at + kSizeBytes, &checksum, sizeof checksum);
}

LogScan scan_log(std::string_view file, uint64_t first, uint64_t limit,
                 const std::function<void(const LogEntry&)>& on_entry) {
  return Scanner(file, first, limit, on_entry).run();
}

}  // namespace fathom::live
