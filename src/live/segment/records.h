// The stored posts of a sealed segment: blocks of 32, each with a checksum, written in the codes that the segment learnt
// (record_code.h).
//
// A block: the low four bytes of the XXH64 of the rest; the sizes in bits of its groups of 8 records, but the last, varints; the
// groups. A record follows the other without a gap: its shape (which fields it has), its numbers (an id that is a number and the time of
// receipt less those of the record before, or, for the first of a group, of the block's first; the time of the post where the columns
// have another), its strings. So a post is read with those before it in its group alone. An address that holds the post's id and its author's handle is stored as a pattern.
// What comes out is, byte for byte, the record of codec.h that went in.
//
// SealedRecords: immutable, any thread; each thread keeps the few groups that it unpacked last, of whatever segment, as far as they
// were asked for.
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
inline constexpr uint32_t kRecordsPerGroup = 8;
inline constexpr size_t kMaxBlockBytes = size_t{256} << 20;  // unpacked

/// What a record is written against: zeros at the beginning of a block.
struct RecordBefore {
  uint64_t id = 0;
  int64_t received = 0;
};

/// `created` is the time that the columns have of it.
void write_record(const Post& post, int64_t created, RecordBefore& before, RecordEncoder& code);

/// Unpacked records of a group, from its first on. Owns its bytes; what it hands out are copies.
class RecordGroup {
 public:
  /// Before another group.
  void clear();
  /// Reads on behind the records that it has, a record for each time of the columns. `block` without its checksum, of `groups` groups,
  /// and `group`, the number of this one, are always the same. False when these are not such records.
  bool read(Bytes block, uint32_t group, uint32_t groups, std::span<const int64_t> created,
            const RecordDecoder& code);
  uint32_t size() const { return static_cast<uint32_t>(facts_.size()); }
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

  bool start(Bytes block, uint32_t group, uint32_t groups, const RecordDecoder& code);
  bool read_head(CodeReader& in, int64_t created, const RecordDecoder& code, Facts& facts);
  bool read_record(CodeReader& in, int64_t created, const RecordDecoder& code);
  Piece& piece(ValueKind field, uint32_t index) {
    return strings_[index * kFields + static_cast<size_t>(field)];
  }
  std::string_view view(const Piece& piece) const {
    return std::string_view(text_).substr(piece.begin, piece.size);
  }
  std::string_view string(ValueKind field, uint32_t index) const {
    return view(strings_[index * kFields + static_cast<size_t>(field)]);
  }

  uint64_t bit_ = 0;  // where the next record begins
  RecordBefore before_;
  std::string text_;  // all strings
  std::vector<Facts> facts_;
  std::vector<Piece> strings_;  // post by post
  std::vector<Piece> lists_;    // links and tags of all posts
};

class SealedRecords {
 public:
  /// Errors: kCorrupt.
  void open(const SegmentFile& file, const SealedColumns& columns, uint32_t documents);

  // Errors: kCorrupt. REQUIRES: 1 <= number <= documents.

  Post post(uint32_t number) const { return group_of(number).post(place(number)); }
  std::string text(uint32_t number) const { return group_of(number).text(place(number)); }
  std::string key(uint32_t number) const { return group_of(number).key(place(number)); }

  /// Whose groups those are that a thread keeps unpacked. Equal bytes are not enough: other codes may stand behind them.
  struct Identity {};

 private:
  static uint32_t place(uint32_t number) { return (number - 1) % kRecordsPerGroup; }
  const RecordGroup& group_of(uint32_t number) const;
  void read_through(uint32_t number, RecordGroup& group) const;

  const SegmentFile* file_ = nullptr;
  const SealedColumns* columns_ = nullptr;
  RecordDecoder code_;
  Bytes index_, records_;
  std::shared_ptr<const Identity> identity_ = std::make_shared<const Identity>();
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
  RecordBefore before_, first_;  // the latter: of the block's first record
  std::string sizes_;            // of the groups that are whole
  uint64_t begin_ = 0;           // of the group at hand, in bits
  bool learnt_ = false;
  uint32_t filled_ = 0;  // posts of the block at hand
  std::string section_, index_, block_;
};

}  // namespace fathom::live
