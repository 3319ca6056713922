// Lines out of a file, a pipe or standard input, decompressed on the way when they are zstd.
//
// Reads on demand and holds one line and two buffers, however large the input. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

namespace fathom {

class LineReader {
 public:
  enum class Result {
    kLine,     // `line` holds the next one, without its end
    kTooLong,  // the next line was longer than the limit and skipped
    kEnd,
    kStopped,
  };

  /// `path` "-" is standard input. Errors: kNotFound, kIo.
  LineReader(const std::string& path, size_t max_line_bytes);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// Errors: kIo; kCorrupt for a zstd frame that is damaged or cut off, with the offset in the compressed input (lines that
  /// were whole before it have been returned).
  Result next(std::string& line, const std::stop_token& stop);

  /// Number of the line returned last, from 1.
  uint64_t number() const;

  /// Bytes of the input (compressed, where it is) used so far: how far along it is.
  uint64_t position() const;

  /// Whether the input can be opened and read a second time (a regular file).
  bool is_regular() const;

 private:
  class Bytes;
  std::unique_ptr<Bytes> bytes_;
  size_t max_line_bytes_;
  std::string_view rest_;  // of the piece last read
  uint64_t number_ = 0;
};

}  // namespace fathom
