// CRC-32C (Castagnoli, RFC 3720 appendix B.4) against torn writes and flipped bits, by the processor's instruction where it
// has one. For short records; whole files are better served by base/checksum.h. Pure function.
#pragma once

#include <cstdint>
#include <string_view>

namespace fathom {

/// Of `bytes`; `before` is the value of the bytes that came before, so that a long stretch can be taken in pieces.
uint32_t crc32c(std::string_view bytes, uint32_t before = 0);

}  // namespace fathom
