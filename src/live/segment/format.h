// The frame of a segment file: sections, and a table of them at the end.
//
// File: sections, each aligned to 8 bytes | table: an entry a section (kind, offset, size, XXH64) | footer: version, number
// of sections, offset of the table, its XXH64, magic. Little-endian, as every machine that Fathom runs on. A reader may load
// up to 16 bytes behind a section's end: the table and the footer lie there.
//
// SegmentFile: immutable, any thread. SegmentFileWriter and ScratchFile: one thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.h"
#include "base/file.h"

namespace fathom::live {

static_assert(std::endian::native == std::endian::little);

enum class SectionKind : uint32_t {
  kSummary = 1,
  kNames,
  kColumns,      // one header per 1024 documents
  kRows,         // their packed columns
  kRankFacts,    // 4 bytes a document
  kSketches,     // 8 bytes a document
  kKeys,         // hash table
  kRecordCode,   // that records are written in
  kRecordIndex,  // offsets of blocks of records
  kRecords,
  kPostings,
  kPositions,
  kTermIndex,  // first bytes and offset of each block of terms
  kTerms,
  kCounts,  // likes and the like that came before sealing but after their posts
};
inline constexpr size_t kSectionKinds = 15;
std::string_view to_string(SectionKind kind);

using Bytes = std::span<const uint8_t>;

/// An unaligned little-endian value. REQUIRES: the bytes are there.
template <class T>
T load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// Appends the value's bytes.
template <class T>
void store(std::string& out, const T& value) {
  const size_t size = out.size();
  out.resize(size + sizeof value);
  std::memcpy(out.data() + size, &value, sizeof value);
}

/// LEB128.
inline void put_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

inline uint64_t zigzag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t unzigzag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

/// Reads varints and strings out of bytes that may be damaged: past the end everything is 0 or empty, and `ok` is false.
class ByteReader {
 public:
  ByteReader(const uint8_t* at, const uint8_t* end) : at_(at), end_(end) {}
  explicit ByteReader(Bytes bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) break;
      const uint8_t b = *at_++;
      value |= static_cast<uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) return value;
    }
    return fail(), 0;
  }
  uint8_t byte() {
    if (at_ == end_) return fail(), uint8_t{0};
    return *at_++;
  }
  std::string_view string(uint64_t size) {
    if (size > left()) return fail(), std::string_view();
    const auto* from = reinterpret_cast<const char*>(at_);
    at_ += size;
    return {from, static_cast<size_t>(size)};
  }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  const uint8_t* at() const { return at_; }
  bool ok() const { return ok_; }

 private:
  void fail() {
    ok_ = false;
    at_ = end_;
  }

  const uint8_t* at_;
  const uint8_t* end_;
  bool ok_ = true;
};

/// The end of every file.
struct SegmentFooter {
  static constexpr uint32_t kVersion = 2;
  static constexpr uint64_t kMagic = 0x31544E4745535446;  // "FTSEGNT1"

  uint32_t version = kVersion;
  uint32_t sections = 0;
  uint64_t table_offset = 0;
  uint64_t table_checksum = 0;
  uint64_t magic = kMagic;
};

/// The summary section, as it lies in the file.
struct SegmentSummary {
  uint32_t documents = 0, unused = 0;
  uint64_t terms = 0;
  uint64_t first_sequence = 0, last_sequence = 0;
  int64_t oldest = 0, newest = 0;
  uint64_t posts = 0, words = 0;  // tombstones left out
};

/// The map of a segment file whose table is sound.
class SegmentFile {
 public:
  /// Errors: kNotFound, kIo, kCorrupt, kUnsupported (another layout).
  explicit SegmentFile(const std::filesystem::path& path);

  Bytes section(SectionKind kind) const;
  uint64_t checksum(SectionKind kind) const { return entry(kind).checksum; }
  /// Compares the section with its checksum. Errors: kCorrupt.
  void check(SectionKind kind) const;
  void check_all() const;
  /// What a section that cannot be read is thrown as.
  [[noreturn]] void corrupt(SectionKind kind, std::string_view why) const;

  uint64_t bytes() const { return map_.bytes().size(); }
  const std::filesystem::path& path() const { return map_.path(); }

  struct Entry {
    uint32_t kind = 0, unused = 0;
    uint64_t offset = 0, size = 0, checksum = 0;
  };

 private:
  const Entry& entry(SectionKind kind) const { return entries_[static_cast<size_t>(kind) - 1]; }
  [[noreturn]] void corrupt(std::string_view why) const;

  MappedFile map_;
  std::vector<Entry> entries_;  // by kind
};

class ScratchFile;

/// Writes sections one after another. Errors: those of AtomicFile.
class SegmentFileWriter {
 public:
  explicit SegmentFileWriter(const std::filesystem::path& path) : file_(path) {}

  void begin(SectionKind kind);
  void write(std::string_view bytes);
  void write(Bytes bytes) { write({reinterpret_cast<const char*>(bytes.data()), bytes.size()}); }
  uint64_t size() const { return entries_.back().size; }  // of the section so far
  void end();
  /// A section in one go.
  void add(SectionKind kind, std::string_view bytes);
  void add(SectionKind kind, ScratchFile& bytes);
  /// Writes the table and puts the file in its place.
  void finish();

 private:
  void flush();

  AtomicFile file_;
  std::string buffer_;
  uint64_t offset_ = 0;
  Checksum64 checksum_;
  std::vector<SegmentFile::Entry> entries_;
};

/// Bytes kept on disk until their turn to be written comes: an unnamed file beside `path`.
class ScratchFile {
 public:
  explicit ScratchFile(const std::filesystem::path& path);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  void write(std::string_view bytes);
  uint64_t size() const { return size_; }
  void copy_to(SegmentFileWriter& writer);

 private:
  void flush();

  std::filesystem::path path_;
  int fd_ = -1;
  std::string buffer_;
  uint64_t size_ = 0;
};

}  // namespace fathom::live
