#include "tensor/grad/reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fathom::tensor::grad::reference {
namespace {

/// The row that an index means, -1 if none of `rows` from `first` on.
ptrdiff_t row_of(int32_t index, size_t first, size_t rows) {
  const ptrdiff_t row = index - static_cast<ptrdiff_t>(first);
  return index >= 0 && row >= 0 && row < static_cast<ptrdiff_t>(rows) ? row : -1;
}

/// y[to] += factor * x[from], rows of n; a negative row has no part in it.
void add_row(const Doubles& x, ptrdiff_t from, double factor, Doubles& y, ptrdiff_t to, size_t n) {
  if (from < 0 || to < 0) return;
  for (size_t j = 0; j < n; ++j)
    y[static_cast<size_t>(to) * n + j] += factor * x[static_cast<size_t>(from) * n + j];
}

double weight_of(const Doubles& weight, size_t i) { return weight.empty() ? 1.0 : weight[i]; }

double activate(GateActivation act, double x) {
  if (act == GateActivation::kSilu) return x / (1 + std::exp(-x));
  return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double slope(GateActivation act, double x) {
  if (act == GateActivation::kSilu) {
    const double share = 1 / (1 + std::exp(-x));
    return share * (1 + x * (1 - share));
  }
  const double root = std::sqrt(2 / std::numbers::pi);
  const double t = std::tanh(root * (x + 0.044715 * x * x * x));
  return (1 + t) / 2 + x / 2 * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x);
}

/// One row of logits as the softmax sees it.
struct Row {
  Doubles seen;
  double log_sum = 0;
};

Row softmax_row(const CrossEntropyShape& shape, const double* logits) {
  Row row;
  const auto cap = static_cast<double>(shape.softcap);
  for (size_t i = 0; i < shape.vocab; ++i) {
    const double x = logits[i] * static_cast<double>(shape.logit_scale);
    row.seen.push_back(cap == 0 ? x : cap * std::tanh(x / cap));
  }
  const double max = *std::max_element(row.seen.begin(), row.seen.end());
  double sum = 0;
  for (const double x : row.seen) sum += std::exp(x - max);
  row.log_sum = max + std::log(sum);
  return row;
}

}  // namespace

Doubles column_sums(const Doubles& x, size_t n) {
  Doubles out(n);
  for (size_t i = 0; i < x.size(); ++i) out[i % n] += x[i];
  return out;
}

Doubles embed(const Doubles& table, Indices tokens, size_t first, size_t n, double scale) {
  Doubles out(tokens.size() * n);
  for (size_t i = 0; i < tokens.size(); ++i)
    add_row(table, row_of(tokens[i], first, table.size() / n), scale, out, static_cast<ptrdiff_t>(i), n);
  return out;
}

Doubles embed_backward(const Doubles& d_out, Indices tokens, size_t first, size_t vocab, size_t n,
                       double scale) {
  Doubles d_table(vocab * n);
  for (size_t i = 0; i < tokens.size(); ++i)
    add_row(d_out, static_cast<ptrdiff_t>(i), scale, d_table, row_of(tokens[i], first, vocab), n);
  return d_table;
}

Doubles inverse_rms(const Doubles& x, size_t n, double eps) {
  Doubles out;
  for (size_t r = 0; r < x.size() / n; ++r) {
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += x[r * n + i] * x[r * n + i];
    out.push_back(1 / std::sqrt(squares / static_cast<double>(n) + eps));
  }
  return out;
}

Doubles rms_norm(const Doubles& x, const Doubles& weight, double eps) {
  const size_t n = weight.size();
  const Doubles inverse = inverse_rms(x, n, eps);
  Doubles y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * inverse[i / n] * weight[i % n];
  return y;
}

NormGradient rms_norm_backward(const Doubles& dy, const Doubles& x, const Doubles& weight, double eps) {
  const size_t n = weight.size();
  const Doubles inverse = inverse_rms(x, n, eps);
  NormGradient out{Doubles(x.size()), Doubles(n)};
  Doubles dot(inverse.size());
  for (size_t i = 0; i < x.size(); ++i) dot[i / n] += dy[i] * weight[i % n] * x[i];
  for (size_t i = 0; i < x.size(); ++i) {
    const double s = inverse[i / n];
    out.dx[i] = s * dy[i] * weight[i % n] - s * s * s * x[i] * dot[i / n] / static_cast<double>(n);
    out.d_weight[i % n] += dy[i] * x[i] * s;
  }
  return out;
}

Doubles rope(const Doubles& x, size_t head_dim, size_t dims, bool halves, const Doubles& cos_sin,
             Indices position, bool inverse) {
  Doubles out = x;
  const size_t heads = x.size() / position.size() / head_dim;
  for (size_t v = 0; v < position.size() * heads; ++v) {
    const double* angles = &cos_sin[static_cast<size_t>(position[v / heads]) * dims];
    for (size_t i = 0; i < dims / 2; ++i) {
      const size_t a = v * head_dim + (halves ? i : 2 * i);
      const size_t b = a + (halves ? dims / 2 : 1);
      const double sine = inverse ? -angles[2 * i + 1] : angles[2 * i + 1];
      out[a] = x[a] * angles[2 * i] - x[b] * sine;
      out[b] = x[a] * sine + x[b] * angles[2 * i];
    }
  }
  return out;
}

Doubles gate(GateActivation act, const Doubles& gate, const Doubles& up) {
  Doubles out(gate.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = activate(act, gate[i]) * up[i];
  return out;
}

GateGradient gate_backward(GateActivation act, const Doubles& gate, const Doubles& up, const Doubles& d_out) {
  GateGradient out{Doubles(gate.size()), Doubles(gate.size())};
  for (size_t i = 0; i < gate.size(); ++i) {
    out.d_gate[i] = d_out[i] * up[i] * slope(act, gate[i]);
    out.d_up[i] = d_out[i] * activate(act, gate[i]);
  }
  return out;
}

double cross_entropy(const CrossEntropyShape& shape, const Doubles& logits, Indices targets) {
  double loss = 0;
  for (size_t r = 0; r < shape.rows; ++r) {
    if (targets[r] < 0) continue;
    const Row row = softmax_row(shape, &logits[r * shape.vocab]);
    loss += row.log_sum - row.seen[static_cast<size_t>(targets[r])] +
            static_cast<double>(shape.z_loss) * row.log_sum * row.log_sum;
  }
  return loss;
}

Doubles cross_entropy_gradient(const CrossEntropyShape& shape, const Doubles& logits, Indices targets) {
  Doubles out(logits.size());
  const auto cap = static_cast<double>(shape.softcap);
  for (size_t r = 0; r < shape.rows; ++r) {
    if (targets[r] < 0) continue;
    const Row row = softmax_row(shape, &logits[r * shape.vocab]);
    for (size_t i = 0; i < shape.vocab; ++i) {
      const double share = std::exp(row.seen[i] - row.log_sum);
      const double d = share * (1 + 2 * static_cast<double>(shape.z_loss) * row.log_sum) -
                       (i == static_cast<size_t>(targets[r]) ? 1 : 0);
      const double capped = cap == 0 ? 0 : row.seen[i] / cap;
      out[r * shape.vocab + i] = d * (1 - capped * capped) * static_cast<double>(shape.logit_scale);
    }
  }
  return out;
}

Doubles gather_rows(const Doubles& x, Indices index, const Doubles& weight, size_t n) {
  return combine_rows(x, index, weight, 1, n);
}

Doubles combine_rows(const Doubles& x, Indices index, const Doubles& weight, size_t fan, size_t n) {
  Doubles out(index.size() / fan * n);
  for (size_t i = 0; i < index.size(); ++i)
    add_row(x, index[i], weight_of(weight, i), out, static_cast<ptrdiff_t>(i / fan), n);
  return out;
}

Doubles combine_rows_weights(const Doubles& x, Indices index, const Doubles& d_out, size_t fan, size_t n) {
  Doubles out(index.size());
  for (size_t i = 0; i < index.size(); ++i) {
    for (size_t j = 0; j < n && index[i] >= 0; ++j)
      out[i] += d_out[i / fan * n + j] * x[static_cast<size_t>(index[i]) * n + j];
  }
  return out;
}

void adamw(const AdamWArgs& args, Doubles& w, const Doubles& g, Doubles& m, Doubles& v) {
  const auto beta1 = static_cast<double>(args.beta1);
  const auto beta2 = static_cast<double>(args.beta2);
  const auto rate = static_cast<double>(args.learning_rate);
  const auto step = static_cast<double>(args.step);
  for (size_t i = 0; i < w.size(); ++i) {
    const double gradient = g[i] * static_cast<double>(args.gradient_scale);
    m[i] = beta1 * m[i] + (1 - beta1) * gradient;
    v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
    const double first = m[i] / (1 - std::pow(beta1, step));
    const double second = v[i] / (1 - std::pow(beta2, step));
    w[i] -= rate * static_cast<double>(args.weight_decay) * w[i];
    w[i] -= rate * first / (std::sqrt(second) + static_cast<double>(args.epsilon));
  }
}

}  // namespace fathom::tensor::grad::reference
