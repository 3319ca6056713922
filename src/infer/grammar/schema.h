// JSON Schema to grammar rules. What is enforced how is said at Grammar::json_schema.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "infer/grammar/json_rules.h"
#include "infer/grammar/program.h"

namespace fathom::infer::grammar {

class SchemaCompiler {
 public:
  /// `place`: of the schema's root in error messages ("#", "#/0/function/parameters"). All outlive the compiler.
  SchemaCompiler(Builder& out, JsonRules& json, const nlohmann::ordered_json& root, std::string place);
  ~SchemaCompiler();

  /// The rule of the whole schema. Errors: as Grammar::json_schema.
  uint32_t compile();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom::infer::grammar
