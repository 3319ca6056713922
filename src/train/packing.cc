#include "train/packing.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "train/permutation.h"

namespace fathom::train {
namespace {

constexpr size_t kWindow = 4096;  // pieces
constexpr uint64_t kShuffle = 1;

/// The pieces of a document: each but the first begins with the last token of the one before, which is its context.
template <class Emit>
void cut(const Shard& shard, uint64_t document, size_t length, Emit emit) {
  const uint64_t end = shard.begin(document + 1);
  for (uint64_t begin = shard.begin(document); begin + 1 < end; begin += length) {
    const uint64_t last = std::min<uint64_t>(begin + length + 1, end);
    if (shard.learnt(begin, last) > 0) emit(begin, last - begin);
  }
}

}  // namespace

Packing::Packing(std::span<const Shard> shards, std::span<const uint64_t> bases, size_t length) {
  if (length == 0 || length >= (size_t{1} << 31))
    throw Error(ErrorCode::kInvalidArgument, "rows of tokens are 1 to 2^31 - 1 long");
  std::vector<RowPiece> pieces;
  for (size_t s = 0; s < shards.size(); ++s)
    for (uint64_t d = 0; d < shards[s].header().documents; ++d)
      cut(shards[s], d, length, [&](uint64_t begin, uint64_t size) {
        pieces.push_back({bases[s] + begin, static_cast<uint32_t>(size)});
      });
  std::vector<RowPiece> window;
  for (size_t i = 0; i < pieces.size(); ++i) {
    window.push_back(pieces[permute(kShuffle, i, pieces.size())]);
    if (window.size() < kWindow && i + 1 < pieces.size()) continue;
    pack(window, length + 1);
    window.clear();
  }
}

std::span<const RowPiece> Packing::row(uint64_t row) const {
  const uint64_t begin = row == 0 ? 0 : row_ends_[row - 1];
  return {pieces_.data() + begin, row_ends_[row] - begin};
}

void Packing::pack(std::span<RowPiece> window, size_t places) {
  std::stable_sort(window.begin(), window.end(),
                   [](const RowPiece& a, const RowPiece& b) { return a.size > b.size; });
  std::vector<std::vector<RowPiece>> rows;
  std::multimap<size_t, size_t> open;  // places left: row
  for (const RowPiece& piece : window) {
    auto best = open.lower_bound(piece.size);
    if (best == open.end()) {
      best = open.emplace(places, rows.size());
      rows.emplace_back();
    }
    const auto [left, row] = *best;
    open.erase(best);
    rows[row].push_back(piece);
    open.emplace(left - piece.size, row);
  }
  for (const auto& row : rows) {
    pieces_.insert(pieces_.end(), row.begin(), row.end());
    row_ends_.push_back(pieces_.size());
  }
}

}  // namespace fathom::train
