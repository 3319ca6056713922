// An index in memory becomes a segment file. See segment.h.
#include <algorithm>
#include <cstring>
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
constexpr size_t kAhead =
    8;  // terms whose names are asked for before their turn, and their lists at twice the distance

void stop_if_asked(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "sealing was stopped");
}

/// A term by its number, with eight of its bytes as a number that compares as they do.
struct Named {
  uint64_t bytes = 0;
  uint32_t left = 0;  // bytes from these on, cut at 9
  uint32_t number = 0;
  bool operator<(const Named& other) const {
    return bytes != other.bytes ? bytes < other.bytes : left < other.left;
  }
};

constexpr size_t kStep = sizeof(Named::bytes);

/// Sorts terms that are equal in the `known` bytes before.
void sort_terms(const Index& index, std::span<Named> terms, size_t known) {
  for (Named& term : terms) {
    const std::string_view rest = index.term_at(term.number).text().substr(known);
    term.bytes = 0;
    std::memcpy(&term.bytes, rest.data(), std::min(rest.size(), kStep));
    term.bytes = __builtin_bswap64(term.bytes);
    term.left = static_cast<uint32_t>(std::min(rest.size(), kStep + 1));
  }
  std::sort(terms.begin(), terms.end());
  for (size_t begin = 0; begin < terms.size();) {
    size_t end = begin + 1;
    while (end < terms.size() && terms[end].bytes == terms[begin].bytes &&
           terms[end].left == terms[begin].left)
      ++end;
    if (end - begin > 1) sort_terms(index, terms.subspan(begin, end - begin), known + kStep);
    begin = end;
  }
}

/// The terms in the order of their bytes.
std::vector<Named> sorted_terms(const Index& index) {
  std::vector<Named> terms(index.terms());
  for (uint32_t i = 0; i < terms.size(); ++i) terms[i].number = i;
  sort_terms(index, terms, 0);
  return terms;
}

/// The lists of the terms to come, then their names: a walk in order of names meets them anywhere.
void ask_for(const Index& index, const PlaceTable& places, std::span<const Named> terms, size_t at) {
  if (at + 2 * kAhead >= terms.size()) return;
  index.prefetch_term(terms[at + 2 * kAhead].number);
  places.prefetch(terms[at + 2 * kAhead].number);
  __builtin_prefetch(index.term_at(terms[at + kAhead].number).text().data());
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
  PlaceTable places(index);
  const uint32_t documents = index.documents();
  std::vector<uint32_t> kept(size_t{documents} + 1);  // its number in the segment; 0: left out
  for (uint32_t number = 1; number <= documents; ++number) {
    if (number % kStopInterval == 0) stop_if_asked(stop);
    if (!index.alive(number, sequence)) continue;
    Post post = decode_record(index.record(number));
    DocumentFacts facts = index.facts(number);
    const CountChange counts = index.counts(number);
    count_in(post.metrics, counts, facts);
    if ((facts.flags & DocumentFacts::kTombstone) == 0) places.add(number, post.text);
    writer.add_document(facts, index.sequence(number), index.sketch(number), post, counts);
    kept[number] = writer.documents();
  }
  writer.begin_terms();
  std::vector<uint32_t> values;
  const std::vector<Named> terms = sorted_terms(index);
  for (size_t i = 0; i < terms.size(); ++i) {
    if (i % kStopInterval == 0) stop_if_asked(stop);
    ask_for(index, places, terms, i);
    const uint32_t number = terms[i].number;
    const Index::Term term = index.term_at(number);
    Index::Cursor cursor = index.cursor(term, documents + 1);
    for (uint32_t document = cursor.document(); document != 0; document = cursor.seek(document - 1)) {
      if (kept[document] == 0) continue;
      places.take(number, document, cursor.frequency(), values);
      writer.postings().add(kept[document], cursor.frequency(), values);
    }
    writer.end_term(term.text());
  }
  writer.finish(index.sources(), index.langs(), index.first_sequence(), index.last_sequence());
}

}  // namespace fathom::live
