// A validator of JSON Schema for the tests of grammars, written on its own: values against the keywords, one after the other.
// oneOf is anyOf, as the grammars have it.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

namespace fathom::infer::oracle {

using Json = nlohmann::ordered_json;

inline bool is_type(const Json& v, const std::string& t) {
  if (t == "integer") return v.is_number() && v.get<double>() == std::floor(v.get<double>());
  if (t == "number") return v.is_number();
  if (t == "string") return v.is_string();
  if (t == "object") return v.is_object();
  if (t == "array") return v.is_array();
  if (t == "boolean") return v.is_boolean();
  return v.is_null();
}

inline size_t characters(const std::string& s) {
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

inline bool valid(const Json& schema, const Json& v, const Json& root);

inline bool valid_parts(const Json& s, const Json& v, const Json& root) {
  if (v.is_object()) {
    for (const auto& r : s.value("required", Json::array()))
      if (!v.contains(r.get<std::string>())) return false;
    if (v.size() < s.value("minProperties", size_t{0}) || v.size() > s.value("maxProperties", size_t{1000}))
      return false;
    for (const auto& [name, value] : v.items()) {
      bool known = false;
      if (s.contains("properties") && s["properties"].contains(name)) {
        known = true;
        if (!valid(s["properties"][name], value, root)) return false;
      }
      if (s.contains("patternProperties"))
        for (const auto& [pattern, sub] : s["patternProperties"].items())
          if (std::regex_search(name, std::regex(pattern))) {
            known = true;
            if (!valid(sub, value, root)) return false;
          }
      if (!known && s.contains("additionalProperties") && !valid(s["additionalProperties"], value, root))
        return false;
      if (s.contains("propertyNames") && !valid(s["propertyNames"], name, root)) return false;
    }
  }
  if (v.is_array()) {
    if (v.size() < s.value("minItems", size_t{0}) || v.size() > s.value("maxItems", size_t{1000}))
      return false;
    const Json prefix = s.value("prefixItems", Json::array());
    for (size_t i = 0; i < v.size(); ++i) {
      if (i < prefix.size() && !valid(prefix[i], v[i], root)) return false;
      if (i >= prefix.size() && s.contains("items") && !valid(s["items"], v[i], root)) return false;
    }
  }
  return true;
}

inline bool valid(const Json& s, const Json& v, const Json& root) {
  if (s.is_boolean()) return s.get<bool>();
  if (s.contains("$ref") &&
      !valid(root.at(Json::json_pointer(s["$ref"].get<std::string>().substr(1))), v, root))
    return false;
  if (s.contains("type")) {
    const Json types = s["type"].is_array() ? s["type"] : Json::array({s["type"]});
    if (std::none_of(types.begin(), types.end(),
                     [&](const Json& t) { return is_type(v, t.get<std::string>()); }))
      return false;
  }
  const auto holds = [&](const Json& sub) { return valid(sub, v, root); };
  if (s.contains("allOf") && !std::all_of(s["allOf"].begin(), s["allOf"].end(), holds)) return false;
  for (const char* name : {"anyOf", "oneOf"})
    if (s.contains(name) && std::none_of(s[name].begin(), s[name].end(), holds)) return false;
  if (s.contains("const") && v != s["const"]) return false;
  if (s.contains("enum") && std::find(s["enum"].begin(), s["enum"].end(), v) == s["enum"].end()) return false;
  if (v.is_number()) {
    const auto x = v.get<double>();
    if (s.contains("minimum") && x < s["minimum"].get<double>()) return false;
    if (s.contains("maximum") && x > s["maximum"].get<double>()) return false;
    if (s.contains("exclusiveMinimum") && x <= s["exclusiveMinimum"].get<double>()) return false;
    if (s.contains("exclusiveMaximum") && x >= s["exclusiveMaximum"].get<double>()) return false;
    if (s.contains("multipleOf")) {
      const double q = x / s["multipleOf"].get<double>();
      if (std::abs(q - std::round(q)) > 1e-6 * std::max(1.0, std::abs(q))) return false;
    }
  }
  if (v.is_string()) {
    const auto text = v.get<std::string>();
    if (characters(text) < s.value("minLength", size_t{0}) ||
        characters(text) > s.value("maxLength", size_t{1000000}))
      return false;
    if (s.contains("pattern") && !std::regex_search(text, std::regex(s["pattern"].get<std::string>())))
      return false;
  }
  return valid_parts(s, v, root);
}

}  // namespace fathom::infer::oracle
