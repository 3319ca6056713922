// Covers Shard::parse and everything that reads a shard: tokens, mask, documents, packing, verify.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "train/packing.h"
#include "train/shard.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using fathom::train::Shard;
  try {
    const std::array shards{Shard::parse(std::as_bytes(std::span(data, size)), "fuzz")};
    const Shard& shard = shards.front();
    for (uint64_t d = 0; d < shard.header().documents; ++d)
      if (shard.document_of(shard.begin(d)) != d) __builtin_trap();
    const fathom::train::Packing packing(shards, std::array<uint64_t, 1>{0}, 7);
    for (uint64_t row = 0; row < packing.rows(); ++row)
      for (const auto& piece : packing.row(row))
        for (uint64_t i = piece.begin; i < piece.begin + piece.size; ++i) shard.learn(i);
    shard.verify();
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
  return 0;
}
