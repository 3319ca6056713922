// What a model is: the sizes and switches from which every part of its structure follows.
//
// One description serves every architecture: a decoder is a row of equal blocks, and what distinguishes one model from
// another is a field. Read from a GGUF file (`from_gguf`: llama, mistral, mixtral, qwen2, qwen2moe, qwen3, qwen3moe,
// gemma, gemma2, gemma3, phi3, grok) or filled in by hand and checked (`check`). A plain value; thread-safe as such.
//
// What a block computes for the residual stream x (fields in brackets where they may be absent):
//   h = rmsnorm(x) * attn_norm
//   q, k, v = Wq h [+ bq], Wk h [+ bk], Wv h [+ bv]             q: [heads, head_dim]; k, v: [kv_heads, head_dim]
//   [qk_norm: each head of q and of k through an RMSNorm of its own]
//   q, k turned by position (RopeConfig)
//   s = q k^T * score_scale();  [attention_softcap: s = c tanh(s / c)];  causal, [the last window(layer) positions only]
//   y = Wo softmax(s) v [+ bo];  [post_norms: y = rmsnorm(y) * attention post norm];  x += y
//   h = rmsnorm(x) * ffn_norm
//   z = Wd (act(Wg h) * Wu h) [with biases], or with experts: sum over the chosen e of p_e FFN_e(h), where
//       l = Wr h;  [router_softcap: l = c tanh(l / c)];  p = softmax(l), the `used` largest, [made to add up to 1],
//       [and beside them one dense FFN: z = (z + FFN(h)) * beside_scale, or z += sigmoid(g . h) FFN(h)]
//   [post_norms: z = rmsnorm(z) * feed-forward post norm];  x += z
// Before the blocks x = embedding[token] * embedding_scale; after them logits = W (rmsnorm(x) * output_norm) *
// logit_scale, [final_softcap: c tanh(logits / c)].
//
// Tensors, shapes in GGUF order ([d_in, d_out]; E experts):
//   token_embd.weight               [d_model, vocab]
//   blk.L.attn_norm.weight          [d_model]
//   blk.L.attn_q.weight             [d_model, heads * head_dim]        .bias where attention_bias
//   blk.L.attn_k.weight             [d_model, kv_heads * head_dim]     .bias where attention_bias
//   blk.L.attn_v.weight             [d_model, kv_heads * head_dim]     .bias where attention_bias
//   blk.L.attn_qkv.weight           [d_model, (heads + 2 kv_heads) * head_dim], in place of the three: layout.fused_qkv
//   blk.L.attn_q_norm, attn_k_norm  [head_dim]                         where qk_norm
//   blk.L.attn_output.weight        [heads * head_dim, d_model]        .bias where attention_output_bias
//   blk.L.(post_attention_norm)     [d_model]                          where post_norms; grok: attn_output_norm
//   blk.L.ffn_norm.weight           [d_model]
//   blk.L.ffn_gate.weight           [d_model, ffn]                     .bias where ffn_bias (all three)
//   blk.L.ffn_up.weight             [d_model, ffn]; layout.fused_gate_up: [d_model, 2 ffn], the gate's rows first
//   blk.L.ffn_down.weight           [ffn, d_model]
//   blk.L.ffn_gate_inp.weight       [d_model, E]                       the router
//   blk.L.ffn_gate_exps, ffn_up_exps.weight [d_model, experts.ffn, E]; layout.single_experts: ffn_gate.0, ffn_gate.1, ...
//   blk.L.ffn_down_exps.weight      [experts.ffn, d_model, E]
//   blk.L.ffn_gate_inp_shexp.weight [d_model], ffn_gate_shexp, ...     the gated dense feed-forward beside experts
//   blk.L.(post_ffw_norm)           [d_model]                          where post_norms; grok: or layer_output_norm
//   output_norm.weight              [d_model]
//   output.weight                   [d_model, vocab]                   absent where tied_output
//   rope_freqs.weight               [rope.dims / 2]                    where rope.frequency_factors
//   rope_factors_long.weight, rope_factors_short.weight [rope.dims / 2] where rope.scaling is kLongRope
// Described only (names as in GGUF's gpt2, deepseek2 and gpt-oss):
//   .bias of every norm             [d_model]                          where layer_norm
//   position_embd.weight            [d_model, learned_positions]       where learned_positions
//   blk.L.attn_q_a, attn_q_a_norm, attn_q_b  [d_model, q_rank], [q_rank], [q_rank, q_dim]   where latent.q_rank
//   blk.L.attn_kv_a_mqa, attn_kv_a_norm, attn_kv_b  [d_model, kv_rank + rope_dim], [kv_rank],
//                                   [kv_rank, heads * (nope_dim + value_dim)]              where latent.kv_rank
//   blk.L.attn_sinks.weight         [heads]                            where attention_sinks
//   blk.L.ffn_gate_inp.bias, exp_probs_b.bias [E]                      where router_bias, selection_bias
//   blk.L.ffn_gate_exps.bias, ...   [experts.ffn, E]                   where ffn_bias
//   blk.L.ffn_gate_shexp, ...       [d_model, shared * experts.ffn]    where experts.shared
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf.h"

namespace fathom::model {

/// Which elements of a head turn together. The llama architecture in GGUF pairs neighbours (x[2i], x[2i+1]), all others
/// (and Hugging Face checkpoints of every architecture) halves (x[i], x[i + dims/2]).
enum class RopePairing { kNeighbours, kHalves };

/// How a model was made to reach beyond the context it was trained with first:
///   kNone      not at all
///   kLinear    positions divided by `scale` (Chen et al., 2023)
///   kLlama3    slow frequencies divided by `scale`, fast ones kept, those between blended (Llama 3.1); GGUF files carry
///              the result as frequency_factors instead
///   kYarn      the same by another blend, and queries and keys scaled (Peng et al., 2023)
///   kLongRope  a divisor for each frequency, one set within the original context and one beyond (Ding et al., 2024)
enum class RopeScaling { kNone, kLinear, kLlama3, kYarn, kLongRope };

/// Position p turns pair i by p / scale / factor[i] * base^(-2i / dims) (Su et al., 2021), where factor[i] comes from
/// rope_freqs.weight, else 1. Keys "A.rope.*" (A: the architecture).
struct RopeConfig {
  RopePairing pairing = RopePairing::kNeighbours;
  size_t dims = 0;  // dimension_count: of each head's leading elements that turn; even, at most head_dim
  float base = 10000.0f;                     // freq_base
  RopeScaling scaling = RopeScaling::kNone;  // scaling.type
  float scale = 1.0f;                        // scaling.factor (kLinear, kLlama3, kYarn)
  size_t original_context = 0;               // scaling.original_context_length (kLlama3, kYarn, kLongRope)
  float attention_factor =
      1.0f;  // scaling.attn_factor: queries and keys are multiplied by it (kYarn, kLongRope)
  float low_frequency_factor = 1.0f;   // kLlama3
  float high_frequency_factor = 4.0f;  // kLlama3
  float extrapolation = 1.0f;          // scaling.yarn_ext_factor: 0 blends nothing
  float beta_fast =
      32.0f;  // scaling.yarn_beta_fast: turns within the original context above which nothing changes
  float beta_slow = 1.0f;          // scaling.yarn_beta_slow: turns below which `scale` acts in full
  bool frequency_factors = false;  // tensor rope_freqs.weight is there
};

/// Of the gate, or of the one matrix where there is no gate: silu(x) = x / (1 + e^-x), gelu(x) by its tanh approximation
/// (Hendrycks and Gimpel, 2016), or max(x, 0)^2 (So et al., 2021; described only).
enum class Activation { kSilu, kGelu, kSquaredRelu };

/// The dense feed-forward beside the experts, of width ModelConfig::ffn.
enum class BesideExperts {
  kNothing,
  kDense,      // z = (experts + dense) * beside_scale (Grok-2)
  kGatedDense  // z = experts + sigmoid(g . h) * dense (qwen2moe's shared expert)
};

/// A mixture of experts (Shazeer et al., 2017; Jiang et al., 2024). Keys "A.*".
struct ExpertsConfig {
  size_t count = 0;           // expert_count; 0: the model is dense
  size_t used = 0;            // expert_used_count: of each token
  size_t ffn = 0;             // expert_feed_forward_length: width of one expert
  bool normalise = true;      // expert_weights_norm: the weights of the chosen add up to 1
  float weight_scale = 1.0f;  // expert_weights_scale
  float router_softcap = 0;   // router_logit_softcapping; 0: none
  BesideExperts beside = BesideExperts::kNothing;
  float beside_scale = 1.0f;
  // Described only, from here on.
  size_t shared = 0;  // experts of width `ffn` that every token uses (DeepSeek-MoE)
  size_t leading_dense =
      0;  // layers before the first with experts; theirs is a feed-forward of width ModelConfig::ffn
  size_t period = 1;  // of the layers after those, the last of each so many has experts (Llama 4), the others
                      // a feed-forward of width ModelConfig::ffn
  bool router_bias = false;     // added to the router's logits (gpt-oss)
  bool selection_bias = false;  // added to the scores for the choice alone, not for the weights (DeepSeek-V3)
};

/// Multi-head latent attention (DeepSeek-V2, 2024): keys and values from a shared low-rank vector; described only. Then
/// head_dim is nope_dim + rope_dim, kv_heads is heads, and what is kept of a position is kv_rank + rope_dim numbers.
struct LatentAttention {
  size_t kv_rank = 0;    // 0: not used
  size_t q_rank = 0;     // 0: queries straight from the residual stream
  size_t nope_dim = 0;   // of a head's query and key, without position
  size_t rope_dim = 0;   // of a head's query, and of the one key that all heads share, with position
  size_t value_dim = 0;  // of a head
};

/// How a file names and groups the tensors; nothing of it changes what is computed.
struct TensorLayout {
  bool fused_qkv = false;      // blk.L.attn_qkv holds the rows of q, then k, then v
  bool fused_gate_up = false;  // blk.L.ffn_up holds the rows of gate, then up
  bool single_experts =
      false;  // blk.L.ffn_gate.E.weight for each expert (files of 2023) in place of blk.L.ffn_gate_exps
  std::string attention_post_norm = "post_attention_norm";
  std::string ffn_post_norm = "post_ffw_norm";
};

struct ModelConfig {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, else empty

  size_t layers = 0;    // block_count
  size_t d_model = 0;   // embedding_length
  size_t heads = 0;     // attention.head_count
  size_t kv_heads = 0;  // attention.head_count_kv; divides heads
  size_t head_dim = 0;  // attention.key_length, else d_model / heads
  size_t ffn = 0;       // feed_forward_length; 0 where all of the feed-forward is experts
  size_t vocab = 0;     // vocab_size
  size_t context = 0;   // context_length: trained for

  float rms_eps = 1e-5f;  // attention.layer_norm_rms_epsilon
  RopeConfig rope;
  Activation activation = Activation::kSilu;

  float embedding_scale = 1.0f;    // embedding_scale; gemma: sqrt(d_model)
  float logit_scale = 1.0f;        // logit_scale
  float attention_scale = 0.0f;    // of scores; grok: attention.output_scale; 0: 1 / sqrt(head_dim)
  float attention_softcap = 0.0f;  // attn_logit_softcapping; 0: none
  float final_softcap = 0.0f;      // final_logit_softcapping; 0: none
  // attention.temperature_length: scores at position p beyond it are multiplied by log2(p) / log2(length) (Grok-2); 0: none
  size_t attention_temperature_length = 0;

  // attention.sliding_window: a token attends to this many positions, itself included (Beltagy et al., 2020), in the layers
  // that window_layers marks; 0: none.
  size_t sliding_window = 0;
  std::vector<bool> window_layers;  // [layers] where sliding_window, else empty
  // Of the marked layers, where they turn in another way (gemma3: base 10,000, no scaling); dims 0: as all.
  RopeConfig window_rope;

  bool qk_norm = false;
  bool post_norms = false;
  bool tied_output = false;     // the output matrix is token_embd.weight
  bool attention_bias = false;  // on q, k and v
  bool attention_output_bias = false;
  bool ffn_bias = false;  // on gate, up and down

  ExpertsConfig experts;
  TensorLayout layout;

  // What is described, counted, trained and planned, but not (yet) run by `infer`; see runs().
  bool layer_norm = false;  // LayerNorm, with a bias, in place of RMSNorm (GPT)
  bool gated_ffn = true;    // false: z = Wd act(Wu h)
  size_t learned_positions =
      0;  // rows of an embedding of positions, added to the tokens'; 0: none; then no rope
  bool attention_sinks =
      false;  // one more score for each head, learned, that takes attention from all positions (gpt-oss)
  LatentAttention latent;

  size_t q_dim() const { return heads * head_dim; }
  size_t kv_dim() const { return kv_heads * head_dim; }
  float score_scale() const;
  /// How many positions a token of this layer attends to, itself included; 0: all.
  size_t window(size_t layer) const { return windowed(layer) ? sliding_window : 0; }
  bool windowed(size_t layer) const { return layer < window_layers.size() && window_layers[layer]; }
  const RopeConfig& layer_rope(size_t layer) const {
    return windowed(layer) && window_rope.dims != 0 ? window_rope : rope;
  }
  bool dense() const { return experts.count == 0; }
  /// Whether this layer's feed-forward is a mixture of experts.
  bool expert_layer(size_t layer) const {
    return !dense() && layer >= experts.leading_dense &&
           (layer - experts.leading_dense) % experts.period == experts.period - 1;
  }
  size_t expert_layers() const { return dense() ? 0 : (layers - experts.leading_dense) / experts.period; }
  /// Whether a block that has experts where the model has them has a feed-forward of width `ffn` too: in place of experts,
  /// or beside them.
  bool has_dense_ffn() const { return dense() || experts.beside != BesideExperts::kNothing; }
  /// Whether `infer` computes it. What is only described, counted and planned: layer_norm, an absent gate, learned
  /// positions, latent attention, sinks, shared experts, layers without experts among those with them.
  bool runs() const { return runs_not().empty(); }
  /// What of it `infer` does not compute ("latent attention"); empty where runs().
  std::string runs_not() const;
  /// Marks all layers but the last of each `period`; all where it is 0. REQUIRES: layers is set.
  void set_window_period(size_t period);

  /// Reads and checks the description; `check_tensors` is part of it. Errors: kCorrupt (a key is missing or out of
  /// bounds, a tensor is missing or of another shape: the sentence names it), kUnsupported (another architecture, another
  /// kind of rope scaling, layers of different sizes, a tensor of a block that this description has no place for, a tensor
  /// format that this build does not know).
  static ModelConfig from_gguf(const GgufFile& file);

  /// Errors: kInvalidArgument, naming the field, unless all sizes are within bounds and go together and all numbers are
  /// finite.
  void check() const;

  /// Weights of the model; a tied output counts once. Tables of rope factors do not count.
  uint64_t parameters() const;
  /// Of them, those that one token uses: of the experts only the chosen ones.
  uint64_t active_parameters() const;
  /// Floating-point operations of the forward pass of one token that attends to `context` positions, itself included: two
  /// for each weight that multiplies (not the embedding's look-up) and, in each layer, four for each attended position and
  /// element of q (with latent attention two for each of q and two for each of the value). Norms, activations and softmax,
  /// a fraction of a percent, are left out.
  uint64_t flops_per_token(size_t context) const;
  /// Bytes that keys and values of one position take in all layers (the latent vector and the shared key, where there are
  /// such). REQUIRES: kv_dim(), or their size, is whole blocks of `dtype`.
  uint64_t kv_bytes_per_token(tensor::DType dtype) const;
};

/// A tensor that the configuration calls for.
struct TensorSpec {
  std::string name;
  std::vector<uint64_t> shape;  // GGUF order
  bool routed = false;          // of its weights a token uses experts.used of experts.count
};

/// All tensors of the model, in the order a forward pass meets them.
std::vector<TensorSpec> required_tensors(const ModelConfig& config);

/// Whether the file has them all, in their shapes, and no others that a forward pass would have to use. What is known to
/// be of no use to it is passed over: tables that the configuration replaces, and tensors outside the decoder (vision
/// towers, classifiers, blocks past the last that predict further tokens). Errors: as ModelConfig::from_gguf.
void check_tensors(const ModelConfig& config, const GgufFile& file);

/// Bytes of weights that one step of decoding reads: every tensor once, of experts the share that is used, one row of the
/// embedding unless it is the output matrix too. The bound of memory bandwidth on tokens per second.
uint64_t bytes_read_per_token(const ModelConfig& config, const GgufFile& file);

/// The format that most of the weights have ("Q4_1"), for people.
std::string dominant_format(const GgufFile& file);

/// The divisors of kLlama3's frequencies, [rope.dims / 2].
std::vector<float> llama3_rope_factors(const RopeConfig& rope);

}  // namespace fathom::model
