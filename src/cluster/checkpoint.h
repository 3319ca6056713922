// Checkpoints: how long one blocks the run, how long until it is durable, how long reading it back takes, and how far
// apart they are best. Pure functions; thread-safe. Seconds, bytes, bytes a second.
//
// Sources: Young, "A first order approximation to the optimum checkpoint interval" (1974); Daly, "A higher order estimate
// of the optimum checkpoint interval for restart dumps" (2006), equation 37; Saxena et al., arXiv 2410.18124 (2024).
#pragma once

#include <cstdint>

namespace fathom::cluster {

/// Seconds of work between two checkpoints that each block for `checkpoint_s`, with a failure every `between_failures_s`
/// on average (infinite: never, which gives infinity). REQUIRES: checkpoint_s >= 0, between_failures_s > 0.
double young_interval_s(double checkpoint_s, double between_failures_s);
double daly_interval_s(double checkpoint_s, double between_failures_s);
/// The interval of the greatest availability where recovery takes `recovery_s`: from one checkpoint's start to the next's.
double availability_interval_s(double checkpoint_s, double between_failures_s, double recovery_s);

/// What a checkpoint passes through. A rate of 0 is no limit.
struct CheckpointPath {
  double bytes = 0;                      // of the whole checkpoint
  double chips = 1;                      // of all replicas
  double writers = 0;                    // chips that write a share of it each; 0: all
  double copy_bytes_per_s_per_chip = 0;  // from a chip to the memory of its host
  double network_bytes_per_s_per_chip = 0;
  double storage_write_bytes_per_s = 0;  // all of it
  double storage_read_bytes_per_s = 0;
  double readers = 1;        // replicas that each read all of it; they share reads through the network
  double pause_s = 0;        // until all have stopped at the same step, and until all go on
  bool asynchronous = true;  // blocks for the copy alone
};

struct CheckpointCost {
  double blocks_s = 0;       // that the run stands still
  double write_s = 0;        // from the end of the copy until all of it is durable
  double read_s = 0;         // to load it after a restart
  double network_share = 0;  // of a chip's scale-out bandwidth that the writing takes
};
CheckpointCost checkpoint_cost(const CheckpointPath& path);

}  // namespace fathom::cluster
