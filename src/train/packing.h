// How documents that are to stay whole are packed into rows of one length.
//
// Documents longer than a row are cut into pieces of a row each. Pieces are taken in windows out of a fixed shuffle, so that
// long and short ones of all sources meet; within a window the largest is placed first, into the row that it fills best
// (best-fit decreasing; Johnson, 1973), so that little is left over. Pieces without anything to learn are left out.
//
// Immutable and thread-safe once made; 16 bytes a piece (32 while it is made).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "train/shard.h"

namespace fathom::train {

/// Consecutive tokens of one document.
struct RowPiece {
  uint64_t begin = 0;  // of the shards laid end to end
  uint32_t size = 0;
};

class Packing {
 public:
  /// `bases`: of each shard, tokens before it. A row has `length` + 1 places: the last token is a target only.
  /// Errors: kInvalidArgument for a length of 2^31 or more.
  Packing(std::span<const Shard> shards, std::span<const uint64_t> bases, size_t length);

  uint64_t rows() const { return row_ends_.size(); }
  /// REQUIRES: row < rows().
  std::span<const RowPiece> row(uint64_t row) const;

 private:
  void pack(std::span<RowPiece> window, size_t places);

  std::vector<RowPiece> pieces_;    // by row
  std::vector<uint64_t> row_ends_;  // in pieces_
};

}  // namespace fathom::train
