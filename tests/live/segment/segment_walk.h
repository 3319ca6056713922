// Reads everything that a segment offers: what must not crash whatever the file's bytes are.
#pragma once

#include <algorithm>
#include <string>

#include "base/error.h"
#include "live/segment/segment.h"

namespace fathom::live::testing {

/// A number that depends on all that was read, so that none of it is left out. Posts that cannot be read are passed over.
inline uint64_t walk_documents(const Segment& segment) {
  uint64_t sum = segment.posts() + segment.words() + segment.end(segment.last_sequence());
  for (uint32_t number = 1; number <= std::min<uint32_t>(segment.documents(), 2000); ++number) {
    const DocumentFacts facts = segment.facts(number);
    sum += static_cast<uint64_t>(facts.created) + facts.likes + facts.source + facts.lang;
    sum += segment.rank_facts(number).length + segment.sequence(number) + segment.sketch(number);
    sum += segment.bounds(number >> kBlockBits).engagement + segment.posts_of(facts.source);
    try {
      const std::string key = segment.key(number);
      sum +=
          segment.find_key(key_hash(key), key) + segment.record(number).size() + segment.text(number).size();
    } catch (const Error&) {
    }
  }
  return sum;
}

inline uint64_t walk_terms(const Segment& segment) {
  uint64_t sum = 0;
  size_t walked = 0;
  std::string last;
  for (TermWalk terms = segment.walk_terms(); !terms.done() && walked < 20'000; terms.next()) {
    SealedCursor cursor = segment.cursor(terms.term(), segment.documents() + 1);
    SealedPositions positions;
    uint32_t above = segment.documents() + 1;
    for (uint32_t document = cursor.document(); document != 0; document = cursor.seek(document - 1)) {
      FATHOM_CHECK(document < above, "a cursor falls");
      above = document;
      sum += cursor.frequency() + cursor.block(document).lowest + segment.facts(document).length;
      for (const uint32_t place : positions.places(cursor)) sum += place;
      ++walked;
    }
    ++walked;
    Phrase phrase;
    phrase.terms = {{0, last}, {1, terms.name()}};
    sum += segment.has_phrase(std::max<uint32_t>(segment.documents(), 1), phrase) ? 1 : 0;
    sum += segment.term(terms.name()).count();
    last = terms.name();
  }
  return sum;
}

}  // namespace fathom::live::testing
