#include "tensor/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "tensor/packed.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/limits.cc"
#include "tensor/simd.h"
// After simd.h
#include <hwy/highway.h>

#include "tensor/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::tensor {
namespace HWY_NAMESPACE {

constexpr size_t kChains =
    12;  // of sums that do not wait for each other: more than the processor can overlap
constexpr size_t kUnrolled = 8;

/// sum += the four u8 * s8 products of each 32-bit lane, the fastest way that the instruction set has.
HWY_INLINE void multiply_add(VI& sum, VU8 a, VI8 b) {
#if HWY_TARGET == HWY_AVX3_DL
  asm volatile("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
#elif HWY_TARGET == HWY_AVX3
  auto pairs = _mm512_maddubs_epi16(a.raw, b.raw);
  asm volatile("" : "+v"(pairs));
  sum = hn::Add(sum, VI{_mm512_madd_epi16(pairs, _mm512_set1_epi16(1))});
#elif HWY_TARGET == HWY_AVX2
  auto pairs = _mm256_maddubs_epi16(a.raw, b.raw);
  asm volatile("" : "+x"(pairs));
  sum = hn::Add(sum, VI{_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))});
#else
  const VI16 product = hn::Mul(hn::BitCast(DI16(), a), hn::BitCast(DI16(), b));
  sum = hn::Add(sum, hn::BitCast(DI(), product));
#endif
}

/// `rounds` times kUnrolled * kChains vector steps, step(sum), each chain of which begins with its number; gives a value
/// that depends on all of them.
template <class D, class Step>
HWY_INLINE hn::TFromD<D> chained(D d, size_t rounds, const Step& step) {
  hn::Vec<D> sums[kChains];
  FATHOM_UNROLL
  for (size_t c = 0; c < kChains; ++c) sums[c] = hn::Set(d, static_cast<hn::TFromD<D>>(c));
  for (size_t r = 0; r < rounds; ++r) {
    FATHOM_UNROLL
    for (size_t u = 0; u < kUnrolled; ++u) {
      FATHOM_UNROLL
      for (size_t c = 0; c < kChains; ++c) step(sums[c]);
    }
  }
  auto total = sums[0];
  for (size_t c = 1; c < kChains; ++c) total = hn::Add(total, sums[c]);
  return hn::GetLane(total);
}

int32_t IntegerRounds(size_t rounds, int32_t seed) {
  const VU8 a = hn::BitCast(DU8(), hn::Set(DI(), seed));
  const VI8 b = hn::BitCast(DI8(), hn::Set(DI(), seed + 1));
  return chained(DI(), rounds, [&](VI& sum) HWY_ATTR { multiply_add(sum, a, b); });
}

float FloatRounds(size_t rounds, float seed) {
  const VF a = hn::Set(DF(), 1.0f - seed);
  const VF b = hn::Set(DF(), seed);
  return chained(DF(), rounds, [&](VF& sum) HWY_ATTR { sum = hn::MulAdd(sum, a, b); });
}

/// The sum of `words` 64-bit words, a multiple of 64 at an address that is a multiple of 64 bytes.
uint64_t ReadWords(const uint64_t* at, size_t words) {
  const hn::CappedTag<uint64_t, 8> d;
  constexpr size_t kLanes = hn::MaxLanes(d);
  constexpr size_t kSums = 64 / kLanes < 8 ? 64 / kLanes : 8;
  hn::Vec<decltype(d)> sums[kSums];
  for (auto& sum : sums) sum = hn::Zero(d);
  for (size_t i = 0; i < words; i += kSums * kLanes) {
    FATHOM_UNROLL
    for (size_t j = 0; j < kSums * kLanes; j += 8) __builtin_prefetch(at + i + j + 1024, 0, 3);
    FATHOM_UNROLL
    for (size_t j = 0; j < kSums; ++j) sums[j] = hn::Add(sums[j], hn::Load(d, at + i + j * kLanes));
  }
  auto total = sums[0];
  for (size_t j = 1; j < kSums; ++j) total = hn::Add(total, sums[j]);
  return hn::GetLane(hn::SumOfLanes(d, total));
}

double IntegerRoundOperations() {
  constexpr bool kPortable = HWY_TARGET != HWY_AVX3_DL && HWY_TARGET != HWY_AVX3 && HWY_TARGET != HWY_AVX2;
  const size_t products = hn::MaxLanes(DI()) * (kPortable ? 2 : 4);
  return 2.0 * static_cast<double>(kChains * kUnrolled * products);
}

double FloatRoundOperations() { return 2.0 * static_cast<double>(kChains * kUnrolled * hn::MaxLanes(DF())); }

}  // namespace HWY_NAMESPACE
}  // namespace fathom::tensor
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::tensor {
namespace {

HWY_EXPORT(IntegerRounds);
HWY_EXPORT(FloatRounds);
HWY_EXPORT(ReadWords);
HWY_EXPORT(IntegerRoundOperations);
HWY_EXPORT(FloatRoundOperations);

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Passes of `work` a second, of the fastest pass; `work` runs on every thread at once, with the thread's number.
template <class Work>
double best_rate(ThreadPool& pool, double seconds, Work work) {
  double best = 1e30;
  const double stop = now() + seconds;
  do {
    const double start = now();
    pool.run(work);
    best = std::min(best, now() - start);
  } while (now() < stop);
  return 1.0 / best;
}

constexpr size_t kRounds = 5000;  // short passes, the best of which fall between what other programs do
// What a pass reads, many times what a cache holds: a shorter one would find a moment in which memory gives more than it
// keeps up, or what the pass before it left behind.
constexpr size_t kReadBytes = size_t{256} << 20;
constexpr size_t kPieceWords = size_t{1} << 16;
constexpr size_t kTailBytes = 64 << 10;  // what reading ahead touches

}  // namespace

MachineLimits::MachineLimits(ThreadPool& pool)
    : pool_(pool),
      pieces_(std::max<size_t>(1, kReadBytes / sizeof(uint64_t) / kPieceWords / pool.size())),
      memory_(pieces_ * pool.size() * kPieceWords * sizeof(uint64_t) + kTailBytes, true) {
  auto* words = memory_.as<uint64_t>();
  pool_.parallel_for(memory_.bytes() / sizeof(uint64_t), 4096,
                     [&](size_t begin, size_t end) { std::fill(words + begin, words + end, 1); });
}

double MachineLimits::read_bandwidth(double seconds) {
  const auto* words = memory_.as<const uint64_t>();
  std::atomic<uint64_t> total{0};
  const size_t share = pieces_ * kPieceWords;
  const double rate = best_rate(pool_, seconds, [&](size_t thread) {
    total += HWY_DYNAMIC_DISPATCH(ReadWords)(words + thread * share, share);
  });
  return rate * static_cast<double>(share * pool_.size() * sizeof(uint64_t));
}

double MachineLimits::integer_peak(double seconds) {
  std::atomic<int32_t> result{0};
  const double rate = best_rate(pool_, seconds, [&](size_t thread) {
    result += HWY_DYNAMIC_DISPATCH(IntegerRounds)(kRounds, static_cast<int32_t>(thread) + 3) & 1;
  });
  return rate * static_cast<double>(kRounds * pool_.size()) * HWY_DYNAMIC_DISPATCH(IntegerRoundOperations)();
}

double float_peak(ThreadPool& pool, double seconds) {
  std::atomic<int32_t> result{0};
  const double rate = best_rate(pool, seconds, [&](size_t thread) {
    const float value =
        HWY_DYNAMIC_DISPATCH(FloatRounds)(kRounds, 0.001f * (1.0f + static_cast<float>(thread)));
    result += value > 0 ? 1 : 0;
  });
  return rate * static_cast<double>(kRounds * pool.size()) * HWY_DYNAMIC_DISPATCH(FloatRoundOperations)();
}

}  // namespace fathom::tensor
#endif  // HWY_ONCE
