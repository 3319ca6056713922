// Covers live/query.h, live/analysis.h and live/duplicates.h: any bytes as a query and as a text. The first line is the query.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "live/analysis.h"
#include "live/duplicates.h"
#include "live/query.h"

namespace {

void check_terms(std::string_view text) {
  for (const auto& term : fathom::live::analyze(text)) {
    if (term.begin > term.end || term.end > text.size() || term.term.empty()) std::abort();
    if (term.term.size() > fathom::live::kMaxTermBytes || !fathom::is_valid_utf8(term.term)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view text = input.substr(std::min(input.find('\n'), input.size()));
  fathom::live::Query query;
  query.text = input.substr(0, input.find('\n'));
  try {
    const auto parsed = fathom::live::parse_query(query);
    const fathom::live::PhraseMatcher matcher(text);
    for (const auto& phrase : parsed.phrases) (void)matcher.has(phrase);
    for (const auto& phrase : parsed.excluded_phrases) (void)matcher.has(phrase);
  } catch (const fathom::Error& error) {
    if (error.code() != fathom::ErrorCode::kInvalidArgument) std::abort();
  }
  check_terms(text);
  const fathom::live::Statement statement(text);
  (void)statement.same_as(fathom::live::Statement(query.text));
  return 0;
}
