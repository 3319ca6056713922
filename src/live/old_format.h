// Folders that an earlier version wrote with RocksDB (format "1") are taken over once: what they hold is written to a log of
// today's form, then their files are moved to "rocksdb.old" inside the folder, where they may be deleted.
//
// A take-over that a crash interrupts begins again; nothing of the old files is changed before the new ones are synced.
#pragma once

#include <filesystem>

namespace fathom::live {

/// Nothing for a folder that is not of that format. Errors: kIo (also: in use by another process), kCorrupt, kUnsupported,
/// kResourceExhausted (disk full).
void take_over_old_format(const std::filesystem::path& folder);

}  // namespace fathom::live
