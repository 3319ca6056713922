// Test support: operations of training on a device and in double.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/random.h"
#include "tensor/cpu_ops.h"
#include "tensor/grad/reference.h"
#include "tensor/kernels.h"

namespace fathom::tensor {

using grad::reference::Doubles;

template <class T>
Doubles doubles(const std::vector<T>& x) {
  return {x.begin(), x.end()};
}

inline Doubles random_doubles(Random& random, size_t n, double scale = 1.0) {
  Doubles out(n);
  for (double& v : out) v = random.normal() * scale;
  return out;
}

/// Each in [-1, bound), -1 sometimes.
inline std::vector<int32_t> random_indices(Random& random, size_t n, size_t bound) {
  std::vector<int32_t> out(n);
  for (int32_t& i : out) i = random.chance(0.2) ? -1 : static_cast<int32_t>(random.below(bound));
  return out;
}

/// The largest difference, relative to the largest expected value; infinite where one is not a number.
inline double distance(const Doubles& got, const Doubles& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double most = 0;
  double scale = 1e-30;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    most = std::max(most, std::abs(got[i] - expected[i]));
    scale = std::max(scale, std::abs(expected[i]));
  }
  return most / scale;
}

/// Memory of a device for one test.
class OnDevice {
 public:
  explicit OnDevice(DeviceOps& ops) : ops_(ops) {}

  DeviceOps& ops() { return ops_; }

  float* floats(size_t n) { return buffers_.emplace_back(ops_.allocate(n)).floats(); }
  float* put(const std::vector<float>& x) {
    float* at = floats(x.size());
    ops_.to_device(x, at);
    return at;
  }
  const int32_t* put(const std::vector<int32_t>& x) {
    static_assert(sizeof(int32_t) == sizeof(float));
    float* at = floats(x.size());
    ops_.to_device({reinterpret_cast<const float*>(x.data()), x.size()}, at);
    return reinterpret_cast<const int32_t*>(at);
  }
  std::vector<float> get(const float* at, size_t n) {
    std::vector<float> out(n);
    ops_.to_host(at, out);
    return out;
  }

 private:
  DeviceOps& ops_;
  std::deque<DeviceBuffer> buffers_;
};

}  // namespace fathom::tensor
