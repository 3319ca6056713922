// What a JSON Schema says, flattened: references followed, combinations multiplied out.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace fathom::infer::grammar {

/// A value satisfies the schema if it satisfies one of these: objects with the keywords of one schema but no $ref, allOf,
/// anyOf, oneOf; `pattern` and `format` are arrays, all of whose members hold. Subschemas (of properties, items) are as
/// they were, or {"allOf": [...]} where two met. None: nothing satisfies it. oneOf is taken as anyOf: alternatives are not
/// checked to exclude each other.
///
/// `root` is what references begin at, `pointer` the schema's place in error messages. Errors: as Grammar::json_schema.
std::vector<nlohmann::ordered_json> alternatives(const nlohmann::ordered_json& schema,
                                                 const nlohmann::ordered_json& root,
                                                 const std::string& pointer);

/// Both schemas hold.
nlohmann::ordered_json both(const nlohmann::ordered_json& a, const nlohmann::ordered_json& b);

/// Errors: kResourceExhausted.
void check_size(const nlohmann::ordered_json& schema);

}  // namespace fathom::infer::grammar
