// What no model exceeds: sizes beyond these are taken for damage or malice, and products of them stay within 64 bits.
#pragma once

#include <cstdint>

namespace fathom::model::bounds {

inline constexpr uint64_t kMaxLayers = 4096;
inline constexpr uint64_t kMaxWidth = uint64_t{1} << 24;  // of any vector: d_model, ffn, all heads together
inline constexpr uint64_t kMaxVocab = uint64_t{1} << 24;
inline constexpr uint64_t kMaxContext = uint64_t{1} << 31;
inline constexpr uint64_t kMaxExperts = 4096;

}  // namespace fathom::model::bounds
