// The terms of a segment, sorted by their bytes: blocks of 32, each term without what it shares with the one before.
//
// A block: of each term, shared and further bytes (half a byte each; 15: a varint with what is above 15 follows), the further
// bytes, then what postings.h holds of it. The index over the blocks has the first eight bytes of each block's first term
// (big-endian, so that they compare as numbers), then the blocks' offsets: a look-up searches the former, which stay in the
// cache, and touches one block of terms.
//
// TermDictionary: immutable, any thread; damage hides terms or makes them others, and never reads outside the section.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "live/segment/format.h"
#include "live/segment/postings.h"

namespace fathom::live {

class TermDictionary {
 public:
  TermDictionary() = default;
  /// Errors: kCorrupt.
  TermDictionary(const SegmentFile& file, uint64_t terms, const PostingLists& lists);

  SealedTerm find(std::string_view term) const;
  uint64_t size() const { return terms_; }

 private:
  friend class TermWalk;
  Bytes block(uint64_t number) const;
  uint64_t offset(uint64_t number) const;
  uint64_t first_bytes(uint64_t number) const;
  uint64_t block_of(std::string_view term) const;

  const PostingLists* lists_ = nullptr;
  Bytes index_, bytes_;
  uint64_t terms_ = 0, blocks_ = 0;
};

/// All terms in order.
class TermWalk {
 public:
  explicit TermWalk(const TermDictionary& terms);
  bool done() const { return done_; }
  const std::string& name() const { return name_; }
  const SealedTerm& term() const { return term_; }
  void next();

 private:
  const TermDictionary* terms_;
  ByteReader block_;
  uint64_t next_block_ = 0;
  std::string name_;
  SealedTerm term_;
  bool done_ = false;
};

/// Takes terms in order.
class TermWriter {
 public:
  explicit TermWriter(const std::filesystem::path& path) : bytes_(path) {}
  /// `entry` as PostingWriter::finish gives it. REQUIRES: above all names before it, by bytes.
  void add(std::string_view name, std::string_view entry);
  uint64_t count() const { return count_; }
  /// Writes both sections.
  void finish(SegmentFileWriter& file);

 private:
  ScratchFile bytes_;
  std::string first_bytes_, offsets_, last_, scratch_;
  uint64_t count_ = 0;
};

}  // namespace fathom::live
