// A 64-bit checksum against torn writes and flipped bits: XXH64 (Collet, 2012), which reads several bytes a cycle. Not a
// cryptographic digest (base/digest.h has those): nothing withstands who means harm.
//
// A value of its own for each stream of bytes; not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace fathom {

class Checksum64 {
 public:
  Checksum64();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view bytes) { update(std::as_bytes(std::span(bytes))); }
  /// Of all bytes so far; more may follow.
  uint64_t value() const;

 private:
  void take_block(const std::byte* block);

  std::array<uint64_t, 4> lanes_{};
  std::array<std::byte, 32> rest_{};  // the bytes behind the last whole block
  uint64_t total_ = 0;
};

uint64_t checksum64(std::span<const std::byte> bytes);
inline uint64_t checksum64(std::string_view bytes) { return checksum64(std::as_bytes(std::span(bytes))); }

}  // namespace fathom
