#include "infer/grammar/alternatives.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "infer/grammar/numbers.h"

namespace fathom::infer::grammar {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostAlternatives = 512;
constexpr size_t kMostMerges = 20'000;
constexpr size_t kMostValues = 200'000;
constexpr int kDeepest = 128;

[[noreturn]] void invalid(const std::string& pointer, std::string_view what) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("the schema at {} is none: {}", pointer, what));
}

[[noreturn]] void unsupported(const std::string& pointer, std::string_view what) {
  throw Error(ErrorCode::kUnsupported, fmt::format("{} at {} cannot be enforced", what, pointer));
}

[[noreturn]] void too_many(const std::string& pointer) {
  throw Error(ErrorCode::kResourceExhausted,
              fmt::format("the combinations of the schema at {} are too many; make it simpler", pointer));
}

enum class Shape {
  kSchema,
  kSchemas,
  kSchemaMap,
  kString,
  kNumber,
  kCount,
  kBool,
  kNames,
  kTypes,
  kValues,
  kAny
};

struct Keyword {
  std::string_view name;
  Shape shape;
};

// What is enforced. Everything else is either refused below or an annotation.
constexpr std::array kKeywords = {
    Keyword{"type", Shape::kTypes},
    Keyword{"enum", Shape::kValues},
    Keyword{"const", Shape::kAny},
    Keyword{"properties", Shape::kSchemaMap},
    Keyword{"required", Shape::kNames},
    Keyword{"additionalProperties", Shape::kSchema},
    Keyword{"unevaluatedProperties", Shape::kBool},
    Keyword{"patternProperties", Shape::kSchemaMap},
    Keyword{"propertyNames", Shape::kSchema},
    Keyword{"minProperties", Shape::kCount},
    Keyword{"maxProperties", Shape::kCount},
    Keyword{"items", Shape::kSchema},
    Keyword{"prefixItems", Shape::kSchemas},
    Keyword{"minItems", Shape::kCount},
    Keyword{"maxItems", Shape::kCount},
    Keyword{"uniqueItems", Shape::kBool},
    Keyword{"minLength", Shape::kCount},
    Keyword{"maxLength", Shape::kCount},
    Keyword{"pattern", Shape::kString},
    Keyword{"format", Shape::kString},
    Keyword{"minimum", Shape::kNumber},
    Keyword{"maximum", Shape::kNumber},
    Keyword{"exclusiveMinimum", Shape::kNumber},
    Keyword{"exclusiveMaximum", Shape::kNumber},
    Keyword{"multipleOf", Shape::kNumber},
};

constexpr std::array<std::string_view, 11> kRefused = {
    "not",         "if",          "dependentRequired", "dependentSchemas", "dependencies",    "contains",
    "minContains", "maxContains", "$dynamicRef",       "$recursiveRef",    "unevaluatedItems"};

bool is_schema(const Json& j) { return j.is_object() || j.is_boolean(); }

bool is_count(const Json& j) {
  return j.is_number_unsigned() || (j.is_number_integer() && j.get<int64_t>() >= 0) ||
         (j.is_number_float() && j.get<double>() >= 0 && j.get<double>() < 1e15 &&
          j.get<double>() == static_cast<double>(static_cast<int64_t>(j.get<double>())));
}

bool is_type(const Json& j) {
  constexpr std::array<std::string_view, 7> kTypes = {"object",  "array",   "string", "number",
                                                      "integer", "boolean", "null"};
  return j.is_string() && std::ranges::find(kTypes, j.get_ref<const std::string&>()) != kTypes.end();
}

template <class Test>
bool all(const Json& j, Test test) {
  return std::all_of(j.begin(), j.end(), test);
}

void check_shape(const Json& value, Shape shape, const std::string& pointer) {
  const auto want = [&](bool good, std::string_view what) {
    if (!good) invalid(pointer, fmt::format("it must be {}", what));
  };
  const auto string = [](const Json& j) { return j.is_string(); };
  switch (shape) {
    case Shape::kSchema: return want(is_schema(value), "an object or a boolean");
    case Shape::kSchemas: return want(value.is_array() && all(value, is_schema), "a list of schemas");
    case Shape::kSchemaMap: return want(value.is_object() && all(value, is_schema), "an object of schemas");
    case Shape::kString: return want(value.is_string(), "a string");
    case Shape::kNumber: return want(value.is_number(), "a number");
    case Shape::kCount: return want(is_count(value), "a whole number of 0 or more");
    case Shape::kBool: return want(value.is_boolean(), "a boolean");
    case Shape::kNames: return want(value.is_array() && all(value, string), "a list of strings");
    case Shape::kTypes:
      return want(is_type(value) || (value.is_array() && !value.empty() && all(value, is_type)),
                  "the name of a type or a list of them");
    case Shape::kValues: return want(value.is_array() && !value.empty(), "a list of values, not empty");
    case Shape::kAny: return;
  }
}

Json as_list(const Json& value) { return value.is_array() ? value : Json::array({value}); }

Json unite(const Json& a, const Json& b) {
  Json out = a;
  for (const auto& v : b)
    if (std::find(out.begin(), out.end(), v) == out.end()) out.push_back(v);
  return out;
}

Json common_types(const Json& a, const Json& b) {
  Json out = Json::array();
  const auto has = [](const Json& list, const char* name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  for (const auto& v : a) {
    if (std::find(b.begin(), b.end(), v) != b.end())
      out.push_back(v);
    else if ((v == "integer" && has(b, "number")) || (v == "number" && has(b, "integer")))
      out.push_back("integer");
  }
  return unite(Json::array(), out);
}

class Flattener {
 public:
  explicit Flattener(const Json& root) : root_(root) {}

  std::vector<Json> expand(const Json& schema, const std::string& pointer) {
    if (schema.is_boolean()) return schema.get<bool>() ? std::vector{Json::object()} : std::vector<Json>{};
    if (!schema.is_object()) invalid(pointer, "it must be an object or a boolean");
    if (++depth_ > kDeepest) too_many(pointer);
    std::vector<Json> out = {plain(schema, pointer)};
    if (const auto ref = schema.find("$ref"); ref != schema.end())
      out = product(out, follow(*ref, pointer + "/$ref"), pointer);
    if (const auto list = schema.find("allOf"); list != schema.end()) {
      check_shape(*list, Shape::kSchemas, pointer + "/allOf");
      for (size_t i = 0; i < list->size(); ++i)
        out = product(out, expand((*list)[i], fmt::format("{}/allOf/{}", pointer, i)), pointer);
    }
    for (const std::string name : {"anyOf", "oneOf"}) {
      const auto list = schema.find(name);
      if (list == schema.end()) continue;
      check_shape(*list, Shape::kSchemas, pointer + "/" + name);
      std::vector<Json> choices;
      for (size_t i = 0; i < list->size(); ++i)
        for (auto& a : expand((*list)[i], fmt::format("{}/{}/{}", pointer, name, i)))
          if (std::find(choices.begin(), choices.end(), a) == choices.end()) choices.push_back(std::move(a));
      out = product(out, choices, pointer);
    }
    --depth_;
    return out;
  }

 private:
  /// The keywords of the schema itself.
  static Json plain(const Json& schema, const std::string& pointer) {
    for (const std::string_view name : kRefused)
      if (schema.contains(name)) unsupported(pointer, name);
    Json out = Json::object();
    for (const auto& k : kKeywords) {
      const auto it = schema.find(k.name);
      if (it == schema.end()) continue;
      const std::string at = fmt::format("{}/{}", pointer, k.name);
      if (k.name == "items" && it->is_array()) {  // before draft 2020-12
        check_shape(*it, Shape::kSchemas, at);
        out["prefixItems"] = *it;
        if (const auto more = schema.find("additionalItems"); more != schema.end()) {
          check_shape(*more, Shape::kSchema, pointer + "/additionalItems");
          out["items"] = *more;
        }
        continue;
      }
      check_shape(*it, k.shape, at);
      const bool list = k.shape == Shape::kTypes || k.name == "pattern" || k.name == "format";
      out[std::string(k.name)] = list ? as_list(*it) : *it;
    }
    return out;
  }

  std::vector<Json> follow(const Json& ref, const std::string& pointer) {
    if (!ref.is_string()) invalid(pointer, "it must be a string");
    const std::string text = ref.get<std::string>();
    // A reference that leads to itself without anything in between adds nothing that is not there already.
    if (!following_.insert(text).second) return {};
    auto out = expand(find(text, pointer), text);
    following_.erase(text);
    return out;
  }

  const Json& find(const std::string& ref, const std::string& pointer) const {
    if (!ref.starts_with('#')) unsupported(pointer, fmt::format("the reference {} out of the schema", ref));
    std::string path;
    for (size_t i = 1; i < ref.size(); ++i) {
      const auto hex = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
      if (ref[i] == '%' && i + 2 < ref.size() && std::isxdigit(static_cast<unsigned char>(ref[i + 1])) != 0 &&
          std::isxdigit(static_cast<unsigned char>(ref[i + 2])) != 0) {
        path += static_cast<char>(hex(ref[i + 1]) * 16 + hex(ref[i + 2]));
        i += 2;
      } else {
        path += ref[i];
      }
    }
    if (!path.empty() && path[0] != '/') unsupported(pointer, fmt::format("the anchor {}", ref));
    try {
      const Json::json_pointer place(path);
      if (root_.contains(place)) return root_.at(place);
    } catch (const nlohmann::json::exception&) {
      // falls through
    }
    invalid(pointer, fmt::format("{} leads nowhere", ref));
  }

  std::vector<Json> product(const std::vector<Json>& a, const std::vector<Json>& b,
                            const std::string& pointer) {
    std::vector<Json> out;
    for (const auto& x : a) {
      for (const auto& y : b) {
        if (++merges_ > kMostMerges || out.size() >= kMostAlternatives) too_many(pointer);
        if (auto merged = merge(x, y, pointer)) out.push_back(std::move(*merged));
      }
    }
    return out;
  }

  /// Null: they contradict each other.
  static std::optional<Json> merge(const Json& a, const Json& b, const std::string& pointer) {
    if (a.empty()) return b;
    if (b.empty()) return a;
    Json out = a;
    for (const auto& [key, value] : b.items()) {
      const auto it = out.find(key);
      if (it == out.end())
        out[key] = value;
      else if (*it != value && !merge_keyword(key, *it, value, pointer))
        return std::nullopt;
    }
    merge_properties(a, b, out, pointer);
    return out;
  }

  static bool merge_keyword(const std::string& key, Json& into, const Json& value,
                            const std::string& pointer) {
    if (key == "type") {
      into = common_types(into, value);
      return !into.empty();
    }
    if (key == "const") return false;
    if (key == "enum") {
      Json kept = Json::array();
      for (const auto& v : into)
        if (std::find(value.begin(), value.end(), v) != value.end()) kept.push_back(v);
      into = kept;
      return !into.empty();
    }
    if (key == "required" || key == "pattern" || key == "format") {
      into = unite(into, value);
    } else if (key == "multipleOf") {
      if (!into.is_number_unsigned() || !value.is_number_unsigned())
        unsupported(pointer, "two kinds of multipleOf");
      const auto x = into.get<uint64_t>();
      const auto y = value.get<uint64_t>();
      if (x == 0 || y == 0 || x > 1'000'000 || y > 1'000'000) unsupported(pointer, "multipleOf");
      into = std::lcm(x, y);
    } else if (key.starts_with("min") || key == "exclusiveMinimum") {
      if (compare_numbers(value.dump(), into.dump()) > 0) into = value;
    } else if (key.starts_with("max") || key == "exclusiveMaximum") {
      if (compare_numbers(value.dump(), into.dump()) < 0) into = value;
    } else if (key == "uniqueItems") {
      into = into.get<bool>() || value.get<bool>();
    } else if (key == "unevaluatedProperties") {
      into = into.get<bool>() && value.get<bool>();
    } else if (key == "items" || key == "additionalProperties" || key == "propertyNames") {
      into = both(into, value);
    } else if (key == "prefixItems") {
      if (into.size() != value.size()) unsupported(pointer, "two lengths of prefixItems");
      for (size_t i = 0; i < into.size(); ++i) into[i] = both(into[i], value[i]);
    } else if (key == "patternProperties") {
      for (const auto& [k, v] : value.items()) into[k] = into.contains(k) ? both(into[k], v) : v;
    }
    return true;  // properties: below
  }

  /// A property that one of them names must be what the other one says of it, or of properties that it does not name.
  static void merge_properties(const Json& a, const Json& b, Json& out, const std::string& pointer) {
    const auto about = [](const Json& s) {
      return s.contains("properties") || s.contains("additionalProperties") ||
             s.contains("patternProperties");
    };
    if (!about(a) || !about(b)) return;
    if (a.contains("patternProperties") || b.contains("patternProperties"))
      unsupported(pointer, "patternProperties in a combination");
    Json merged = Json::object();
    const auto take = [&](const Json& from, const Json& other) {
      const auto own = from.find("properties");
      if (own == from.end()) return;
      for (const auto& [name, schema] : own->items()) {
        if (merged.contains(name)) continue;
        const auto others = other.find("properties");
        if (others != other.end() && others->contains(name))
          merged[name] = both(schema, (*others)[name]);
        else if (other.contains("additionalProperties"))
          merged[name] = both(schema, other["additionalProperties"]);
        else
          merged[name] = schema;
      }
    };
    take(a, b);
    take(b, a);
    if (a.contains("properties") || b.contains("properties")) out["properties"] = merged;
  }

  const Json& root_;
  std::set<std::string> following_;
  size_t merges_ = 0;
  int depth_ = 0;
};

void count(const Json& j, int depth, size_t& values) {
  if (depth > kDeepest || ++values > kMostValues)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("the schema is too large: at most {} values and {} levels are taken", kMostValues,
                            kDeepest));
  if (!j.is_structured()) return;
  for (const auto& v : j) count(v, depth + 1, values);
}

}  // namespace

std::vector<Json> alternatives(const Json& schema, const Json& root, const std::string& pointer) {
  return Flattener(root).expand(schema, pointer);
}

Json both(const Json& a, const Json& b) {
  const auto anything = [](const Json& s) { return s == true || (s.is_object() && s.empty()); };
  if (a == b || anything(b)) return a;
  if (anything(a)) return b;
  if (a == false || b == false) return false;
  Json out = Json::object();
  out["allOf"] = Json::array({a, b});
  return out;
}

void check_size(const Json& schema) {
  size_t values = 0;
  count(schema, 0, values);
}

}  // namespace fathom::infer::grammar
