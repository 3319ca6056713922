// Models in other number formats: any readable model (GGUF, in parts, Hugging Face folder) to one GGUF file.
//
// Which tensor gets which format, for a wanted format T (the mixes are those of llama.cpp's Q4_K_M and its kin, in short):
//   - vectors, routers (ffn_gate_inp) and tables of positions: F32, always,
//   - F32, F16, BF16, Q8_0, Q6_K: every matrix T,
//   - other T: the output matrix (the embedding where it is the output too) Q6_K, every other matrix T; and where T is
//     Q4_K or Q5_K, attn_v, attn_qkv and ffn_down get Q6_K in the first and last eighth of the layers and in every third
//     between; in models of 8 experts or more attn_k and attn_v get Q8_0,
//   - `pure`: every matrix T,
//   - a matrix whose rows the blocks of its format do not divide gets the next format of blocks of 32 (Q2_K, Q3_K, IQ4_XS:
//     IQ4_NL; Q4_K: Q5_0; Q5_K: Q5_1; Q6_K: Q8_0), and F16 where those do not divide it either.
// A tensor that is in its format already is copied as it is; numbers from another block format are read back and rounded
// once more, which loses a little. Experts that stand one by one become one tensor.
//
// Memory: a few rows a thread; the file is written as it is made. Thread safety: reentrant; the pool is the caller's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "model/gguf.h"

namespace fathom::model {

struct QuantizeOptions {
  tensor::DType format = tensor::DType::kQ4_K;
  bool pure = false;
};

/// A tensor of the file to be.
struct QuantizedTensor {
  std::string name;
  std::vector<uint64_t> shape;
  tensor::DType dtype = tensor::DType::kF32;
  bool fell_back = false;                  // its rows are no whole blocks of the format that it should have
  std::vector<const GgufTensor*> sources;  // more than one: experts to be stacked
  uint64_t bytes = 0;
  bool requantized = false;  // from one block format to another
};

/// "Q4_K", also as llama.cpp says it ("Q4_K_M", "q4_k_m"). Errors: kInvalidArgument, listing what there is.
tensor::DType parse_format(std::string_view text);

/// Errors: kUnsupported (a tensor in a format that this build does not read), kCorrupt (experts that do not go together).
std::vector<QuantizedTensor> plan_quantization(const GgufFile& file, const QuantizeOptions& options);

/// Writes `plan` with the metadata of `file` to `out`, atomically. `progress` is told the bytes written so far.
/// Errors: kCorrupt, naming the tensor (a number that is not finite), kIo, kResourceExhausted (the disk has too little room,
/// or fills up), kCancelled; then `out` is as it was.
void write_quantized(const GgufFile& file, const std::vector<QuantizedTensor>& plan,
                     const QuantizeOptions& options, const std::filesystem::path& out, ThreadPool& pool,
                     const std::function<void(uint64_t)>& progress, const std::stop_token& stop);

}  // namespace fathom::model
