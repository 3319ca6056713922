#include "live/segment/symbol_code.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace fathom::live {
namespace {

/// Numbers of codes by length.
using LengthCounts = std::array<uint32_t, kMaxCodeBits + 1>;

/// Lengths of Huffman's code over counts that rise. The tree's nodes arise in order of their counts, so that two queues do (van Leeuwen,
/// 1976); a node comes after its children, so that depths are found from the root back.
std::vector<uint32_t> depths_of(const std::vector<uint64_t>& rising) {
  const size_t leaves = rising.size();
  std::vector<uint64_t> counts(rising);
  counts.resize(2 * leaves - 1);
  std::vector<uint32_t> parents(counts.size());
  size_t leaf = 0, inner = leaves;
  for (size_t made = leaves; made < counts.size(); ++made) {
    for (int child = 0; child < 2; ++child) {
      const bool take_leaf = leaf < leaves && (inner == made || counts[leaf] <= counts[inner]);
      const size_t taken = take_leaf ? leaf++ : inner++;
      counts[made] += counts[taken];
      parents[taken] = static_cast<uint32_t>(made);
    }
  }
  std::vector<uint32_t> depths(counts.size());
  for (size_t node = counts.size() - 1; node-- > 0;) depths[node] = depths[parents[node]] + 1;
  depths.resize(leaves);
  return depths;
}

LengthCounts count_lengths(std::span<const uint8_t> lengths) {
  LengthCounts counts{};
  for (const uint8_t length : lengths) ++counts[length];
  return counts;
}

/// The first code of each length.
LengthCounts first_codes(const LengthCounts& counts) {
  LengthCounts first{};
  for (unsigned length = 2; length <= kMaxCodeBits; ++length)
    first[length] = (first[length - 1] + counts[length - 1]) << 1;
  return first;
}

}  // namespace

void CodeWriter::finish() {
  for (; filled_ > 0; filled_ -= std::min(filled_, 8U)) {
    const uint64_t byte = filled_ >= 8 ? pending_ >> (filled_ - 8) : pending_ << (8 - filled_);
    out_ += static_cast<char>(byte);
  }
  pending_ = 0;
}

std::vector<uint8_t> code_lengths(std::span<const uint64_t> counts) {
  FATHOM_CHECK(!counts.empty() && counts.size() <= kMaxSymbols);
  std::vector<uint32_t> order(counts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return counts[a] < counts[b]; });
  std::vector<uint64_t> rising;
  for (const uint32_t symbol : order) rising.push_back(std::max<uint64_t>(counts[symbol], 1));
  std::vector<uint32_t> depths = depths_of(rising);
  while (depths.front() > kMaxCodeBits) {  // flatter counts make a flatter tree
    for (uint64_t& count : rising) count = count / 2 + 1;
    depths = depths_of(rising);
  }
  std::vector<uint8_t> lengths(counts.size());
  for (size_t i = 0; i < order.size(); ++i) lengths[order[i]] = static_cast<uint8_t>(depths[i]);
  return lengths;
}

SymbolEncoder::SymbolEncoder(std::span<const uint8_t> lengths) {
  LengthCounts next = first_codes(count_lengths(lengths));
  codes_.reserve(lengths.size());
  for (const uint8_t length : lengths) codes_.emplace_back(length == 0 ? 0 : next[length]++, length);
}

bool SymbolDecoder::build(std::span<const uint8_t> lengths) {
  if (lengths.empty() || lengths.size() > kMaxSymbols) return false;
  if (lengths.size() == 1) {
    table_.assign(1, 0);
    return lengths[0] == 0;
  }
  uint64_t sum = 0;
  unsigned longest = 0;
  for (const unsigned length : lengths) {
    if (length == 0 || length > kMaxCodeBits) return false;
    sum += uint64_t{1} << (kMaxCodeBits - length);
    longest = std::max(longest, length);
  }
  if (sum != uint64_t{1} << kMaxCodeBits) return false;
  const LengthCounts counts = count_lengths(lengths);
  const LengthCounts first = first_codes(counts);
  uint32_t before = 0;
  for (unsigned length = 1; length <= kMaxCodeBits; ++length) {
    first_symbol_[length] = before;
    limit_[length] = (uint64_t{first[length]} + counts[length]) << (32 - length);
    before += counts[length];
  }
  table_bits_ = std::min(longest, kTableBits);
  table_.assign(size_t{1} << table_bits_, kLonger);
  symbols_.resize(lengths.size());
  LengthCounts place = first_symbol_;
  for (uint32_t symbol = 0; symbol < lengths.size(); ++symbol) {
    const unsigned length = lengths[symbol];
    const uint32_t at = place[length]++;
    symbols_[at] = symbol;
    if (length > table_bits_) continue;
    const uint32_t code = first[length] + at - first_symbol_[length];
    const auto begin = table_.begin() + (ptrdiff_t{code} << (table_bits_ - length));
    std::fill_n(begin, size_t{1} << (table_bits_ - length), symbol << 5 | length);
  }
  return true;
}

uint32_t SymbolDecoder::read_long(CodeReader& in, uint64_t window) const {
  unsigned length = table_bits_ + 1;
  while (window >= limit_[length]) ++length;  // the limit of the longest is above every window
  const uint64_t below =
      (limit_[length] - 1 - window) >> (32 - length);  // codes above this one, of its length
  const uint32_t behind =
      length == kMaxCodeBits ? static_cast<uint32_t>(symbols_.size()) : first_symbol_[length + 1];
  in.skip(length);
  return symbols_[behind - 1 - below];
}

}  // namespace fathom::live
