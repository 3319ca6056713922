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
// number: one cache line a look-up), records (zstd with a dictionary of the segment, small blocks). Aim: under 100 bytes a
// post of 14 words, all told.
//
// Ownership: owns its map. Thread safety: everything const may be called from any thread while one writer calls `bury` and
// `add_counts`.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "live/facts.h"
#include "live/names.h"
#include "live/post.h"
#include "live/query.h"

namespace fathom::live {

class Index;

class Segment {
 public:
  class Term;
  class Cursor;

  /// Maps the file. Errors: kNotFound, kIo, kCorrupt (names the section), kUnsupported (a newer version).
  static std::shared_ptr<Segment> open(const std::filesystem::path& path);
  ~Segment();

  // As the comment at the top says.
  Term term(std::string_view term) const;
  Cursor cursor(const Term& term, uint32_t end) const;
  uint32_t end(uint64_t sequence) const;
  DocumentFacts facts(uint32_t number) const;
  RankFacts rank_facts(uint32_t number) const;
  bool alive(uint32_t number, uint64_t sequence) const;
  const TimeBounds& bounds(uint32_t block) const;
  Post post(uint32_t number) const;
  std::string text(uint32_t number) const;
  std::string key(uint32_t number) const;
  std::string record(uint32_t number) const;  // as it came (codec.h): counts added later are not in it
  uint64_t sketch(uint32_t number) const;
  uint64_t sequence(uint32_t number) const;
  bool has_phrase(uint32_t number, const Phrase& phrase) const;
  const Names& sources() const;
  const Names& langs() const;

  uint32_t documents() const;  // numbers 1..documents()
  uint64_t first_sequence() const;
  uint64_t last_sequence() const;
  int64_t newest() const;  // created_at, microseconds: for retention
  int64_t oldest() const;
  uint64_t posts() const;  // alive now, tombstones not counted
  uint64_t words() const;  // of those
  uint64_t posts_of(size_t source) const;  // of those, by number in `sources`
  uint64_t terms() const;
  uint64_t bytes() const;  // of the file
  const std::filesystem::path& path() const;

  /// The newest document of a key, dead or not; 0 if there is none. `prefetch_key` asks for its cache line ahead.
  uint32_t find_key(uint64_t key_hash, std::string_view key) const;
  void prefetch_key(uint64_t key_hash) const;

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
  Segment();
  struct Impl;
  std::unique_ptr<Impl> impl_;
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
