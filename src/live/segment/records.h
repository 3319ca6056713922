// The stored posts of a sealed segment: blocks of 32, each with a checksum, written in the codes that the segment learnt
// (record_code.h).
//
// A block: the low four bytes of the XXH64 of the rest, then one record after another, without a gap: its shape (which fields it
// has), its numbers (an id that is a number and the time of receipt less those of the record before; the time of the post where
// the columns have another), its strings. An address that holds the post's id and its author's handle is stored as a pattern.
// What comes out is, byte for byte, the record of codec.h that went in.
//
// SealedRecords: immutable, any thread; each thread keeps the few blocks that it unpacked last, of whatever segment.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "live/post.h"
#include "live/segment/columns.h"
#include "live/segment/format.h"
#include "live/segment/record_code.h"

namespace fathom::live {

inline constexpr uint32_t kRecordsPerBlock = 32;
inline constexpr size_t kMaxBlockBytes = size_t{256} << 20;  // unpacked

/// What a record is written against: 0 at the beginning of a block.
struct RecordBefore {
  uint64_t id = 0;
  int64_t received = 0;
};

/// `created` is the time that the columns have of it.
void write_record(const Post& post, int64_t created, RecordBefore& before, RecordEncoder& code);

/// An unpacked block. Owns its bytes; what it hands out are copies.
class RecordBlock {
 public:
  /// Reads as many posts as there are times of the columns; false when the bytes are not such a block.
  bool read(Bytes bytes, std::span<const int64_t> created, const RecordDecoder& code);
  uint32_t size() const { return size_; }
  size_t bytes() const { return text_.size(); }
  Post post(uint32_t index) const;
  std::string text(uint32_t index) const;
  std::string key(uint32_t index) const;

 private:
  static constexpr size_t kFields = static_cast<size_t>(ValueKind::kLink);  // the shape's place stays empty

  struct Piece {
    uint32_t begin = 0, size = 0;
  };
  struct Facts {
    uint32_t shape = 0;
    Piece text;
    uint64_t id = 0;
    int64_t created = 0, received = 0;
    int64_t counts[5] = {};
    uint32_t first_link = 0, links = 0, first_tag = 0, tags = 0;  // within lists_
  };

  bool read_record(CodeReader& in, uint32_t index, int64_t created, RecordBefore& before,
                   const RecordDecoder& code);
  Piece& piece(ValueKind field, uint32_t index) {
    return strings_[index * kFields + static_cast<size_t>(field)];
  }
  std::string_view view(const Piece& piece) const {
    return std::string_view(text_).substr(piece.begin, piece.size);
  }
  std::string_view string(ValueKind field, uint32_t index) const {
    return view(strings_[index * kFields + static_cast<size_t>(field)]);
  }

  std::string text_;  // all strings
  uint32_t size_ = 0;
  std::vector<Facts> facts_;
  std::vector<Piece> strings_;  // post by post
  std::vector<Piece> lists_;    // links and tags of all posts
};

class SealedRecords {
 public:
  /// Errors: kCorrupt.
  void open(const SegmentFile& file, const SealedColumns& columns, uint32_t documents);

  // Errors: kCorrupt. REQUIRES: 1 <= number <= documents.

  Post post(uint32_t number) const { return block_of(number).post(place(number)); }
  std::string text(uint32_t number) const { return block_of(number).text(place(number)); }
  std::string key(uint32_t number) const { return block_of(number).key(place(number)); }

 private:
  static uint32_t place(uint32_t number) { return (number - 1) % kRecordsPerBlock; }
  const RecordBlock& block_of(uint32_t number) const;
  void unpack(uint32_t block, RecordBlock& out) const;

  const SegmentFile* file_ = nullptr;
  const SealedColumns* columns_ = nullptr;
  RecordDecoder code_;
  Bytes index_, records_;
  uint64_t identity_ = 0;  // of the records, by their checksum: equal ones have equal blocks
  uint32_t documents_ = 0;
};

/// Learns from a sample of the posts, then takes them all in order of number.
class RecordWriter {
 public:
  /// The section of records must be open from the first `add` to `finish`.
  explicit RecordWriter(SegmentFileWriter& file) : file_(file) {}

  /// Neighbouring posts, up to 32, of the sample. Before the first `add`.
  void learn(std::span<const Post> posts);
  /// `created` as the columns have it.
  void add(const Post& post, int64_t created);
  /// Ends the records and writes the two other sections.
  void finish();

 private:
  void flush_block();

  SegmentFileWriter& file_;
  RecordEncoder code_;
  RecordBefore before_;
  bool learnt_ = false;
  uint32_t filled_ = 0;  // posts of the block at hand
  std::string section_, index_;
};

}  // namespace fathom::live
