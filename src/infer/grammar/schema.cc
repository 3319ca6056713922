#include "infer/grammar/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "infer/grammar/alternatives.h"
#include "infer/grammar/automaton.h"
#include "infer/grammar/numbers.h"
#include "infer/grammar/regex.h"

namespace fathom::infer::grammar {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDeepest = 256;  // rules within rules

[[noreturn]] void unsupported(const std::string& pointer, std::string_view what) {
  throw Error(ErrorCode::kUnsupported, fmt::format("{} at {} cannot be enforced", what, pointer));
}

/// The same error with its place in front.
template <class Work>
auto at_place(const std::string& pointer, Work work) {
  try {
    return work();
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: {}", pointer, e.what()));
  }
}

uint32_t count_of(const Json& schema, const char* name, uint32_t otherwise) {
  const auto it = schema.find(name);
  if (it == schema.end()) return otherwise;
  const double value = it->get<double>();  // checked to be whole and not negative
  return value >= 4e9 ? Program::kUnbounded : static_cast<uint32_t>(value);
}

bool has_any(const Json& schema, std::initializer_list<const char*> names) {
  return std::ranges::any_of(names, [&](const char* n) { return schema.contains(n); });
}

std::vector<std::string> types_of(const Json& schema) {
  if (const auto it = schema.find("type"); it != schema.end()) {
    auto out = it->get<std::vector<std::string>>();
    if (std::ranges::find(out, "number") != out.end()) std::erase(out, "integer");
    return out;
  }
  // Without a type, the keywords of some types say which are meant.
  std::vector<std::string> out;
  if (has_any(schema, {"properties", "required", "additionalProperties", "patternProperties", "propertyNames",
                       "minProperties", "maxProperties", "unevaluatedProperties"}))
    out.emplace_back("object");
  if (has_any(schema, {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}))
    out.emplace_back("array");
  if (has_any(schema, {"minLength", "maxLength", "pattern", "format"})) out.emplace_back("string");
  if (has_any(schema, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}))
    out.emplace_back("number");
  if (out.empty()) out = {"object", "array", "string", "number", "boolean", "null"};
  return out;
}

bool is_of(const Json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "integer")
    return value.is_number_integer() ||
           (value.is_number() && std::trunc(value.get<double>()) == value.get<double>());
  return value.is_number();
}

uint32_t length_of(std::string_view text) {
  uint32_t out = 0;
  for (size_t at = 0; at < text.size(); ++out) decode_utf8(text, at);
  return out;
}

}  // namespace

class SchemaCompiler::Impl {
 public:
  Impl(Builder& out, JsonRules& json, const Json& root, std::string place)
      : out_(out), json_(json), root_(root), place_(std::move(place)) {}

  uint32_t compile() {
    check_size(root_);
    return rule(root_, place_);
  }

 private:
  struct Property {
    std::string name;
    Json schema;
    bool required = false;
  };
  struct Extra {
    uint32_t key = 0;
    Json schema;
  };

  uint32_t rule(const Json& schema, const std::string& pointer) {
    if (schema == true || (schema.is_object() && schema.empty())) return json_.value();
    std::string key = schema.dump();
    if (const auto it = rules_.find(key); it != rules_.end()) return it->second;
    if (++depth_ > kDeepest)
      throw Error(ErrorCode::kResourceExhausted, fmt::format("the schema at {} is too deep", pointer));
    const auto choices = alternatives(schema, root_, pointer);
    const uint32_t made = out_.declare();
    rules_.emplace(std::move(key), made);
    const uint32_t start = out_.begin(made);
    const uint32_t last = out_.state();
    for (const auto& choice : choices) write(choice, pointer, start, last);
    out_.end(last);
    --depth_;
    return made;
  }

  void write(const Json& s, const std::string& pointer, uint32_t from, uint32_t to) {
    if (has_any(s, {"const", "enum"})) return write_values(s, pointer, from, to);
    for (const auto& type : types_of(s)) {
      if (type == "object")
        write_object(s, pointer, from, to);
      else if (type == "array")
        write_array(s, pointer, from, to);
      else if (type == "string")
        write_string(s, pointer, from, to);
      else if (type == "null")
        out_.empty(out_.text(from, "null"), to);
      else if (type == "boolean") {
        out_.empty(out_.text(from, "true"), to);
        out_.empty(out_.text(from, "false"), to);
      } else {
        write_number(s, pointer, type == "integer", from, to);
      }
    }
  }

  // Values -----------------------------------------------------------------------------------------

  void write_values(const Json& s, const std::string& pointer, uint32_t from, uint32_t to) {
    Json values = s.contains("const") ? Json::array({s["const"]}) : s["enum"];
    if (s.contains("const") && s.contains("enum") &&
        std::find(s["enum"].begin(), s["enum"].end(), s["const"]) == s["enum"].end())
      return;
    // Texts that begin alike share their states.
    std::map<std::pair<uint32_t, uint8_t>, uint32_t> known;
    for (const auto& value : values) {
      if (!satisfies(s, value, pointer)) continue;
      if (value.is_structured()) {
        write_value(value, from, to);
        continue;
      }
      uint32_t at = from;
      for (const char c : value.is_string() ? json_text(value.get_ref<const std::string&>()) : value.dump()) {
        const auto [it, fresh] = known.try_emplace({at, static_cast<uint8_t>(c)}, 0);
        if (fresh) it->second = out_.byte(at, static_cast<uint8_t>(c));
        at = it->second;
      }
      out_.empty(at, to);
    }
  }

  void write_value(const Json& value, uint32_t from, uint32_t to) {
    if (!value.is_structured()) {
      const std::string text =
          value.is_string() ? json_text(value.get_ref<const std::string&>()) : value.dump();
      return out_.empty(out_.text(from, text), to);
    }
    const bool object = value.is_object();
    uint32_t at = json_.space(out_.byte(from, object ? '{' : '['));
    bool first = true;
    for (auto it = value.begin(); it != value.end(); ++it, first = false) {
      if (!first) at = json_.space(out_.byte(at, ','));
      if (object) at = json_.small_space(out_.byte(out_.text(at, json_text(it.key())), ':'));
      const uint32_t end = out_.state();
      write_value(*it, at, end);
      at = end;
    }
    if (!first) at = json_.space(at);
    out_.empty(out_.byte(at, object ? '}' : ']'), to);
  }

  /// Whether a value of an enum is what the schema's other keywords say.
  bool satisfies(const Json& s, const Json& value, const std::string& pointer) {
    if (s.contains("type")) {
      const auto types = types_of(s);
      if (std::ranges::none_of(types, [&](const auto& t) { return is_of(value, t); })) return false;
    }
    if (value.is_string()) {
      const auto& text = value.get_ref<const std::string&>();
      const uint32_t length = length_of(text);
      if (length < count_of(s, "minLength", 0) || length > count_of(s, "maxLength", Program::kUnbounded))
        return false;
      const auto automaton = pattern_of(s, pointer);
      return !automaton || automaton->accepts(text);
    }
    if (value.is_number()) {
      const auto range = range_of(s, pointer, false);
      const std::string text = value.dump();
      if (range.low && compare_numbers(text, range.low->text) < (range.low->exclusive ? 1 : 0)) return false;
      if (range.high && compare_numbers(text, range.high->text) > (range.high->exclusive ? -1 : 0))
        return false;
      if (!s.contains("multipleOf")) return true;
      const double quotient = value.get<double>() / s["multipleOf"].get<double>();
      return quotient == std::round(quotient);
    }
    if (value.is_structured() &&
        has_any(s, {"properties", "required", "additionalProperties", "patternProperties", "propertyNames",
                    "minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems",
                    "uniqueItems"}))
      unsupported(pointer, "an enum or const of objects or lists beside keywords for them");
    return true;
  }

  // Strings and numbers ----------------------------------------------------------------------------

  std::optional<Automaton> pattern_of(const Json& s, const std::string& pointer) {
    std::optional<Automaton> out;
    const auto meet = [&](std::optional<Automaton> next) {
      if (next) out = out ? intersect(*out, *next) : std::move(*next);
    };
    if (s.contains("pattern"))
      for (const auto& p : s["pattern"])
        at_place(pointer + "/pattern", [&] { meet(parse_pattern(p.get_ref<const std::string&>())); });
    if (s.contains("format"))
      for (const auto& f : s["format"]) meet(parse_format(f.get_ref<const std::string&>()));
    return out;
  }

  void write_string(const Json& s, const std::string& pointer, uint32_t from, uint32_t to) {
    const uint32_t min = count_of(s, "minLength", 0);
    const uint32_t max = count_of(s, "maxLength", Program::kUnbounded);
    if (min > max) return;
    auto automaton = pattern_of(s, pointer);
    if (automaton && (min > 0 || max != Program::kUnbounded))
      automaton = at_place(pointer, [&] { return intersect(*automaton, Automaton::length(min, max)); });
    const uint32_t made = automaton ? json_.strings(*automaton) : json_.string(min, max);
    out_.empty(out_.call(from, made), to);
  }

  NumberRange range_of(const Json& s, const std::string& pointer, bool integer) {
    NumberRange out;
    out.integer = integer;
    const auto bound = [&](const char* plain, const char* exclusive, int sign) {
      std::optional<Bound> best;
      if (s.contains(plain)) best = Bound{s[plain].dump(), false};
      if (s.contains(exclusive)) {
        Bound other{s[exclusive].dump(), true};
        if (!best || compare_numbers(other.text, best->text) * sign >= 0) best = std::move(other);
      }
      return best;
    };
    at_place(pointer, [&] {
      out.low = bound("minimum", "exclusiveMinimum", 1);
      out.high = bound("maximum", "exclusiveMaximum", -1);
    });
    return out;
  }

  void write_number(const Json& s, const std::string& pointer, bool integer, uint32_t from, uint32_t to) {
    NumberRange range = range_of(s, pointer, integer);
    if (s.contains("multipleOf")) set_multiple(range, s["multipleOf"], pointer + "/multipleOf");
    uint32_t made = 0;
    if (range.low || range.high || s.contains("multipleOf"))
      made = at_place(pointer, [&] { return write_range(out_, range); });
    else
      made = integer ? json_.integer() : json_.number();
    out_.empty(out_.call(from, made), to);
  }

  static void set_multiple(NumberRange& range, const Json& divisor, const std::string& pointer) {
    const double value = divisor.get<double>();
    if (!(value > 0))
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("the schema at {} is none: it must be above 0", pointer));
    if (value >= 1 && value == std::trunc(value) && value < 1e9) {
      range.integer = true;
      range.multiple_of = static_cast<uint64_t>(value);
      return;
    }
    // 0.1, 0.01 and so on: so many digits behind the point.
    static constexpr std::array<double, 10> kPowers = {1e-1, 1e-2, 1e-3, 1e-4, 1e-5,
                                                       1e-6, 1e-7, 1e-8, 1e-9, 1e-10};
    const auto it = std::ranges::find(kPowers, value);
    if (it == kPowers.end()) unsupported(pointer, fmt::format("a multiple of {}", divisor.dump()));
    range.fraction = static_cast<size_t>(it - kPowers.begin()) + 1;
  }

  // Arrays -----------------------------------------------------------------------------------------

  void write_array(const Json& s, const std::string& pointer, uint32_t from, uint32_t to) {
    const Json none = Json::array();
    const Json& prefix = s.contains("prefixItems") ? s["prefixItems"] : none;
    const uint32_t min = count_of(s, "minItems", 0);
    uint32_t max = count_of(s, "maxItems", Program::kUnbounded);
    // A list that names its first items has no others unless the schema says which or asks for more.
    const bool open = s.contains("items") ? s["items"] != false : prefix.empty() || min > prefix.size();
    if (!open) max = std::min(max, static_cast<uint32_t>(prefix.size()));
    if (s.contains("uniqueItems") && s["uniqueItems"] == true && max > 1) unsupported(pointer, "uniqueItems");
    if (min > max) return;
    const uint32_t close = out_.state();  // behind the bracket
    out_.empty(close, to);
    uint32_t at = json_.space(out_.byte(from, '['));
    const auto may_close = [&](uint32_t state) { out_.edge(state, ']', ']', close); };
    if (min == 0) may_close(at);
    uint32_t done = 0;
    for (; done < prefix.size() && done < max; ++done) {
      if (done > 0) at = json_.space(out_.byte(at, ','));
      at = out_.call(at, rule(prefix[done], fmt::format("{}/prefixItems/{}", pointer, done)));
      if (done + 1 >= min) may_close(json_.space(at));
    }
    if (max <= done) return;
    const Json anything = Json::object();
    const uint32_t item = rule(s.contains("items") ? s["items"] : anything, pointer + "/items");
    if (done == 0) {
      at = out_.call(at, item);
      done = 1;
    }
    const uint32_t more = out_.declare();  // a comma and an item
    out_.end(out_.call(json_.space(out_.byte(out_.begin(more), ',')), item));
    const auto rest = [&](uint32_t bound) {
      return bound == Program::kUnbounded ? bound : bound - std::min(bound, done);
    };
    may_close(json_.space(out_.repeat(at, more, rest(min), rest(max))));
  }

  // Objects ----------------------------------------------------------------------------------------

  void write_object(const Json& s, const std::string& pointer, uint32_t from, uint32_t to) {
    const uint32_t min = count_of(s, "minProperties", 0);
    const uint32_t max = count_of(s, "maxProperties", Program::kUnbounded);
    std::vector<Property> properties;
    if (!collect_properties(s, pointer, properties)) return;
    const auto extras = collect_extras(s, pointer, properties);
    const auto required = static_cast<uint32_t>(
        std::ranges::count_if(properties, [](const Property& p) { return p.required; }));
    const auto n = static_cast<uint32_t>(properties.size());
    if (max < required) return;
    // Names may come twice where they are free, and count once: more than one of those cannot be asked for.
    if (min > std::max<uint32_t>(required, 1) && !(extras.empty() && min > n))
      unsupported(pointer, "minProperties");
    if (min > n && extras.empty()) return;
    const bool all_required = required == n;
    if (max < n || (!extras.empty() && max != Program::kUnbounded && !all_required)) {
      if (max > 0) unsupported(pointer, "maxProperties beside optional properties");
    }

    const uint32_t close = out_.state();
    out_.empty(close, to);
    const uint32_t open = json_.space(out_.byte(from, '{'));
    if (required == 0 && min == 0) out_.edge(open, '}', '}', close);
    if (max == 0) return;

    // choose[i]: a property from i on comes next; after[i]: one before i came just now.
    std::vector<uint32_t> choose(n + 1);
    std::vector<uint32_t> after(n + 1);
    for (uint32_t i = 0; i <= n; ++i) {
      choose[i] = out_.state();
      after[i] = out_.state();
    }
    out_.empty(open, choose[0]);
    bool may_close = true;  // no property from i on is required
    for (uint32_t i = n + 1; i-- > 0;) {
      if (i < n) {
        const Property& p = properties[i];
        const uint32_t at = json_.small_space(out_.byte(out_.text(choose[i], json_text(p.name)), ':'));
        out_.empty(out_.call(at, rule(p.schema, fmt::format("{}/properties/{}", pointer, p.name))),
                   after[i + 1]);
        if (!p.required) out_.empty(choose[i], choose[i + 1]);
        may_close = may_close && !p.required;
      }
      if (i == 0) break;  // before the first there is no comma
      if (i < n || !extras.empty()) out_.empty(json_.space(out_.byte(after[i], ',')), choose[i]);
      if (may_close) out_.edge(json_.space(after[i]), '}', '}', close);
    }
    if (!extras.empty()) write_extras(extras, pointer, choose[n], max, n, close);
  }

  /// Further members behind all that are named.
  void write_extras(const std::vector<Extra>& extras, const std::string& pointer, uint32_t from, uint32_t max,
                    uint32_t named, uint32_t close) {
    const uint32_t member = out_.declare();
    const uint32_t start = out_.begin(member);
    const uint32_t last = out_.state();
    for (const auto& extra : extras) {
      const uint32_t at = json_.small_space(out_.byte(out_.call(start, extra.key), ':'));
      out_.empty(out_.call(at, rule(extra.schema, pointer + "/additionalProperties")), last);
    }
    out_.end(last);
    const uint32_t more = out_.declare();
    out_.end(out_.call(json_.space(out_.byte(out_.begin(more), ',')), member));
    const uint32_t room = max == Program::kUnbounded ? max : max - named;
    if (room == 0) return;
    const uint32_t rest = room == Program::kUnbounded ? room : room - 1;
    out_.edge(json_.space(out_.repeat(out_.call(from, member), more, 0, rest)), '}', '}', close);
  }

  /// False: the required properties cannot all be there.
  bool collect_properties(const Json& s, const std::string& pointer, std::vector<Property>& out) {
    const Json none = Json::object();
    const auto names = names_of(s, pointer);
    if (s.contains("properties"))
      for (const auto& [name, schema] : s["properties"].items()) out.push_back({name, schema, false});
    if (s.contains("required")) {
      for (const auto& r : s["required"]) {
        const auto& name = r.get_ref<const std::string&>();
        const auto it = std::ranges::find(out, name, &Property::name);
        if (it != out.end()) {
          it->required = true;
          continue;
        }
        const bool matched = s.contains("patternProperties");
        const Json rest = s.contains("additionalProperties") && !matched ? s["additionalProperties"] : none;
        out.push_back({name, rest, true});
      }
    }
    if (s.contains("patternProperties")) {
      for (const auto& item : s["patternProperties"].items()) {
        const std::string& pattern = item.key();
        const auto automaton =
            at_place(pointer + "/patternProperties", [&] { return parse_pattern(pattern); });
        for (auto& p : out)
          if (automaton.accepts(p.name)) p.schema = both(p.schema, item.value());
      }
    }
    bool possible = true;
    std::erase_if(out, [&](const Property& p) {
      const bool forbidden = p.schema == false || (names && !names->accepts(p.name));
      possible = possible && !(forbidden && p.required);
      return forbidden;
    });
    return possible;
  }

  /// What propertyNames says of names; null: nothing.
  std::optional<Automaton> names_of(const Json& s, const std::string& pointer) {
    const auto it = s.find("propertyNames");
    if (it == s.end() || *it == true) return std::nullopt;
    const std::string at = pointer + "/propertyNames";
    const auto choices = alternatives(*it, root_, at);
    if (choices.size() != 1 || has_any(choices[0], {"const", "enum"})) unsupported(at, "a choice of names");
    const Json& c = choices[0];
    auto out = pattern_of(c, at);
    const uint32_t min = count_of(c, "minLength", 0);
    const uint32_t max = count_of(c, "maxLength", Program::kUnbounded);
    if (min > 0 || max != Program::kUnbounded) {
      if (min > max) unsupported(at, "a length that no name has");
      const auto length = at_place(at, [&] { return Automaton::length(min, max); });
      out = out ? intersect(*out, length) : length;
    }
    return out;
  }

  /// Members that the schema does not name: by pattern, and any others that it lets in. A schema that names properties or
  /// patterns and is silent about others has none.
  std::vector<Extra> collect_extras(const Json& s, const std::string& pointer,
                                    const std::vector<Property>& properties) {
    std::vector<Extra> out;
    const bool names_some = has_any(s, {"properties", "patternProperties"});
    Json others = !names_some;
    if (s.contains("unevaluatedProperties") && s["unevaluatedProperties"] == false) others = false;
    if (s.contains("additionalProperties")) others = s["additionalProperties"];
    const bool patterns = s.contains("patternProperties") && !s["patternProperties"].empty();
    if (!patterns && others == false) return out;

    std::vector<std::string_view> taken;
    for (const auto& p : properties) taken.push_back(p.name);
    if (s.contains("properties"))  // those that are forbidden too
      for (const auto& [name, schema] : s["properties"].items()) taken.push_back(name);
    const auto names = names_of(s, pointer);
    if (!patterns && taken.empty() && !names) return {{json_.string(), others}};

    at_place(pointer, [&] {
      Automaton free = Automaton::all_but(taken);
      if (names) free = intersect(free, *names);
      std::vector<std::pair<Automaton, Json>> kinds;
      if (patterns)
        for (const auto& [pattern, schema] : s["patternProperties"].items())
          kinds.emplace_back(parse_pattern(pattern), schema);
      // A name that two patterns match would need both schemas: it is not written.
      for (size_t i = 0; i < kinds.size(); ++i) {
        Automaton key = intersect(free, kinds[i].first);
        for (size_t j = 0; j < kinds.size(); ++j)
          if (j != i) key = intersect(key, complement(kinds[j].first));
        if (kinds[i].second != false) out.push_back({json_.strings(key), kinds[i].second});
      }
      if (others == false) return;
      for (const auto& kind : kinds) free = intersect(free, complement(kind.first));
      out.push_back({json_.strings(free), others});
    });
    return out;
  }

  Builder& out_;
  JsonRules& json_;
  const Json& root_;
  const std::string place_;
  std::unordered_map<std::string, uint32_t> rules_;  // by the schema's text
  int depth_ = 0;
};

SchemaCompiler::SchemaCompiler(Builder& out, JsonRules& json, const Json& root, std::string place)
    : impl_(std::make_unique<Impl>(out, json, root, std::move(place))) {}

SchemaCompiler::~SchemaCompiler() = default;

uint32_t SchemaCompiler::compile() { return impl_->compile(); }

}  // namespace fathom::infer::grammar
