#include "live/segment/terms.h"

#include <algorithm>

#include "base/error.h"

namespace fathom::live {
namespace {

constexpr uint64_t kTermsPerBlock = 32;
constexpr size_t kIndexEntry = 2 * sizeof(uint64_t);
constexpr size_t kShort = 15;  // up to here a length fits in half a byte

/// The first eight bytes as a number that compares as they do.
uint64_t head_of(std::string_view term) {
  uint64_t head = 0;
  std::memcpy(&head, term.data(), std::min(term.size(), sizeof head));
  return __builtin_bswap64(head);
}

struct Lengths {
  uint64_t shared = 0, further = 0;
};

Lengths read_lengths(ByteReader& in) {
  const uint8_t both = in.byte();
  Lengths lengths{static_cast<uint64_t>(both >> 4), static_cast<uint64_t>(both & 15)};
  if (lengths.shared == kShort) lengths.shared += in.varint();
  if (lengths.further == kShort) lengths.further += in.varint();
  return lengths;
}

void skip_entry(ByteReader& in) { in.string(in.varint() >> 1); }

/// Bytes that `a` and `b` begin with alike.
size_t common(std::string_view a, std::string_view b) {
  const size_t size = std::min(a.size(), b.size());
  size_t n = 0;
  while (n < size && a[n] == b[n]) ++n;
  return n;
}

}  // namespace

TermDictionary::TermDictionary(const SegmentFile& file, uint64_t terms, const PostingLists& lists)
    : lists_(&lists), terms_(terms) {
  file.check(SectionKind::kTermIndex);
  index_ = file.section(SectionKind::kTermIndex);
  bytes_ = file.section(SectionKind::kTerms);
  blocks_ = (terms + kTermsPerBlock - 1) / kTermsPerBlock;
  if (terms > bytes_.size() || index_.size() != blocks_ * kIndexEntry)
    file.corrupt(SectionKind::kTermIndex, "its size is not that of the terms");
  uint64_t last = 0;
  for (uint64_t i = 0; i < blocks_; ++i) {
    if (offset(i) < last || offset(i) > bytes_.size())
      file.corrupt(SectionKind::kTermIndex, "a block lies outside the terms");
    last = offset(i);
  }
}

uint64_t TermDictionary::first_bytes(uint64_t number) const {
  return load<uint64_t>(index_.data() + number * sizeof(uint64_t));
}

uint64_t TermDictionary::offset(uint64_t number) const {
  return load<uint64_t>(index_.data() + (blocks_ + number) * sizeof(uint64_t));
}

Bytes TermDictionary::block(uint64_t number) const {
  const uint64_t begin = offset(number), end = number + 1 < blocks_ ? offset(number + 1) : bytes_.size();
  return bytes_.subspan(begin, end - begin);
}

/// The last block whose first term is not above `term`; `blocks_` when there is none.
uint64_t TermDictionary::block_of(std::string_view term) const {
  const uint64_t head = head_of(term);
  uint64_t low = 0, high = blocks_;
  while (low < high) {  // to the first block above
    const uint64_t middle = low + (high - low) / 2;
    bool above = first_bytes(middle) > head;
    if (first_bytes(middle) == head) {
      ByteReader in(block(middle));
      const Lengths lengths = read_lengths(in);
      above = in.string(lengths.further) > term;
    }
    if (above)
      high = middle;
    else
      low = middle + 1;
  }
  return low == 0 ? blocks_ : low - 1;
}

SealedTerm TermDictionary::find(std::string_view term) const {
  const uint64_t number = block_of(term);
  if (number == blocks_) return {};
  ByteReader in(block(number));
  size_t matched = 0;  // bytes of `term` that the name before, which is below it, begins with
  while (in.left() > 0) {
    const Lengths lengths = read_lengths(in);
    const std::string_view further = in.string(lengths.further);
    if (!in.ok() || lengths.shared < matched) return {};  // above `term` from here on
    if (lengths.shared == matched) {
      const std::string_view rest = term.substr(matched);
      const size_t same = common(further, rest);
      if (same == rest.size()) return same == further.size() ? lists_->open(in) : SealedTerm();
      if (same < further.size() && static_cast<uint8_t>(further[same]) > static_cast<uint8_t>(rest[same]))
        return {};
      matched += same;
    }
    skip_entry(in);
  }
  return {};
}

TermWalk::TermWalk(const TermDictionary& terms) : terms_(&terms), block_(Bytes()) { next(); }

void TermWalk::next() {
  while (block_.left() == 0) {
    if (next_block_ == terms_->blocks_) {
      done_ = true;
      return;
    }
    block_ = ByteReader(terms_->block(next_block_++));
  }
  const Lengths lengths = read_lengths(block_);
  name_.resize(std::min<uint64_t>(lengths.shared, name_.size()));
  name_ += block_.string(lengths.further);
  term_ = terms_->lists_->open(block_);
}

void TermWriter::add(std::string_view name, std::string_view entry) {
  FATHOM_CHECK(count_ == 0 || name > last_, "terms come in order");
  size_t shared = common(last_, name);
  if (count_++ % kTermsPerBlock == 0) {
    shared = 0;
    store(first_bytes_, head_of(name));
    store(offsets_, bytes_.size());
  }
  const size_t further = name.size() - shared;
  scratch_.clear();
  scratch_ += static_cast<char>(std::min(shared, kShort) << 4 | std::min(further, kShort));
  if (shared >= kShort) put_varint(scratch_, shared - kShort);
  if (further >= kShort) put_varint(scratch_, further - kShort);
  scratch_ += name.substr(shared);
  scratch_ += entry;
  bytes_.write(scratch_);
  last_ = name;
}

void TermWriter::finish(SegmentFileWriter& file) {
  file.add(SectionKind::kTermIndex, first_bytes_ + offsets_);
  file.add(SectionKind::kTerms, bytes_);
}

}  // namespace fathom::live
