// A sealed segment: posts that no longer change, compressed in one file and searched through its memory map.
//
// What search needs of a segment, and what Index (in memory) and Segment (sealed) both offer under the same names, so that
// live/search.cc is one template over both:
//   Term term(std::string_view) const              what the segment knows of a term; falsy when it does not
//     Term: count() documents (dead ones included), max_frequency(), min_length(): bounds over all postings
//   Cursor cursor(const Term&, uint32_t end) const  at the newest document below `end`; see below
//   uint32_t end(uint64_t sequence) const          documents 1..end-1 have sequences at or below `sequence`
//   DocumentFacts facts(uint32_t) const             the columns that ranking and filters read
//   RankFacts rank_facts(uint32_t) const            four of them, read for every candidate: one load of 4 bytes
//   bool alive(uint32_t, uint64_t sequence) const   not ended at or before `sequence`
//   const TimeBounds& bounds(uint32_t block) const  over 1024 neighbouring documents: block = number >> kBlockBits
//   Post post(uint32_t) const, std::string text(uint32_t) const, std::string_view/std::string key(uint32_t) const
//   uint64_t sketch(uint32_t) const, uint64_t sequence(uint32_t) const
//   bool has_phrase(uint32_t, const Phrase&) const  by positions (sealed) or by the text (in memory); same result
//   const Names& sources() const, langs() const     small numbers of the columns, of this segment
// Documents are numbered from 1 in arrival order; 0 stands for none. A Cursor walks from the newest back:
//   uint32_t seek(uint32_t document)   to the newest posting not above `document`, 0 at the end; never forward
//   uint32_t document() const, frequency() const
//   BlockBound block(uint32_t document)   of the block of postings that holds seek(document), without decoding it: bounds on
//                                   frequency and length, and the lowest document it reaches (block-max, Ding and Suel 2011)
// Frequencies are cut at 31 and lengths at 255, in both kinds, so that sealing never changes a score.
//
// File (little-endian, sections aligned to 8, each with its XXH64 in the table at the end; checked at open for the small ones,
// lazily by `verify` for postings and text): terms (sorted, front-coded blocks with an index over them), postings (newest
// first, blocks of 128: deltas and frequencies bit-packed, block-max entries apart, short lists inline in the term's entry),
// positions (apart, touched by phrases only), columns (frame-of-reference per 1024), keys (hash table of fingerprint and
// number: one cache line a look-up), records (in codes that the segment learnt from a sample, blocks of 32).
//
// Ownership: owns its map. Thread safety: everything const may be called from any thread while one writer calls `bury` and
// `add_counts`.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "live/facts.h"
#include "live/names.h"
#include "live/post.h"
#include "live/query.h"
#include "live/segment/changes.h"
#include "live/segment/columns.h"
#include "live/segment/keys.h"
#include "live/segment/postings.h"
#include "live/segment/records.h"
#include "live/segment/terms.h"

namespace fathom::live {

class Index;

class Segment {
  struct Private {};

 public:
  using Term = SealedTerm;
  using Cursor = SealedCursor;
  class PhraseCursor;

  /// Maps the file. Errors: kNotFound, kIo, kCorrupt (names the section), kUnsupported (another layout).
  static std::shared_ptr<Segment> open(const std::filesystem::path& path);
  Segment(Private, const std::filesystem::path& path);  // for `open`
  ~Segment();

  // As the comment at the top says. Reading a post throws kCorrupt when its block is damaged.

  Term term(std::string_view term) const { return terms_.find(term); }
  Cursor cursor(const Term& term, uint32_t end) const { return {lists_, term, end}; }
  uint32_t end(uint64_t sequence) const { return columns_.end(sequence); }
  DocumentFacts facts(uint32_t number) const {
    DocumentFacts facts = columns_.facts(number);
    changes_.apply(number, facts);
    return facts;
  }
  RankFacts rank_facts(uint32_t number) const {
    RankFacts facts = columns_.rank_facts(number);
    changes_.apply(number, facts);
    return facts;
  }
  bool alive(uint32_t number, uint64_t sequence) const {
    const uint64_t death = changes_.death(number);
    return death == 0 || death > sequence;
  }
  const TimeBounds& bounds(uint32_t block) const { return bounds_[block]; }
  Post post(uint32_t number) const;
  std::string text(uint32_t number) const { return records_.text(number); }
  std::string key(uint32_t number) const { return records_.key(number); }
  std::string record(uint32_t number) const;  // as it came (codec.h): counts added later are not in it
  uint64_t sketch(uint32_t number) const { return columns_.sketch(number); }
  uint64_t sequence(uint32_t number) const { return columns_.sequence(number); }
  bool has_phrase(uint32_t number, const Phrase& phrase) const;
  /// The same for falling documents below `end`, without looking the terms up anew.
  PhraseCursor phrase(const Phrase& phrase, uint32_t end) const;
  const Names& sources() const { return sources_; }
  const Names& langs() const { return langs_; }

  uint32_t documents() const { return summary_.documents; }  // numbers 1..documents()
  uint64_t first_sequence() const { return summary_.first_sequence; }
  uint64_t last_sequence() const { return summary_.last_sequence; }
  int64_t newest() const { return summary_.newest; }  // created_at, microseconds: for retention
  int64_t oldest() const { return summary_.oldest; }
  uint64_t posts() const {
    return posts_.load(std::memory_order_relaxed);
  }  // alive now, tombstones not counted
  uint64_t words() const { return words_.load(std::memory_order_relaxed); }  // of those
  uint64_t posts_of(size_t source) const;  // of those, by number in `sources`
  uint64_t terms() const { return summary_.terms; }
  uint64_t bytes() const { return file_.bytes(); }
  const std::filesystem::path& path() const { return file_.path(); }

  /// The newest document of a key, dead or not; 0 if there is none. `prefetch_key` asks for its cache line ahead.
  uint32_t find_key(uint64_t key_hash, std::string_view key) const;
  void prefetch_key(uint64_t key_hash) const { keys_.prefetch(key_hash); }

  // For merging: all terms in order, the sums of the counts that came after a post did, and the post without them.

  TermWalk walk_terms() const { return TermWalk(terms_); }
  CountChange counts(uint32_t number) const { return changes_.counts(number); }
  Post post_as_it_came(uint32_t number) const { return records_.post(number); }

  /// Reads every section and compares its checksum. Errors: kCorrupt (names the section).
  void verify() const;

  // Changes after sealing. Writer only; kept apart from the file, see `write_changes`.

  void bury(uint32_t number, uint64_t sequence);
  void add_counts(uint32_t number, const CountChange& change);
  /// Deaths and counts since sealing, as a file that replaces the last one atomically. Errors: kIo, kResourceExhausted.
  void write_changes(const std::filesystem::path& path) const;
  /// Errors: kCorrupt; then none of it is taken.
  void read_changes(const std::filesystem::path& path);

 private:
  static SegmentSummary read_summary(const SegmentFile& file);
  void read_names();
  void read_bounds();
  void set_counts(uint32_t number, const CountChange& sums);

  SegmentFile file_;
  SegmentSummary summary_;
  SealedColumns columns_;
  KeyTable keys_;
  PostingLists lists_;
  TermDictionary terms_;
  SealedRecords records_;
  SegmentChanges changes_;
  std::unique_ptr<TimeBounds[]> bounds_;
  Names sources_, langs_;
  std::atomic<uint64_t> posts_{0}, words_{0};
  std::unique_ptr<std::atomic<uint64_t>[]> by_source_;
};

/// Whether a phrase stands in documents of one segment, from the newest back.
class Segment::PhraseCursor {
 public:
  /// REQUIRES: `document` not above the last one asked for.
  bool has(uint32_t document);

 private:
  friend class Segment;
  struct Part {
    SealedCursor cursor;
    SealedPositions positions;
    uint32_t offset = 0;
  };
  std::vector<Part> parts_;  // none: a term is not in the segment
};

/// Writes what `index` holds up to its last document to `path` (atomically: whole or not there). Documents dead at
/// `sequence` are left out, tombstones kept. The index may go on being read and buried in, not added to. Key hashes are those
/// of `key_hash` below. Errors: kIo, kResourceExhausted (disk full), kCancelled.
void seal(const Index& index, uint64_t sequence, const std::filesystem::path& path,
          const std::stop_token& stop);

/// The same for neighbouring segments, oldest first, into one. Tombstones older than `forget_before` are dropped.
void merge(std::span<const std::shared_ptr<Segment>> segments, uint64_t sequence, Time forget_before,
           const std::filesystem::path& path, const std::stop_token& stop);

/// The hash of a key everywhere on disk (XXH64, no seed: stable between runs).
uint64_t key_hash(std::string_view key);

}  // namespace fathom::live
