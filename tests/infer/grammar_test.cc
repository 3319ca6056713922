// Grammars against what they are of: ranges, patterns and choices against brute force, masks token by token, random walks
// against a validator of JSON Schema of the tests' own, and back: what was written is accepted in other cuts and layouts.
#include "infer/grammar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "infer/schema_validator.h"

namespace fathom::infer {
namespace {

using Json = nlohmann::ordered_json;
using oracle::valid;
using GrammarPtr = std::shared_ptr<const Grammar>;

GrammarPtr of(std::string_view schema) { return Grammar::json_schema(Json::parse(schema)); }

/// All bytes, then tokens of every awkward kind; the last one is the end.
const std::vector<std::string>& pieces() {
  static const std::vector<std::string> out = [] {
    std::vector<std::string> p;
    for (int i = 0; i < 256; ++i) p.emplace_back(1, static_cast<char>(i));
    for (const char* s : {"\"",
                          "\":",
                          "\": ",
                          "\",",
                          "\", \"",
                          "\"}",
                          "\"]",
                          "{\"",
                          "{}",
                          "[]",
                          "[{\"",
                          "}}",
                          "},",
                          "}, {\"",
                          "],",
                          ": \"",
                          ": {",
                          ", ",
                          "true",
                          "fal",
                          "se",
                          "null",
                          "ab",
                          "abc",
                          "a\"",
                          "a\",",
                          "b\"}",
                          "hello",
                          " world",
                          "12",
                          "34",
                          "100",
                          "-1",
                          ".5",
                          "0.",
                          "e1",
                          "1,",
                          "2}",
                          "3]",
                          "\\n",
                          "\\u",
                          "\\ud83d",
                          "\\ude00",
                          "\\\"",
                          "\\\\",
                          "\xc3\xa9",
                          "\xf0\x9f\x98\x80",
                          "\xf0\x9f",
                          "\x98\x80",
                          "\xa9\"",
                          "x\xc3",
                          "  ",
                          "\n",
                          "\n  ",
                          "\n    ",
                          " {",
                          "\"a\"",
                          "\"b\": ",
                          "name",
                          "value",
                          "\xe4\xb8\x96\xe7\x95\x8c",
                          "\xed\xa0\x80",
                          "\xc0\x80",
                          "{ \"",
                          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                          "                                                  ",
                          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
                          "----------------------------------------"})
      p.emplace_back(s);
    p.emplace_back();  // no text: never allowed
    p.emplace_back("</s>");
    return p;
  }();
  return out;
}

int32_t end_token() { return static_cast<int32_t>(pieces().size() - 1); }

const GrammarVocabulary& vocabulary() {
  static const GrammarVocabulary out(std::vector<std::string_view>(pieces().begin(), pieces().end()),
                                     {end_token()});
  return out;
}

/// Whether the bytes are a beginning, and whether they are all.
struct Verdict {
  bool begins = true, whole = false;
};

Verdict judge(const GrammarPtr& grammar, std::string_view text) {
  GrammarMatcher matcher(grammar, vocabulary());
  for (const char c : text) {
    const auto token = static_cast<int32_t>(static_cast<uint8_t>(c));
    if (!matcher.allows(token)) return {false, false};
    matcher.accept(token);
  }
  return {true, matcher.may_end()};
}

bool accepts(const GrammarPtr& grammar, std::string_view text) { return judge(grammar, text).whole; }
bool accepts(std::string_view schema, std::string_view text) { return accepts(of(schema), text); }

std::string refusal(std::string_view schema) {
  try {
    of(schema);
  } catch (const Error& e) {
    return std::string(to_string(e.code())) + ": " + e.what();
  }
  return "accepted";
}

// Walks -----------------------------------------------------------------------------------------------

/// Every token of the mask against `allows`. The mask may be made in pieces, between which somebody asks.
std::vector<int32_t> allowed_by_both(GrammarMatcher& matcher, bool in_pieces = false) {
  std::vector<float> logits(pieces().size(), 0.0f);
  while (in_pieces && !matcher.prepare(std::chrono::steady_clock::time_point::min())) matcher.allows('a');
  matcher.mask(logits);
  std::vector<int32_t> out;
  for (size_t t = 0; t < logits.size(); ++t) {
    const bool by_mask = std::isfinite(logits[t]);
    EXPECT_EQ(by_mask, matcher.allows(static_cast<int32_t>(t))) << "token " << pieces()[t];
    if (by_mask) out.push_back(static_cast<int32_t>(t));
  }
  return out;
}

/// A text of the grammar, at random; none where it does not come to its end in time.
std::optional<std::string> walk(const GrammarPtr& grammar, uint64_t seed, bool check_masks) {
  Random random(seed);
  GrammarMatcher matcher(grammar, vocabulary());
  std::string text;
  for (size_t step = 0; step < 1500; ++step) {
    if (matcher.must_end()) return text;
    int32_t token = -1;
    if (check_masks) {
      const auto allowed = allowed_by_both(matcher, step % 2 == 1);
      EXPECT_FALSE(allowed.empty()) << text;
      if (allowed.empty()) return std::nullopt;
      token = allowed[random.below(allowed.size())];
    }
    // After a while, what closes is preferred, so that nesting and strings end.
    constexpr std::string_view kClosing = "\"]}0n:,a";
    const bool closing = random.chance(step < 20 ? 0.2 : 0.9);
    for (size_t i = 0; closing && i < kClosing.size(); ++i) {
      const auto c = static_cast<uint8_t>(kClosing[i]);
      if (!matcher.allows(c) || (step < 100 && random.chance(0.3))) continue;
      token = c;
      break;
    }
    for (int tries = 0; token < 0 && tries < 5000; ++tries) {
      const auto t = static_cast<int32_t>(random.below(pieces().size()));
      if (matcher.allows(t)) token = t;
    }
    if (matcher.may_end() && random.chance(0.3)) token = end_token();
    EXPECT_GE(token, 0) << text;
    if (token < 0) return std::nullopt;
    if (token != end_token()) text += pieces()[static_cast<size_t>(token)];
    matcher.accept(token);
  }
  return std::nullopt;
}

/// The text in tokens chosen at random among those that fit.
bool accepts_in_tokens(const GrammarPtr& grammar, std::string_view text, uint64_t seed) {
  Random random(seed);
  GrammarMatcher matcher(grammar, vocabulary());
  while (!text.empty()) {
    std::vector<int32_t> fits;
    for (size_t t = 0; t + 1 < pieces().size(); ++t)
      if (!pieces()[t].empty() && text.starts_with(pieces()[t])) fits.push_back(static_cast<int32_t>(t));
    const int32_t token = fits[random.below(fits.size())];
    if (!matcher.allows(token)) return false;
    matcher.accept(token);
    text.remove_prefix(pieces()[static_cast<size_t>(token)].size());
  }
  return matcher.allows(end_token());
}

/// As Python's json.dumps writes it, and most models.
std::string spaced(const Json& v) {
  if (!v.is_structured() || v.empty()) return v.dump();
  std::string out(1, v.is_object() ? '{' : '[');
  bool first = true;
  for (const auto& [key, value] : v.items()) {
    if (!std::exchange(first, false)) out += ", ";
    if (v.is_object()) out += Json(key).dump() + ": ";
    out += spaced(value);
  }
  return out + (v.is_object() ? '}' : ']');
}

const char* const kSchemas[] = {
    R"({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"], "additionalProperties": false})",
    R"({"type": "object", "properties": {"a": {"type": "string", "maxLength": 5}, "b": {"type": "boolean"}, "c": {"type": "null"}}, "required": ["b"]})",
    R"({"type": "array", "items": {"type": "string", "minLength": 2, "maxLength": 4}, "minItems": 1, "maxItems": 3})",
    R"({"type": "array", "prefixItems": [{"type": "integer"}, {"enum": ["a", "ab", "abc"]}], "items": {"type": "boolean"}, "minItems": 1})",
    R"({"enum": ["red", "re", 1, 12, -3.5, null, true, {"a": [1, {"b": "x"}]}, []]})",
    R"({"const": {"k": "v\n\"\u00e9"}})",
    R"({"anyOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "n": {"type": "integer"}}, "required": ["kind", "n"]},
                  {"type": "object", "properties": {"kind": {"const": "ab"}, "s": {"type": "string"}}, "required": ["kind"]}, {"type": "null"}]})",
    R"({"type": "object", "properties": {"v": {"type": "number"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["v", "next"]})",
    R"({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}, "required": ["kids"]}}})",
    R"({"type": "integer", "minimum": -12, "maximum": 345})",
    R"({"type": "number", "exclusiveMinimum": -0.5, "maximum": 12.25})",
    R"({"type": "integer", "multipleOf": 7, "minimum": -100})",
    R"({"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 5})",
    R"({"type": "string", "pattern": "^[a-c]{1,3}(-\\d+)?$"})",
    R"({"type": "string", "pattern": "b+", "minLength": 3, "maxLength": 6})",
    R"({"type": "string", "minLength": 38, "maxLength": 80})",
    R"({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 3})",
    R"({"type": "object", "properties": {"a": {"type": "integer"}, "ab": {"type": "integer"}}, "required": ["a"], "additionalProperties": {"type": "boolean"}})",
    R"({"type": "object", "patternProperties": {"^s_": {"type": "string"}, "^n_": {"type": "integer"}}, "additionalProperties": false})",
    R"({"type": "object", "propertyNames": {"pattern": "^[ab]+$"}, "additionalProperties": {"type": "null"}})",
    R"({"allOf": [{"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]},
                  {"properties": {"a": {"maximum": 9}, "b": {"type": "string", "enum": ["x", "y"]}}, "required": ["b"]}]})",
    R"({"type": ["string", "integer", "null"], "maxLength": 2, "minimum": 5})",
    R"({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}}, "required": ["a"]})",
    R"({"oneOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 10}, {"type": "array", "items": {"oneOf": [{"type": "null"}, {"type": "boolean"}]}}]})",
    R"({})",
    R"({"type": "object"})",
};

TEST(GrammarTest, WhateverItLetsThroughIsJsonOfTheSchema) {
  for (const char* text : kSchemas) {
    const Json schema = Json::parse(text);
    const auto grammar = Grammar::json_schema(schema);
    int ended = 0;
    for (uint64_t seed = 0; seed < 30; ++seed) {
      const auto out = walk(grammar, seed, seed < 6);
      if (!out) continue;
      ++ended;
      const Json value = Json::parse(*out, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << text << "\n" << *out;
      EXPECT_TRUE(valid(schema, value, schema)) << text << "\n" << *out;
      EXPECT_TRUE(is_valid_utf8(*out)) << *out;
      // The same text in other tokens.
      for (uint64_t cut = 0; cut < 4; ++cut) EXPECT_TRUE(accepts_in_tokens(grammar, *out, cut)) << *out;
    }
    EXPECT_GT(ended, 20) << text;
  }
}

TEST(GrammarTest, ValuesAreAcceptedInEveryUsualLayout) {
  for (const char* text : kSchemas) {
    const Json schema = Json::parse(text);
    const auto grammar = Grammar::json_schema(schema);
    for (uint64_t seed = 100; seed < 112; ++seed) {
      const auto out = walk(grammar, seed, false);
      if (!out) continue;
      const Json value = Json::parse(*out);
      // A name that came twice is there once now, and numbers may have changed their form: the validator decides.
      if (!valid(schema, value, schema) || out->find_first_of("eE.\\") != std::string::npos) continue;
      for (const auto& layout : {value.dump(), spaced(value), value.dump(2), value.dump(1, '\t')})
        EXPECT_TRUE(accepts_in_tokens(grammar, layout, seed)) << text << "\n" << layout;
    }
  }
}

// Against brute force -----------------------------------------------------------------------------------

TEST(GrammarTest, ChoicesAreExact) {
  const std::vector<std::string> texts = {"a", "ab", "abc", "b\xc3\xa9", "b\xc3\xa8", "hello world", "hello"};
  const auto grammar = Grammar::choice(texts);
  // Every beginning of every text: a token is allowed if and only if a text goes on with it.
  for (const auto& text : texts) {
    for (size_t n = 0; n <= text.size(); ++n) {
      const std::string begin = text.substr(0, n);
      GrammarMatcher matcher(grammar, vocabulary());
      for (const char c : begin) matcher.accept(static_cast<uint8_t>(c));
      allowed_by_both(matcher);
      for (size_t t = 0; t + 1 < pieces().size(); ++t) {
        const bool wanted = !pieces()[t].empty() && std::ranges::any_of(texts, [&](const auto& other) {
          return other.starts_with(begin + pieces()[t]);
        });
        EXPECT_EQ(matcher.allows(static_cast<int32_t>(t)), wanted) << begin << " + " << pieces()[t];
      }
      const bool whole = std::ranges::find(texts, begin) != texts.end();
      EXPECT_EQ(matcher.may_end(), whole);
      EXPECT_EQ(matcher.allows(end_token()), whole);
      const bool longer =
          std::ranges::any_of(texts, [&](const auto& o) { return o.size() > n && o.starts_with(begin); });
      EXPECT_EQ(matcher.must_end(), whole && !longer);
    }
  }
}

TEST(GrammarTest, IntegerRangesAreExact) {
  Random random(5);
  for (int round = 0; round < 24; ++round) {
    const auto bound = [&] {
      return static_cast<int>(random.below(round % 3 == 0 ? 30 : 700)) - (round % 2 == 0 ? 0 : 350);
    };
    const int a = bound();
    const int b = round % 7 == 0 ? a : bound();
    const int low = std::min(a, b);
    const int high = std::max(a, b);
    const int divisor = round % 4 == 0 ? 1 + static_cast<int>(random.below(40)) : 1;
    Json schema = {{"type", "integer"}, {"minimum", low}, {"maximum", high}};
    if (divisor > 1) schema["multipleOf"] = divisor;
    std::set<std::string> whole;
    std::set<std::string> begins;
    for (int i = low; i <= high; ++i)
      if (i % divisor == 0) whole.insert(std::to_string(i));
    for (const auto& w : whole)
      for (size_t n = 0; n <= w.size(); ++n) begins.insert(w.substr(0, n));
    if (whole.empty()) {
      EXPECT_NE(refusal(schema.dump()), "accepted");
      continue;
    }
    const auto grammar = Grammar::json_schema(schema);
    for (const auto& begin : begins) {
      EXPECT_EQ(accepts(grammar, begin), whole.contains(begin)) << schema << " " << begin;
      for (const char c : std::string_view("0123456789-.e ,x"))
        if (c != ' ' || !begin.empty()) {  // white space in front is free
          EXPECT_EQ(judge(grammar, begin + c).begins, begins.contains(begin + c))
              << schema << " " << begin << c;
        }
    }
  }
}

TEST(GrammarTest, DecimalRangesAreExact) {
  Random random(6);
  for (int round = 0; round < 40; ++round) {
    // In thousandths, so that the comparison is exact.
    const auto bound = [&] {
      return static_cast<int>(random.below(round % 2 == 0 ? 3000 : 300000)) - (round % 3 == 0 ? 1500 : 0);
    };
    const int a = bound();
    const int b = bound();
    const int low = std::min(a, b);
    const int high = std::max(a, b);
    const bool open = round % 5 == 0;
    const auto text = [](int thousandths, int digits) {
      const int size = std::abs(thousandths);
      std::string out = std::string(thousandths < 0 ? "-" : "") + std::to_string(size / 1000);
      std::string fraction = std::to_string(1000 + size % 1000).substr(1);
      fraction.resize(static_cast<size_t>(digits));
      return digits == 0 ? out : out + "." + fraction;
    };
    Json schema = {{"type", "number"}};
    schema[open ? "exclusiveMinimum" : "minimum"] = low / 1000.0;
    schema[open ? "exclusiveMaximum" : "maximum"] = high / 1000.0;
    if (low == high && open) continue;
    const auto grammar = Grammar::json_schema(schema);
    for (int i = 0; i < 300; ++i) {
      int x = i < 8 ? (i % 2 == 0 ? low : high) + (i / 2 - 2)
                    : low - 200 + static_cast<int>(random.below(static_cast<uint64_t>(high - low + 400)));
      const int digits = static_cast<int>(random.below(4));
      for (int d = digits; d < 3; ++d) x -= x % static_cast<int>(std::pow(10, 3 - digits));
      const bool inside = open ? low < x && x < high : low <= x && x <= high;
      EXPECT_EQ(accepts(grammar, text(x, digits)), inside) << schema << " " << text(x, digits);
    }
  }
}

TEST(GrammarTest, PatternsAreWhatARegularExpressionFinds) {
  const char* patterns[] = {
      "^ab*$",    "a|b",      "^(a|b)*c$", "^a{2,3}$", "^(ab|a)(bc|c)?$", "[^a]",        "^[a-b0]+$",
      "\\d",      "^\\w\\W$", "b$",        "^a",       "^(?:a|-)+$",      "^a?b?c?$",    "^(a{1,2}){2}$",
      "x",        "^$",       "",          "^a+?b$",   "^.b.$",           "^[\\d\\-]*$", "(^a|b$)",
      "^a|^b|c$", "a{0}b",    "^(a*)*b$",  "^[^\\d]$", "^\\x61[\\u0062]$"};
  Random random(7);
  for (const char* pattern : patterns) {
    const auto grammar = Grammar::json_schema({{"type", "string"}, {"pattern", pattern}});
    const std::regex regex(pattern);
    for (int i = 0; i < 300; ++i) {
      std::string text;
      for (size_t n = random.below(5); n > 0; --n) text += "abc0- x"[random.below(7)];
      EXPECT_EQ(accepts(grammar, '"' + text + '"'), std::regex_search(text, regex))
          << pattern << " on " << text;
    }
  }
}

TEST(GrammarTest, TokensAreAllowedOnlyIfThePatternCanStillBeMet) {
  // Finite languages, listed by brute force.
  for (const char* pattern : {"^(ab|a){1,3}c$", "^[ab]{2}(0|00)?$", "^(a|aa|b0)-?b$"}) {
    std::set<std::string> begins;
    std::vector<std::string> words = {""};
    const std::regex regex(pattern);
    for (size_t length = 0; length <= 7; ++length) {
      std::vector<std::string> longer;
      for (const auto& w : words) {
        if (std::regex_match(w, regex))
          for (size_t n = 0; n <= w.size(); ++n) begins.insert('"' + w.substr(0, n));
        if (length < 7)
          for (const char c : std::string_view("abc0-")) longer.push_back(w + c);
      }
      words = longer;
    }
    const auto grammar = Grammar::json_schema({{"type", "string"}, {"pattern", pattern}});
    for (const auto& begin : begins)
      for (const char c : std::string_view("abc0-"))
        EXPECT_EQ(judge(grammar, begin + c).begins, begins.contains(begin + c))
            << pattern << " " << begin << c;
  }
}

// Strings, numbers, white space -------------------------------------------------------------------------

TEST(GrammarTest, StringsAreUtf8AndEscapesAreWhole) {
  const char* schema = R"({"type": "string"})";
  for (const char* good : {"\"\"", "\"\xc3\xa9\"", "\"\xed\x9f\xbf\xee\x80\x80\"", "\"\xf4\x8f\xbf\xbf\"",
                           "\"\\u00e9\\n\\\"\\\\\\/\"", "\"\\ud83d\\ude00\"", "\"\\uD7FF\\uE000\"",
                           "\"\x7f\"", " \"\"", "\n  \"\""})
    EXPECT_TRUE(accepts(schema, good)) << good;
  for (const char* bad : {"\"\xc0\x80\"",
                          "\"\xed\xa0\x80\"",
                          "\"\xf4\x90\x80\x80\"",
                          "\"\xe0\x80\x80\"",
                          "\"\xff\"",
                          "\"\x80\"",
                          "\"\xc3\"",
                          "\"\n\"",
                          "\"\t\"",
                          "\"\\x41\"",
                          "\"\\u12g4\"",
                          "\"\\ud83d\"",
                          "\"\\ude00\"",
                          "\"\\ud83d\\u0041\"",
                          "\"\\ud83dx\"",
                          "\"a",
                          "a",
                          "\"\" ",
                          "\"a\"\"",
                          "'a'"})
    EXPECT_FALSE(accepts(schema, bad)) << bad;
  // Every sequence of up to three bytes is a string's beginning if and only if it is a character's.
  const auto grammar = of(schema);
  for (int lead = 0x80; lead < 256; ++lead) {
    for (int second = 0x7f; second < 0xc1; ++second) {
      const std::string text = {static_cast<char>(lead), static_cast<char>(second)};
      const std::string all = text + "\x80\x80";
      const bool good =
          is_valid_utf8(text) || is_valid_utf8(all.substr(0, 3)) || is_valid_utf8(all.substr(0, 4));
      EXPECT_EQ(judge(grammar, '"' + text).begins, good) << lead << " " << second;
    }
  }
}

TEST(GrammarTest, LengthsCountCharactersHoweverTheyAreWritten) {
  const char* schema = R"({"type": "string", "minLength": 2, "maxLength": 3})";
  EXPECT_TRUE(accepts(schema, "\"\xf0\x9f\x98\x80\\ud83d\\ude00\\n\""));
  EXPECT_FALSE(accepts(schema, "\"\xf0\x9f\x98\x80\""));
  EXPECT_FALSE(accepts(schema, "\"abcd\""));
  const auto far = of(R"({"type": "string", "minLength": 1000, "maxLength": 1005})");
  EXPECT_FALSE(accepts(far, '"' + std::string(999, 'a') + '"'));
  EXPECT_TRUE(accepts(far, '"' + std::string(1000, 'a') + '"'));
  EXPECT_TRUE(accepts(far, '"' + std::string(1005, 'a') + '"'));
  EXPECT_FALSE(judge(far, '"' + std::string(1006, 'a')).begins);
  // Masks near and far from both bounds, where the long tokens are.
  for (const size_t n : {0u, 1u, 920u, 959u, 960u, 961u, 965u, 999u, 1000u, 1003u, 1005u}) {
    GrammarMatcher matcher(far, vocabulary());
    for (const char c : '"' + std::string(n, 'b')) matcher.accept(static_cast<uint8_t>(c));
    allowed_by_both(matcher);
  }
}

TEST(GrammarTest, WhiteSpaceIsBoundedAndNumbersAre) {
  const auto grammar = of(
      R"({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "number"}}}, "required": ["a"]})");
  for (const char* good : {"{\"a\":[]}", "{ \"a\": [ 1, 2 ] }", "{\n  \"a\": [\n    1,\n    2\n  ]\n}",
                           "{\n\t\"a\": [1.5e-3,\n-0.5]\n}", " {\"a\": [0]}"})
    EXPECT_TRUE(accepts(grammar, good)) << good;
  for (const char* bad :
       {"{  \"a\":[]}", "{\"a\" :[]}", "{\"a\":  []}", "{\n\n\"a\":[]}", "{\"a\":[]} ", "{\"a\":[01]}",
        "{\"a\":[1.]}", "{\"a\":[.5]}", "{\"a\":[+1]}", "{\"a\":[1e]}", "{\"a\":[1e999]}", "{\"a\":[1,]}",
        "{\"a\":[,]}", "{\"a\":[1 ,2]}", "{\"a\":[--1]}", "{\"a\":[-]}"})
    EXPECT_FALSE(accepts(grammar, bad)) << bad;
  EXPECT_FALSE(judge(grammar, "{\n" + std::string(33, ' ')).begins);
  EXPECT_FALSE(judge(grammar, "{\"a\":[" + std::string(19, '1')).begins);
  EXPECT_FALSE(judge(grammar, "{\"a\":[0." + std::string(19, '1')).begins);
}

TEST(GrammarTest, ObjectsKeepTheOrderAndTheNames) {
  const char* open =
      R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "a\"b": {"type": "integer"}},
                         "required": ["b"], "additionalProperties": {"type": "null"}})";
  for (const char* good :
       {R"({"b": 1})", R"({"a": 1, "b": 2})", R"({"b": 2, "a\"b": 3})",
        R"({"b": 1, "c": null, "": null, "aa": null, "a\"c": null})", "{\"b\": 1, \"\xc3\xa9\": null}"})
    EXPECT_TRUE(accepts(open, good)) << good;
  for (const char* bad :
       {R"({})", R"({"a": 1})", R"({"b": 1, "a": 2})", R"({"b": 1, "c": 2})", R"({"b": 1, "b": null})",
        R"({"b": 1, "\u0061": null})", R"({"c": null, "b": 1})", R"({"b": 1,})", R"({,})"})
    EXPECT_FALSE(accepts(open, bad)) << bad;
  // Silence about other properties closes an object that names some, and only such.
  EXPECT_FALSE(accepts(R"({"type": "object", "properties": {"a": {}}})", R"({"b": 1})"));
  EXPECT_TRUE(accepts(R"({"type": "object"})", R"({"b": [{"c": "d"}]})"));
  EXPECT_TRUE(
      accepts(R"({"type": "object", "properties": {}, "additionalProperties": true})", R"({"b": 1})"));
  EXPECT_TRUE(accepts(R"({"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}})",
                      R"({"x": 1, "y": 2})"));
  EXPECT_FALSE(
      accepts(R"({"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}})",
              R"({"x": "1"})"));
}

TEST(GrammarTest, FormatsAreTheirs) {
  const auto check = [](const std::string& format, std::initializer_list<const char*> good,
                        std::initializer_list<const char*> bad) {
    const auto grammar = Grammar::json_schema({{"type", "string"}, {"format", format}});
    for (const char* t : good)
      EXPECT_TRUE(accepts(grammar, '"' + std::string(t) + '"')) << format << " " << t;
    for (const char* t : bad)
      EXPECT_FALSE(accepts(grammar, '"' + std::string(t) + '"')) << format << " " << t;
  };
  check("date", {"2026-11-23", "2024-02-29", "2000-02-29", "0001-01-31"},
        {"2026-02-29", "1900-02-29", "2026-13-01", "2026-04-31", "26-1-1", "0000-01-01", "2026-11-23T",
         "2026-00-10"});
  check("time", {"23:59:59Z", "00:00:00.123+01:30"}, {"24:00:00Z", "23:59:59", "1:2:3Z", "23:60:00Z"});
  check("date-time", {"2026-11-23T10:00:00Z", "2026-11-23T10:00:00.5-08:00"},
        {"2026-11-23 10:00:00Z", "2026-11-23"});
  check("duration", {"P3Y6M4DT12H30M5S", "P4W", "PT36H", "P1D"}, {"P", "PT", "P1", "1D", "P1S"});
  check("email", {"a.b+c@example.org", "x@a-b.co"},
        {"a@b", "@x.org", "a b@c.de", "a..b@c.de", "a@-b.de", "a@b.de."});
  check("hostname", {"localhost", "a-b.example.org"}, {"-a", "a-", "a..b", "a_b"});
  check("ipv4", {"127.0.0.1", "255.255.255.255"}, {"256.0.0.1", "1.2.3", "01.2.3.4"});
  check(
      "ipv6",
      {"::", "::1", "1::", "2001:db8::ff00:42:8329", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8"},
      {":", "1:2", "1::2::3", "12345::", "1:2:3:4:5:6:7:8:9", "g::"});
  check("uuid", {"3e4666bf-d5e5-4aa7-b8ce-cefe41c7568a"},
        {"3e4666bfd5e54aa7b8cecefe41c7568a", "3e4666bf-d5e5-4aa7-b8ce-cefe41c7568"});
  check("something-new", {"anything"}, {});
}

// What is refused ----------------------------------------------------------------------------------------

TEST(GrammarTest, RefusalsNameThePlace) {
  const auto code_and_place = [](std::string_view schema, std::string_view code, std::string_view place) {
    const std::string got = refusal(schema);
    EXPECT_TRUE(got.starts_with(code)) << schema << " " << got;
    EXPECT_NE(got.find(place), std::string::npos) << schema << " " << got;
  };
  code_and_place("5", "invalid_argument", "#");
  code_and_place(R"({"type": "strin"})", "invalid_argument", "#/type");
  code_and_place(R"({"type": "object", "properties": {"a": {"type": "array", "items": 3}}})",
                 "invalid_argument", "#/properties/a/items");
  code_and_place(R"({"properties": []})", "invalid_argument", "#/properties");
  code_and_place(R"({"type": "string", "maxLength": -1})", "invalid_argument", "#/maxLength");
  code_and_place(R"({"type": "string", "maxLength": 1.5})", "invalid_argument", "#/maxLength");
  code_and_place(R"({"enum": []})", "invalid_argument", "#/enum");
  code_and_place(R"({"anyOf": {}})", "invalid_argument", "#/anyOf");
  code_and_place(R"({"$ref": "#/$defs/x"})", "invalid_argument", "#/$ref");
  code_and_place(R"({"$ref": "#/~2"})", "invalid_argument", "#/$ref");
  code_and_place(R"({"type": "string", "pattern": "("})", "invalid_argument", "#/pattern");
  code_and_place(R"({"type": "string", "pattern": "a**"})", "invalid_argument", "#/pattern");
  code_and_place(R"({"type": "string", "pattern": "[b-a]"})", "invalid_argument", "#/pattern");
  code_and_place(R"({"type": "integer", "multipleOf": 0})", "invalid_argument", "#/multipleOf");
  code_and_place(R"({"$ref": "https://example.org/schema"})", "unsupported", "#/$ref");
  code_and_place(R"({"properties": {"a": {"not": {}}}})", "unsupported", "not at #/properties/a");
  code_and_place(R"({"type": "array", "uniqueItems": true})", "unsupported", "uniqueItems");
  code_and_place(R"({"if": {}, "then": {}})", "unsupported", "if");
  code_and_place(R"({"type": "string", "pattern": "(?=a)b"})", "unsupported", "look-around");
  code_and_place(R"({"type": "string", "pattern": "(a)\\1"})", "unsupported", "back-reference");
  code_and_place(R"({"type": "number", "multipleOf": 0.3})", "unsupported", "#/multipleOf");
  code_and_place(R"({"type": "object", "minProperties": 3})", "unsupported", "minProperties");
  EXPECT_EQ(
      refusal(
          R"({"title": "x", "description": "y", "default": 1, "examples": [1], "$schema": "z", "x-own": 1, "type": "null"})"),
      "accepted");
}

TEST(GrammarTest, WhatNothingSatisfiesIsRefused) {
  for (const char* schema :
       {"false", R"({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}})",
        R"({"$ref": "#"})", R"({"anyOf": []})", R"({"allOf": [{"type": "string"}, {"type": "integer"}]})",
        R"({"type": "string", "minLength": 3, "maxLength": 2})",
        R"({"type": "integer", "minimum": 3, "maximum": 2})",
        R"({"type": "array", "items": false, "minItems": 1})", R"({"enum": ["a"], "type": "integer"})",
        R"({"type": "string", "pattern": "^a$", "minLength": 2})",
        R"({"type": "object", "required": ["a"], "properties": {"a": false}})",
        R"({"allOf": [{"enum": [1, 2]}, {"enum": [3]}]})",
        R"({"type": "array", "items": {"$ref": "#"}, "minItems": 1})"})
    EXPECT_TRUE(refusal(schema).starts_with("invalid_argument")) << schema << " " << refusal(schema);
  // A part that nothing satisfies is left out where it may be.
  EXPECT_TRUE(accepts(R"({"anyOf": [{"$ref": "#"}, {"type": "null"}]})", "null"));
  EXPECT_TRUE(accepts(
      R"({"type": "object", "properties": {"a": {"enum": [1], "type": "string"}, "b": {"type": "null"}}})",
      R"({"b": null})"));
  EXPECT_TRUE(
      accepts(R"({"type": "array", "items": {"type": "array", "items": {"$ref": "#"}, "minItems": 0}})",
              "[[],[[[]]]]"));
}

TEST(GrammarTest, LimitsHold) {
  std::string deep = "{}";
  for (int i = 0; i < 500; ++i) deep = R"({"type": "array", "items": )" + deep + "}";
  EXPECT_TRUE(refusal(deep).starts_with("resource_exhausted"));
  // Two to the power of 40 alternatives.
  Json all = Json::array();
  for (int i = 0; i < 40; ++i) {
    const std::string a = "a" + std::to_string(i);
    all.push_back({{"anyOf", {{{"required", {a}}}, {{"required", {"b" + a}}}}}});
  }
  EXPECT_TRUE(refusal(Json({{"allOf", all}}).dump()).starts_with("resource_exhausted"));
  EXPECT_TRUE(refusal(R"({"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"})")
                  .starts_with("resource_exhausted"));
  EXPECT_TRUE(refusal(R"({"type": "string", "pattern": "a", "maxLength": 1000000})")
                  .starts_with("resource_exhausted"));
  std::string wide = R"({"enum": [0)";
  for (int i = 0; i < 60000; ++i) wide += ", \"" + std::to_string(i) + " is a text of its own\"";
  wide += "]}";
  EXPECT_TRUE(refusal(wide).starts_with("resource_exhausted"));
  EXPECT_EQ(refusal(R"({"type": "string", "maxLength": 4000000000})"), "accepted");
  EXPECT_EQ(refusal(R"({"type": "array", "maxItems": 18446744073709551615, "items": {"type": "null"}})"),
            "accepted");
}

TEST(GrammarTest, AmbiguityDoesNotExplode) {
  // Each level can be read in four ways, so that stacks told apart would double twice a bracket.
  const auto grammar = of(
      R"({"$defs": {"a": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/b"}}, {"type": "array", "items": {"$ref": "#/$defs/c"}}, {"type": "null"}]},
      "b": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/a"}}, {"type": "array", "items": {"$ref": "#/$defs/c"}}, {"type": "null"}]},
      "c": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/a"}}, {"type": "array", "items": {"$ref": "#/$defs/b"}}, {"type": "null"}]}}, "$ref": "#/$defs/a"})");
  const std::string text = std::string(200, '[') + "null" + std::string(200, ']');
  EXPECT_TRUE(accepts(grammar, text));
  EXPECT_FALSE(judge(grammar, text + "]").begins);
}

TEST(GrammarMatcherTest, ForgettingWhatItKnewChangesNothing) {
  // Each count of a bounded string is a position of its own: more than are kept.
  const auto grammar = of(R"({"type": "string", "maxLength": 20000})");
  GrammarMatcher matcher(grammar, vocabulary());
  matcher.accept('"');
  for (int i = 0; i < 19990; ++i) {
    ASSERT_TRUE(matcher.allows('a'));
    matcher.accept(i % 3 == 0 ? 'a' : 'b');
  }
  allowed_by_both(matcher);
  for (int i = 0; i < 10; ++i) matcher.accept('c');
  EXPECT_FALSE(matcher.allows('c'));
  EXPECT_TRUE(matcher.allows('"'));
  allowed_by_both(matcher, true);
  // The same with something on the stack.
  const auto nested =
      of(R"({"type": "array", "items": {"type": "array", "items": {"type": "string", "maxLength": 20000}}})");
  GrammarMatcher inner(nested, vocabulary());
  for (const char c : std::string_view("[[\"")) inner.accept(static_cast<uint8_t>(c));
  for (int i = 0; i < 20000; ++i) {
    ASSERT_TRUE(inner.allows('a'));
    inner.accept('a');
  }
  for (const char c : std::string_view("\"], []]")) {
    ASSERT_TRUE(inner.allows(static_cast<uint8_t>(c)));
    inner.accept(static_cast<uint8_t>(c));
  }
  EXPECT_TRUE(inner.must_end());
}

TEST(GrammarMatcherTest, WorkThatWasBegunIsFinishedOrForgotten) {
  const auto grammar = of(R"({"type": "string"})");
  GrammarMatcher matcher(grammar, vocabulary());
  EXPECT_FALSE(matcher.prepare(std::chrono::steady_clock::time_point::min()));  // more than one piece
  matcher.accept('"');  // from here on it is another mask
  allowed_by_both(matcher);
  matcher.accept('x');
  EXPECT_TRUE(matcher.prepare(std::chrono::steady_clock::time_point::max()));
  EXPECT_TRUE(matcher.prepare(std::chrono::steady_clock::time_point::min()));  // it is known
  allowed_by_both(matcher);
}

TEST(GrammarMatcherTest, EndsAndOddTokens) {
  const auto grammar = Grammar::choice({"a"});
  GrammarMatcher matcher(grammar, vocabulary());
  EXPECT_FALSE(matcher.allows(end_token()));
  EXPECT_FALSE(matcher.allows(end_token() - 1));  // no text
  EXPECT_FALSE(matcher.allows(-1));
  EXPECT_FALSE(matcher.allows(1 << 30));
  matcher.accept('a');
  EXPECT_TRUE(matcher.must_end());
  std::vector<float> logits(pieces().size() + 100, 1.0f);  // a model's rows beyond its vocabulary
  matcher.mask(logits);
  for (size_t i = 0; i < logits.size(); ++i)
    EXPECT_EQ(std::isfinite(logits[i]), i == static_cast<size_t>(end_token()));
  matcher.accept(end_token());
  EXPECT_TRUE(matcher.may_end());
  EXPECT_FALSE(matcher.allows('a'));
  // A vocabulary that lacks the byte that must come: the end is all that is left.
  const GrammarVocabulary poor({"x", "</s>"}, {1});
  GrammarMatcher stuck(grammar, poor);
  std::vector<float> two = {0.5f, 0.25f};
  stuck.mask(two);
  EXPECT_FALSE(std::isfinite(two[0]));
  EXPECT_EQ(two[1], 0.25f);
}

TEST(GrammarMatcherTest, TokensOfTheSameBytesAreAllAllowed) {
  const GrammarVocabulary twins({"a", "b", "a", "", "a"}, {3});
  GrammarMatcher matcher(Grammar::choice({"a"}), twins);
  std::vector<float> logits(5, 0.0f);
  matcher.mask(logits);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(std::isfinite(logits[i]), i == 0 || i == 2 || i == 4);
  EXPECT_TRUE(matcher.allows(4));
}

TEST(GrammarTest, JsonObjectsAreObjects) {
  const auto grammar = Grammar::json_object();
  EXPECT_TRUE(accepts(grammar, R"({"a": [1, "x", {"b": null}], "c": {}})"));
  EXPECT_TRUE(accepts(grammar, "{}"));
  EXPECT_FALSE(accepts(grammar, "[]"));
  EXPECT_FALSE(accepts(grammar, ""));
  EXPECT_FALSE(accepts(grammar, R"({"a": })"));
}

}  // namespace
}  // namespace fathom::infer
