// Covers the bodies of POST /v1/completions, /v1/embeddings and /v1/responses; the first byte chooses.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "server/api_error.h"
#include "server/completions_request.h"
#include "server/conversation.h"
#include "server/embeddings_request.h"
#include "server/response_items.h"
#include "server/responses_request.h"

namespace {

using namespace fathom;

void read_completion(std::string_view body) {
  const auto request = server::parse_completion_request(body);
  FATHOM_CHECK(!request.prompts.empty() && request.choices >= 1);
  FATHOM_CHECK(request.prompts.size() * request.choices <= server::kMaxCompletions);
  FATHOM_CHECK(request.max_tokens > 0 || request.echo);
}

void read_embedding(std::string_view body) {
  const auto request = server::parse_embedding_request(body);
  FATHOM_CHECK(!request.texts.empty() && request.texts.size() <= server::kMaxEmbeddingInputs);
  for (const auto& text : request.texts) FATHOM_CHECK(!text.empty());
}

void read_response(std::string_view body) {
  const auto request = server::parse_response_request(body);
  FATHOM_CHECK(!request.kept || request.previous_id.empty());
  FATHOM_CHECK(!request.input->empty() && request.input->size() <= server::kMaxItems);
  const auto messages = server::messages_of(*request.input, request.instructions);
  const auto conversation = server::make_conversation(messages);
  FATHOM_CHECK(conversation.plain.size() == messages.size());
  // What was read once reads the same again: it is what the store keeps.
  nlohmann::ordered_json again = {{"input", *request.input}};
  FATHOM_CHECK(server::messages_of(server::read_input(server::JsonFields(again, "")), request.instructions) ==
               messages);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 3) {
      case 0: read_completion(body); break;
      case 1: read_embedding(body); break;
      default: read_response(body); break;
    }
  } catch (const server::ApiError& error) {
    FATHOM_CHECK(error.status == 400 || error.status == 422);
    FATHOM_CHECK(!server::error_response(error).body.empty());
  }
  return 0;
}
