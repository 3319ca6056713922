#include "cluster/schedule_pert.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace fathom::cluster {
namespace {

constexpr size_t kSteps = 4096;  // of the integration

/// Points crowd towards both ends, where the density may be steep: x = t * t * (3 - 2t).
double spread(double t) { return t * t * (3 - 2 * t); }

/// The integral of the density up to each of kSteps + 1 points, scaled to end at 1 (midpoint rule).
std::vector<double> integrate(double alpha, double beta) {
  std::vector<double> sum(kSteps + 1);
  const double h = 1.0 / kSteps;
  for (size_t i = 0; i < kSteps; ++i) {
    const double t = (static_cast<double>(i) + 0.5) * h;
    const double x = spread(t);
    const double density = std::exp((alpha - 1) * std::log(x) + (beta - 1) * std::log1p(-x));
    sum[i + 1] = sum[i] + density * 6 * t * (1 - t) * h;
  }
  for (double& value : sum) value /= sum.back();
  return sum;
}

}  // namespace

PertTable::PertTable(double mode) {
  const std::vector<double> sum = integrate(1 + 4 * mode, 5 - 4 * mode);
  size_t step = 0;
  for (size_t cell = 0; cell <= kCells; ++cell) {
    const double u = static_cast<double>(cell) / kCells;
    while (step + 1 < kSteps && sum[step + 1] < u) ++step;
    const double width = sum[step + 1] - sum[step];
    const double share = width > 0 ? std::clamp((u - sum[step]) / width, 0.0, 1.0) : 0;
    quantiles_[cell] = static_cast<float>(spread((static_cast<double>(step) + share) / kSteps));
  }
  quantiles_.front() = 0;
  quantiles_.back() = 1;
}

double PertTable::cumulative(double x) const {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const auto above = std::upper_bound(quantiles_.begin(), quantiles_.end(), static_cast<float>(x));
  const auto cell = static_cast<size_t>(above - quantiles_.begin()) - 1;
  if (cell >= kCells) return 1;
  const double low = quantiles_[cell], high = quantiles_[cell + 1];
  const double share = high > low ? std::clamp((x - low) / (high - low), 0.0, 1.0) : 0;
  return (static_cast<double>(cell) + share) / static_cast<double>(kCells);
}

}  // namespace fathom::cluster
