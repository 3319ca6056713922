// What a model is: the sizes and switches from which every part of its structure follows.
//
// One description serves every architecture; what distinguishes one from another is a field. Supported now: "llama"
// (pre-norm blocks of RMSNorm, grouped-query attention with rotary positions, RMSNorm and a SwiGLU feed-forward).
// A plain value; thread-safe as such.
//
// Tensors of the llama architecture, shapes in GGUF order ([d_in, d_out]):
//   token_embd.weight               [d_model, vocab]
//   blk.L.attn_norm.weight          [d_model]
//   blk.L.attn_q.weight             [d_model, heads * head_dim]        .bias where attention_bias
//   blk.L.attn_k.weight             [d_model, kv_heads * head_dim]     .bias where attention_bias
//   blk.L.attn_v.weight             [d_model, kv_heads * head_dim]     .bias where attention_bias
//   blk.L.attn_output.weight        [heads * head_dim, d_model]        .bias where attention_output_bias
//   blk.L.ffn_norm.weight           [d_model]
//   blk.L.ffn_gate.weight           [d_model, ffn]                     .bias where ffn_bias (all three)
//   blk.L.ffn_up.weight             [d_model, ffn]
//   blk.L.ffn_down.weight           [ffn, d_model]
//   output_norm.weight              [d_model]
//   output.weight                   [d_model, vocab]                   absent where tied_output
//   rope_freqs.weight               [rope.dims / 2]                    where rope.frequency_factors
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf.h"

namespace fathom::model {

/// Which elements of a head turn together. The llama architecture in GGUF pairs neighbours (x[2i], x[2i+1]).
enum class RopePairing { kNeighbours, kHalves };

/// Position p turns pair i by p / scale / factor[i] * base^(-2i / dims) (Su et al., 2021; linear scaling: Chen et al.,
/// 2023). `scale` is 1 without scaling; factor[i] comes from rope_freqs.weight, else 1.
struct RopeConfig {
  RopePairing pairing = RopePairing::kNeighbours;
  size_t dims = 0;  // of each head's leading elements that turn; even, at most head_dim
  float base = 10000.0f;
  float scale = 1.0f;
  bool frequency_factors = false;  // tensor rope_freqs.weight is there
};

struct ModelConfig {
  std::string architecture;  // "llama"
  std::string name;          // general.name, else empty

  size_t layers = 0;
  size_t d_model = 0;
  size_t heads = 0;
  size_t kv_heads = 0;  // divides heads
  size_t head_dim = 0;
  size_t ffn = 0;
  size_t vocab = 0;
  size_t context = 0;  // trained for

  float rms_eps = 1e-5f;
  RopeConfig rope;
  bool tied_output = false;     // the output matrix is token_embd.weight
  bool attention_bias = false;  // on q, k and v
  bool attention_output_bias = false;
  bool ffn_bias = false;  // on gate, up and down

  size_t q_dim() const { return heads * head_dim; }
  size_t kv_dim() const { return kv_heads * head_dim; }

  /// Reads and checks the description; `check_tensors` is part of it. Errors: kCorrupt (a key is missing or out of
  /// bounds, a tensor is missing or of another shape: the sentence names it), kUnsupported (another architecture, another
  /// kind of rope scaling, mixture of experts, a tensor format that this build does not know).
  static ModelConfig from_gguf(const GgufFile& file);

  /// Weights of the model; a tied output counts once.
  uint64_t parameters() const;
};

/// A tensor that the configuration calls for.
struct TensorSpec {
  std::string name;
  std::vector<uint64_t> shape;  // GGUF order
};

/// All tensors of the model, in the order a forward pass meets them.
std::vector<TensorSpec> required_tensors(const ModelConfig& config);

/// Errors: as ModelConfig::from_gguf.
void check_tensors(const ModelConfig& config, const GgufFile& file);

/// Bytes of weights that one step of decoding reads: every tensor once, one row of the embedding unless it is the output
/// matrix too. The bound of memory bandwidth on tokens per second.
uint64_t bytes_read_per_token(const ModelConfig& config, const GgufFile& file);

/// The format that most of the weights have ("Q4_1"), for people.
std::string dominant_format(const GgufFile& file);

}  // namespace fathom::model
