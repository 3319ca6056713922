// Training's passes over rows of n contiguous floats: biases, embeddings, rows by index.
//
// Single-threaded; the caller splits rows, or columns where said, among threads. All memory is the caller's; nothing is
// allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fathom::tensor::grad {

/// y[rows][n] += bias[n].
void add_bias(float* y, const float* bias, size_t rows, size_t n);

/// sums[n] += the sum over rows of x[rows][n].
void column_sums(const float* x, float* sums, size_t rows, size_t n);

/// out[i] = table[tokens[i] - first] * scale; rows of tokens outside [first, first + vocab) become 0.
void embed(const float* table, std::span<const int32_t> tokens, size_t first, size_t vocab, size_t n,
           float scale, float* out);

/// Columns [begin, end) of d_table[tokens[i] - first] += d_out[i] * scale, in the order of the tokens. Threads share the
/// columns: tokens come again, and no two threads may meet in a row.
void embed_backward(const float* d_out, std::span<const int32_t> tokens, size_t first, size_t vocab, size_t n,
                    size_t begin, size_t end, float scale, float* d_table);

/// out[i] = x[index[i]] * (weight ? weight[i] : 1); index -1 gives 0.
void gather_rows(const float* x, const int32_t* index, const float* weight, size_t count, size_t n,
                 float* out);

/// out[i] += the sum over j < fan of weight[i * fan + j] * x[index[i * fan + j]]; index -1 adds nothing; weight null: 1.
void combine_rows(const float* x, const int32_t* index, const float* weight, size_t count, size_t fan,
                  size_t n, float* out);

/// d_weight[i * fan + j] = d_out[i] . x[index[i * fan + j]], 0 where the index is -1.
void combine_rows_weights(const float* x, const int32_t* index, const float* d_out, size_t count, size_t fan,
                          size_t n, float* d_weight);

}  // namespace fathom::tensor::grad
