#include "base/checksum.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace fathom {
namespace {

constexpr size_t kBlock = 32;
// The algorithm's five primes.
constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F, kPrime3 = 0x165667B19E3779F9,
                   kPrime4 = 0x85EBCA77C2B2AE63, kPrime5 = 0x27D4EB2F165667C5;

template <class T>
uint64_t read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

uint64_t round(uint64_t lane, uint64_t input) { return std::rotl(lane + input * kPrime2, 31) * kPrime1; }

uint64_t merge(uint64_t hash, uint64_t lane) { return (hash ^ round(0, lane)) * kPrime1 + kPrime4; }

uint64_t avalanche(uint64_t hash) {
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

uint64_t take_rest(uint64_t hash, const std::byte* at, size_t left) {
  for (; left >= 8; at += 8, left -= 8)
    hash = std::rotl(hash ^ round(0, read<uint64_t>(at)), 27) * kPrime1 + kPrime4;
  for (; left >= 4; at += 4, left -= 4)
    hash = std::rotl(hash ^ (read<uint32_t>(at) * kPrime1), 23) * kPrime2 + kPrime3;
  for (; left > 0; ++at, --left) hash = std::rotl(hash ^ (read<uint8_t>(at) * kPrime5), 11) * kPrime1;
  return hash;
}

}  // namespace

Checksum64::Checksum64() : lanes_{kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1} {}

void Checksum64::take_block(const std::byte* block) {
  for (size_t i = 0; i < lanes_.size(); ++i) lanes_[i] = round(lanes_[i], read<uint64_t>(block + 8 * i));
}

void Checksum64::update(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const size_t held = total_ % kBlock;
  total_ += bytes.size();
  if (held != 0) {
    const size_t taken = std::min(kBlock - held, bytes.size());
    std::memcpy(rest_.data() + held, bytes.data(), taken);
    bytes = bytes.subspan(taken);
    if (held + taken < kBlock) return;
    take_block(rest_.data());
  }
  for (; bytes.size() >= kBlock; bytes = bytes.subspan(kBlock)) take_block(bytes.data());
  if (!bytes.empty()) std::memcpy(rest_.data(), bytes.data(), bytes.size());
}

uint64_t Checksum64::value() const {
  uint64_t hash = kPrime5;
  if (total_ >= kBlock) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
           std::rotl(lanes_[3], 18);
    for (const uint64_t lane : lanes_) hash = merge(hash, lane);
  }
  return avalanche(take_rest(hash + total_, rest_.data(), total_ % kBlock));
}

uint64_t checksum64(std::span<const std::byte> bytes) {
  Checksum64 sum;
  sum.update(bytes);
  return sum.value();
}

}  // namespace fathom
