// Token shards on disk, and the samples that training draws from them.
//
// A shard (NAME.tokens), little-endian: 64 bytes of header (magic "FATHOMTK", u32 version 1, u32 bytes a token (2 or 4),
// u64 tokens, u64 documents, u32 flags (1: has a mask), u32 vocab, u64 checksum (XXH64, base/checksum.h) of what follows),
// then the tokens, then for each document the index of its first token (u64), then, where there is a mask, one bit a
// token, lowest first: whether it is to be learnt (answers of dialogues). Each part is filled up with zeros to whole words
// of 8 bytes. A document never crosses shards. A folder of shards has a manifest.json: tokenizer digest, shards with their
// checksums, counts, and how they were made.
//
// Samples are rows of `length` + 1 consecutive tokens of the shards laid end to end, each beginning with the last token of
// the one before. Documents of a masked set are packed whole (train/packing.h), and what is left of a row repeats its last
// token without a loss. The first token of a document is nobody's target. Which row is sample i of the run is a function
// of (seed, i): each epoch is a permutation of the rows.
//
// Immutable and thread-safe after opening; owns its maps. Nothing in a file is believed. Errors: kNotFound, kIo, kCorrupt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fathom::train {

struct DatasetInfo {
  uint64_t tokens = 0;
  uint64_t documents = 0;
  uint64_t loss_tokens = 0;
  size_t vocab = 0;
  bool masked = false;
  std::string tokenizer;  // digest of the tokenizer that made it
};

class Dataset {
 public:
  /// A folder with a manifest.json.
  static Dataset open(const std::filesystem::path& folder);
  ~Dataset();
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;

  const DatasetInfo& info() const;
  /// Reads everything once. Errors: kCorrupt, naming shard and place.
  void verify() const;

  /// Rows of `length` that an epoch has.
  uint64_t rows(size_t length) const;
  /// Sample `index` of a run: `length` tokens, targets (-1: no loss) and starts (train/batch.h).
  void sample(uint64_t seed, uint64_t index, size_t length, int32_t* tokens, int32_t* targets,
              int32_t* starts) const;
  /// Loss tokens among samples [begin, end).
  uint64_t loss_tokens(uint64_t seed, uint64_t begin, uint64_t end, size_t length) const;

 private:
  struct Impl;
  explicit Dataset(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

/// Writes shards; what `fathom data prepare` fills.
class DatasetWriter {
 public:
  /// A new or empty folder. `vocab` chooses 2 or 4 bytes a token. Errors: kInvalidArgument where the folder holds something.
  DatasetWriter(const std::filesystem::path& folder, size_t vocab, bool masked, std::string tokenizer_digest,
                uint64_t tokens_per_shard = uint64_t{1} << 27);
  ~DatasetWriter();
  DatasetWriter(DatasetWriter&&) noexcept;
  /// `learn` is empty, or has one entry a token. REQUIRES: ids below vocab.
  void add(std::span<const int32_t> document, std::span<const uint8_t> learn = {});
  /// Writes the manifest: without it the folder is no dataset. `made_by`: JSON of the options that made it.
  DatasetInfo finish(const std::string& made_by);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom::train
