#include "live/segment/bit_packing.h"

#include <array>
#include <utility>

namespace fathom::live {
namespace {

constexpr size_t kLanes = 4;
constexpr size_t kRows = kPostingsPerBlock / kLanes;

using Lanes = uint32_t __attribute__((vector_size(16)));

Lanes load_lanes(const uint8_t* at) { return load<Lanes>(at); }

/// Four values: row `Row` of a block of width `Width`.
template <unsigned Width, unsigned Row>
inline Lanes unpack_row(const uint8_t* block) {
  constexpr unsigned kBit = Row * Width, kShift = kBit % 32;
  constexpr uint32_t kMask = static_cast<uint32_t>((uint64_t{1} << Width) - 1);
  const uint8_t* word = block + kBit / 32 * 16;
  Lanes values = load_lanes(word) >> kShift;
  if constexpr (kShift + Width > 32) values |= load_lanes(word + 16) << (32 - kShift);
  return values & kMask;
}

/// Numbers from four differences; `last` is the number before them in all lanes, and becomes that after them.
inline void fall(Lanes differences, Lanes& last, uint32_t* out) {
  constexpr Lanes kZero = {0, 0, 0, 0};
  Lanes sums = differences + 1;
  sums += __builtin_shufflevector(kZero, sums, 3, 4, 5, 6);
  sums += __builtin_shufflevector(kZero, sums, 2, 3, 4, 5);
  const Lanes numbers = last - sums;
  std::memcpy(out, &numbers, sizeof numbers);
  last = __builtin_shufflevector(numbers, numbers, 3, 3, 3, 3);
}

template <unsigned Width, size_t... Row>
void unpack_rows(const uint8_t* block, uint32_t base, uint32_t* out, std::index_sequence<Row...>) {
  Lanes last = {base, base, base, base};
  if constexpr (Width == 0) {
    (fall(Lanes{0, 0, 0, 0}, last, out + kLanes * Row), ...);
  } else {
    (fall(unpack_row<Width, Row>(block), last, out + kLanes * Row), ...);
  }
}

template <unsigned Width>
void unpack_width(const uint8_t* block, uint32_t base, uint32_t* out) {
  unpack_rows<Width>(block, base, out, std::make_index_sequence<kRows>());
}

using Unpack = void (*)(const uint8_t*, uint32_t, uint32_t*);

template <size_t... Width>
constexpr std::array<Unpack, sizeof...(Width)> unpackers(std::index_sequence<Width...>) {
  return {unpack_width<Width>...};
}

constexpr auto kUnpack = unpackers(std::make_index_sequence<kMaxDocumentBits + 1>());

}  // namespace

void BitWriter::flush_to(std::string& out) {
  out += out_;
  out.append(reinterpret_cast<const char*>(&pending_), (filled_ + 7) / 8);
  out_.clear();
  pending_ = 0;
  filled_ = 0;
}

void pack_block(std::span<const uint32_t, kPostingsPerBlock> values, unsigned width, std::string& out) {
  std::array<uint32_t, kPostingsPerBlock + kLanes> words{};  // width rows of four lanes, and room to spill
  for (uint32_t i = 0; i < kPostingsPerBlock; ++i) {
    const uint32_t bit = i / kLanes * width, shift = bit % 32;
    uint32_t* word = &words[bit / 32 * kLanes + i % kLanes];
    const uint64_t value = uint64_t{values[i]} << shift;
    word[0] |= static_cast<uint32_t>(value);
    if (shift + width > 32) word[kLanes] |= static_cast<uint32_t>(value >> 32);
  }
  out.append(reinterpret_cast<const char*>(words.data()), width * kLanes * sizeof(uint32_t));
}

void unpack_falling(const uint8_t* block, unsigned width, uint32_t base, uint32_t* out) {
  kUnpack[width](block, base, out);
}

void unpack_falling_reference(const uint8_t* block, unsigned width, uint32_t base, uint32_t* out) {
  for (uint32_t i = 0; i < kPostingsPerBlock; ++i) base = out[i] = base - 1 - read_packed(block, i, width);
}

}  // namespace fathom::live
