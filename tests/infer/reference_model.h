// Test support: a llama forward pass written straight from the formulas, in double, sharing no code with src/tensor or
// src/infer. It reads metadata and raw tensor bytes from the GGUF file and decodes every format itself.
//
//   x = embedding[token]
//   per layer:  h = rmsnorm(x) * g1;  q, k, v = Wq h + bq, Wk h + bk, Wv h + bv;  q, k rotated by position
//               x += Wo concat_heads(softmax(q k^T / sqrt(head_dim)) v) + bo
//               h = rmsnorm(x) * g2;  x += Wd (silu(Wg h + bg) * (Wu h + bu)) + bd
//   logits = W (rmsnorm(x) * g)
//
// With `half_attention` keys, values, queries and probabilities are rounded to f16, as an f16 cache does; all else is
// exact (in double), and without it everything is.
#pragma once

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "model/gguf.h"

namespace fathom::test {

using Row = std::vector<double>;

class ReferenceModel {
 public:
  explicit ReferenceModel(const model::GgufFile& file, bool half_attention)
      : file_(file), half_attention_(half_attention) {}

  /// [tokens][vocab]
  std::vector<Row> logits(const std::vector<int32_t>& tokens) {
    const size_t layers = number("llama.block_count");
    std::vector<Row> x;
    for (const int32_t t : tokens) x.push_back(matrix("token_embd.weight")[static_cast<size_t>(t)]);
    for (size_t l = 0; l < layers; ++l) block("blk." + std::to_string(l) + ".", x);
    const bool tied = file_.find_tensor("output.weight") == nullptr;
    std::vector<Row> out;
    for (const Row& row : x)
      out.push_back(
          times(matrix(tied ? "token_embd.weight" : "output.weight"), norm(row, "output_norm.weight")));
    return out;
  }

 private:
  size_t number(const std::string& key) const { return static_cast<size_t>(file_.get_uint(key)); }

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

  const std::vector<Row>& matrix(const std::string& name) {
    auto& rows = decoded_[name];
    if (!rows.empty()) return rows;
    const model::GgufTensor& t = file_.tensor(name);
    const size_t cols = t.shape[0];
    rows.resize(t.elements / cols, Row(cols));
    for (size_t i = 0; i < t.elements; ++i) rows[i / cols][i % cols] = element(t, i);
    return rows;
  }

  static Row times(const std::vector<Row>& m, const Row& x) {
    Row out;
    for (const Row& row : m) {
      double sum = 0;
      for (size_t i = 0; i < x.size(); ++i) sum += row[i] * x[i];
      out.push_back(sum);
    }
    return out;
  }

  Row linear(const std::string& stem, const Row& x) {
    Row out = times(matrix(stem + ".weight"), x);
    if (file_.find_tensor(stem + ".bias") == nullptr) return out;
    const Row& bias = matrix(stem + ".bias")[0];
    for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i];
    return out;
  }

  Row norm(const Row& x, const std::string& weight) {
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) +
                                       file_.get_float("llama.attention.layer_norm_rms_epsilon"));
    Row out;
    for (size_t i = 0; i < x.size(); ++i) out.push_back(x[i] * scale * matrix(weight)[0][i]);
    return out;
  }

  void rotate(Row& x, size_t position) {
    const size_t dim = number("llama.attention.key_length");
    const double base = file_.get_float("llama.rope.freq_base");
    const bool factors = file_.find_tensor("rope_freqs.weight") != nullptr;
    for (size_t i = 0; i < x.size(); i += 2) {
      const size_t pair = i % dim / 2;
      double angle = static_cast<double>(position) *
                     std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(dim));
      if (factors) angle /= matrix("rope_freqs.weight")[0][pair];
      const double a = x[i], b = x[i + 1];
      x[i] = a * std::cos(angle) - b * std::sin(angle);
      x[i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
  }

  double kept(double v) const { return half_attention_ ? to_half(v) : v; }

  /// One query head over the first keys.size() positions; `at` is where its kv head begins in a row.
  Row attend(const double* q, const std::vector<Row>& k, const std::vector<Row>& v, size_t count, size_t at,
             size_t dim) const {
    Row p;
    double max = -INFINITY, sum = 0;
    for (size_t j = 0; j < count; ++j) {
      double score = 0;
      for (size_t d = 0; d < dim; ++d) score += kept(q[d]) * kept(k[j][at + d]);
      p.push_back(score / std::sqrt(static_cast<double>(dim)));
      max = std::max(max, p.back());
    }
    for (double& v1 : p) sum += v1 = std::exp(v1 - max);
    Row out(dim);
    for (size_t j = 0; j < count; ++j)
      for (size_t d = 0; d < dim; ++d) out[d] += kept(p[j] / sum) * kept(v[j][at + d]);
    return out;
  }

  void block(const std::string& name, std::vector<Row>& x) {
    const size_t heads = number("llama.attention.head_count");
    const size_t group = heads / number("llama.attention.head_count_kv");
    const size_t dim = number("llama.attention.key_length");
    std::vector<Row> q, k, v;
    for (size_t t = 0; t < x.size(); ++t) {
      const Row h = norm(x[t], name + "attn_norm.weight");
      q.push_back(linear(name + "attn_q", h));
      k.push_back(linear(name + "attn_k", h));
      v.push_back(linear(name + "attn_v", h));
      rotate(q.back(), t);
      rotate(k.back(), t);
    }
    for (size_t t = 0; t < x.size(); ++t) {
      Row mixed;
      for (size_t head = 0; head < heads; ++head) {
        const Row part = attend(q[t].data() + head * dim, k, v, t + 1, head / group * dim, dim);
        mixed.insert(mixed.end(), part.begin(), part.end());
      }
      add(x[t], linear(name + "attn_output", mixed));
      const Row h = norm(x[t], name + "ffn_norm.weight");
      Row gate = linear(name + "ffn_gate", h);
      const Row up = linear(name + "ffn_up", h);
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      add(x[t], linear(name + "ffn_down", gate));
    }
  }

  static void add(Row& x, const Row& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  const model::GgufFile& file_;
  bool half_attention_;
  std::map<std::string, std::vector<Row>> decoded_;
};

}  // namespace fathom::test
