#include "live/segment/records.h"

#include <fmt/format.h>
#include <zdict.h>
#include <zstd.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "live/codec.h"

namespace fathom::live {
namespace {

constexpr int kLevel = 3;
constexpr size_t kDictionaryBytes = size_t{128} << 10;
constexpr size_t kLeastTrainingBytes = size_t{64} << 10;  // less is not worth a dictionary
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
  struct FreeContext {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  std::array<Entry, kCachedBlocks> entries;
  size_t next = 0;
  std::unique_ptr<ZSTD_DCtx, FreeContext> decoder{ZSTD_createDCtx()};
};

BlockCache& block_cache() {
  thread_local BlockCache cache;
  return cache;
}

}  // namespace

SealedRecords::SealedRecords() = default;
SealedRecords::~SealedRecords() = default;
void SealedRecords::FreeDictionary::operator()(ZSTD_DDict_s* dictionary) const { ZSTD_freeDDict(dictionary); }

void SealedRecords::open(const SegmentFile& file, const SealedColumns& columns, uint32_t documents) {
  file_ = &file;
  columns_ = &columns;
  documents_ = documents;
  file.check(SectionKind::kRecordIndex);
  file.check(SectionKind::kDictionary);
  file.check(SectionKind::kWords);
  if (!words_.read(file.section(SectionKind::kWords))) file.corrupt(SectionKind::kWords, "it cannot be read");
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
  const Bytes dictionary = file.section(SectionKind::kDictionary);
  if (dictionary.empty()) return;
  dictionary_.reset(ZSTD_createDDict(dictionary.data(), dictionary.size()));
  if (dictionary_ == nullptr) file.corrupt(SectionKind::kDictionary, "zstd cannot read it");
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
  const uint64_t size = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (size > kMaxBlockBytes) file_->corrupt(SectionKind::kRecords, "a block has no size");
  std::string bytes(size, '\0');
  ZSTD_DCtx* decoder = block_cache().decoder.get();
  const size_t got = ZSTD_decompress_usingDDict(decoder, bytes.data(), bytes.size(), frame.data(),
                                                frame.size(), dictionary_.get());
  if (ZSTD_isError(got) != 0 || got != size)
    file_->corrupt(SectionKind::kRecords, ZSTD_isError(got) != 0 ? ZSTD_getErrorName(got) : "a block is cut");
  const uint32_t first = block * kRecordsPerBlock + 1,
                 behind = std::min(first + kRecordsPerBlock, documents_ + 1);
  std::array<int64_t, kRecordsPerBlock> created{};
  for (uint32_t number = first; number < behind; ++number)
    created[number - first] = columns_->facts(number).created;
  if (!out.read(bytes, std::span(created).first(behind - first), words_))
    file_->corrupt(SectionKind::kRecords, "a block is not made of posts");
}

RecordWriter::RecordWriter(const std::filesystem::path& path) : packed_(path), context_(ZSTD_createCCtx()) {
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_dictIDFlag, 0);
}
RecordWriter::~RecordWriter() = default;
void RecordWriter::FreeContext::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }
void RecordWriter::FreeDictionary::operator()(ZSTD_CDict_s* dictionary) const { ZSTD_freeCDict(dictionary); }

void RecordWriter::learn(std::span<const Post> posts) {
  for (const Post& post : posts) {
    for (const auto* text :
         {&post.text, &post.source, &post.author.handle, &post.author.name, &post.lang, &post.url})
      encoder_.learn(*text);
    for (const auto& link : post.links) encoder_.learn(link);
    for (const auto& tag : post.tags) encoder_.learn(tag);
  }
  sample_.emplace_back(posts.begin(), posts.end());
}

void RecordWriter::add(Post post, int64_t created) {
  if (!trained_) train();
  posts_.push_back(std::move(post));
  created_.push_back(created);
  if (posts_.size() == kRecordsPerBlock) flush_block();
}

void RecordWriter::flush_block() {
  const std::string block = write_record_block(posts_, created_, encoder_);
  posts_.clear();
  created_.clear();
  if (block.size() > kMaxBlockBytes)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("32 neighbouring posts have {} bytes; a segment takes {}", block.size(), kMaxBlockBytes));
  pack(block);
}

void RecordWriter::train() {
  trained_ = true;
  words_ = encoder_.choose();
  std::string samples;
  std::vector<size_t> sizes;
  for (const auto& posts : sample_) {
    std::vector<int64_t> created;
    for (const Post& post : posts) created.push_back(post.created_at.time_since_epoch().count());
    const std::string block = write_record_block(posts, created, encoder_);
    samples += block;
    sizes.push_back(block.size());
  }
  std::vector<std::vector<Post>>().swap(sample_);
  if (samples.size() < kLeastTrainingBytes) return;
  dictionary_.resize(std::min(kDictionaryBytes, samples.size() / 32));
  const size_t size = ZDICT_trainFromBuffer(dictionary_.data(), dictionary_.size(), samples.data(),
                                            sizes.data(), static_cast<unsigned>(sizes.size()));
  dictionary_.resize(ZDICT_isError(size) != 0 ? 0 : size);  // too little or too uniform to learn from
  if (dictionary_.empty()) return;
  compressor_.reset(ZSTD_createCDict(dictionary_.data(), dictionary_.size(), kLevel));
  ZSTD_CCtx_refCDict(context_.get(), compressor_.get());
}

void RecordWriter::pack(std::string_view block) {
  frame_.resize(ZSTD_compressBound(block.size()));
  const size_t size =
      ZSTD_compress2(context_.get(), frame_.data(), frame_.size(), block.data(), block.size());
  FATHOM_CHECK(ZSTD_isError(size) == 0, "zstd has room for its worst case");
  store(index_, packed_.size());
  packed_.write(std::string_view(frame_).substr(0, size));
}

void RecordWriter::finish(SegmentFileWriter& file) {
  if (!posts_.empty()) flush_block();
  store(index_, packed_.size());
  file.add(SectionKind::kWords, words_);
  file.add(SectionKind::kDictionary, dictionary_);
  file.add(SectionKind::kRecordIndex, index_);
  file.begin(SectionKind::kRecords);
  packed_.copy_to(file);
  file.end();
}

}  // namespace fathom::live
