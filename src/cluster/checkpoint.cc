#include "cluster/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace fathom::cluster {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

/// The narrower of two rates, where 0 is no limit.
double narrower(double a, double b) {
  if (a <= 0) return b;
  if (b <= 0) return a;
  return std::min(a, b);
}

double seconds(double bytes, double rate) { return rate > 0 ? bytes / rate : 0; }

}  // namespace

double young_interval_s(double checkpoint_s, double between_failures_s) {
  FATHOM_CHECK(checkpoint_s >= 0 && between_failures_s > 0);
  if (std::isinf(between_failures_s)) return kForever;
  return std::sqrt(2 * checkpoint_s * between_failures_s);
}

double daly_interval_s(double checkpoint_s, double between_failures_s) {
  FATHOM_CHECK(checkpoint_s >= 0 && between_failures_s > 0);
  if (std::isinf(between_failures_s)) return kForever;
  if (checkpoint_s >= 2 * between_failures_s) return between_failures_s;
  const double ratio = checkpoint_s / (2 * between_failures_s);
  return young_interval_s(checkpoint_s, between_failures_s) * (1 + std::sqrt(ratio) / 3 + ratio / 9) -
         checkpoint_s;
}

double availability_interval_s(double checkpoint_s, double between_failures_s, double recovery_s) {
  FATHOM_CHECK(checkpoint_s >= 0 && between_failures_s > 0 && recovery_s >= 0);
  if (std::isinf(between_failures_s)) return kForever;
  return checkpoint_s +
         std::sqrt(2 * (between_failures_s + recovery_s) * checkpoint_s + checkpoint_s * checkpoint_s);
}

CheckpointCost checkpoint_cost(const CheckpointPath& path) {
  const double chips = std::max(1.0, path.chips);
  const double writers = path.writers > 0 ? path.writers : chips;
  const double network = path.network_bytes_per_s_per_chip * chips;
  const double out = path.network_bytes_per_s_per_chip * writers;
  const double write = narrower(out, path.storage_write_bytes_per_s);
  const double read = narrower(network, path.storage_read_bytes_per_s);
  CheckpointCost cost;
  cost.write_s = seconds(path.bytes, write);
  // One replica reads from the storage, the others have it from their neighbours: a broadcast in a chain, as long as one
  // passage of a chip's share through its link.
  cost.read_s = seconds(path.bytes, read);
  if (path.readers > 1)
    cost.read_s += seconds(path.bytes * path.readers / chips, path.network_bytes_per_s_per_chip);
  const double copy = seconds(path.bytes / writers, path.copy_bytes_per_s_per_chip);
  cost.blocks_s = path.pause_s + (path.asynchronous ? copy : cost.write_s);
  if (out > 0 && write > 0) cost.network_share = std::min(1.0, write / out);
  return cost;
}

}  // namespace fathom::cluster
