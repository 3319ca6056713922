// The hash of short strings: both forms give one value, and nothing but the bytes counts.
#include "live/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace fathom::live {
namespace {

TEST(Hash, TheFormWithoutBranchesGivesTheSame) {
  constexpr std::string_view bytes("to be\0or\xFFnot to be, that is", 27);
  for (size_t begin = 0; begin < 8; ++begin)
    for (size_t size = 0; size < PaddedBytes::kMost; ++size)
      for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{0x9E3779B97F4A7C15}}) {
        const std::string_view part(bytes.data() + begin, size);
        EXPECT_EQ(hash_padded(load_padded(part.data(), size), size, seed), hash_bytes(part, seed)) << size;
      }
}

TEST(Hash, WhatLiesBehindDoesNotCount) {
  const std::string a = "posting and more", b = "posting; no more";
  EXPECT_EQ(hash_padded(load_padded(a.data(), 7), 7, 3), hash_padded(load_padded(b.data(), 7), 7, 3));
}

TEST(Hash, SizesAndSeedsTellStringsApart) {
  std::set<uint64_t> seen;
  const std::string zeros(40, '\0');
  for (size_t size = 0; size < zeros.size(); ++size)
    for (uint64_t seed = 0; seed < 4; ++seed) seen.insert(hash_bytes({zeros.data(), size}, seed));
  EXPECT_EQ(seen.size(), zeros.size() * 4);
}

}  // namespace
}  // namespace fathom::live
