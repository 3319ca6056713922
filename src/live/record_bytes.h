// The bytes that records are made of (codec.h), written and read: base-128 varints, strings with their length before them.
//
// A writer trusts its caller for room; a reader trusts nothing (kCorrupt).
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace fathom::live {

inline constexpr size_t kReceivedBytes = 8;
inline constexpr size_t kMostVarint = 10;

/// Writes to memory that is known to have room.
class RecordWriter {
 public:
  explicit RecordWriter(char* out) : at_(out) {}

  void byte(unsigned value) { *at_++ = static_cast<char>(value); }

  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) byte(static_cast<unsigned>(value & 0x7F) | 0x80u);
    byte(static_cast<unsigned>(value));
  }

  void bytes(std::string_view value) {
    if (!value.empty()) std::memcpy(at_, value.data(), value.size());
    at_ += value.size();
  }

  void string(std::string_view value) {
    varint(value.size());
    bytes(value);
  }

  char* at() const { return at_; }

 private:
  char* at_;
};

inline uint64_t zigzag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}

inline int64_t unzigzag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

class RecordReader {
 public:
  explicit RecordReader(std::string_view record) : rest_(record) {}

  uint8_t byte() {
    if (rest_.empty()) broken("ends early");
    const auto value = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = byte();
      value |= static_cast<uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) return value;
    }
    broken("has a number that never ends");
  }

  std::string_view string() {
    const uint64_t size = varint();
    if (size > rest_.size()) broken("has a string longer than itself");
    const std::string_view value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return value;
  }

  std::vector<std::string> strings() {
    const uint64_t count = varint();
    if (count > rest_.size()) broken("has a list longer than itself");
    std::vector<std::string> values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) values.emplace_back(string());
    return values;
  }

  int64_t signed_varint() { return unzigzag(varint()); }

  int32_t small_number() {
    const int64_t value = signed_varint();
    if (value < INT32_MIN || value > INT32_MAX) broken("has a count that is too large");
    return static_cast<int32_t>(value);
  }

  std::string_view rest() const { return rest_; }

  Time fixed_time() {
    if (rest_.size() != kReceivedBytes) broken("has no time of receipt at its end");
    uint64_t value = 0;
    for (size_t i = 0; i < kReceivedBytes; ++i) value |= static_cast<uint64_t>(byte()) << (8 * i);
    return Time(Micros(static_cast<int64_t>(value)));
  }

  [[noreturn]] static void broken(std::string_view why) {
    throw Error(ErrorCode::kCorrupt, fmt::format("a stored post {}", why));
  }

 private:
  std::string_view rest_;
};

}  // namespace fathom::live
