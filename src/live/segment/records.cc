#include "live/segment/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "live/codec.h"

namespace fathom::live {
namespace {

constexpr size_t kChecksumBytes = sizeof(uint32_t);
constexpr size_t kCachedGroups = 8;
constexpr size_t kMaxCachedBytes = size_t{1} << 20;  // a group beyond this is not kept

/// What a thread unpacked last.
struct GroupCache {
  struct Entry {
    std::shared_ptr<const SealedRecords::Identity> records;  // kept alive, so that no other takes its address
    uint32_t group = UINT32_MAX;
    RecordGroup content;
  };
  std::array<Entry, kCachedGroups> entries;
  size_t next = 0;
};

uint32_t checksum_of(Bytes bytes) { return static_cast<uint32_t>(checksum64(std::as_bytes(bytes))); }

GroupCache& group_cache() {
  thread_local GroupCache cache;
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

const RecordGroup& SealedRecords::group_of(uint32_t number) const {
  const uint32_t group = (number - 1) / kRecordsPerGroup;
  GroupCache& cache = group_cache();
  const auto is_it = [&](const auto& entry) { return entry.group == group && entry.records == identity_; };
  auto entry = std::find_if(cache.entries.begin(), cache.entries.end(), is_it);
  if (entry == cache.entries.end()) {
    entry = cache.entries.begin() + static_cast<ptrdiff_t>(cache.next);
    cache.next = (cache.next + 1) % kCachedGroups;
    if (entry->content.bytes() > kMaxCachedBytes) entry->content = RecordGroup();  // gives its memory back
    entry->content.clear();
    entry->records = identity_;
    entry->group = group;
  }
  if (entry->content.size() <= place(number)) read_through(number, entry->content);
  return entry->content;
}

/// Reads on in the group of a document, up to that.
void SealedRecords::read_through(uint32_t number, RecordGroup& group) const {
  const uint32_t which = (number - 1) / kRecordsPerBlock, first = which * kRecordsPerBlock + 1;
  const uint8_t* at = index_.data() + size_t{which} * sizeof(uint64_t);
  const auto begin = load<uint64_t>(at), end = load<uint64_t>(at + sizeof(uint64_t));
  const Bytes block = records_.subspan(begin, end - begin);
  if (block.size() < kChecksumBytes ||
      load<uint32_t>(block.data()) != checksum_of(block.subspan(kChecksumBytes)))
    file_->corrupt(SectionKind::kRecords, "the checksum of a block differs");
  std::array<int64_t, kRecordsPerGroup> created{};
  size_t more = 0;
  for (uint32_t next = number - place(number) + group.size(); next <= number; ++next)
    created[more++] = columns_->facts(next).created;
  const uint32_t records = std::min(kRecordsPerBlock, documents_ + 1 - first);
  const uint32_t groups = (records + kRecordsPerGroup - 1) / kRecordsPerGroup;
  if (!group.read(block.subspan(kChecksumBytes), (number - first) / kRecordsPerGroup, groups,
                  std::span(created).first(more), code_))
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
  if (filled_ > 0 && filled_ % kRecordsPerGroup == 0) {
    put_varint(sizes_, code_.out().bits() - begin_);
    begin_ = code_.out().bits();
    before_ = first_;
  }
  write_record(post, created, before_, code_);
  if (filled_ == 0) first_ = before_;
  if (++filled_ == kRecordsPerBlock) flush_block();
}

void RecordWriter::flush_block() {
  code_.out().finish();
  block_ = sizes_;
  block_ += code_.out().bytes();
  if (block_.size() > kMaxBlockBytes)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("32 neighbouring posts take {} bytes; a segment takes {}", block_.size(),
                            kMaxBlockBytes));
  std::string checksum;
  store(checksum, checksum_of({reinterpret_cast<const uint8_t*>(block_.data()), block_.size()}));
  store(index_, file_.size());
  file_.write(checksum);
  file_.write(block_);
  code_.out().bytes().clear();
  sizes_.clear();
  before_ = {};
  begin_ = 0;
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
