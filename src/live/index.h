// The live index: an in-memory inverted index over posts in arrival order, searchable the moment they are published.
//
// One writer (`add`, `bury`, `publish`: one thread at a time), any number of readers, no locks between them. A document is a
// number from 1 up in arrival order; postings are lists of documents, walked from the newest back, as in Earlybird (Busch
// et al., ICDE 2012). Readers take a Snapshot, one acquire load of the published end, and see exactly the documents below
// it that were alive then: a document that is replaced or deleted carries the end from which on it is dead, so a reader
// sees the old version or the new one, never both and never none.
//
// Memory is not reclaimed before the index is destroyed; `dead()` tells how much of it is worth a rebuild.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/concurrent.h"
#include "live/names.h"
#include "live/post.h"
#include "live/posting.h"

namespace fathom::live {

struct PreparedTerm {
  uint64_t hash = 0;
  uint32_t begin = 0;  // in PreparedPost::bytes
  uint16_t size = 0;
  uint16_t frequency = 0;
};

/// A post ready to be indexed: all that can be computed before its number is known, on the caller's thread.
struct PreparedPost {
  std::string record;  // codec.h; of a tombstone: that of a post without text
  std::string bytes;   // the terms
  std::vector<PreparedTerm> terms;
  std::string source, lang;
  Time created{};
  uint64_t key_hash = 0;
  uint64_t sketch = 0;  // of the text, fold.h
  float engagement = 0;
  uint32_t likes = 0;
  uint16_t length = 0;
  uint8_t flags = 0;
  bool deleted = false;
};

/// What a document is, one cache line.
struct Document {
  static constexpr uint32_t kAlive = std::numeric_limits<uint32_t>::max();
  static constexpr uint8_t kTombstone = 1, kHasLink = 2, kRepost = 4, kFiction = 8;

  const char* record = nullptr;
  uint64_t sequence = 0;
  int64_t created = 0;  // microseconds; of a tombstone: the time of the order
  uint64_t sketch = 0;
  uint32_t record_size = 0;
  float engagement = 0;   // ln(1 + likes + reposts + replies)
  uint32_t likes = 0;     // saturated
  uint32_t previous = 0;  // the document that this one replaced, 0 if none
  std::atomic<uint32_t> dead_from{kAlive};
  uint16_t length = 0;  // words
  uint16_t source = 0, lang = 0;
  uint8_t flags = 0;

  std::string_view bytes() const { return {record, record_size}; }
};

/// Bounds over 1024 neighbouring documents.
struct DocumentBlock {
  static constexpr uint32_t kBits = 10;
  std::atomic<int64_t> oldest{std::numeric_limits<int64_t>::max()};
  std::atomic<int64_t> newest{std::numeric_limits<int64_t>::min()};
  std::atomic<float> engagement{0};
  int64_t newest_before = std::numeric_limits<int64_t>::min();  // over all earlier blocks
};

class Index {
 public:
  static constexpr uint32_t kMaxDocuments = (uint32_t{1} << (32 - kFrequencyBits)) - 1;

  Index();

  PreparedPost prepare(const Post& post) const;

  // Writer

  /// The newest document of a key as the writer sees it, published or not; 0 if there is none.
  uint32_t latest(uint64_t key_hash, std::string_view key) const;
  /// Adds a post, replacing any of its key. The caller has made sure that there is room.
  void add(const PreparedPost& post, uint64_t sequence);
  /// Adds an order to delete, for a key known or not.
  void bury(std::string_view key, uint64_t key_hash, Time time, uint64_t sequence);
  void publish();
  bool has_room(size_t posts) const { return posts < kMaxDocuments - next_; }
  void prefetch(const PreparedPost& post) const;

  // Readers

  struct Snapshot {
    uint32_t end = 1;  // documents 1..end-1 are published
    double posts = 0;
    double mean_length = 1;
  };
  Snapshot snapshot() const;

  const Document& document(uint32_t number) const { return documents_[number]; }
  bool alive(const Document& document, const Snapshot& snapshot) const {
    return document.dead_from.load(std::memory_order_relaxed) > snapshot.end;
  }
  const DocumentBlock& block(uint32_t number) const { return blocks_[number]; }
  const PostingList* find_term(std::string_view term) const;
  uint32_t find_key(std::string_view key, const Snapshot& snapshot) const;
  /// The first document whose sequence is above `sequence`.
  uint32_t first_after(uint64_t sequence, const Snapshot& snapshot) const;

  const Names& sources() const { return sources_; }
  const Names& langs() const { return langs_; }
  uint64_t posts_of(size_t source) const { return by_source_[source].load(std::memory_order_relaxed); }
  uint64_t posts() const { return posts_.load(std::memory_order_relaxed); }
  uint64_t dead() const;
  uint64_t terms() const { return term_count_.load(std::memory_order_relaxed); }
  uint64_t bytes() const;
  uint64_t hash(std::string_view bytes) const { return hash_bytes(bytes, seed_); }

 private:
  Document& append(std::string_view record, std::string_view key, uint64_t key_hash, uint64_t sequence);
  PostingList& list_of(std::string_view term, uint64_t hash);
  void widen_block(uint32_t number, const Document& document);
  void count(const Document& document, int64_t change);

  const uint64_t seed_;
  Arena arena_;
  ChunkedArray<Document, 4096, 32768> documents_;
  ChunkedArray<DocumentBlock, 256, 512> blocks_;
  ChunkedArray<PostingList, 8192, 16384> lists_;
  HashIndex terms_, keys_;
  Names sources_, langs_;
  ChunkedArray<std::atomic<uint64_t>, 256, 256> by_source_;
  std::vector<uint32_t> dying_;  // writer: dead from the next publication on
  uint32_t next_ = 1;            // writer: number of the next document
  uint32_t next_list_ = 1;
  int64_t newest_ = std::numeric_limits<int64_t>::min();
  std::atomic<uint32_t> end_{1};
  std::atomic<uint64_t> posts_{0}, words_{0}, term_count_{0};
};

}  // namespace fathom::live
