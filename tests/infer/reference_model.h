// Test support: the forward pass of every architecture written straight from the papers and the keys of GGUF files, in
// double, sharing no code with src/tensor or src/infer. It reads metadata and raw tensor bytes from the GGUF file and decodes
// the simple formats itself.
//
//   x = embedding[token] * es
//   per layer:  h = rmsnorm(x) * g1;  q, k, v = Wq h + bq, Wk h + bk, Wv h + bv;  [heads of q, k normed]; q, k rotated
//               y = Wo concat_heads(softmax(cap(q k^T * scale)) v) + bo;  x += [norm] y
//               h = rmsnorm(x) * g2;  x += [norm] ffn(h) with ffn(h) = Wd (act(Wg h + bg) * (Wu h + bu)) + bd, or
//               sum over the chosen experts p_e ffn_e(h), or both
//   logits = cap(W (rmsnorm(x) * g) * ls)
//
// With `half_attention` keys, values, queries and probabilities are rounded to f16, as an f16 cache does; all else is
// exact (in double), and without it everything is.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>
#include <numeric>
#include <string>
#include <vector>

#include "model/gguf.h"

namespace fathom::test {

using Row = std::vector<double>;

class ReferenceModel {
 public:
  /// `run_context`: that long rotary factors are chosen for; 0: the model's own. `half_gelu`: gelu is looked up in a table of
  /// f16 values, as llama.cpp does on a CPU.
  ReferenceModel(const model::GgufFile& file, bool half_attention, size_t run_context = 0,
                 bool half_gelu = false)
      : file_(file),
        arch_(file.get_string("general.architecture")),
        half_attention_(half_attention),
        half_gelu_(half_gelu) {
    layers_ = count("block_count");
    heads_ = count("attention.head_count");
    kv_heads_ = count("attention.head_count_kv");
    dim_ = count("attention.key_length");
    width_ = count("embedding_length");
    run_context_ = run_context != 0 ? run_context : count("context_length");
  }

  /// [tokens][vocab]
  std::vector<Row> logits(const std::vector<int32_t>& tokens) {
    std::vector<Row> x;
    for (const int32_t t : tokens) {
      x.push_back(matrix("token_embd.weight")[static_cast<size_t>(t)]);
      for (double& v : x.back()) v *= embedding_scale();
    }
    for (size_t l = 0; l < layers_; ++l) block(l, x);
    const bool tied = !there("output.weight");
    std::vector<Row> out;
    for (const Row& row : x) {
      out.push_back(
          times(matrix(tied ? "token_embd.weight" : "output.weight"), norm(row, "output_norm.weight")));
      for (double& v : out.back()) {
        if (arch_ == "grok") v *= real("logit_scale", 0.5773502691896257);
        v = capped(v, final_cap());
      }
    }
    return out;
  }

 private:
  // ---------------------------------------------------------------- keys

  size_t count(const std::string& key) const {
    return static_cast<size_t>(file_.get_uint(arch_ + "." + key));
  }
  size_t count(const std::string& key, size_t otherwise) const {
    return static_cast<size_t>(file_.find_uint(arch_ + "." + key).value_or(otherwise));
  }
  double real(const std::string& key, double otherwise) const {
    return file_.find_float(arch_ + "." + key).value_or(otherwise);
  }
  std::string text(const std::string& key) const {
    return std::string(file_.find_string(arch_ + "." + key).value_or(""));
  }
  bool there(const std::string& tensor) const { return file_.find_tensor(tensor) != nullptr; }
  bool is_gemma() const { return arch_.starts_with("gemma"); }

  double embedding_scale() const {
    if (is_gemma()) return std::sqrt(static_cast<double>(width_));
    return arch_ == "grok" ? real("embedding_scale", 78.38367176906169) : 1.0;
  }
  double final_cap() const {
    if (arch_ == "gemma2") return real("final_logit_softcapping", 30);
    return arch_ == "gemma3" || arch_ == "grok" ? real("final_logit_softcapping", 0) : 0;
  }
  double attention_cap() const {
    if (arch_ == "gemma2") return real("attn_logit_softcapping", 50);
    return arch_ == "grok" ? real("attn_logit_softcapping", 30) : 0;
  }
  double attention_scale() const {
    if (arch_ == "grok") return real("attention.output_scale", 0.08838834764831845);
    return 1 / std::sqrt(static_cast<double>(dim_));
  }
  static double capped(double v, double cap) { return cap == 0 ? v : cap * std::tanh(v / cap); }

  /// Whether a layer sees a window only. Of gemma2's every second is global, of gemma3's every sixth.
  bool local(size_t layer) const {
    if (window() == 0) return false;
    if (arch_ == "gemma2") return layer % 2 == 0;
    if (arch_ == "gemma3") return layer % 6 != 5;
    return true;
  }
  size_t window() const {
    if (arch_ == "gemma2") return count("attention.sliding_window", 4096);
    return arch_ == "gemma3" || arch_ == "llama" ? count("attention.sliding_window", 0) : 0;
  }

  // ---------------------------------------------------------------- tensors

  static double half_bits(uint16_t bits) {
    const int exponent = (bits >> 10) & 31;
    const int mantissa = bits & 1023;
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == 0) return sign * std::ldexp(mantissa, -24);
    return sign * std::ldexp(1024 + mantissa, exponent - 25);
  }

  /// The nearest f16 value, ties to even, for values in its normal and subnormal range.
  static double to_half(double v) {
    if (v == 0) return v;
    const int exponent = std::max(std::ilogb(v), -14);
    return std::ldexp(std::nearbyint(std::ldexp(v, 10 - exponent)), exponent - 10);
  }

  /// Element i of a tensor's bytes.
  static double element(const model::GgufTensor& t, size_t i) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(t.data.data());
    const auto u16 = [&](size_t at) { return static_cast<uint16_t>(bytes[at] | bytes[at + 1] << 8); };
    if (t.type_id == 0 || t.type_id == 30) {
      const uint32_t bits = t.type_id == 30 ? static_cast<uint32_t>(u16(2 * i)) << 16
                                            : u16(4 * i) | static_cast<uint32_t>(u16(4 * i + 2)) << 16;
      float value;
      std::memcpy(&value, &bits, 4);
      return static_cast<double>(value);
    }
    if (t.type_id == 1) return half_bits(u16(2 * i));
    const size_t block = i / 32, in = i % 32;
    if (t.type_id == 8) return half_bits(u16(block * 34)) * static_cast<int8_t>(bytes[block * 34 + 2 + in]);
    const size_t size = t.type_id == 2 ? 18 : 20;
    const uint8_t pair = bytes[block * size + (size - 16) + in % 16];
    const int nibble = in < 16 ? pair % 16 : pair / 16;
    const double d = half_bits(u16(block * size));
    return t.type_id == 2 ? d * (nibble - 8) : d * nibble + half_bits(u16(block * size + 2));
  }

  /// Formats beyond those are decoded by the library's plain conversion, which has vectors of its own.
  static void decode(const model::GgufTensor& t, std::vector<Row>& rows) {
    const size_t cols = t.shape[0];
    const bool simple = t.type_id == 0 || t.type_id == 1 || t.type_id == 2 || t.type_id == 3 ||
                        t.type_id == 8 || t.type_id == 30;
    std::vector<float> row(simple ? 0 : cols);
    for (size_t r = 0; r < rows.size(); ++r) {
      if (!simple)
        tensor::dequantize_row(*t.dtype, t.data.data() + r * tensor::row_bytes(*t.dtype, cols), row.data(),
                               cols);
      for (size_t c = 0; c < cols; ++c)
        rows[r][c] = simple ? element(t, r * cols + c) : static_cast<double>(row[c]);
    }
  }

  const std::vector<Row>& matrix(const std::string& name) {
    auto& rows = decoded_[name];
    if (!rows.empty()) return rows;
    const model::GgufTensor& t = file_.tensor(name);
    rows.resize(t.elements / t.shape[0], Row(t.shape[0]));
    decode(t, rows);
    return rows;
  }

  /// Rows [first, first + rows) of a matrix times x; all of them where rows is 0.
  static Row times(const std::vector<Row>& m, const Row& x, size_t first = 0, size_t rows = 0) {
    Row out;
    for (size_t r = first; r < (rows == 0 ? m.size() : first + rows); ++r)
      out.push_back(std::inner_product(x.begin(), x.end(), m[r].begin(), 0.0));
    return out;
  }

  Row linear(const std::string& stem, const Row& x, size_t first = 0, size_t rows = 0) {
    Row out = times(matrix(stem + ".weight"), x, first, rows);
    if (!there(stem + ".bias")) return out;
    const Row& bias = matrix(stem + ".bias")[0];
    for (size_t i = 0; i < out.size(); ++i) out[i] += bias[first + i];
    return out;
  }

  // ---------------------------------------------------------------- norms and positions

  Row norm(const Row& x, const std::string& weight) {
    const double squares = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
    const double scale =
        1 / std::sqrt(squares / static_cast<double>(x.size()) + real("attention.layer_norm_rms_epsilon", 0));
    Row out;
    for (size_t i = 0; i < x.size(); ++i) out.push_back(x[i] * scale * matrix(weight)[0][i]);
    return out;
  }

  /// Each head through the same norm, where the file has one.
  Row head_norms(const Row& x, const std::string& weight) {
    if (!there(weight)) return x;
    Row out;
    for (size_t at = 0; at < x.size(); at += dim_) {
      const Row head = norm(
          Row(x.begin() + static_cast<ptrdiff_t>(at), x.begin() + static_cast<ptrdiff_t>(at + dim_)), weight);
      out.insert(out.end(), head.begin(), head.end());
    }
    return out;
  }

  /// YaRN (Peng et al., 2023, section 3.2): 1 where a pair turns more than beta_fast times within the original context, 0
  /// where less than beta_slow, and linear in the pair's number between.
  double yarn_ramp(double pair, double dims, double base) const {
    const double original = static_cast<double>(count("rope.scaling.original_context_length"));
    const auto pair_at = [&](double turns) {
      return dims * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(base));
    };
    const double low =
        std::max(0.0, std::floor(pair_at(real("rope.scaling.yarn_beta_fast", arch_ == "grok" ? 8 : 32))));
    const double high = std::min(dims - 1, std::ceil(pair_at(real("rope.scaling.yarn_beta_slow", 1))));
    const double along = (pair - low) / std::max(0.001, high - low);
    return 1 - std::clamp(along, 0.0, 1.0);
  }

  struct Turn {
    double angle;
    double magnitude;
  };

  Turn turn(size_t position, size_t pair, size_t dims, bool local_base) {
    const double base = local_base ? real("rope.freq_base_swa", 10000) : real("rope.freq_base", 10000);
    Turn out{static_cast<double>(position) *
                 std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(dims)),
             real("rope.scaling.attn_factor", 1)};
    if (there("rope_freqs.weight")) out.angle /= matrix("rope_freqs.weight")[0][pair];
    if (there("rope_factors_long.weight")) {
      const bool beyond = run_context_ > count("rope.scaling.original_context_length");
      out.angle /= matrix(beyond ? "rope_factors_long.weight" : "rope_factors_short.weight")[0][pair];
    }
    const double factor = real("rope.scaling.factor", 1);
    if (text("rope.scaling.type") == "linear" && !local_base) out.angle /= factor;
    if (text("rope.scaling.type") == "yarn") {
      const double keep = yarn_ramp(static_cast<double>(pair), static_cast<double>(dims), base);
      out.angle *= keep + (1 - keep) / factor;
      out.magnitude *= 1 + 0.1 * std::log(factor);
    }
    return out;
  }

  void rotate(Row& x, size_t position, size_t layer) {
    const bool neighbours = arch_ == "llama";
    const size_t dims = count("rope.dimension_count", dim_);
    const bool local_base = arch_ == "gemma3" && local(layer);
    for (size_t pair = 0; pair < dims / 2; ++pair) {
      const Turn t = turn(position, pair, dims, local_base);
      for (size_t head = 0; head < x.size(); head += dim_) {
        double& a = x[head + (neighbours ? 2 * pair : pair)];
        double& b = x[head + (neighbours ? 2 * pair + 1 : pair + dims / 2)];
        const double turned = a * std::cos(t.angle) - b * std::sin(t.angle);
        b = (a * std::sin(t.angle) + b * std::cos(t.angle)) * t.magnitude;
        a = turned * t.magnitude;
      }
    }
  }

  // ---------------------------------------------------------------- attention

  double kept(double v) const { return half_attention_ ? to_half(v) : v; }

  /// Of scores at a position: those of far ones are sharpened in Grok-2.
  double temperature(size_t position) const {
    const size_t length = arch_ == "grok" ? count("attention.temperature_length", 0) : 0;
    if (length == 0 || position <= length) return 1;
    return std::log2(static_cast<double>(position)) / std::log2(static_cast<double>(length));
  }

  /// One query head at position `t`; `at` is where its kv head begins in a row.
  Row attend(const double* q, const std::vector<Row>& k, const std::vector<Row>& v, size_t t, size_t at,
             size_t layer) const {
    const size_t first = local(layer) && t >= window() ? t + 1 - window() : 0;
    Row p;
    double max = -INFINITY, sum = 0;
    for (size_t j = first; j <= t; ++j) {
      double score = 0;
      for (size_t d = 0; d < dim_; ++d) score += kept(q[d]) * kept(k[j][at + d]);
      p.push_back(capped(score * attention_scale() * temperature(t), attention_cap()));
      max = std::max(max, p.back());
    }
    for (double& v1 : p) sum += v1 = std::exp(v1 - max);
    Row out(dim_);
    for (size_t j = first; j <= t; ++j)
      for (size_t d = 0; d < dim_; ++d) out[d] += kept(p[j - first] / sum) * kept(v[j][at + d]);
    return out;
  }

  void project(const std::string& name, const Row& h, Row& q, Row& k, Row& v) {
    const size_t q_rows = heads_ * dim_, kv_rows = kv_heads_ * dim_;
    if (there(name + "attn_qkv.weight")) {
      q = linear(name + "attn_qkv", h, 0, q_rows);
      k = linear(name + "attn_qkv", h, q_rows, kv_rows);
      v = linear(name + "attn_qkv", h, q_rows + kv_rows, kv_rows);
    } else {
      q = linear(name + "attn_q", h);
      k = linear(name + "attn_k", h);
      v = linear(name + "attn_v", h);
    }
  }

  // ---------------------------------------------------------------- feed-forward

  double activate(double x) const {
    if (!is_gemma() && arch_ != "grok") return x / (1 + std::exp(-x));
    if (half_gelu_) x = to_half(x);
    const double y = 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    return half_gelu_ ? to_half(y) : y;
  }

  Row gated(Row gate, const Row& up) const {
    for (size_t i = 0; i < gate.size(); ++i) gate[i] = activate(gate[i]) * up[i];
    return gate;
  }

  Row feed_forward(const std::string& name, const std::string& suffix, const Row& h) {
    if (there(name + "ffn_gate" + suffix + ".weight"))
      return linear(name + "ffn_down" + suffix,
                    gated(linear(name + "ffn_gate" + suffix, h), linear(name + "ffn_up" + suffix, h)));
    const size_t rows = matrix(name + "ffn_up.weight").size() / 2;
    return linear(name + "ffn_down",
                  gated(linear(name + "ffn_up", h, 0, rows), linear(name + "ffn_up", h, rows, rows)));
  }

  Row expert(const std::string& name, size_t e, const Row& h) {
    const std::string one = "." + std::to_string(e);
    if (there(name + "ffn_gate" + one + ".weight")) return feed_forward(name, one, h);
    const size_t rows = matrix(name + "ffn_gate_exps.weight").size() / count("expert_count");
    const Row mid = gated(linear(name + "ffn_gate_exps", h, e * rows, rows),
                          linear(name + "ffn_up_exps", h, e * rows, rows));
    return linear(name + "ffn_down_exps", mid, e * width_, width_);
  }

  /// Softmax over all experts, then the best of them, whose shares are made to add up to 1 (but for qwen2moe).
  Row experts(const std::string& name, const Row& h) {
    Row p = linear(name + "ffn_gate_inp", h);
    for (double& v : p) v = capped(v, arch_ == "grok" ? real("router_logit_softcapping", 0) : 0);
    const double max = *std::max_element(p.begin(), p.end());
    for (double& v : p) v = std::exp(v - max);
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
    order.resize(count("expert_used_count"));
    double total = 0;
    if (arch_ == "qwen2moe")
      total = std::accumulate(p.begin(), p.end(), 0.0);
    else
      for (const size_t e : order) total += p[e];
    Row out(width_);
    for (const size_t e : order) {
      const Row y = expert(name, e, h);
      for (size_t i = 0; i < width_; ++i) out[i] += p[e] / total * y[i];
    }
    return out;
  }

  Row mixture(const std::string& name, const Row& h) {
    Row out = experts(name, h);
    if (there(name + "ffn_up_shexp.weight")) {
      const Row y = feed_forward(name, "_shexp", h);
      const double gate = 1 / (1 + std::exp(-times(matrix(name + "ffn_gate_inp_shexp.weight"), h)[0]));
      for (size_t i = 0; i < width_; ++i) out[i] += gate * y[i];
    } else if (there(name + "ffn_up.weight")) {
      const Row y = feed_forward(name, "", h);
      for (size_t i = 0; i < width_; ++i) out[i] = (out[i] + y[i]) / std::sqrt(2.0);
    }
    return out;
  }

  // ---------------------------------------------------------------- blocks

  void block(size_t layer, std::vector<Row>& x) {
    const std::string name = "blk." + std::to_string(layer) + ".";
    std::vector<Row> q(x.size()), k(x.size()), v(x.size());
    for (size_t t = 0; t < x.size(); ++t) {
      project(name, norm(x[t], name + "attn_norm.weight"), q[t], k[t], v[t]);
      q[t] = head_norms(q[t], name + "attn_q_norm.weight");
      k[t] = head_norms(k[t], name + "attn_k_norm.weight");
      rotate(q[t], t, layer);
      rotate(k[t], t, layer);
    }
    for (size_t t = 0; t < x.size(); ++t) {
      Row mixed;
      for (size_t head = 0; head < heads_; ++head) {
        const size_t at = head / (heads_ / kv_heads_) * dim_;
        const Row part = attend(q[t].data() + head * dim_, k, v, t, at, layer);
        mixed.insert(mixed.end(), part.begin(), part.end());
      }
      add(x[t], linear(name + "attn_output", mixed), name, {"post_attention_norm", "attn_output_norm"});
      const Row h = norm(x[t], name + "ffn_norm.weight");
      const Row y = there(name + "ffn_gate_inp.weight") ? mixture(name, h) : feed_forward(name, "", h);
      add(x[t], y, name, {"post_ffw_norm", "layer_output_norm"});
    }
  }

  /// x += y, through the norm of one of these names where there is one.
  void add(Row& x, Row y, const std::string& block, const std::vector<std::string>& norms) {
    for (const auto& n : norms)
      if (there(block + n + ".weight")) y = norm(y, block + n + ".weight");
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  const model::GgufFile& file_;
  std::string arch_;
  bool half_attention_, half_gelu_;
  size_t layers_, heads_, kv_heads_, dim_, width_, run_context_;
  std::map<std::string, std::vector<Row>> decoded_;
};

}  // namespace fathom::test
