// What a document of a segment must have or be: terms of which one must occur, and values of columns.
//
// Templates over Index and Segment (segment/segment.h). One object a search and segment, one thread.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "live/facts.h"
#include "live/names.h"
#include "live/query.h"

namespace fathom::live {

/// Some of the documents of one block, as bits. To intersect lists of like length this beats stepping from one to the other,
/// whose every branch is a guess.
class BlockSet {
 public:
  void add(uint32_t document) { words_[place(document)] |= bit(document); }
  void remove(uint32_t document) { words_[place(document)] &= ~bit(document); }
  void keep(const BlockSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
  }

  /// Calls `use` with each, the newest first. `low` is any document of the block. `use` may remove it.
  template <class Use>
  void for_each(uint32_t low, Use&& use) const {
    const uint32_t first = low >> kBlockBits << kBlockBits;
    for (size_t i = words_.size(); i-- > 0;) {
      for (uint64_t left = words_[i]; left != 0;) {
        const auto highest = static_cast<uint32_t>(63 - std::countl_zero(left));
        left &= ~(uint64_t{1} << highest);
        use(first + static_cast<uint32_t>(64 * i) + highest);
      }
    }
  }

 private:
  static size_t place(uint32_t document) { return (document & ((1u << kBlockBits) - 1)) >> 6; }
  static uint64_t bit(uint32_t document) { return uint64_t{1} << (document & 63); }
  std::array<uint64_t, (1u << kBlockBits) / 64> words_{};
};

/// Documents of one segment that have one of a few terms.
template <class S>
class AnyOf {
 public:
  AnyOf(const S& segment, const std::vector<std::string>& terms) {
    for (const auto& name : terms) {
      auto term = segment.term(name);
      if (!term) continue;
      postings_ += term.count();
      terms_.push_back(std::move(term));
    }
  }

  uint64_t postings() const { return postings_; }

  void open(const S& segment, uint32_t end) {
    cursors_.reserve(terms_.size());
    for (const auto& term : terms_) cursors_.push_back(segment.cursor(term, end));
  }

  /// The newest document at or below `document` that has one; 0 at the end.
  uint32_t seek(uint32_t document) {
    uint32_t best = 0;
    for (auto& cursor : cursors_) best = std::max(best, cursor.seek(document));
    return best;
  }

  /// Marks the documents from `high` down to `low`, which lie in one block.
  void mark(uint32_t low, uint32_t high, BlockSet& documents) {
    for (auto& cursor : cursors_)
      for (uint32_t found = cursor.seek(high); found >= low; found = cursor.seek(found - 1))
        documents.add(found);
  }

 private:
  std::vector<typename S::Term> terms_;
  std::vector<typename S::Cursor> cursors_;
  uint64_t postings_ = 0;
};

/// What columns must hold, as numbers of one segment.
template <class S>
class ColumnFilter {
 public:
  ColumnFilter(const S& segment, const ParsedQuery& parsed)
      : parsed_(parsed),
        sources_(numbers_of(segment.sources(), parsed.sources, false)),
        langs_(numbers_of(segment.langs(), parsed.langs, true)) {
    want(DocumentFacts::kHasLink, parsed.has_link);
    want(DocumentFacts::kReply, parsed.is_reply);
    want(DocumentFacts::kRepost, parsed.is_repost);
  }

  /// No document of this segment can pass.
  bool none() const {
    return (!parsed_.sources.empty() && sources_.empty()) || (!parsed_.langs.empty() && langs_.empty());
  }

  bool passes(const RankFacts& facts) const { return (facts.flags & mask_) == flags_; }
  bool passes(const DocumentFacts& facts) const {
    if (parsed_.min_likes && facts.likes < *parsed_.min_likes) return false;
    if (!parsed_.sources.empty() && !has_number(sources_, facts.source)) return false;
    return parsed_.langs.empty() || has_number(langs_, facts.lang);
  }

 private:
  void want(uint8_t flag, const std::optional<bool>& wanted) {
    if (!wanted) return;
    mask_ |= flag;
    if (*wanted) flags_ |= flag;
  }

  /// The numbers of the names that a query allows, rising. A language allows its regions: "en" takes "en-gb".
  static std::vector<uint16_t> numbers_of(const Names& names, const std::vector<std::string>& wanted,
                                          bool regions) {
    std::vector<uint16_t> numbers;
    if (wanted.empty()) return numbers;
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string_view name = names.name(i);
      const auto fits = [&](const std::string& w) {
        return name == w ||
               (regions && name.size() > w.size() && name.starts_with(w) && name[w.size()] == '-');
      };
      if (std::any_of(wanted.begin(), wanted.end(), fits)) numbers.push_back(static_cast<uint16_t>(i));
    }
    return numbers;
  }

  static bool has_number(const std::vector<uint16_t>& sorted, uint16_t number) {
    return std::binary_search(sorted.begin(), sorted.end(), number);
  }

  const ParsedQuery& parsed_;
  std::vector<uint16_t> sources_, langs_;
  uint8_t mask_ = DocumentFacts::kTombstone, flags_ = 0;
};

}  // namespace fathom::live
