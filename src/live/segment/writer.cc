#include "live/segment/writer.h"

#include <algorithm>
#include <limits>

#include "live/segment/keys.h"
#include "live/segment/segment.h"

namespace fathom::live {

SegmentWriter::SegmentWriter(const std::filesystem::path& path)
    : file_(path),
      rows_(path),
      sketches_(path),
      positions_(path),
      columns_(rows_, sketches_),
      records_(file_),
      terms_(path) {
  summary_.oldest = std::numeric_limits<int64_t>::max();
  summary_.newest = std::numeric_limits<int64_t>::min();
  file_.begin(SectionKind::kRecords);
}

void SegmentWriter::add_document(const DocumentFacts& facts, uint64_t sequence, uint64_t sketch,
                                 const Post& post, const CountChange& counts) {
  columns_.add(facts, sequence, sketch);
  key_hashes_.push_back(key_hash(post.key()));
  if (counts.likes != 0 || counts.reposts != 0 || counts.replies != 0)
    counts_.counts.push_back({documents(), counts});
  records_.add(post, facts.created);
  summary_.oldest = std::min(summary_.oldest, facts.created);
  summary_.newest = std::max(summary_.newest, facts.created);
  if ((facts.flags & DocumentFacts::kTombstone) != 0) return;
  ++summary_.posts;
  summary_.words += facts.length;
  if (facts.source >= posts_of_.size()) posts_of_.resize(size_t{facts.source} + 1);
  ++posts_of_[facts.source];
}

void SegmentWriter::begin_terms() {
  summary_.documents = documents();
  records_.finish();
  columns_.finish(file_);
  file_.add(SectionKind::kKeys, build_key_table(key_hashes_));
  std::vector<uint64_t>().swap(key_hashes_);
  file_.add(SectionKind::kCounts, encode_changes(counts_));
  file_.begin(SectionKind::kPostings);
  postings_.emplace(file_, positions_, columns_.ranks());
}

void SegmentWriter::end_term(std::string_view name) {
  if (postings_->count() > 0) terms_.add(name, postings_->finish());
}

void SegmentWriter::finish(const Names& sources, const Names& langs, uint64_t first_sequence,
                           uint64_t last_sequence) {
  file_.end();
  file_.add(SectionKind::kPositions, positions_);
  terms_.finish(file_);
  write_names(sources, langs);
  summary_.terms = terms_.count();
  summary_.first_sequence = first_sequence;
  summary_.last_sequence = last_sequence;
  if (summary_.documents == 0) summary_.oldest = summary_.newest = 0;
  file_.add(SectionKind::kSummary, {reinterpret_cast<const char*>(&summary_), sizeof summary_});
  file_.finish();
}

/// Number of names, then of each its size, bytes and, for a source, how many posts it has.
void SegmentWriter::write_names(const Names& sources, const Names& langs) {
  std::string out;
  posts_of_.resize(std::max(posts_of_.size(), sources.size()));
  put_varint(out, sources.size());
  for (size_t i = 0; i < sources.size(); ++i) {
    put_varint(out, sources.name(i).size());
    out += sources.name(i);
    put_varint(out, posts_of_[i]);
  }
  put_varint(out, langs.size());
  for (size_t i = 0; i < langs.size(); ++i) {
    put_varint(out, langs.name(i).size());
    out += langs.name(i);
  }
  file_.add(SectionKind::kNames, out);
}

}  // namespace fathom::live
