#include "train/shard.h"

#include <fmt/format.h>

#include <cstring>
#include <string_view>
#include <utility>

#include "base/checksum.h"
#include "base/error.h"

namespace fathom::train {
namespace {

constexpr std::string_view kMagic = "FATHOMTK";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kMaskFlag = 1;

template <class Number>
Number load(const std::byte* at) {
  Number value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class Number>
void append(std::string& out, Number value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

[[noreturn]] void corrupt(const std::string& name, std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("'{}' is damaged: {}; prepare the data again", name, what));
}

}  // namespace

std::string ShardHeader::encode() const {
  std::string out(kMagic);
  append(out, kVersion);
  append(out, token_bytes);
  append(out, tokens);
  append(out, documents);
  append(out, masked ? kMaskFlag : uint32_t{0});
  append(out, vocab);
  append(out, checksum);
  out.resize(kBytes, '\0');
  return out;
}

ShardHeader ShardHeader::decode(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() < kBytes) corrupt(name, "it ends within its header");
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
    corrupt(name, "it does not begin as a shard of tokens does");
  if (const auto version = load<uint32_t>(bytes.data() + 8); version != kVersion)
    throw Error(ErrorCode::kUnsupported,
                fmt::format("'{}' is a shard of version {}, and this build reads version {}", name, version,
                            kVersion));
  ShardHeader header;
  header.token_bytes = load<uint32_t>(bytes.data() + 12);
  header.tokens = load<uint64_t>(bytes.data() + 16);
  header.documents = load<uint64_t>(bytes.data() + 24);
  const auto flags = load<uint32_t>(bytes.data() + 32);
  header.vocab = load<uint32_t>(bytes.data() + 36);
  header.checksum = load<uint64_t>(bytes.data() + 40);
  header.masked = (flags & kMaskFlag) != 0;
  if ((flags & ~kMaskFlag) != 0) corrupt(name, "its header has unknown flags");
  if (header.vocab == 0 || header.vocab > 0x7FFFFFFF || header.token_bytes != token_bytes_of(header.vocab))
    corrupt(name, "its header gives a vocabulary and a token width that do not go together");
  return header;
}

Shard Shard::parse(std::span<const std::byte> bytes, std::string name) {
  Shard shard;
  shard.header_ = ShardHeader::decode(bytes, name);
  shard.name_ = std::move(name);
  shard.payload_ = bytes.subspan(ShardHeader::kBytes);
  const ShardHeader& header = shard.header_;
  const uint64_t have = shard.payload_.size();
  if (header.tokens > have || header.documents > header.tokens ||
      (header.documents == 0) != (header.tokens == 0))
    corrupt(shard.name_, "its header counts more than the file can hold");
  // None of these sums overflows: both counts are at most the file's bytes.
  const uint64_t token_part = padded(header.tokens * header.token_bytes);
  const uint64_t start_part = header.documents * sizeof(uint64_t);
  const uint64_t mask_part = header.masked ? padded((header.tokens + 7) / 8) : 0;
  if (token_part + start_part + mask_part != have)
    corrupt(shard.name_, fmt::format("it has {} bytes where its header calls for {}", bytes.size(),
                                     ShardHeader::kBytes + token_part + start_part + mask_part));
  shard.tokens_ = shard.payload_.data();
  shard.starts_ = shard.tokens_ + token_part;
  shard.mask_ = header.masked ? shard.starts_ + start_part : nullptr;
  for (uint64_t d = 0; d < header.documents; ++d)
    if (d == 0 ? shard.begin(d) != 0
               : shard.begin(d) <= shard.begin(d - 1) || shard.begin(d) >= header.tokens)
      corrupt(shard.name_, fmt::format("document {} does not begin behind the one before it", d));
  return shard;
}

int32_t Shard::token(uint64_t index) const {
  const uint32_t id =
      header_.token_bytes == 2 ? load<uint16_t>(tokens_ + index * 2) : load<uint32_t>(tokens_ + index * 4);
  if (id >= header_.vocab)
    corrupt(name_, fmt::format("token {} is {}, beyond the vocabulary of {}", index, id, header_.vocab));
  return static_cast<int32_t>(id);
}

bool Shard::learn(uint64_t index) const {
  return mask_ == nullptr || (std::to_integer<unsigned>(mask_[index / 8]) >> (index % 8) & 1) != 0;
}

uint64_t Shard::begin(uint64_t document) const {
  return document == header_.documents ? header_.tokens
                                       : load<uint64_t>(starts_ + document * sizeof(uint64_t));
}

uint64_t Shard::document_of(uint64_t index) const {
  uint64_t low = 0, high = header_.documents;  // begin(low) <= index < begin(high)
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (begin(middle) <= index ? low : high) = middle;
  }
  return low;
}

uint64_t Shard::learnt(uint64_t begin, uint64_t end) const {
  if (end - begin < 2) return 0;
  if (mask_ == nullptr) return end - begin - 1;
  uint64_t count = 0;
  for (uint64_t i = begin + 1; i < end; ++i) count += learn(i) ? 1 : 0;
  return count;
}

void Shard::verify() const {
  if (checksum64(payload_) != header_.checksum) corrupt(name_, "its checksum is another");
  for (uint64_t i = 0; i < header_.tokens; ++i) token(i);
}

}  // namespace fathom::train
