#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/grad/attention.h"

namespace fathom::tensor {
namespace {

/// The queries and keys of one head as attention sees them.
class Head {
 public:
  Head(const AttentionShape& shape, const float* q, size_t q_stride, const float* k, size_t kv_stride,
       size_t head)
      : shape_(shape),
        q_(q + head * shape.head_dim),
        q_stride_(q_stride),
        k_(k + kv_head(shape, head) * shape.head_dim),
        kv_stride_(kv_stride) {}

  static size_t kv_head(const AttentionShape& shape, size_t head) {
    return head / (shape.heads / shape.kv_heads);
  }

  /// The first token that `token` sees; the last is itself.
  size_t first(size_t token) const {
    const size_t begin = token / shape_.length * shape_.length;
    const size_t place = token - begin;
    size_t first = shape_.starts != nullptr ? static_cast<size_t>(shape_.starts[token]) : 0;
    if (shape_.window != 0 && place + 1 > shape_.window) first = std::max(first, place + 1 - shape_.window);
    return begin + first;
  }

  /// The scaled product before the cap.
  double product(size_t token, size_t key) const {
    double sum = 0;
    for (size_t i = 0; i < shape_.head_dim; ++i)
      sum += static_cast<double>(q_[token * q_stride_ + i]) * static_cast<double>(k_[key * kv_stride_ + i]);
    return sum * static_cast<double>(shape_.scale);
  }

  double score(size_t token, size_t key) const {
    const double cap = static_cast<double>(shape_.cap);
    return cap != 0 ? cap * std::tanh(product(token, key) / cap) : product(token, key);
  }

  /// d score / d product.
  double slope(size_t token, size_t key) const {
    if (shape_.cap == 0) return 1;
    const double t = std::tanh(product(token, key) / static_cast<double>(shape_.cap));
    return 1 - t * t;
  }

 private:
  const AttentionShape& shape_;
  const float* q_;
  size_t q_stride_;
  const float* k_;
  size_t kv_stride_;
};

double dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace

void attention_forward_reference(const AttentionShape& shape, const AttentionForward& args) {
  const size_t dim = shape.head_dim;
  for (size_t h = 0; h < shape.heads; ++h) {
    const Head head(shape, args.q, args.q_stride, args.k, args.kv_stride, h);
    const float* v = args.v + Head::kv_head(shape, h) * dim;
    for (size_t t = 0; t < shape.tokens(); ++t) {
      std::vector<double> scores;
      for (size_t key = head.first(t); key <= t; ++key) scores.push_back(head.score(t, key));
      const double most = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double& s : scores) sum += s = std::exp(s - most);
      for (size_t i = 0; i < dim; ++i) {
        double out = 0;
        for (size_t j = 0; j < scores.size(); ++j)
          out += scores[j] * static_cast<double>(v[(head.first(t) + j) * args.kv_stride + i]);
        args.out[t * args.out_stride + h * dim + i] = static_cast<float>(out / sum);
      }
      args.log_sum[h * shape.tokens() + t] = static_cast<float>(most + std::log(sum));
    }
  }
}

void attention_backward_reference(const AttentionShape& shape, const AttentionBackward& args) {
  const size_t dim = shape.head_dim;
  const size_t tokens = shape.tokens();
  std::vector<double> dk(tokens * shape.kv_heads * dim);
  std::vector<double> dv(dk.size());
  std::vector<double> dq(dim);
  for (size_t h = 0; h < shape.heads; ++h) {
    const Head head(shape, args.q, args.q_stride, args.k, args.kv_stride, h);
    const size_t kv = Head::kv_head(shape, h);
    for (size_t t = 0; t < tokens; ++t) {
      const float* q = args.q + t * args.q_stride + h * dim;
      const float* d_out = args.d_out + t * args.out_stride + h * dim;
      const double mean = dot(d_out, args.out + t * args.out_stride + h * dim, dim);
      std::fill(dq.begin(), dq.end(), 0.0);
      for (size_t key = head.first(t); key <= t; ++key) {
        const float* k = args.k + key * args.kv_stride + kv * dim;
        const float* v = args.v + key * args.kv_stride + kv * dim;
        const size_t at = (key * shape.kv_heads + kv) * dim;
        const double p = std::exp(head.score(t, key) - static_cast<double>(args.log_sum[h * tokens + t]));
        const double ds =
            p * (dot(d_out, v, dim) - mean) * head.slope(t, key) * static_cast<double>(shape.scale);
        for (size_t i = 0; i < dim; ++i) {
          dq[i] += ds * static_cast<double>(k[i]);
          dk[at + i] += ds * static_cast<double>(q[i]);
          dv[at + i] += p * static_cast<double>(d_out[i]);
        }
      }
      for (size_t i = 0; i < dim; ++i) args.dq[t * args.q_stride + h * dim + i] = static_cast<float>(dq[i]);
    }
  }
  for (size_t t = 0; t < tokens; ++t)
    for (size_t i = 0; i < shape.kv_heads * dim; ++i) {
      args.dk[t * args.kv_stride + i] = static_cast<float>(dk[t * shape.kv_heads * dim + i]);
      args.dv[t * args.kv_stride + i] = static_cast<float>(dv[t * shape.kv_heads * dim + i]);
    }
}

}  // namespace fathom::tensor
