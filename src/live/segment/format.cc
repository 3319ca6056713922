#include "live/segment/format.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace fathom::live {
namespace {

constexpr size_t kBuffer = size_t{1} << 20;
constexpr size_t kAlignment = 8;

std::string_view view(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

Bytes bytes_of(const MappedFile& map) {
  return {reinterpret_cast<const uint8_t*>(map.bytes().data()), map.bytes().size()};
}

[[noreturn]] void throw_io(std::string_view what, const std::filesystem::path& path, int error) {
  const auto code =
      error == ENOSPC || error == EDQUOT || error == EFBIG ? ErrorCode::kResourceExhausted : ErrorCode::kIo;
  throw Error(code,
              fmt::format("cannot {} a scratch file beside '{}': {}", what, path.string(), strerror(error)));
}

}  // namespace

std::string_view to_string(SectionKind kind) {
  constexpr std::string_view kNames[kSectionKinds] = {
      "summary",      "names",   "columns",  "rows",      "rank facts", "sketches", "keys",  "record code",
      "record index", "records", "postings", "positions", "term index", "terms",    "counts"};
  return kNames[static_cast<size_t>(kind) - 1];
}

SegmentFile::SegmentFile(const std::filesystem::path& path) : map_(path), entries_(kSectionKinds) {
  const Bytes all = bytes_of(map_);
  if (all.size() < sizeof(SegmentFooter)) corrupt("it is too short");
  const auto footer = load<SegmentFooter>(all.data() + all.size() - sizeof(SegmentFooter));
  if (footer.magic != SegmentFooter::kMagic) corrupt("it does not end as one");
  if (footer.version != SegmentFooter::kVersion)
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format(
            "segment '{}' has the layout {}; this build reads and writes {}: open the folder with the "
            "build that wrote it, or start with an empty one",
            path.string(), footer.version, SegmentFooter::kVersion));
  const size_t table_end = all.size() - sizeof(SegmentFooter);
  const size_t table_size = footer.sections * sizeof(Entry);
  if (footer.sections != kSectionKinds || table_size > table_end ||
      footer.table_offset != table_end - table_size)
    corrupt("its table of sections does not fit");
  const Bytes table = all.subspan(footer.table_offset, table_size);
  if (checksum64(view(table)) != footer.table_checksum) corrupt("its table of sections is damaged");
  uint32_t seen = 0;
  for (size_t i = 0; i < footer.sections; ++i) {
    const auto entry = load<Entry>(table.data() + i * sizeof(Entry));
    const bool known = entry.kind >= 1 && entry.kind <= kSectionKinds && ((seen >> entry.kind) & 1u) == 0;
    if (!known || entry.offset % kAlignment != 0 || entry.offset > footer.table_offset ||
        entry.size > footer.table_offset - entry.offset)
      corrupt("its table of sections names bytes outside it");
    seen |= 1u << entry.kind;
    entries_[entry.kind - 1] = entry;
  }
}

Bytes SegmentFile::section(SectionKind kind) const {
  return bytes_of(map_).subspan(entry(kind).offset, entry(kind).size);
}

void SegmentFile::check(SectionKind kind) const {
  if (checksum64(view(section(kind))) != entry(kind).checksum) corrupt(kind, "its checksum differs");
}

void SegmentFile::check_all() const {
  for (size_t i = 1; i <= kSectionKinds; ++i) {
    const auto kind = static_cast<SectionKind>(i);
    check(kind);
    for (uint64_t at = entry(kind).offset + entry(kind).size; at % kAlignment != 0; ++at)
      if (bytes_of(map_)[at] != 0) corrupt(kind, "bytes stand behind its end");
  }
}

void SegmentFile::corrupt(SectionKind kind, std::string_view why) const {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("segment '{}': section {} is damaged: {}; restore the file or remove it",
                          path().string(), to_string(kind), why));
}

void SegmentFile::corrupt(std::string_view why) const {
  throw Error(
      ErrorCode::kCorrupt,
      fmt::format("'{}' is not a whole segment: {}; restore the file or remove it", path().string(), why));
}

void SegmentFileWriter::begin(SectionKind kind) {
  SegmentFile::Entry entry;
  entry.kind = static_cast<uint32_t>(kind);
  entry.offset = offset_;
  entries_.push_back(entry);
  checksum_ = Checksum64();
}

void SegmentFileWriter::write(std::string_view bytes) {
  checksum_.update(bytes);
  entries_.back().size += bytes.size();
  offset_ += bytes.size();
  buffer_ += bytes;
  if (buffer_.size() >= kBuffer) flush();
}

void SegmentFileWriter::end() {
  entries_.back().checksum = checksum_.value();
  const size_t padding = (kAlignment - offset_ % kAlignment) % kAlignment;
  buffer_.append(padding, '\0');
  offset_ += padding;
}

void SegmentFileWriter::add(SectionKind kind, std::string_view bytes) {
  begin(kind);
  write(bytes);
  end();
}

void SegmentFileWriter::add(SectionKind kind, ScratchFile& bytes) {
  begin(kind);
  bytes.copy_to(*this);
  end();
}

void SegmentFileWriter::finish() {
  SegmentFooter footer;
  footer.sections = static_cast<uint32_t>(entries_.size());
  footer.table_offset = offset_;
  std::string table;
  for (const auto& entry : entries_) store(table, entry);
  footer.table_checksum = checksum64(table);
  store(table, footer);
  buffer_ += table;
  flush();
  file_.commit();
}

void SegmentFileWriter::flush() {
  file_.write(buffer_);
  buffer_.clear();
}

ScratchFile::ScratchFile(const std::filesystem::path& path) : path_(path) {
  std::string name = path.string() + ".XXXXXX";
  fd_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) throw_io("create", path_, errno);
  ::unlink(name.c_str());
}

ScratchFile::~ScratchFile() { ::close(fd_); }

void ScratchFile::write(std::string_view bytes) {
  size_ += bytes.size();
  buffer_ += bytes;
  if (buffer_.size() >= kBuffer) flush();
}

void ScratchFile::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io("write", path_, errno);
    rest.remove_prefix(static_cast<size_t>(n));
  }
  buffer_.clear();
}

void ScratchFile::copy_to(SegmentFileWriter& writer) {
  flush();
  std::string chunk(kBuffer, '\0');
  for (uint64_t at = 0; at < size_;) {
    const ssize_t n = ::pread(fd_, chunk.data(), chunk.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw_io("read", path_, n < 0 ? errno : EIO);
    writer.write(std::string_view(chunk).substr(0, static_cast<size_t>(n)));
    at += static_cast<uint64_t>(n);
  }
}

}  // namespace fathom::live
