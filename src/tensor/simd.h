// What every file of Highway kernels begins with: the choice of targets and the loop over them. Included once for each
// target, so without a guard; HWY_TARGET_INCLUDE names the including file.
//
// Targets: on x86 AVX-512 with VNNI (AVX3_DL), AVX-512, AVX2 and SSE4, which is the least that runs; on Arm NEON.
// NOLINTNEXTLINE(llvm-header-guard)
#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL
#endif
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif
#if defined(__x86_64__) && !defined(HWY_BASELINE_TARGETS)
#define HWY_BASELINE_TARGETS HWY_SSE4
#endif

#ifndef FATHOM_UNROLL
#if defined(__clang__)
#define FATHOM_UNROLL _Pragma("unroll")
#else
#define FATHOM_UNROLL _Pragma("GCC unroll 64")
#endif
#endif

#include <hwy/foreach_target.h>
