// The bytes of a log file: frames written one after the other, and read back with damage stepped over.
//
// A file is a header of 32 bytes (magic, version u32, zero u32, first sequence u64, crc32c u32 of these, zero u32), then frames:
//   size u32 | crc32c u32 | sequence u64 | kind u8 | payload          (little-endian)
// `size` counts what follows the two words, the checksum covers the size and what follows. The entries of one append are one
// batch: the kind of its last one carries kLastOfBatch, and a batch that a crash cut short is no part of the log.
//
// Pure functions; views point into the bytes given.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "live/log.h"

namespace fathom::live {

inline constexpr size_t kLogHeaderBytes = 32;
inline constexpr size_t kFrameOverhead = 17;
inline constexpr uint8_t kLastOfBatch = 0x80;

std::string log_header(uint64_t first_sequence);

/// Errors: kUnsupported when the file was written by a newer version. Damage is no error: the file's name tells the sequence.
void check_log_header(std::string_view file, std::string_view path);

void append_frame(std::string& out, const LogEntry& entry, bool last_of_batch);

struct LogScan {
  uint64_t end = kLogHeaderBytes;  // behind the last whole batch: where the next one goes
  uint64_t last = 0;               // the highest sequence delivered, 0 if none
  size_t damaged = 0;              // stretches that were stepped over, with intact frames behind them
  uint64_t damaged_at = 0;         // where the first of them begins
  bool torn = false;               // something that is no whole batch stands behind `end`
};

/// Calls `on_entry` for the entries of `file` with `first` <= sequence < `limit`, in rising order; `limit` is where the next
/// file begins, UINT64_MAX for the last one. Entries whose batch was cut short by the log's end are left out; those whose batch
/// was damaged further on are not, for they had been acknowledged.
LogScan scan_log(std::string_view file, uint64_t first, uint64_t limit,
                 const std::function<void(const LogEntry&)>& on_entry);

}  // namespace fathom::live
