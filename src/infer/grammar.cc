#include "infer/grammar.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "infer/grammar/json_rules.h"
#include "infer/grammar/program.h"
#include "infer/grammar/schema.h"

namespace fathom::infer {
namespace {

using grammar::Builder;
using grammar::JsonRules;

/// Around a value: white space in front of it, which the first token of some vocabularies brings.
std::shared_ptr<const Grammar> around(Builder& out, JsonRules& json, uint32_t value) {
  const uint32_t root = out.declare();
  out.end(out.call(json.space(out.begin(root)), value));
  return std::make_shared<const Grammar>(out.finish(root));
}

}  // namespace

Grammar::Grammar(std::unique_ptr<const Program> program) : program_(std::move(program)) {}

Grammar::~Grammar() = default;

std::shared_ptr<const Grammar> Grammar::json_object() {
  Builder out;
  JsonRules json(out);
  return around(out, json, json.object());
}

std::shared_ptr<const Grammar> Grammar::json_schema(const nlohmann::ordered_json& schema) {
  Builder out;
  JsonRules json(out);
  const uint32_t value = grammar::SchemaCompiler(out, json, schema, "#").compile();
  return around(out, json, value);
}

std::shared_ptr<const Grammar> Grammar::choice(const std::vector<std::string>& texts) {
  if (texts.empty()) throw Error(ErrorCode::kInvalidArgument, "a choice of texts needs one at least");
  Builder out;
  const uint32_t root = out.declare();
  const uint32_t start = out.begin(root);
  const uint32_t last = out.state();
  for (const auto& text : texts) out.empty(out.text(start, text), last);
  out.end(last);
  return std::make_shared<const Grammar>(out.finish(root));
}

}  // namespace fathom::infer
