// From a key's hash to the documents that may have it: one cache line a look-up, mostly.
//
// A table of buckets of 64 bytes. A bucket has as many slots as fit, each 16 bits of the hash and a document's number in as
// few bits as the segment's largest takes; 0 is a free slot. The high bits of the hash choose the bucket; one that is full
// runs over into the next. About 5.5 bytes a document of a million, and one wrong candidate in some five thousand look-ups.
//
// KeyTable: immutable, any thread; damage gives wrong candidates, which the caller compares anyway.
#pragma once

#include <cstdint>
#include <string>

#include "live/segment/bit_packing.h"
#include "live/segment/format.h"

namespace fathom::live {

/// How buckets are laid out for a number of documents.
struct KeyLayout {
  explicit KeyLayout(uint32_t documents);

  uint64_t bucket_of(uint64_t hash) const {
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>((static_cast<Wide>(hash) * buckets) >> 64);
  }

  static constexpr size_t kBucketBytes = 64;
  static constexpr unsigned kTagBits = 16;
  unsigned slot_bits = 0;
  uint32_t slots = 0;  // in a bucket
  uint64_t buckets = 0;
};

class KeyTable {
 public:
  KeyTable() : layout_(0) {}
  /// Errors: kCorrupt.
  KeyTable(const SegmentFile& file, uint32_t documents);

  /// Calls visit(number) for every document that may have the hash, in no order.
  template <class Visit>
  void find(uint64_t hash, Visit&& visit) const {
    const uint64_t tag = hash & 0xFFFF;
    uint64_t bucket = layout_.bucket_of(hash);
    for (uint64_t probes = 0; probes < layout_.buckets; ++probes) {
      const uint8_t* bytes = table_ + bucket * KeyLayout::kBucketBytes;
      for (uint32_t slot = 0; slot < layout_.slots; ++slot) {
        const uint64_t value = read_bits(bytes, uint64_t{slot} * layout_.slot_bits, layout_.slot_bits);
        const uint64_t number = value >> KeyLayout::kTagBits;
        if (number == 0) return;
        if ((value & 0xFFFF) == tag && number <= documents_) visit(static_cast<uint32_t>(number));
      }
      bucket = bucket + 1 == layout_.buckets ? 0 : bucket + 1;
    }
  }
  void prefetch(uint64_t hash) const {
    if (layout_.buckets > 0) __builtin_prefetch(table_ + layout_.bucket_of(hash) * KeyLayout::kBucketBytes);
  }

 private:
  KeyLayout layout_;
  const uint8_t* table_ = nullptr;
  uint32_t documents_ = 0;
};

/// The table's bytes. `hashes` of documents 1 on.
std::string build_key_table(std::span<const uint64_t> hashes);

}  // namespace fathom::live
