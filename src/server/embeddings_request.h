// POST /v1/embeddings as asked.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::server {

inline constexpr size_t kMaxEmbeddingInputs = 2048;

struct EmbeddingRequest {
  std::string model;
  std::vector<std::string> texts;
  bool base64 = false;               // little-endian float32, as OpenAI's own clients ask for
  std::optional<size_t> dimensions;  // the first so many, brought to length 1 again
};

/// Errors: ApiError 400, "unsupported" for tokens.
EmbeddingRequest parse_embedding_request(std::string_view body);

/// RFC 4648, with padding.
std::string base64(std::span<const unsigned char> bytes);

}  // namespace fathom::server
