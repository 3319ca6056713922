// Covers live/segment/segment.h: any bytes as a segment. Checksums are set right first, so that what they guard is reached.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../live/segment/segment_walk.h"
#include "base/checksum.h"
#include "base/error.h"

namespace {

using fathom::live::SectionKind;
using fathom::live::SegmentFile;
using fathom::live::SegmentFooter;

template <class T>
T get(const std::string& bytes, size_t at) {
  return fathom::live::load<T>(reinterpret_cast<const uint8_t*>(bytes.data()) + at);
}

template <class T>
void put(std::string& bytes, size_t at, const T& value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// Of the blocks of records, as their index tells them.
void set_block_checksums(std::string& bytes, const SegmentFile::Entry& index,
                         const SegmentFile::Entry& records) {
  uint64_t begin = 0;
  for (uint64_t at = 0; at + sizeof(uint64_t) <= index.size; at += sizeof(uint64_t)) {
    const auto end = get<uint64_t>(bytes, index.offset + at);
    if (at > 0 && begin + sizeof(uint32_t) <= end && end <= records.size) {
      const auto rest =
          std::string_view(bytes).substr(records.offset + begin, end - begin).substr(sizeof(uint32_t));
      put(bytes, records.offset + begin, static_cast<uint32_t>(fathom::checksum64(rest)));
    }
    begin = std::min<uint64_t>(end, bytes.size());
  }
}

void set_checksums(std::string& bytes) {
  if (bytes.size() < sizeof(SegmentFooter)) return;
  const size_t end = bytes.size() - sizeof(SegmentFooter);
  auto footer = get<SegmentFooter>(bytes, end);
  const size_t size = fathom::live::kSectionKinds * sizeof(SegmentFile::Entry);
  if (size > end) return;
  footer = SegmentFooter();
  footer.sections = fathom::live::kSectionKinds;
  footer.table_offset = end - size;
  SegmentFile::Entry index, records;
  for (size_t at = footer.table_offset; at < end; at += sizeof(SegmentFile::Entry)) {
    const auto entry = get<SegmentFile::Entry>(bytes, at);
    if (entry.offset > footer.table_offset || entry.size > footer.table_offset - entry.offset) continue;
    if (entry.kind == static_cast<uint32_t>(SectionKind::kRecordIndex)) index = entry;
    if (entry.kind == static_cast<uint32_t>(SectionKind::kRecords)) records = entry;
  }
  set_block_checksums(bytes, index, records);
  for (size_t at = footer.table_offset; at < end; at += sizeof(SegmentFile::Entry)) {
    auto entry = get<SegmentFile::Entry>(bytes, at);
    if (entry.offset > footer.table_offset || entry.size > footer.table_offset - entry.offset) continue;
    entry.checksum = fathom::checksum64(std::string_view(bytes).substr(entry.offset, entry.size));
    put(bytes, at, entry);
  }
  footer.table_checksum = fathom::checksum64(std::string_view(bytes).substr(footer.table_offset, size));
  put(bytes, end, footer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  set_checksums(bytes);
  const int fd = ::memfd_create("segment", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) std::abort();
  try {
    const auto segment = fathom::live::Segment::open("/proc/self/fd/" + std::to_string(fd));
    fathom::live::testing::walk_documents(*segment);
    fathom::live::testing::walk_terms(*segment);
    segment->verify();
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
  ::close(fd);
  return 0;
}
