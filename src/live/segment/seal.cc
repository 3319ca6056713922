// An index in memory becomes a segment file. See segment.h.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "live/analysis.h"
#include "live/codec.h"
#include "live/index.h"
#include "live/segment/places.h"
#include "live/segment/segment.h"
#include "live/segment/writer.h"

namespace fathom::live {
namespace {

constexpr uint32_t kStopInterval = 4096;  // documents or terms between looks at the stop token

void stop_if_asked(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "sealing was stopped");
}

/// The numbers of the terms, in the order of their bytes.
std::vector<uint32_t> sorted_terms(const Index& index) {
  struct Named {
    TermHead head;
    uint32_t number = 0;
  };
  std::vector<Named> terms;
  terms.reserve(index.terms());
  for (uint32_t i = 0; i < index.terms(); ++i) terms.push_back({TermHead(index.term_at(i).text()), i});
  std::sort(terms.begin(), terms.end(), [&](const Named& a, const Named& b) {
    if (a.head.bytes != b.head.bytes) return a.head.bytes < b.head.bytes;
    return index.term_at(a.number).text() < index.term_at(b.number).text();
  });
  std::vector<uint32_t> numbers;
  numbers.reserve(terms.size());
  for (const Named& term : terms) numbers.push_back(term.number);
  return numbers;
}

void learn(const Index& index, uint64_t sequence, SegmentWriter& writer) {
  const uint32_t documents = index.documents();
  std::vector<Post> group;
  for (uint64_t first = 1; first <= documents; first += sample_stride(documents)) {
    group.clear();
    for (auto number = static_cast<uint32_t>(first); number <= documents && number < first + kRecordsPerBlock;
         ++number)
      if (index.alive(number, sequence)) group.push_back(decode_record(index.record(number)));
    writer.learn(group);
  }
}

}  // namespace

void seal(const Index& index, uint64_t sequence, const std::filesystem::path& path,
          const std::stop_token& stop) {
  SegmentWriter writer(path);
  learn(index, sequence, writer);
  PlaceTable places;
  const uint32_t documents = index.documents();
  std::vector<uint32_t> kept(size_t{documents} + 1);  // its number in the segment; 0: left out
  for (uint32_t number = 1; number <= documents; ++number) {
    if (number % kStopInterval == 0) stop_if_asked(stop);
    if (!index.alive(number, sequence)) continue;
    Post post = decode_record(index.record(number));
    DocumentFacts facts = index.facts(number);
    const CountChange counts = index.counts(number);
    count_in(post.metrics, counts, facts);
    places.add(post, (facts.flags & DocumentFacts::kTombstone) != 0);
    writer.add_document(facts, index.sequence(number), index.sketch(number), post, counts);
    kept[number] = writer.documents();
  }
  writer.begin_terms();
  std::vector<uint32_t> values;
  uint32_t walked = 0;
  for (const uint32_t number : sorted_terms(index)) {
    if (++walked % kStopInterval == 0) stop_if_asked(stop);
    const Index::Term term = index.term_at(number);
    Index::Cursor cursor = index.cursor(term, documents + 1);
    for (uint32_t document = cursor.document(); document != 0; document = cursor.seek(document - 1)) {
      if (kept[document] == 0) continue;
      places.next(kept[document], cursor.frequency(), values);
      writer.postings().add(kept[document], cursor.frequency(), values);
    }
    writer.end_term(term.text());
  }
  writer.finish(index.sources(), index.langs(), index.first_sequence(), index.last_sequence());
}

}  // namespace fathom::live
