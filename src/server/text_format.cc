#include "server/text_format.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom::server {
namespace {

using nlohmann::ordered_json;

std::shared_ptr<const ordered_json> read_schema(const JsonFields& holder) {
  const ordered_json* schema = holder.find("schema");
  if (schema == nullptr) return nullptr;
  if (!schema->is_object() && !schema->is_boolean()) holder.refuse_type("schema", "a JSON Schema");
  return std::make_shared<const ordered_json>(*schema);
}

/// `holder`: the object that has name, schema and strict.
TextFormat schema_format(const JsonFields& holder) {
  holder.text("name");
  holder.text("description");
  holder.boolean("strict");
  return {TextFormat::Kind::kJsonSchema, read_schema(holder), holder.param("schema")};
}

TextFormat read_format(const JsonFields& format, bool nested) {
  const std::string type = format.required_text("type");
  if (type == "text") return {};
  if (type == "json_object") {  // some clients put a schema beside it
    auto schema = read_schema(format);
    const auto kind = schema ? TextFormat::Kind::kJsonSchema : TextFormat::Kind::kJsonObject;
    return {kind, std::move(schema), format.param("schema")};
  }
  if (type != "json_schema") format.refuse("type", "must be \"text\", \"json_object\" or \"json_schema\"");
  if (!nested) return schema_format(format);
  const ordered_json* inner = format.find("json_schema");
  if (inner == nullptr) format.refuse("json_schema", "is missing", 400, "missing_value");
  return schema_format(JsonFields(*inner, format.param("json_schema")));
}

}  // namespace

TextFormat read_response_format(const JsonFields& request) {
  const ordered_json* format = request.find("response_format");
  return format == nullptr ? TextFormat{} : read_format(JsonFields(*format, "response_format"), true);
}

TextFormat read_text_format(const JsonFields& request) {
  const ordered_json* text = request.find("text");
  if (text == nullptr) return {};
  const ordered_json* format = JsonFields(*text, "text").find("format");
  return format == nullptr ? TextFormat{} : read_format(JsonFields(*format, "text.format"), false);
}

std::shared_ptr<const infer::Grammar> make_grammar(const TextFormat& format) {
  if (format.kind == TextFormat::Kind::kText) return nullptr;
  if (!format.schema) return infer::Grammar::json_object();
  try {
    return infer::Grammar::json_schema(*format.schema);
  } catch (const Error& error) {
    const std::string code = error.code() == ErrorCode::kUnsupported ? "unsupported" : "invalid_schema";
    throw ApiError(400, error.what(), code, format.param);
  }
}

}  // namespace fathom::server
