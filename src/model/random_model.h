// Models of a given shape whose weights are random: for measuring speed, which does not depend on what a model has learnt,
// without a download.
//
// Functions are thread-safe. The same shape, format and seed give the same file on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/dtype.h"

namespace fathom::model {

/// Sizes of a decoder of the llama or, with experts, the grok architecture; the output matrix is the embedding.
struct ModelShape {
  std::string name;
  size_t layers = 0;
  size_t d_model = 0;
  size_t heads = 0;
  size_t kv_heads = 0;
  size_t head_dim = 0;
  size_t ffn = 0;
  size_t vocab = 0;
  size_t experts = 0;  // 0: dense
  size_t experts_used = 0;
  size_t context = 8192;
};

/// smol135 (SmolLM2-135M), llama1b (Llama 3.2 1B) and grokmoe (a small mixture of experts).
const std::vector<ModelShape>& known_shapes();

/// Writes a GGUF file with a vocabulary of made-up words. Matrices are in `dtype` where its blocks divide a row, else in
/// Q8_0; the embedding of a model in less than 8 bits is in Q8_0.
/// Errors: kInvalidArgument for a shape whose sizes do not go together, kIo, kResourceExhausted.
void write_random_model(const ModelShape& shape, tensor::DType dtype, uint64_t seed,
                        const std::filesystem::path& out);

/// The shape and format of "llama1b:Q4_0". Errors: kInvalidArgument, naming what there is.
std::pair<ModelShape, tensor::DType> parse_random_model(std::string_view text);

}  // namespace fathom::model
