// Neighbouring segments become one. See segment.h.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "live/segment/segment.h"
#include "live/segment/writer.h"

namespace fathom::live {
namespace {

constexpr uint32_t kStopInterval = 4096;  // documents or terms between looks at the stop token

void stop_if_asked(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "merging was stopped");
}

/// One of the segments, with what its numbers become.
struct Part {
  explicit Part(const Segment& segment)
      : from(segment), kept(size_t{segment.documents()} + 1), terms(segment.walk_terms()) {}

  [[noreturn]] void corrupt(std::string_view why) const {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("segment '{}': {}; restore the file or remove it", from.path().string(), why));
  }

  const Segment& from;
  std::vector<uint32_t> kept;  // number in the new segment; 0: left out
  std::vector<uint16_t> sources, langs;
  TermWalk terms;
};

class Merger {
 public:
  Merger(std::span<const std::shared_ptr<Segment>> segments, uint64_t sequence, Time forget_before,
         const std::filesystem::path& path, const std::stop_token& stop)
      : sequence_(sequence),
        forget_before_(forget_before.time_since_epoch().count()),
        stop_(stop),
        writer_(path) {
    parts_.reserve(segments.size());
    for (const auto& segment : segments) {
      segment->verify();  // damage is not handed on
      parts_.emplace_back(*segment);
    }
  }

  void run() {
    uint64_t documents = 0;
    for (const Part& part : parts_) documents += part.from.documents();
    for (const Part& part : parts_) learn(part, sample_stride(documents));
    for (Part& part : parts_) take_documents(part);
    writer_.begin_terms();
    for (uint32_t walked = 0; take_next_term();)
      if (++walked % kStopInterval == 0) stop_if_asked(stop_);
    writer_.finish(sources_, langs_, parts_.front().from.first_sequence(),
                   parts_.back().from.last_sequence());
  }

 private:
  void learn(const Part& part, uint32_t stride) {
    std::vector<Post> group;
    for (uint64_t first = 1; first <= part.from.documents(); first += stride) {
      group.clear();
      const uint64_t end = std::min<uint64_t>(first + kRecordsPerBlock, part.from.documents() + uint64_t{1});
      for (auto number = static_cast<uint32_t>(first); number < end; ++number)
        if (part.from.alive(number, sequence_)) group.push_back(part.from.post_as_it_came(number));
      writer_.learn(group);
    }
  }

  void take_documents(Part& part) {
    for (size_t i = 0; i < part.from.sources().size(); ++i)
      part.sources.push_back(sources_.intern(part.from.sources().name(i)));
    for (size_t i = 0; i < part.from.langs().size(); ++i)
      part.langs.push_back(langs_.intern(part.from.langs().name(i)));
    const auto named = [](const std::vector<uint16_t>& names, uint16_t number) {
      return number < names.size() ? names[number] : Names::kOther;
    };
    for (uint32_t number = 1; number <= part.from.documents(); ++number) {
      if (number % kStopInterval == 0) stop_if_asked(stop_);
      if (!part.from.alive(number, sequence_)) continue;
      DocumentFacts facts = part.from.facts(number);
      const bool tombstone = (facts.flags & DocumentFacts::kTombstone) != 0;
      if (tombstone && facts.created < forget_before_) continue;
      facts.source = named(part.sources, facts.source);
      facts.lang = named(part.langs, facts.lang);
      Post post = part.from.post_as_it_came(number);
      const CountChange counts = part.from.counts(number);
      writer_.add_document(facts, part.from.sequence(number), part.from.sketch(number), post, counts);
      part.kept[number] = writer_.documents();
    }
  }

  /// The least of the names that the parts are at; false when all are done.
  bool take_next_term() {
    const std::string* least = nullptr;
    for (const Part& part : parts_)
      if (!part.terms.done() && (least == nullptr || part.terms.name() < *least)) least = &part.terms.name();
    if (least == nullptr) return false;
    name_ = *least;
    for (size_t i = parts_.size(); i-- > 0;) {  // the newest postings first
      Part& part = parts_[i];
      if (part.terms.done() || part.terms.name() != name_) continue;
      take_postings(part);
      part.terms.next();
      if (!part.terms.done() && part.terms.name() <= name_) part.corrupt("its terms are not in order");
    }
    writer_.end_term(name_);
    return true;
  }

  void take_postings(Part& part) {
    SealedCursor cursor = part.from.cursor(part.terms.term(), part.from.documents() + 1);
    SealedPositions positions;
    for (uint32_t document = cursor.document(); document != 0; document = cursor.seek(document - 1)) {
      const std::span<const uint32_t> values = positions.values(cursor);
      const uint32_t frequency = cursor.frequency();
      if (values.empty() || frequency > kMaxCountedFrequency ||
          values.size() != (frequency == kMaxCountedFrequency ? size_t{values[0]} + 1 : frequency))
        part.corrupt("its places do not fit its postings");
      if (part.kept[document] != 0) writer_.postings().add(part.kept[document], frequency, values);
    }
  }

  const uint64_t sequence_;
  const int64_t forget_before_;
  const std::stop_token& stop_;
  SegmentWriter writer_;
  std::vector<Part> parts_;
  Names sources_, langs_;
  std::string name_;
};

}  // namespace

void merge(std::span<const std::shared_ptr<Segment>> segments, uint64_t sequence, Time forget_before,
           const std::filesystem::path& path, const std::stop_token& stop) {
  FATHOM_CHECK(!segments.empty());
  Merger(segments, sequence, forget_before, path, stop).run();
}

}  // namespace fathom::live
