#include "live/segment/segment.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "live/codec.h"

namespace fathom::live {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr uint64_t kChangesMagic = 0x31474E4843544146;  // "FATCHNG1"

/// In front of encoded changes; their XXH64 follows them.
struct ChangesHead {
  uint64_t magic = kChangesMagic;
  uint64_t records = 0;  // checksum of the segment's records: changes belong to one segment
  uint64_t documents = 0;
};

}  // namespace

std::shared_ptr<Segment> Segment::open(const std::filesystem::path& path) {
  return std::shared_ptr<Segment>(std::make_unique<Segment>(Private(), path));
}

Segment::~Segment() = default;

Segment::Segment(Private, const std::filesystem::path& path)
    : file_(path),
      summary_(read_summary(file_)),
      columns_(file_, summary_.documents),
      keys_(file_, summary_.documents),
      lists_(file_.section(SectionKind::kPostings), file_.section(SectionKind::kPositions), columns_.ranks(),
             summary_.documents),
      terms_(file_, summary_.terms, lists_),
      changes_(summary_.documents),
      posts_(summary_.posts),
      words_(summary_.words) {
  records_.open(file_, columns_, summary_.documents);
  read_bounds();
  read_names();
  file_.check(SectionKind::kCounts);
  const Bytes counts = file_.section(SectionKind::kCounts);
  DecodedChanges known;
  if (!decode_changes({reinterpret_cast<const char*>(counts.data()), counts.size()}, summary_.documents,
                      known))
    file_.corrupt(SectionKind::kCounts, "it cannot be read");
  for (const auto& counted : known.counts) {
    const DocumentFacts facts = columns_.facts(counted.number);  // written with these counts in
    changes_.set_counts(counted.number, counted.sums, facts.likes, facts.engagement);
  }
}

SegmentSummary Segment::read_summary(const SegmentFile& file) {
  file.check(SectionKind::kSummary);
  const Bytes bytes = file.section(SectionKind::kSummary);
  if (bytes.size() != sizeof(SegmentSummary)) file.corrupt(SectionKind::kSummary, "its size is wrong");
  const auto summary = load<SegmentSummary>(bytes.data());
  if (summary.documents >= uint32_t{1} << kMaxDocumentBits)
    file.corrupt(SectionKind::kSummary, "it counts more documents than a segment takes");
  return summary;
}

void Segment::read_bounds() {
  bounds_ = std::make_unique<TimeBounds[]>(columns_.blocks());
  int64_t newest = std::numeric_limits<int64_t>::min();
  for (uint32_t i = 0; i < columns_.blocks(); ++i) {
    const ColumnBlock& block = columns_.block(i);
    bounds_[i].oldest.store(block.oldest, kRelaxed);
    bounds_[i].newest.store(block.newest, kRelaxed);
    bounds_[i].engagement.store(block.engagement, kRelaxed);
    bounds_[i].author.store(block.author, kRelaxed);
    bounds_[i].newest_before = newest;
    newest = std::max(newest, block.newest);
  }
}

void Segment::read_names() {
  file_.check(SectionKind::kNames);
  ByteReader in(file_.section(SectionKind::kNames));
  const uint64_t sources = std::min<uint64_t>(in.varint(), Names::kOther);
  by_source_ = std::make_unique<std::atomic<uint64_t>[]>(size_t{Names::kOther} + 1);
  for (uint64_t i = 0; i < sources && in.ok(); ++i) {
    sources_.intern(in.string(in.varint()));
    by_source_[i].store(in.varint(), kRelaxed);
  }
  const uint64_t langs = std::min<uint64_t>(in.varint(), Names::kOther);
  for (uint64_t i = 0; i < langs && in.ok(); ++i) langs_.intern(in.string(in.varint()));
  if (!in.ok() || sources_.size() != sources || langs_.size() != langs)
    file_.corrupt(SectionKind::kNames, "it cannot be read");
}

uint64_t Segment::posts_of(size_t source) const {
  return source <= Names::kOther ? by_source_[source].load(kRelaxed) : 0;
}

Post Segment::post(uint32_t number) const {
  Post post = records_.post(number);
  count_in(post.metrics, changes_.counts(number));
  return post;
}

std::string Segment::record(uint32_t number) const { return encode_record(post_as_it_came(number)); }

bool Segment::has_phrase(uint32_t number, const Phrase& wanted) const {
  return phrase(wanted, number + 1).has(number);
}

Segment::PhraseCursor Segment::phrase(const Phrase& phrase, uint32_t end) const {
  PhraseCursor found;
  for (const auto& [offset, name] : phrase.terms) {
    const Term known = term(name);
    if (!known) return {};
    found.parts_.push_back({cursor(known, end), SealedPositions(), offset});
  }
  return found;
}

bool Segment::PhraseCursor::has(uint32_t document) {
  if (parts_.empty()) return false;
  for (auto& part : parts_)
    if (document == 0 || part.cursor.seek(document) != document) return false;
  for (auto& part : parts_) part.positions.places(part.cursor);
  const Part& first = parts_.front();
  for (const uint32_t place : first.positions.last()) {
    const uint32_t start = place - first.offset;
    const bool all = std::all_of(parts_.begin() + 1, parts_.end(), [&](const Part& part) {
      const auto& places = part.positions.last();
      return std::binary_search(places.begin(), places.end(), start + part.offset);
    });
    if (all) return true;
  }
  return false;
}

uint32_t Segment::find_key(uint64_t key_hash, std::string_view key) const {
  uint32_t newest = 0;
  keys_.find(key_hash, [&](uint32_t number) {
    if (number <= newest) return;
    try {
      if (records_.key(number) == key) newest = number;
    } catch (const Error&) {  // its block is damaged: the post cannot be read any more, so it is not there
    }
  });
  return newest;
}

void Segment::verify() const { file_.check_all(); }

void Segment::bury(uint32_t number, uint64_t sequence) {
  if (!changes_.bury(number, sequence)) return;
  const DocumentFacts facts = columns_.facts(number);
  if ((facts.flags & DocumentFacts::kTombstone) != 0) return;
  posts_.fetch_sub(1, kRelaxed);
  words_.fetch_sub(facts.length, kRelaxed);
  if (facts.source < sources_.size()) by_source_[facts.source].fetch_sub(1, kRelaxed);
}

void Segment::add_counts(uint32_t number, const CountChange& change) {
  CountChange sums = changes_.counts(number);
  sums.likes += change.likes;
  sums.reposts += change.reposts;
  sums.replies += change.replies;
  set_counts(number, sums);
}

void Segment::set_counts(uint32_t number, const CountChange& sums) {
  DocumentFacts facts;
  try {
    count_in(records_.post(number).metrics, sums, facts);
  } catch (const Error&) {
    return;  // its block is damaged: the post cannot be read any more
  }
  std::atomic<uint8_t>& most = bounds_[number >> kBlockBits].engagement;
  if (facts.engagement > most.load(kRelaxed))
    most.store(facts.engagement, kRelaxed);  // before a reader can meet it
  changes_.set_counts(number, sums, facts.likes, facts.engagement);
}

void Segment::write_changes(const std::filesystem::path& path) const {
  ChangesHead head;
  head.records = file_.checksum(SectionKind::kRecords);
  head.documents = documents();
  std::string out;
  store(out, head);
  out += changes_.encode();
  store(out, checksum64(out));
  write_file_atomic(path, out);
}

void Segment::read_changes(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  const auto corrupt = [&](std::string_view why) {
    throw Error(
        ErrorCode::kCorrupt,
        fmt::format("changes '{}' cannot be used: {}; restore the file or remove it", path.string(), why));
  };
  if (bytes.size() < sizeof(ChangesHead) + sizeof(uint64_t)) corrupt("it is too short");
  const std::string_view content = std::string_view(bytes).substr(0, bytes.size() - sizeof(uint64_t));
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  if (load<uint64_t>(data + content.size()) != checksum64(content)) corrupt("its checksum differs");
  const auto head = load<ChangesHead>(data);
  if (head.magic != kChangesMagic) corrupt("it does not begin as changes do");
  if (head.records != file_.checksum(SectionKind::kRecords) || head.documents != documents())
    corrupt("it belongs to another segment");
  DecodedChanges changes;
  if (!decode_changes(content.substr(sizeof(ChangesHead)), documents(), changes)) corrupt("it ends early");
  for (const auto& counted : changes.counts) set_counts(counted.number, counted.sums);
  for (const auto& death : changes.deaths) bury(death.number, death.sequence);
}

}  // namespace fathom::live
