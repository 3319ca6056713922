// Where a term stands in the texts: what phrases are looked up by.
//
// A posting of frequency f has f values: the first place + 1 (0: the term has no place in the text, as from:name), then
// the differences to the place before (0: none further, as padding). Frequencies are cut at 31; then the number of values
// that follow comes first. So the values of a posting are found from the frequencies alone.
//
// A block of up to 128 postings: number of values (varint) | width | values, horizontally packed, those of all ones being
// escapes | the escaped values less the escape, varints. A width of 0 stands for zeros only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "live/facts.h"
#include "live/segment/format.h"

namespace fathom::live {

class PostingLists;
class SealedCursor;
class SealedTerm;

/// Appends the values of a term's places, rising, without repeats. `frequency` is cut.
void encode_places(std::span<const uint32_t> places, uint32_t frequency, std::vector<uint32_t>& values);

/// Appends a block of values.
void pack_places(std::span<const uint32_t> values, std::string& out);

/// Reads a block; false when it does not fit in the bytes.
bool unpack_places(ByteReader in, std::vector<uint32_t>& values);

/// The places of a cursor's postings. Keeps the block that was read last.
class SealedPositions {
 public:
  /// The places of the posting that the cursor stands at, rising; valid until the next call. REQUIRES: the cursor is not
  /// at its end.
  const std::vector<uint32_t>& places(const SealedCursor& cursor);
  /// What `places` found last.
  const std::vector<uint32_t>& last() const { return places_; }
  /// The values as they were written.
  std::span<const uint32_t> values(const SealedCursor& cursor);

 private:
  void load(const SealedCursor& cursor);

  uint32_t block_ = UINT32_MAX;
  uint32_t postings_ = 0;         // how many of the block have their values found
  std::vector<uint32_t> values_;  // of the block
  std::vector<uint32_t> starts_;  // of each posting's values, and the end
  std::vector<uint32_t> places_;
};

}  // namespace fathom::live
