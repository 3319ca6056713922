// POST /tokenize and /detokenize, in the shapes of llama.cpp's server ("content") and of vLLM ("prompt", "messages").
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/api_error.h"
#include "server/completions_request.h"
#include "server/context.h"
#include "server/conversation.h"
#include "server/json_body.h"
#include "server/model_names.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

const infer::Engine& require_engine(const JsonFields& fields, const Services& services) {
  if (const auto model = fields.text("model")) require_language_model(*model, services, "has tokens");
  if (services.engine == nullptr)
    throw ApiError(404, "no language model is loaded, so there are no tokens", "model_not_found", "model");
  return *services.engine;
}

std::vector<int32_t> with_beginning(const infer::Engine& engine, const std::string& text, bool add_special) {
  auto tokens = engine.tokenize(text);
  const auto bos = engine.bos();
  if (add_special && bos) tokens.insert(tokens.begin(), *bos);
  return tokens;
}

/// `head` and a member `name` more: a list with the `entry` of each token. Written out, since a text may have millions of tokens
/// and a value of each takes many times its text.
template <class Entry>
std::string with_list(const json& head, const char* name, const std::vector<int32_t>& tokens, Entry entry) {
  std::string out = to_text(head);
  out.pop_back();
  out += fmt::format("{}\"{}\":[", head.empty() ? "" : ",", name);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    out += to_text(entry(tokens[i]));
  }
  return out + "]}";
}

/// A token's text; its bytes where it is part of a character.
json piece_json(const infer::Engine& engine, int32_t token) {
  const std::string text = engine.token_text(token);
  if (is_valid_utf8(text)) return text;
  json bytes = json::array();
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

void refuse_special(const JsonFields& fields) {
  if (fields.boolean("parse_special").value_or(false))
    fields.refuse_unsupported("parse_special", "a text's own words never become control tokens here");
}

/// {"content", "add_special"?, "with_pieces"?} -> {"tokens"}
std::string tokenize_content(const JsonFields& fields, const infer::Engine& engine) {
  refuse_special(fields);
  const auto text = fields.text("content");
  const bool pieces = fields.boolean("with_pieces").value_or(false);
  const auto tokens =
      with_beginning(engine, text.value_or(""), fields.boolean("add_special").value_or(false));
  return with_list(json::object(), "tokens", tokens, [&](int32_t token) {
    return pieces ? json{{"id", token}, {"piece", piece_json(engine, token)}} : json(token);
  });
}

/// {"prompt" or "messages", "add_special_tokens"?, "return_token_strs"?} -> {"tokens", "count", "max_model_len"}
std::string tokenize_prompt(const JsonFields& fields, const infer::Engine& engine) {
  std::vector<int32_t> tokens;
  if (fields.has("messages")) {
    tokens = engine.tokenize_chat(read_conversation(fields).plain);
  } else {
    const auto text = fields.text("prompt");
    if (!text)
      fields.refuse("prompt", "is missing; give \"prompt\", \"content\" or \"messages\"", 400,
                    "missing_value");
    tokens = with_beginning(engine, *text, fields.boolean("add_special_tokens").value_or(true));
  }
  json out = {{"count", tokens.size()}, {"max_model_len", engine.info().context}, {"tokens", tokens}};
  if (!fields.boolean("return_token_strs").value_or(false)) return to_text(out);
  return with_list(out, "token_strs", tokens, [&](int32_t token) { return json(engine.token_text(token)); });
}

std::string tokenize(const std::string& body, const Services& services) {
  const ordered_json document = parse_json(body);
  const JsonFields fields(document, "");
  const infer::Engine& engine = require_engine(fields, services);
  return fields.has("content") ? tokenize_content(fields, engine) : tokenize_prompt(fields, engine);
}

/// {"tokens"} -> {"content", "prompt"}: the same text under both servers' names.
std::string detokenize(const std::string& body, const Services& services) {
  const ordered_json document = parse_json(body);
  const JsonFields fields(document, "");
  const infer::Engine& engine = require_engine(fields, services);
  const ordered_json* list = fields.find("tokens");
  if (list == nullptr) fields.refuse("tokens", "is missing", 400, "missing_value");
  if (!list->is_array()) fields.refuse_type("tokens", "a list of token ids");
  std::vector<int32_t> tokens;
  if (!list->empty()) tokens = read_token_ids(*list, "tokens");
  for (const int32_t token : tokens) {
    if (static_cast<size_t>(token) >= engine.info().vocabulary)
      fields.refuse("tokens",
                    fmt::format("has {}; the model has {} tokens", token, engine.info().vocabulary));
  }
  const std::string text = engine.detokenize(tokens);
  return to_text({{"content", text}, {"prompt", text}});
}

void add_route(Router& router, const Context& context, const char* path,
               std::string (*answer)(const std::string&, const Services&)) {
  router.add({.method = "POST",
              .pattern = path,
              .name = "tokens",
              .max_body = context.options.limits.chat_body_bytes,
              .json_body = true,
              .handler = [&context, answer](const Request& request, const std::shared_ptr<Reply>& reply) {
                if (request.body.empty())
                  throw ApiError(415, "the body is empty; send a JSON object", "empty_body");
                Response response;
                response.body = answer(request.body, context.services) + "\n";
                reply->send(std::move(response));
              }});
}

}  // namespace

void add_token_routes(Router& router, const Context& context) {
  add_route(router, context, "/tokenize", tokenize);
  add_route(router, context, "/detokenize", detokenize);
}

}  // namespace fathom::server
