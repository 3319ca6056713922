// The steps of a transformer that are not products, on every instruction set, against their formulas in double.
#include "tensor/ops.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <string>
#include <vector>

#include "base/random.h"
#include "tensor/reference.h"

namespace fathom::tensor {
namespace {

const size_t kSizes[] = {1, 3, 7, 8, 15, 16, 17, 31, 64, 100, 640};

std::vector<float> random_values(size_t n, double scale, uint64_t seed) {
  Random random(seed);
  std::vector<float> out(n);
  for (float& v : out) v = static_cast<float>(scale * random.normal());
  return out;
}

void expect_near(const std::vector<float>& got, const std::vector<double>& expected, double relative,
                 const std::string& what) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(static_cast<double>(got[i]), expected[i], relative * (1 + std::abs(expected[i])))
        << what << " of " << got.size() << " at " << i;
}

/// Runs `test` with the kernels of each instruction set that this processor has.
void on_every_target(const std::function<void(const std::string&)>& test) {
  const auto supported = hwy::SupportedTargets();
  for (const int64_t target : {HWY_AVX3_DL, HWY_AVX3, HWY_AVX2, HWY_SSE4, HWY_NEON}) {
    if ((supported & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    test(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(0);
  }
}

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

TEST(Ops, GeluTimesUp) {
  on_every_target([](const std::string& target) {
    for (const size_t n : kSizes) {
      auto gate = random_values(n, 3, n);
      if (n > 4) {
        gate[0] = 100;
        gate[1] = -100;
        gate[2] = 0;
        gate[3] = 1e20f;
      }
      const auto up = random_values(n, 1, n + 1);
      std::vector<double> expected;
      for (size_t i = 0; i < n; ++i)
        expected.push_back(gelu(static_cast<double>(gate[i])) * static_cast<double>(up[i]));
      std::vector<float> out(n);
      gelu_mul(gate.data(), up.data(), out.data(), n);
      expect_near(out, expected, 2e-6, target + " gelu");
      gelu_mul(gate.data(), up.data(), gate.data(), n);
      EXPECT_EQ(gate, out) << "in place";
    }
  });
}

TEST(Ops, SoftCaps) {
  on_every_target([](const std::string& target) {
    for (const size_t n : kSizes) {
      auto x = random_values(n, 40, n);
      if (n > 1) x[0] = 1e30f;
      std::vector<double> expected;
      for (const float v : x) expected.push_back(30 * std::tanh(static_cast<double>(v) / 30));
      softcap(x.data(), 30.0f, n);
      expect_near(x, expected, 2e-6, target + " softcap");
    }
  });
}

TEST(Ops, ScalesAndSums) {
  on_every_target([](const std::string& target) {
    for (const size_t n : kSizes) {
      const auto x = random_values(n, 1, n);
      const auto y = random_values(n, 1, n + 7);
      std::vector<double> scaled, sum;
      for (size_t i = 0; i < n; ++i) {
        scaled.push_back(static_cast<double>(x[i] * 0.7f));
        sum.push_back(static_cast<double>(x[i]) + 0.7 * static_cast<double>(y[i]));
      }
      auto out = x;
      scale(out.data(), 0.7f, n);
      expect_near(out, scaled, 1e-7, target + " scale");
      out = x;
      add_scaled(out.data(), y.data(), 0.7f, n);
      expect_near(out, sum, 1e-6, target + " add_scaled");
    }
  });
}

TEST(Ops, NormsAlsoIntoASum) {
  on_every_target([](const std::string& target) {
    for (const size_t n : kSizes) {
      const auto x = random_values(n, 1, n);
      const auto y = random_values(n, 50, n + 1);
      const auto weight = random_values(n, 1, n + 2);
      std::vector<float> normed(n), plain(n);
      rms_norm(y.data(), weight.data(), 1e-5f, normed.data(), n);
      reference::rms_norm(y.data(), weight.data(), 1e-5f, plain.data(), n);
      expect_near(normed, std::vector<double>(plain.begin(), plain.end()), 1e-6, target + " rms_norm");
      auto out = x;
      add_rms_norm(out.data(), y.data(), weight.data(), 1e-5f, n);
      std::vector<double> expected;
      for (size_t i = 0; i < n; ++i)
        expected.push_back(static_cast<double>(x[i]) + static_cast<double>(plain[i]));
      expect_near(out, expected, 1e-6, target + " add_rms_norm");
    }
  });
}

/// Angles of positions up to some thousands; each float step of the repeated multiplication costs 2^-24 of the angle.
void expect_angles(const RopeSpec& spec, const std::function<double(size_t position, size_t pair)>& angle) {
  std::vector<float> out(spec.dims);
  for (const size_t position : {0u, 1u, 17u, 1000u, 4095u}) {
    rope_angles(position, spec, out.data());
    for (size_t i = 0; i < spec.dims / 2; ++i) {
      const double expected = angle(position, i);
      const double bound = 1e-6 + 1e-5 * std::abs(expected);
      const double magnitude = static_cast<double>(spec.magnitude);
      EXPECT_NEAR(static_cast<double>(out[2 * i]), magnitude * std::cos(expected), bound)
          << position << " " << i;
      EXPECT_NEAR(static_cast<double>(out[2 * i + 1]), magnitude * std::sin(expected), bound)
          << position << " " << i;
    }
  }
}

double plain_angle(const RopeSpec& spec, size_t position, size_t pair) {
  return static_cast<double>(position) *
         std::pow(static_cast<double>(spec.base),
                  -2.0 * static_cast<double>(pair) / static_cast<double>(spec.dims));
}

TEST(Ops, RopeAnglesWithScaleAndFactors) {
  RopeSpec spec;
  spec.dims = 64;
  spec.base = 1e6f;
  expect_angles(spec, [&](size_t p, size_t i) { return plain_angle(spec, p, i); });
  spec.scale = 8;
  spec.magnitude = 1.25f;
  expect_angles(spec, [&](size_t p, size_t i) { return plain_angle(spec, p, i) / 8; });
  std::vector<float> factors(32);
  for (size_t i = 0; i < 32; ++i) factors[i] = 1.0f + static_cast<float>(i);
  spec.factors = factors;
  expect_angles(
      spec, [&](size_t p, size_t i) { return plain_angle(spec, p, i) / 8 / (1.0 + static_cast<double>(i)); });
}

/// The paper's example (Peng et al., 2023): of Llama 2's 64 pairs (4096 positions), those that turn more than 32 times keep
/// their angles, those that turn less than once are slowed by the whole factor.
TEST(Ops, YarnKeepsFastPairsAndSlowsSlowOnes) {
  RopeSpec spec;
  spec.dims = 128;
  spec.scale = 16;
  spec.set_yarn(1.0f, 4096, 32, 1);
  const auto turns = [&](size_t pair) { return plain_angle(spec, 4096, pair) / (2 * std::numbers::pi); };
  EXPECT_EQ(spec.ramp_low, 20.0f);   // floor(64 ln(4096 / 64 pi) / ln 10000)
  EXPECT_EQ(spec.ramp_high, 46.0f);  // ceil(64 ln(4096 / 2 pi) / ln 10000)
  for (size_t i = 0; i < 64; ++i) {
    if (i < 20) {
      EXPECT_GT(turns(i), 32);
    }
    if (i > 46) {
      EXPECT_LT(turns(i), 1);
    }
  }
  expect_angles(spec, [&](size_t p, size_t i) {
    const double keep = 1 - std::clamp((static_cast<double>(i) - 20) / 26, 0.0, 1.0);
    return plain_angle(spec, p, i) * (keep + (1 - keep) / 16);
  });
}

}  // namespace
}  // namespace fathom::tensor
