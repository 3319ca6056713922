// What an answer must be: free text, a JSON object, JSON of a schema. `response_format` of chat completions and
// `text.format` of responses.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "infer/grammar.h"
#include "server/json_body.h"

namespace fathom::server {

struct TextFormat {
  enum class Kind { kText, kJsonObject, kJsonSchema };
  Kind kind = Kind::kText;
  std::shared_ptr<const nlohmann::ordered_json> schema;  // of kJsonSchema; null: any JSON object
  std::string param;                                     // where the schema stands in the request, for errors
};

/// `response_format` as chat completions have it: the schema is inside "json_schema". Errors: ApiError 400.
TextFormat read_response_format(const JsonFields& request);
/// `text.format` as responses have it: the schema is a member of the format itself. Errors: ApiError 400.
TextFormat read_text_format(const JsonFields& request);

/// Null for free text. Errors: ApiError 400 for a schema that is none ("invalid_schema") or that cannot be enforced
/// ("unsupported").
std::shared_ptr<const infer::Grammar> make_grammar(const TextFormat& format);

}  // namespace fathom::server
