#include "live/vectors/quantise.h"

#include <algorithm>
#include <array>
#include <cmath>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace fathom::live {
namespace {

int32_t dot_reference(const int8_t* a, const int8_t* b, size_t size) {
  int32_t sum = 0;
  for (size_t i = 0; i < size; ++i) sum += int32_t{a[i]} * int32_t{b[i]};
  return sum;
}

#if defined(__x86_64__)

// The instructions multiply unsigned by signed bytes, so the sign of `a` is moved over to `b`.

[[gnu::target("avx2")]] int32_t sum_of(__m256i lanes) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0b01'00'11'10));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0b10'11'00'01));
  return _mm_cvtsi128_si32(sum);
}

[[gnu::target("avx2")]] int32_t dot_avx2(const int8_t* a, const int8_t* b, size_t size) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  for (size_t i = 0; i < size; i += 32) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i));
    const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + i));
    // Two products of at most 127 * 127 fit in 16 bits: nothing saturates.
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(y, x));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  }
  return sum_of(sum);
}

[[gnu::target("avx2,avxvnni")]] int32_t dot_avx_vnni(const int8_t* a, const int8_t* b, size_t size) {
  __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
  for (size_t i = 0; i < size; i += 64) {
    const __m256i x0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i));
    const __m256i y0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + i));
    const __m256i x1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i + 32));
    const __m256i y1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + i + 32));
    even = _mm256_dpbusd_avx_epi32(even, _mm256_abs_epi8(x0), _mm256_sign_epi8(y0, x0));
    odd = _mm256_dpbusd_avx_epi32(odd, _mm256_abs_epi8(x1), _mm256_sign_epi8(y1, x1));
  }
  return sum_of(_mm256_add_epi32(even, odd));
}

[[gnu::target("avx512f,avx512bw,avx512vnni")]] int32_t dot_avx512_vnni(const int8_t* a, const int8_t* b,
                                                                       size_t size) {
  const __m512i zero = _mm512_setzero_si512();
  __m512i sum = zero;
  for (size_t i = 0; i < size; i += 64) {
    const __m512i x = _mm512_loadu_si512(a + i);
    const __m512i y = _mm512_loadu_si512(b + i);
    const __m512i signed_y = _mm512_mask_sub_epi8(y, _mm512_movepi8_mask(x), zero, y);
    sum = _mm512_dpbusd_epi32(sum, _mm512_abs_epi8(x), signed_y);
  }
  return sum_of(_mm256_add_epi32(_mm512_maskz_extracti64x4_epi64(0xFF, sum, 0),
                                 _mm512_maskz_extracti64x4_epi64(0xFF, sum, 1)));
}

/// Not every compiler that is asked knows the name of this feature.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

#endif

struct Kernels {
  std::array<DotKernel, 4> list{};
  size_t count = 0;

  Kernels() {
    list[count++] = {"reference", dot_reference};
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") != 0;
    if (avx2) list[count++] = {"AVX2", dot_avx2};
    if (avx2 && has_avx_vnni()) list[count++] = {"AVX-VNNI", dot_avx_vnni};
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"))
      list[count++] = {"AVX512-VNNI", dot_avx512_vnni};
#endif
  }
};

}  // namespace

float quantise(std::span<const float> vector, std::span<int8_t> codes) {
  float most = 0;
  for (const float value : vector)
    if (std::isfinite(value)) most = std::max(most, std::abs(value));
  std::fill(codes.begin(), codes.end(), int8_t{0});
  // The reciprocal of what is smaller still is not finite.
  if (most < 1e-30f) return 0;
  const float factor = 127 / most;
  for (size_t i = 0; i < vector.size(); ++i)
    if (std::isfinite(vector[i])) codes[i] = static_cast<int8_t>(std::lround(vector[i] * factor));
  return most / 127;
}

std::span<const DotKernel> dot_kernels() {
  static const Kernels kernels;
  return {kernels.list.data(), kernels.count};
}

}  // namespace fathom::live
