// Packed integers read back, whichever way.
#include "live/segment/bit_packing.h"

#include <gtest/gtest.h>

#include <array>

#include "base/random.h"

namespace fathom::live {
namespace {

TEST(BitPackingTest, BlocksUnpackAsTheReferenceDoes) {
  Random random(1);
  for (unsigned width = 0; width <= kMaxDocumentBits; ++width) {
    std::array<uint32_t, kPostingsPerBlock> values{};
    for (auto& value : values) value = static_cast<uint32_t>(random.below(uint64_t{1} << width));
    std::string packed;
    pack_block(values, width, packed);
    ASSERT_EQ(packed.size(), 16 * width);
    packed.append(32, '\x7f');  // what stands behind a block is not part of it
    const auto* block = reinterpret_cast<const uint8_t*>(packed.data());
    alignas(16) std::array<uint32_t, kPostingsPerBlock> fast{}, plain{};
    unpack_falling(block, width, 4'000'000'000u, fast.data());
    unpack_falling_reference(block, width, 4'000'000'000u, plain.data());
    EXPECT_EQ(fast, plain) << width;
    uint32_t above = 4'000'000'000u;
    for (uint32_t i = 0; i < kPostingsPerBlock; ++i) {
      ASSERT_EQ(read_packed(block, i, width), values[i]) << width;
      ASSERT_EQ(plain[i], above - 1 - values[i]);
      above = plain[i];
    }
  }
}

TEST(BitPackingTest, HorizontalValuesAreReadAlone) {
  Random random(2);
  for (unsigned width = 0; width <= 64; ++width) {
    std::array<uint64_t, 50> values{};
    BitWriter bits;
    for (auto& value : values) {
      value = width == 0 ? 0 : random.next() >> (64 - width);
      bits.put(value, width);
    }
    std::string packed;
    bits.flush_to(packed);
    ASSERT_EQ(packed.size(), (values.size() * width + 7) / 8);
    packed.append(16, '\x55');
    const auto* bytes = reinterpret_cast<const uint8_t*>(packed.data());
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(read_wide_bits(bytes, i * width, width), values[i]) << width;
  }
}

}  // namespace
}  // namespace fathom::live
