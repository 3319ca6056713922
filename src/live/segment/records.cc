#include "live/segment/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "live/codec.h"

namespace fathom::live {
namespace {

constexpr size_t kChecksumBytes = sizeof(uint32_t);
constexpr size_t kCachedBlocks = 4;
constexpr size_t kMaxCachedBytes = size_t{1} << 20;  // a block beyond this is not kept

/// What a thread unpacked last.
struct BlockCache {
  struct Entry {
    uint64_t records = 0;
    uint32_t block = UINT32_MAX;
    size_t bytes = 0;
    RecordBlock content;
  };
  std::array<Entry, kCachedBlocks> entries;
  size_t next = 0;
};

uint32_t checksum_of(Bytes bytes) { return static_cast<uint32_t>(checksum64(std::as_bytes(bytes))); }

BlockCache& block_cache() {
  thread_local BlockCache cache;
  return cache;
}

}  // namespace

void SealedRecords::open(const SegmentFile& file, const SealedColumns& columns, uint32_t documents) {
  file_ = &file;
  columns_ = &columns;
  documents_ = documents;
  file.check(SectionKind::kRecordIndex);
  file.check(SectionKind::kRecordCode);
  if (!code_.read(file.section(SectionKind::kRecordCode)))
    file.corrupt(SectionKind::kRecordCode, "it cannot be read");
  index_ = file.section(SectionKind::kRecordIndex);
  records_ = file.section(SectionKind::kRecords);
  identity_ = file.checksum(SectionKind::kRecords);
  const uint64_t blocks = (uint64_t{documents} + kRecordsPerBlock - 1) / kRecordsPerBlock;
  if (index_.size() != (blocks + 1) * sizeof(uint64_t))
    file.corrupt(SectionKind::kRecordIndex, "its size is not that of the documents");
  uint64_t last = 0;
  for (uint64_t i = 0; i <= blocks; ++i) {
    const auto offset = load<uint64_t>(index_.data() + i * sizeof(uint64_t));
    if (offset < last || offset > records_.size())
      file.corrupt(SectionKind::kRecordIndex, "a block lies outside the records");
    last = offset;
  }
}

const RecordBlock& SealedRecords::block_of(uint32_t number) const {
  const uint32_t block = (number - 1) / kRecordsPerBlock;
  BlockCache& cache = block_cache();
  for (auto& entry : cache.entries)
    if (entry.block == block && entry.records == identity_) return entry.content;
  auto& entry = cache.entries[cache.next];
  cache.next = (cache.next + 1) % kCachedBlocks;
  if (entry.bytes > kMaxCachedBytes) entry.content = RecordBlock();  // gives its memory back
  entry.block = UINT32_MAX;
  unpack(block, entry.content);
  entry.bytes = entry.content.bytes();
  entry.records = identity_;
  entry.block = block;
  return entry.content;
}

void SealedRecords::unpack(uint32_t block, RecordBlock& out) const {
  const uint8_t* at = index_.data() + size_t{block} * sizeof(uint64_t);
  const auto begin = load<uint64_t>(at), end = load<uint64_t>(at + sizeof(uint64_t));
  const Bytes frame = records_.subspan(begin, end - begin);
  if (frame.size() < kChecksumBytes ||
      load<uint32_t>(frame.data()) != checksum_of(frame.subspan(kChecksumBytes)))
    file_->corrupt(SectionKind::kRecords, "the checksum of a block differs");
  const uint32_t first = block * kRecordsPerBlock + 1,
                 behind = std::min(first + kRecordsPerBlock, documents_ + 1);
  std::array<int64_t, kRecordsPerBlock> created{};
  for (uint32_t number = first; number < behind; ++number)
    created[number - first] = columns_->facts(number).created;
  if (!out.read(frame.subspan(kChecksumBytes), std::span(created).first(behind - first), code_))
    file_->corrupt(SectionKind::kRecords, "a block is not made of posts");
}

void RecordWriter::learn(std::span<const Post> posts) {
  RecordBefore before;
  for (const Post& post : posts)
    write_record(post, post.created_at.time_since_epoch().count(), before, code_);
}

void RecordWriter::add(const Post& post, int64_t created) {
  if (!learnt_) section_ = code_.choose();
  learnt_ = true;
  write_record(post, created, before_, code_);
  if (++filled_ == kRecordsPerBlock) flush_block();
}

void RecordWriter::flush_block() {
  code_.out().finish();
  std::string& block = code_.out().bytes();
  if (block.size() > kMaxBlockBytes)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("32 neighbouring posts take {} bytes; a segment takes {}", block.size(), kMaxBlockBytes));
  std::string checksum;
  store(checksum, checksum_of({reinterpret_cast<const uint8_t*>(block.data()), block.size()}));
  store(index_, file_.size());
  file_.write(checksum);
  file_.write(block);
  block.clear();
  before_ = {};
  filled_ = 0;
}

void RecordWriter::finish() {
  if (!learnt_) section_ = code_.choose();
  if (filled_ > 0) flush_block();
  store(index_, file_.size());
  file_.end();
  file_.add(SectionKind::kRecordCode, section_);
  file_.add(SectionKind::kRecordIndex, index_);
}

}  // namespace fathom::live
