// The files of a checkpoint (train/checkpoint.h says how they come about): one a rank, and the manifest over them.
//
// A rank's file, little-endian:
//   8 bytes "FATHOMCK", u32 version 1, u32 0, u64 length of the header, u64 checksum of the header (base/checksum.h),
//   the header: a JSON list of entries {"name", "kind", "shape": [3], "box": [begin x 3, size x 3], "begin", "count",
//     "checksum"}: elements [begin, begin + count) of the box of the tensor, flat by rows,
//   zeros up to a multiple of 64,
//   the entries' floats, end to end in the header's order, up to the end of the file.
// manifest.json: {"format": "fathom checkpoint 1", "step", "samples", "skipped", "layout", "run": {...},
//   "files": [{"name", "bytes", "header_checksum"}], "checksum": of the rest as dumped without spaces}.
//
// Nothing in a file is believed. Errors: kCorrupt (names file and entry), kNotFound, kIo. Immutable after opening, so
// thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "train/checkpoint.h"
#include "train/parameters.h"

namespace fathom::train {

enum class CheckpointKind { kWeight, kFirstMoment, kSecondMoment, kAverage };
std::string_view to_string(CheckpointKind kind);  // "weight"

struct CheckpointEntry {
  std::string name;
  CheckpointKind kind = CheckpointKind::kWeight;
  std::array<size_t, 3> shape{1, 1, 1};  // of the whole tensor
  Box box;
  size_t begin = 0;  // in the box
  size_t count = 0;
  uint64_t checksum = 0;
  size_t offset = 0;  // in the file's floats; follows from the order
};

/// What the manifest knows of a rank's file.
struct CheckpointFileRecord {
  std::string name;
  uint64_t bytes = 0;
  uint64_t header_checksum = 0;
};

struct CheckpointManifest {
  TrainState state;
  std::string layout;
  std::vector<CheckpointFileRecord> files;  // by rank
};

inline constexpr const char* kManifestName = "manifest.json";

/// Replaces `path` atomically. `values`: of each entry its `count` floats; checksums and offsets are filled in here.
/// Errors: kIo, kResourceExhausted.
CheckpointFileRecord write_rank_file(const std::filesystem::path& path, std::vector<CheckpointEntry> entries,
                                     const std::vector<const float*>& values);

class RankFile {
 public:
  static RankFile open(const std::filesystem::path& path);
  /// Over bytes of the caller's that outlive it, aligned as floats are; `name` stands for the path in errors.
  static RankFile parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  const CheckpointFileRecord& record() const { return record_; }
  const std::vector<CheckpointEntry>& entries() const { return entries_; }
  /// Of one of entries(), verified. Errors: kCorrupt.
  std::span<const float> values(const CheckpointEntry& entry) const;

 private:
  RankFile() = default;

  std::string name_;
  std::shared_ptr<const MappedFile> map_;  // null after `parse`
  CheckpointFileRecord record_;
  std::vector<CheckpointEntry> entries_;
  std::span<const float> floats_;
};

std::string format_manifest(const CheckpointManifest& manifest);
CheckpointManifest parse_manifest(std::string_view text, const std::string& name);

/// The manifest of a checkpoint's folder, and all its files, of the sizes and with the headers that it says.
struct OpenedCheckpoint {
  CheckpointManifest manifest;
  std::vector<RankFile> files;
};
OpenedCheckpoint open_checkpoint(const std::filesystem::path& folder);

}  // namespace fathom::train
