// The stored posts of a sealed segment: blocks of 32, each a zstd frame with the segment's dictionary and a checksum.
//
// Within a block the posts lie field by field, so that like stands beside like: first the numbers of all posts (ids that
// are numbers as differences, times as differences to the columns' and to the post's own), then the strings as codes of words
// (words.h). An address that holds the post's id and its author's handle is stored as a pattern. What comes out is, byte for
// byte, the record of codec.h that went in.
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
#include "live/segment/words.h"

struct ZSTD_CCtx_s;
struct ZSTD_CDict_s;
struct ZSTD_DDict_s;

namespace fathom::live {

inline constexpr uint32_t kRecordsPerBlock = 32;
inline constexpr size_t kMaxBlockBytes = size_t{256} << 20;  // unpacked

/// An unpacked block. Owns its bytes; what it hands out are copies.
class RecordBlock {
 public:
  /// Reads as many posts as there are times of the columns; false when the bytes are not such a block.
  bool read(std::string_view bytes, std::span<const int64_t> created, const WordCodes& words);
  uint32_t size() const { return size_; }
  size_t bytes() const { return text_.size(); }
  Post post(uint32_t index) const;
  std::string text(uint32_t index) const;
  std::string key(uint32_t index) const;

 private:
  friend std::string write_record_block(std::span<const Post> posts, std::span<const int64_t> created,
                                        const WordEncoder& words);
  enum Field : uint8_t {
    kId,
    kSource,
    kHandle,
    kAuthorId,
    kName,
    kLang,
    kUrl,
    kReplyTo,
    kRepostOf,
    kQuoteOf,
    kText,
    kFields
  };

  std::string_view string(Field field, uint32_t index) const;

  std::string text_;  // all strings
  uint32_t size_ = 0;
  struct Facts {
    uint32_t flags = 0;
    uint64_t id = 0;
    int64_t created = 0, received = 0;
    int64_t counts[5] = {};
    uint32_t first_link = 0, links = 0, first_tag = 0, tags = 0;  // within lists_
  };
  struct Piece {
    uint32_t begin = 0, size = 0;
  };
  std::vector<Facts> facts_;
  std::vector<Piece> strings_;  // field by field
  std::vector<Piece> lists_;    // links and tags of all posts
};

/// REQUIRES: up to 32 posts, and the time that the columns have of each.
std::string write_record_block(std::span<const Post> posts, std::span<const int64_t> created,
                               const WordEncoder& words);

class SealedRecords {
 public:
  SealedRecords();
  ~SealedRecords();
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

  struct FreeDictionary {
    void operator()(ZSTD_DDict_s* dictionary) const;
  };
  const SegmentFile* file_ = nullptr;
  const SealedColumns* columns_ = nullptr;
  WordCodes words_;
  Bytes index_, records_;
  uint64_t identity_ = 0;  // of the records, by their checksum: equal ones have equal blocks
  uint32_t documents_ = 0;
  std::unique_ptr<ZSTD_DDict_s, FreeDictionary> dictionary_;
};

/// Learns from a sample of the posts, then takes them all in order of number.
class RecordWriter {
 public:
  explicit RecordWriter(const std::filesystem::path& path);
  ~RecordWriter();

  /// Neighbouring posts, up to 32, of the sample. Before the first `add`.
  void learn(std::span<const Post> posts);
  /// `created` as the columns have it.
  void add(Post post, int64_t created);
  /// Writes the four sections.
  void finish(SegmentFileWriter& file);

 private:
  void flush_block();
  void train();
  void pack(std::string_view block);

  struct FreeContext {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  struct FreeDictionary {
    void operator()(ZSTD_CDict_s* dictionary) const;
  };
  ScratchFile packed_;
  std::vector<std::vector<Post>> sample_;
  std::vector<Post> posts_;  // of the block at hand
  std::vector<int64_t> created_;
  WordEncoder encoder_;
  bool trained_ = false;
  std::string words_;
  std::string dictionary_, frame_, index_;
  std::unique_ptr<ZSTD_CCtx_s, FreeContext> context_;
  std::unique_ptr<ZSTD_CDict_s, FreeDictionary> compressor_;
};

}  // namespace fathom::live
