#include "infer/kv_cache.h"

#include <algorithm>

#include "base/error.h"

namespace fathom::infer {
namespace {

size_t round_up(size_t n) { return (n + tensor::kGroupRows - 1) / tensor::kGroupRows * tensor::kGroupRows; }

}  // namespace

size_t KvCache::bytes(const model::ModelConfig& c, size_t capacity, tensor::DType dtype) {
  const size_t padded = round_up(capacity);
  const size_t elements = tensor::KvLayer::k_elements(padded, c.kv_heads, c.head_dim) +
                          tensor::KvLayer::v_elements(padded, c.kv_heads, c.head_dim);
  return c.layers * elements * tensor::block_bytes(dtype);
}

KvCache::KvCache(const model::ModelConfig& c, size_t capacity, tensor::DType dtype)
    : capacity_(capacity), memory_(bytes(c, capacity, dtype)) {
  const size_t padded = round_up(capacity);
  const size_t element = tensor::block_bytes(dtype);
  auto* next = memory_.as<std::byte>();
  for (size_t l = 0; l < c.layers; ++l) {
    std::byte* k = next;
    std::byte* v = k + tensor::KvLayer::k_elements(padded, c.kv_heads, c.head_dim) * element;
    layers_.push_back({dtype, k, v, padded, c.kv_heads, c.head_dim});
    next = v + tensor::KvLayer::v_elements(padded, c.kv_heads, c.head_dim) * element;
  }
  tokens_.reserve(capacity);
}

size_t KvCache::common_prefix(std::span<const int32_t> prompt) const {
  const size_t n = std::min(prompt.size(), tokens_.size());
  return static_cast<size_t>(
      std::mismatch(prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(n), tokens_.begin()).first -
      prompt.begin());
}

void KvCache::truncate(size_t count) {
  if (count < tokens_.size()) tokens_.resize(count);
}

void KvCache::copy_prefix(const KvCache& from, size_t count) {
  FATHOM_CHECK(from.capacity_ == capacity_ && count <= from.tokens_.size());
  for (size_t l = 0; l < layers_.size(); ++l) tensor::copy_kv(from.layers_[l], layers_[l], count);
  tokens_.assign(from.tokens_.begin(), from.tokens_.begin() + static_cast<ptrdiff_t>(count));
}

void KvCache::extend(std::span<const int32_t> tokens) {
  FATHOM_CHECK(tokens_.size() + tokens.size() <= capacity_);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

}  // namespace fathom::infer
