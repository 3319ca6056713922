// POST /v1/embeddings: texts to vectors.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stop_token>

#include "server/api_error.h"
#include "server/completions_request.h"
#include "server/context.h"
#include "server/embeddings_request.h"
#include "server/json_body.h"

namespace fathom::server {
namespace {

using nlohmann::json;

constexpr size_t kStepBytes = 32 * 1024;  // of text: some batches of the model

static_assert(std::endian::native == std::endian::little, "the wire has little-endian float32");

std::string vector_base64(const std::vector<float>& values) {
  std::vector<unsigned char> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return base64(bytes);
}

/// The first `size` of the values, of length 1 again (Matryoshka embeddings are made for it).
void shorten(std::vector<float>& values, size_t size) {
  if (size >= values.size()) return;
  values.resize(size);
  double square = 0;
  for (const float value : values) square += static_cast<double>(value) * value;
  if (square <= 0) return;
  const auto scale = static_cast<float>(1 / std::sqrt(square));
  for (float& value : values) value *= scale;
}

infer::Embedder& require_embedder(const EmbeddingRequest& request, const Services& services) {
  if (services.embedder == nullptr)
    throw ApiError(404, "no embedding model is loaded; start the server with --embedding-model",
                   "model_not_found", "model");
  if (request.model != services.embedder->info().name)
    throw ApiError(404,
                   fmt::format("the model \"{}\" makes no embeddings; \"{}\" does",
                               request.model.substr(0, 200), services.embedder->info().name),
                   "model_not_found", "model");
  return *services.embedder;
}

/// Some texts at a time, so that nobody's leaving and no server's end waits for all of them.
std::vector<infer::Embedding> embed_all(std::span<const std::string> texts, infer::Embedder& embedder,
                                        const std::stop_token& stop) {
  std::vector<infer::Embedding> out;
  out.reserve(texts.size());
  while (!texts.empty()) {
    if (stop.stop_requested()) throw ApiError(503, "the request was stopped before its end", "cancelled");
    size_t count = 0;
    for (size_t bytes = 0; count < texts.size() && bytes < kStepBytes; ++count) bytes += texts[count].size();
    for (auto& embedding : embedder.embed(texts.first(count))) out.push_back(std::move(embedding));
    texts = texts.subspan(count);
  }
  return out;
}

json embed(const EmbeddingRequest& request, infer::Embedder& embedder, const std::stop_token& stop) {
  const size_t size = embedder.info().dimensions;
  if (request.dimensions && *request.dimensions > size)
    throw ApiError(400, fmt::format("dimensions is {}; the model has {}", *request.dimensions, size),
                   "invalid_value", "dimensions");
  auto embeddings = embed_all(request.texts, embedder, stop);
  json data = json::array();
  size_t tokens = 0;
  for (size_t i = 0; i < embeddings.size(); ++i) {
    std::vector<float>& values = embeddings[i].values;
    tokens += embeddings[i].tokens;
    shorten(values, request.dimensions.value_or(size));
    data.push_back({{"object", "embedding"},
                    {"index", i},
                    {"embedding", request.base64 ? json(vector_base64(values)) : json(values)}});
  }
  return {{"object", "list"},
          {"model", embedder.info().name},
          {"data", std::move(data)},
          {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}};
}

}  // namespace

std::string base64(std::span<const unsigned char> bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = std::min<size_t>(bytes.size() - i, 3);
    uint32_t group = uint32_t{bytes[i]} << 16;
    if (left > 1) group |= uint32_t{bytes[i + 1]} << 8;
    if (left > 2) group |= bytes[i + 2];
    for (size_t digit = 0; digit < 4; ++digit)
      out.push_back(digit <= left ? kDigits[(group >> (18 - 6 * digit)) & 63] : '=');
  }
  return out;
}

EmbeddingRequest parse_embedding_request(std::string_view body) {
  const auto document = parse_json(body);
  const JsonFields fields(document, "");
  EmbeddingRequest out;
  out.model = fields.required_text("model");
  for (auto& prompt : read_prompts(fields, "input", kMaxEmbeddingInputs)) {
    auto* text = std::get_if<std::string>(&prompt);
    if (text == nullptr) fields.refuse_unsupported("input", "tokens differ from model to model; give texts");
    if (text->empty()) fields.refuse("input", "has an empty text");
    out.texts.push_back(std::move(*text));
  }
  const std::string format = fields.text("encoding_format").value_or("float");
  if (format != "float" && format != "base64")
    fields.refuse("encoding_format", "must be \"float\" or \"base64\"");
  out.base64 = format == "base64";
  if (const auto dimensions = fields.integer("dimensions", 1, 1 << 20))
    out.dimensions = static_cast<size_t>(*dimensions);
  return out;
}

void add_embedding_routes(Router& router, const Context& context) {
  const auto handle = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
    if (request.body.empty()) throw ApiError(415, "the body is empty; send a JSON object", "empty_body");
    const EmbeddingRequest asked = parse_embedding_request(request.body);
    reply->send(json_response(embed(asked, require_embedder(asked, context.services), reply->stop())));
  };
  router.add({.method = "POST",
              .pattern = "/v1/embeddings",
              .name = "embeddings",
              .lane = Lane::kAnswers,
              .max_body = context.options.limits.chat_body_bytes,
              .json_body = true,
              .handler = handle});
}

}  // namespace fathom::server
