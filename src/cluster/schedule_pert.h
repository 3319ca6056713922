// The PERT beta distribution by its quantiles: what durations are drawn from.
//
// Between 0 and 1 with the most likely value m: Beta(1 + 4m, 5 - 4m), whose mean is (1 + 4m) / 6 (Malcolm et al. 1959).
// A table of quantiles makes a draw one uniform number and one interpolation, and lets two plans be compared on the same
// numbers. Immutable; thread-safe.
#pragma once

#include <array>
#include <cstddef>

namespace fathom::cluster {

class PertTable {
 public:
  /// REQUIRES: 0 <= mode <= 1.
  explicit PertTable(double mode);

  /// Value that a share `u` (0..1) of all draws lies below; off by less than 1e-4.
  double quantile(double u) const {
    const double at = u * static_cast<double>(kCells);
    const size_t cell = at < static_cast<double>(kCells) ? static_cast<size_t>(at) : kCells - 1;
    const double low = quantiles_[cell], high = quantiles_[cell + 1];
    return low + (high - low) * (at - static_cast<double>(cell));
  }
  /// Share of all draws that lie below `x`.
  double cumulative(double x) const;

 private:
  static constexpr size_t kCells = 2048;
  std::array<float, kCells + 1> quantiles_{};
};

}  // namespace fathom::cluster
