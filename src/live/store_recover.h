// Opening a store's folder: its manifest, the segments that it names, and the log's tail.
//
// What is damaged is named in the program's log, set aside under "NAME.damaged" and left out; the rest is served. What a crash
// left of an interrupted seal or merge is removed.
#pragma once

#include "base/clock.h"
#include "live/store_core.h"

namespace fathom::live {

/// Errors: kUnsupported (written by a newer version), kIo.
StoreContent read_content(const std::filesystem::path& folder, const Clock& clock);

/// Puts back what the core's log holds above `through`, prepared on all cores, with a progress bar.
void replay_log(StoreCore& core, uint64_t through);

}  // namespace fathom::live
