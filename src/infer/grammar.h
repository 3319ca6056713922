// What a generated text must be: any JSON, JSON of a schema, a choice of texts, a model's own format of tool calls.
//
// A Grammar is compiled once and shared; it knows no vocabulary. A GrammarMatcher follows one generation: it says which
// tokens may come next, so that the text is right by construction, and is told which one came. Masks are exact: a token is
// allowed if and only if the text so far with its bytes can still become a text of the grammar.
//
// The texts are JSON in one order and of bounded looseness, so that a model neither has to guess nor can run on for ever:
//  - properties come in the schema's order, optional ones may be left out, others (where the schema lets them in) follow;
//  - white space: at most one space, or a newline with up to 32 blanks, only where infer/grammar/json_rules.h says;
//  - numbers have at most 18 digits on each side of the point and two in the exponent; with bounds none;
//  - strings are UTF-8 with all of JSON's escapes, surrogates in pairs; names, constants and strings of a pattern are written
//    with the shortest escapes only.
// Bytes count, not tokens: a token may end in the middle of a character.
//
// A Grammar and a GrammarVocabulary are immutable and thread-safe; a matcher belongs to one generation.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::infer {

class Grammar {
 public:
  /// Any JSON object (OpenAI's `json_object`).
  static std::shared_ptr<const Grammar> json_object();
  /// JSON that the schema accepts (draft 2020-12, the part that OpenAI's structured outputs take, and more):
  /// type, enum, const, properties, required, additionalProperties, patternProperties, propertyNames (patterns and lengths),
  /// minProperties, maxProperties (where they can be counted), items, prefixItems, minItems, maxItems, minLength, maxLength,
  /// pattern (infer/grammar/regex.h), format (there too; others are ignored), minimum, maximum, exclusiveMinimum,
  /// exclusiveMaximum, multipleOf (whole numbers to 2,000, and 0.1, 0.01, ...), anyOf, oneOf (as anyOf: it is not checked
  /// that only one holds), allOf (merged), $ref within the schema, recursive too. Annotations and unknown keywords are
  /// ignored. Where a schema leaves it open, less is written than it accepts: a schema that names properties and does not
  /// mention additionalProperties has no others (as if false), one without type whose keywords are for a type has that type.
  /// Refused: not, if, contains, dependent*, uniqueItems, unevaluatedItems, references to other documents. Errors:
  /// kInvalidArgument (not a schema: names the JSON pointer), kUnsupported (a keyword that cannot be enforced: named with
  /// its pointer), kResourceExhausted (too large or too deep).
  static std::shared_ptr<const Grammar> json_schema(const nlohmann::ordered_json& schema);
  /// Exactly one of these texts.
  static std::shared_ptr<const Grammar> choice(const std::vector<std::string>& texts);

  /// The compiled form; internal to the floor.
  struct Program;
  explicit Grammar(std::unique_ptr<const Program> program);
  ~Grammar();
  const Program& program() const { return *program_; }

 private:
  std::unique_ptr<const Program> program_;
};

/// The vocabulary as a matcher walks it: built once a model.
class GrammarVocabulary {
 public:
  /// pieces[id]: the bytes that token `id` adds to a text (empty: never allowed); ends: the tokens that end a text. A
  /// generation that keeps the text of control tokens needs a vocabulary in which their pieces are that text. The pieces are
  /// copied. Takes about as long as sorting them.
  GrammarVocabulary(const std::vector<std::string_view>& pieces, std::vector<int32_t> ends);
  ~GrammarVocabulary();

  struct Trie;
  const Trie& trie() const { return *trie_; }
  std::span<const int32_t> ends() const { return ends_; }

 private:
  std::unique_ptr<const Trie> trie_;
  std::vector<int32_t> ends_;
};

class GrammarMatcher {
 public:
  /// Both outlive the matcher (the grammar by sharing).
  GrammarMatcher(std::shared_ptr<const Grammar> grammar, const GrammarVocabulary& vocabulary);
  ~GrammarMatcher();

  /// Sets the logits of tokens that may not come next to -infinity. One at least stays finite: the ends do where the
  /// vocabulary has no token that goes on, because it lacks a byte.
  void mask(std::span<float> logits);
  /// Does what `mask` takes long for: some of it, and more until `until`. True when all is done; what was not is gone on
  /// with by the next call. A mask of a hostile grammar takes seconds.
  bool prepare(std::chrono::steady_clock::time_point until);
  /// Whether this token may come next; cheaper than `mask` for one.
  bool allows(int32_t token) const;
  /// The token that came. REQUIRES: allows(token).
  void accept(int32_t token);
  /// The text may end here.
  bool may_end() const;
  /// The text is complete: nothing but the end may come.
  bool must_end() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fathom::infer
