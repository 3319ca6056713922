// Ranks as MPI processes, for builds that have MPI.
//
// Waiting polls and then sleeps in between, so that more ranks than cores get on, and a thread that waits for a collective
// leaves the core to those that compute. What is summed goes directly to the rank that sums it, in the order of ranks: each
// rank sends and receives as many bytes as the ring algorithm, and the result does not depend on who came first.
//
// Thread safety: as train/communicator.h says (MPI_THREAD_MULTIPLE).
#pragma once

#include <memory>

#include "train/communicator.h"

namespace fathom::train {

/// From MPI_Init to MPI_Finalize. One in a process; outlives all its communicators.
class MpiSession {
 public:
  /// Whether an MPI launcher (mpirun, srun) started this process, as one of several or alone.
  static bool launched();

  /// Errors: kUnsupported in a build without MPI, or where the MPI library is not made for threads.
  MpiSession();
  /// Does not wait for the others where an exception ends this rank: the launcher ends them when this process has exited.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  /// All ranks; a new one at each call, which all ranks make together.
  std::unique_ptr<Communicator> world();
};

}  // namespace fathom::train
