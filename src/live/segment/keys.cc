#include "live/segment/keys.h"

#include <algorithm>
#include <vector>

namespace fathom::live {
namespace {

constexpr double kLoad = 0.85;  // of the slots: fuller, and buckets run over often

}  // namespace

KeyLayout::KeyLayout(uint32_t documents) {
  slot_bits = kTagBits + bits_for(documents);
  slots = static_cast<uint32_t>(8 * kBucketBytes / slot_bits);
  if (documents > 0) buckets = static_cast<uint64_t>(documents / (kLoad * slots)) + 1;
}

KeyTable::KeyTable(const SegmentFile& file, uint32_t documents) : layout_(documents), documents_(documents) {
  const Bytes table = file.section(SectionKind::kKeys);
  if (table.size() != layout_.buckets * KeyLayout::kBucketBytes)
    file.corrupt(SectionKind::kKeys, "its size is not that of the documents");
  table_ = table.data();
}

std::string build_key_table(std::span<const uint64_t> hashes) {
  const KeyLayout layout(static_cast<uint32_t>(hashes.size()));
  std::vector<uint8_t> filled(layout.buckets);  // slots in use
  std::string table(layout.buckets * KeyLayout::kBucketBytes + sizeof(uint64_t), '\0');
  auto* bytes = reinterpret_cast<uint8_t*>(table.data());
  for (size_t i = 0; i < hashes.size(); ++i) {
    uint64_t bucket = layout.bucket_of(hashes[i]);
    while (filled[bucket] == layout.slots) bucket = bucket + 1 == layout.buckets ? 0 : bucket + 1;
    const uint64_t bit = bucket * KeyLayout::kBucketBytes * 8 + uint64_t{filled[bucket]++} * layout.slot_bits;
    const uint64_t value = (uint64_t{i + 1} << KeyLayout::kTagBits) | (hashes[i] & 0xFFFF);
    const auto word = load<uint64_t>(bytes + bit / 8) | (value << (bit % 8));
    std::memcpy(bytes + bit / 8, &word, sizeof word);
  }
  table.resize(layout.buckets * KeyLayout::kBucketBytes);
  return table;
}

}  // namespace fathom::live
