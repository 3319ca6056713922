// Ranks as threads of one process: collectives over shared memory. For tests of layouts, and for `fathom train --ranks`
// where there is no MPI.
//
// Thread safety: as train/communicator.h says.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "train/communicator.h"

namespace fathom::train {

/// Calls body(communicator of the rank) on `ranks` threads, the caller's among them, and returns when all have ended. A
/// rank that ends with an exception cancels the others; the exception is thrown here (of several the first that is not
/// kCancelled). REQUIRES: ranks > 0.
void run_ranks(size_t ranks, const std::function<void(std::unique_ptr<Communicator>)>& body);

}  // namespace fathom::train
