// The active segment: an in-memory inverted index over posts in arrival order, searchable the moment they are published.
//
// One writer (`add`, `bury`, `add_counts`: one thread at a time), any number of readers, no locks between them. A document
// is a number from 1 up in arrival order: its sequence less the index's base. Postings are lists of documents, walked from
// the newest back, as in Earlybird (Busch et al., ICDE 2012). Readers look as of a published sequence and see exactly the
// documents at or below it that had not ended then: one that is replaced or deleted carries the sequence that ended it, so a
// reader sees the old version or the new one, never both and never none.
//
// Offers the names at the top of segment/segment.h. Memory is not reclaimed before the index is destroyed, which is soon
// after it has been sealed to a file.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/concurrent.h"
#include "live/facts.h"
#include "live/names.h"
#include "live/post.h"
#include "live/posting.h"
#include "live/prepare.h"
#include "live/query.h"

namespace fathom::live {

class Index {
 public:
  static constexpr uint32_t kMaxDocuments = (uint32_t{1} << (32 - kFrequencyBits)) - 1;
  static constexpr size_t kUsualDocuments = 1'000'000;
  using Cursor = PostingCursor;

  /// A term's postings; falsy when the index does not have it.
  class Term {
   public:
    Term() = default;
    explicit operator bool() const { return list_ != nullptr; }
    std::string_view text() const { return list_->term(*arena_); }
    uint32_t count() const { return list_ == nullptr ? 0 : list_->count(); }
    uint8_t max_frequency() const { return list_ == nullptr ? 0 : list_->max_frequency(); }
    uint8_t min_length() const { return list_ == nullptr ? 0 : list_->min_length(); }

   private:
    friend class Index;
    Term(const PostingList* list, const Arena* arena) : list_(list), arena_(arena) {}
    const PostingList* list_ = nullptr;
    const Arena* arena_ = nullptr;
  };

  /// Phrases by the text, document by document.
  class PhraseCursor {
   public:
    bool has(uint32_t number) const { return index_->has_phrase(number, *phrase_); }

   private:
    friend class Index;
    PhraseCursor(const Index& index, const Phrase& phrase) : index_(&index), phrase_(&phrase) {}
    const Index* index_;
    const Phrase* phrase_;
  };

  /// Document n has the sequence `base` + n. `expected` documents only choose the sizes of tables.
  explicit Index(uint64_t base = 0, size_t expected = kUsualDocuments);

  // Writer

  /// Adds a post, or the order to delete one, and ends what it replaces here. Sequences passed over become documents that never
  /// lived. REQUIRES: `sequence` above all before it, `has_room`.
  void add(const PreparedPost& post, uint64_t sequence);
  /// The same for many with sequences from `first` on, faster: memory is asked for ahead.
  void add(std::span<const PreparedPost* const> posts, uint64_t first);
  /// Adds an order to delete, for a key known or not.
  void add_tombstone(std::string_view key, uint64_t key_hash, Time time, uint64_t sequence);
  /// Ends a document from `sequence` on, which may be beyond this index.
  void bury(uint32_t number, uint64_t sequence);
  void add_counts(uint32_t number, const CountChange& change);
  bool has_room(size_t posts) const;

  // Memory ahead of the writer

  /// Takes the memory that the writer will want next. Any thread, one at a time, beside the writer and readers.
  void warm();
  /// Takes the memory of the tables and for the first posts. REQUIRES: nothing was added, and nobody else has the index.
  void reserve();
  /// Chooses another base. REQUIRES: the same.
  void begin_above(uint64_t base) { base_ = base; }

  // Any thread; see segment/segment.h

  Term term(std::string_view term) const;
  Cursor cursor(const Term& term, uint32_t end) const { return {term.list_, arena_, end}; }
  uint32_t end(uint64_t sequence) const;
  DocumentFacts facts(uint32_t number) const;
  RankFacts rank_facts(uint32_t number) const {
    return unpack(rank_facts_[number].load(std::memory_order_relaxed));
  }
  uint8_t length(uint32_t number) const { return rank_facts(number).length; }
  bool alive(uint32_t number, uint64_t sequence) const {
    return documents_[number].ended.load(std::memory_order_relaxed) > ending(sequence);
  }
  const TimeBounds& bounds(uint32_t block) const { return blocks_[block]; }
  Post post(uint32_t number) const;
  std::string text(uint32_t number) const;
  std::string key(uint32_t number) const;
  uint64_t sketch(uint32_t number) const { return documents_[number].sketch; }
  uint64_t sequence(uint32_t number) const { return base_ + number; }
  bool has_phrase(uint32_t number, const Phrase& phrase) const;
  /// `phrase` must outlive the cursor.
  PhraseCursor phrase(const Phrase& phrase, uint32_t /*end*/) const { return {*this, phrase}; }
  const Names& sources() const { return sources_; }
  const Names& langs() const { return langs_; }

  /// The post as codec.h wrote it when it came, without later counts: for comparing. Empty for one that never lived.
  std::string record(uint32_t number) const;
  /// The sums of `add_counts`.
  CountChange counts(uint32_t number) const;
  /// The newest document of a key below `end`, dead or not; 0 if there is none.
  uint32_t find_key(uint64_t key_hash, std::string_view key, uint32_t end = kMaxDocuments) const;
  void prefetch_key(uint64_t key_hash) const { keys_.prefetch(key_hash); }

  uint32_t documents() const { return next_.load(std::memory_order_acquire) - 1; }  // numbers 1..documents()
  uint64_t first_sequence() const { return base_ + 1; }
  uint64_t last_sequence() const { return base_ + documents(); }
  uint64_t posts() const { return posts_.load(std::memory_order_relaxed); }  // alive as the writer sees it
  uint64_t words() const { return words_.load(std::memory_order_relaxed); }  // of those
  uint64_t posts_of(size_t source) const { return by_source_[source].load(std::memory_order_relaxed); }
  uint32_t terms() const { return term_count_.load(std::memory_order_acquire); }
  /// In order of first appearance. REQUIRES: `i` below `terms()`.
  Term term_at(uint32_t i) const { return {&lists_[i + 1], &arena_}; }
  void prefetch_term(uint32_t i) const { lists_[i + 1].prefetch(); }
  uint64_t bytes() const;

 private:
  static constexpr uint32_t kAlive = std::numeric_limits<uint32_t>::max();

  /// 64 bits that need no alignment of their own.
  class Word64 {
   public:
    Word64& operator=(uint64_t value) {
      half_ = {static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)};
      return *this;
    }
    operator uint64_t() const { return half_[0] | (uint64_t{half_[1]} << 32); }

   private:
    std::array<uint32_t, 2> half_{};
  };

  /// What a document is but for its postings and what ranking reads.
  struct Document {
    static constexpr uint32_t kReplaces = uint32_t{1} << 31;

    Word64 created, sketch;
    uint32_t record = 0;  // arena offset of its size (varint) and packed bytes; 0: never lived
    std::atomic<uint32_t> ended{0};
    std::atomic<uint32_t> likes{0};
    // The place in changes_, 0: none; kReplaces: the number of the document before it of its key lies before its record.
    std::atomic<uint32_t> change{0};
    uint16_t source = 0, lang = 0;
  };
  static_assert(sizeof(Document) == 36);

  /// The lists that a post's terms will probably lead to.
  struct Guesses {
    static constexpr size_t kMost = 32;
    uint32_t count = 0;
    std::array<uint32_t, kMost> lists;
    std::span<const uint32_t> span() const { return {lists.data(), count}; }
  };

  /// What came to a document's counts after it did.
  struct Change {
    std::atomic<int64_t> likes{0}, reposts{0}, replies{0};
  };

  static RankFacts unpack(uint32_t packed) {
    const auto byte = [&](int i) { return static_cast<uint8_t>(packed >> (8 * i)); };
    return {byte(0), byte(1), byte(2), byte(3)};
  }
  void set_rank_facts(uint32_t number, const RankFacts& facts);
  int64_t created(uint32_t number) const {
    return static_cast<int64_t>(uint64_t{documents_[number].created});
  }
  uint32_t change_of(uint32_t number) const {
    return documents_[number].change.load(std::memory_order_acquire) & ~Document::kReplaces;
  }
  uint32_t ending(uint64_t sequence) const;
  std::string_view stored(uint32_t number) const;
  std::string_view source_of(uint32_t number) const;
  bool has_key(uint32_t number, std::string_view key) const;
  uint32_t previous(uint32_t number) const;
  Document& append(std::string_view record, std::string_view key, uint64_t key_hash, int64_t created,
                   uint64_t sequence);
  void store_record(Document& document, std::string_view record, int64_t created, uint32_t before);
  void add(const PreparedPost& post, uint64_t sequence, std::span<const uint32_t> guesses);
  void ask_for_lists(const PreparedPost& post, Guesses& guesses) const;
  void ask_for_tails(const Guesses& guesses) const;
  void ask_for_ends(const Guesses& guesses) const;
  void fill_gap(uint64_t sequence);
  Document& grow(uint32_t number);
  uint32_t list_of(std::string_view term, uint64_t hash, uint32_t guess);
  void widen_block(uint32_t number);
  void count(uint32_t number, int64_t change);
  void publish(uint32_t number) { next_.store(number + 1, std::memory_order_release); }

  uint64_t base_;
  Arena arena_;
  HugeArray<Document, 262144, 512> documents_;
  ChunkedArray<std::atomic<uint32_t>, 16384, 8192>
      rank_facts_;  // apart: ranking reads them of every candidate
  ChunkedArray<TimeBounds, 64, 2048> blocks_;
  HugeArray<PostingList, 262144, 1024> lists_;
  ChunkedArray<Change, 1024, 131072> changes_;
  HashIndex terms_, keys_;
  Names sources_, langs_;
  ChunkedArray<std::atomic<uint64_t>, 256, 256> by_source_;
  uint32_t next_list_ = 1, next_change_ = 1;  // writer
  std::string scratch_;
  int64_t newest_ = std::numeric_limits<int64_t>::min();
  std::atomic<uint32_t> next_{1};  // number of the next document
  std::atomic<uint64_t> posts_{0}, words_{0};
  std::atomic<uint32_t> term_count_{0};
};

}  // namespace fathom::live
