// What a store's folder holds: the file "MANIFEST", replaced atomically whenever a segment comes or goes.
//
//   fathom-live 2
//   through 4711                       sealed segments and their changes hold everything up to this sequence
//   feed_time 1767225600000000         of the feed's clock, microseconds
//   segment NAME COUNTED CHANGES       oldest first; its counts include all up to COUNTED; CHANGES is a file or "-"
//   checksum 0123456789abcdef          XXH64 of all lines above
//
// The names of segments tell their sequences ("segment-FIRST-LAST.seg", 20 digits each; changes:
// "segment-FIRST-LAST.COUNTED.changes"), so that a folder whose manifest is damaged can still be read. Pure functions but for
// `read_manifest` and `write_manifest`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::live {

struct ManifestSegment {
  std::string file;
  uint64_t counted = 0;
  std::string changes;  // empty: none
};

struct Manifest {
  uint64_t through = 0;
  int64_t feed_time = 0;
  std::vector<ManifestSegment> segments;
};

/// Sequences that a segment's file holds, both included.
struct SegmentRange {
  uint64_t first = 0, last = 0;
};

std::string segment_file(SegmentRange range);
std::string changes_file(SegmentRange range, uint64_t counted);

/// Of a segment's file or of its changes; empty for other names.
std::optional<SegmentRange> segment_range(std::string_view file);
/// Empty when `file` is not one of changes.
std::optional<uint64_t> changes_counted(std::string_view file);

std::string encode_manifest(const Manifest& manifest);
/// Errors: kCorrupt, kUnsupported (a newer version).
Manifest parse_manifest(std::string_view text);

/// Empty when there is none. Errors: as parse_manifest, kIo.
std::optional<Manifest> read_manifest(const std::filesystem::path& folder);
/// Errors: kIo, kResourceExhausted (disk full).
void write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

/// What the files of a folder tell when its manifest is lost: the widest segments, the newest changes of each.
Manifest guess_manifest(const std::filesystem::path& folder);

}  // namespace fathom::live
