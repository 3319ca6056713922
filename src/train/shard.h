// One shard of tokens as it lies on disk (train/dataset.h has the format).
//
// A Shard is a view: the bytes outlive it. Immutable and thread-safe. Nothing in the bytes is believed: sizes and the order
// of documents are checked by `parse`, token ids where they are read. Errors: kCorrupt, naming file and place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace fathom::train {

/// The first 64 bytes.
struct ShardHeader {
  static constexpr size_t kBytes = 64;
  uint32_t token_bytes = 2;
  uint64_t tokens = 0;
  uint64_t documents = 0;
  bool masked = false;
  uint32_t vocab = 0;
  uint64_t checksum = 0;

  std::string encode() const;
  /// Errors: kCorrupt, kUnsupported (another version).
  static ShardHeader decode(std::span<const std::byte> bytes, const std::string& name);
};

/// 2 where every id fits, else 4.
inline uint32_t token_bytes_of(size_t vocab) { return vocab <= 0x10000 ? 2 : 4; }
/// Each of the three parts is filled up with zeros to whole words of 8 bytes.
inline uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

class Shard {
 public:
  static Shard parse(std::span<const std::byte> bytes, std::string name);

  const ShardHeader& header() const { return header_; }
  const std::string& name() const { return name_; }

  /// Errors: kCorrupt for an id beyond the vocabulary. REQUIRES: index < tokens.
  int32_t token(uint64_t index) const;
  /// Whether the token is to be learnt; all are where there is no mask.
  bool learn(uint64_t index) const;
  /// Index of a document's first token; of `documents`: the number of tokens.
  uint64_t begin(uint64_t document) const;
  /// The document that the token belongs to.
  uint64_t document_of(uint64_t index) const;
  /// Tokens with a loss among [begin, end) of one document, whose first token has none.
  uint64_t learnt(uint64_t begin, uint64_t end) const;

  /// Reads everything. Errors: kCorrupt.
  void verify() const;

 private:
  ShardHeader header_;
  std::string name_;
  std::span<const std::byte> payload_;
  const std::byte* tokens_ = nullptr;
  const std::byte* starts_ = nullptr;
  const std::byte* mask_ = nullptr;
};

}  // namespace fathom::train
