// The stored posts of a sealed segment: blocks of 32, each a zstd frame with the segment's dictionary and a checksum.
//
// Within a block the posts lie field by field, so that like stands beside like: first the numbers of all posts (ids that
// are numbers as differences, times as differences to the columns' and to the post's own), then the lengths of the strings, then
// the strings. An address that holds the post's id and its author's handle is stored as a pattern. What comes out is, byte for
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
#include "live/segment/format.h"

struct ZSTD_CCtx_s;
struct ZSTD_CDict_s;
struct ZSTD_DDict_s;

namespace fathom::live {

inline constexpr uint32_t kRecordsPerBlock = 32;

/// An unpacked block. Owns its bytes; what it hands out are copies.
class RecordBlock {
 public:
  /// Reads up to 32 posts; false when the bytes are not a block.
  bool read(std::string bytes);
  uint32_t size() const { return size_; }
  Post post(uint32_t index) const;
  std::string text(uint32_t index) const;
  std::string key(uint32_t index) const;

 private:
  struct Numbers;
  friend std::string write_record_block(std::span<const Post> posts);
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

  std::string bytes_;
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

/// REQUIRES: up to 32 posts.
std::string write_record_block(std::span<const Post> posts);

class SealedRecords {
 public:
  SealedRecords();
  ~SealedRecords();
  /// Errors: kCorrupt.
  void open(const SegmentFile& file, uint32_t documents);

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
  Bytes index_, records_;
  uint64_t identity_ = 0;  // of the records, by their checksum: equal ones have equal blocks
  uint32_t documents_ = 0;
  std::unique_ptr<ZSTD_DDict_s, FreeDictionary> dictionary_;
};

/// Gathers posts in order of number; trains the dictionary on the first of them.
class RecordWriter {
 public:
  explicit RecordWriter(const std::filesystem::path& path);
  ~RecordWriter();

  void add(Post post);
  /// Writes the three sections.
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
  std::vector<Post> posts_;           // of the block at hand
  std::vector<std::string> waiting_;  // blocks until there are enough to train on
  size_t waiting_bytes_ = 0;
  bool trained_ = false;
  std::string dictionary_, frame_, index_;
  std::unique_ptr<ZSTD_CCtx_s, FreeContext> context_;
  std::unique_ptr<ZSTD_CDict_s, FreeDictionary> compressor_;
};

}  // namespace fathom::live
