// Covers Grammar::json_schema and the matcher: the input is a schema; what its grammar allows is walked along, and must be
// JSON where it ends.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "infer/grammar.h"

namespace {

using fathom::infer::Grammar;
using fathom::infer::GrammarMatcher;
using fathom::infer::GrammarVocabulary;

const std::vector<std::string>& pieces() {
  static const std::vector<std::string> out = [] {
    std::vector<std::string> p;
    for (int i = 0; i < 256; ++i) p.emplace_back(1, static_cast<char>(i));
    for (const char* s : {"\",", "\": ", "{\"", "\"}", "]}", "12", "abc",
                          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "true", "\\u"})
      p.emplace_back(s);
    p.emplace_back();
    return p;
  }();
  return out;
}

void walk(const std::shared_ptr<const Grammar>& grammar, uint64_t seed) {
  const auto end = static_cast<int32_t>(pieces().size() - 1);
  static const GrammarVocabulary vocabulary(std::vector<std::string_view>(pieces().begin(), pieces().end()),
                                            {end});
  fathom::Random random(seed);
  GrammarMatcher matcher(grammar, vocabulary);
  std::string text;
  std::vector<float> logits(pieces().size());
  for (int step = 0; step < 100 && !matcher.must_end(); ++step) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    matcher.mask(logits);
    std::vector<int32_t> allowed;
    for (int32_t t = 0; t <= end; ++t) {
      const bool good = std::isfinite(logits[static_cast<size_t>(t)]);
      if (good != matcher.allows(t)) std::abort();  // mask and allows must agree
      if (good) allowed.push_back(t);
    }
    if (allowed.empty()) std::abort();  // every position can be completed
    int32_t token = allowed[random.below(allowed.size())];
    for (const char c : std::string_view("\"]}0"))
      if (step > 30 && matcher.allows(c)) token = c;
    if (token == end) break;
    text += pieces()[static_cast<size_t>(token)];
    matcher.accept(token);
  }
  if (matcher.may_end() && !nlohmann::json::accept(text)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto schema = nlohmann::ordered_json::parse(data, data + size, nullptr, /*allow_exceptions=*/false);
  if (schema.is_discarded()) return 0;
  try {
    const auto grammar = Grammar::json_schema(schema);
    for (uint64_t seed = 0; seed < 2; ++seed) walk(grammar, seed);
  } catch (const fathom::Error& error) {  // any other exception is a finding
    if (error.code() == fathom::ErrorCode::kInternal) std::abort();
  }
  return 0;
}
