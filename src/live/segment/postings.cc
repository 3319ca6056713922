#include "live/segment/postings.h"

#include <algorithm>

namespace fathom::live {
namespace {

constexpr size_t kTableEntry = 10;  // postings, positions, highest frequency, lowest length
constexpr unsigned kMaxFrequencyBits = 5;

size_t packed_bytes(uint32_t size, unsigned width) { return (size_t{size} * width + 7) / 8; }

}  // namespace

SealedTerm PostingLists::open(ByteReader& entry) const {
  const uint64_t head = entry.varint();
  const std::string_view body = entry.string(head >> 1);
  const Bytes bytes(reinterpret_cast<const uint8_t*>(body.data()), body.size());
  if ((head & 1) != 0) return open_inline(bytes);
  ByteReader in(bytes);
  SealedTerm term;
  const uint64_t count = in.varint();
  term.max_frequency_ = in.byte();
  term.min_length_ = in.byte();
  term.postings_ = in.varint();
  term.positions_ = in.varint();
  if (in.ok() && count > 0 && count <= documents_) term.count_ = static_cast<uint32_t>(count);
  const uint64_t table = uint64_t{blocks(term)} * (sizeof(uint32_t) + kTableEntry);
  const uint64_t size = blocks(term) > 1 ? table : 2;
  if (term.postings_ > postings_.size() || size > postings_.size() - term.postings_) term.count_ = 0;
  return term;
}

SealedTerm PostingLists::open_inline(Bytes list) const {
  SealedTerm term;
  term.inline_ = list;
  term.min_length_ = 0xFF;
  ByteReader in(list);
  for (uint32_t document = documents_ + 1; in.left() > 0 && term.count_ < kInlinePostings;) {
    const uint64_t code = in.varint();
    const uint64_t frequency = (code & 1) != 0 ? in.varint() : 1;
    if ((code >> 1) + 1 >= document || frequency == 0 || frequency > kMaxCountedFrequency) break;
    document -= static_cast<uint32_t>(code >> 1) + 1;
    const uint64_t values = frequency == kMaxCountedFrequency ? in.varint() : frequency;
    for (uint64_t i = 0; i < values && in.ok(); ++i) in.varint();
    if (!in.ok()) break;
    ++term.count_;
    term.max_frequency_ = std::max(term.max_frequency_, static_cast<uint8_t>(frequency));
    term.min_length_ = std::min(term.min_length_, facts_[document].length);
  }
  return term;
}

SealedCursor::SealedCursor(const PostingLists& lists, const SealedTerm& term, uint32_t end)
    : lists_(&lists), term_(term), blocks_(lists.blocks(term)) {
  if (!term || end <= 1) return;
  const uint32_t last = std::min(end - 1, lists.documents_);
  if (!term.inline_.empty()) {
    load_short();
  } else if (blocks_ > 1) {
    table_ = lists.postings_.data() + term.postings_;
    block_ = find_block(last);
    if (block_ == blocks_ || !load_block(block_)) return;
  } else if (!load_block(0)) {
    return;
  }
  index_ = 0;
  document_ = documents_[0] <= last ? documents_[0] : move(last);
}

void SealedCursor::load_short() {
  ByteReader in(term_.inline_);
  uint32_t document = lists_->documents_ + 1;
  for (size_ = 0; size_ < term_.count_; ++size_) {  // `open` has read it all before
    const uint64_t code = in.varint();
    const uint64_t frequency = (code & 1) != 0 ? in.varint() : 1;
    document -= static_cast<uint32_t>(code >> 1) + 1;
    const uint64_t values = frequency == kMaxCountedFrequency ? in.varint() : frequency;
    for (uint64_t i = 0; i < values && in.ok(); ++i) in.varint();
    documents_[size_] = document;
    inline_frequencies_[size_] = static_cast<uint8_t>(frequency);
  }
  frequency_width_ = kInline;
}

const uint8_t* SealedCursor::entry(uint32_t block) const {
  return table_ + size_t{blocks_} * sizeof(uint32_t) + size_t{block} * kTableEntry;
}

bool SealedCursor::load_block(uint32_t block) {
  const Bytes all = lists_->postings_;
  const uint64_t before = table_ == nullptr ? 0 : load<uint32_t>(entry(block));
  size_ = std::min(kPostingsPerBlock, term_.count_ - block * kPostingsPerBlock);
  document_ = 0;
  if (before > term_.postings_) return end_here(), false;
  const uint64_t at = term_.postings_ - before;
  if (at + 2 > all.size()) return end_here(), false;
  const uint8_t* bytes = all.data() + at;
  const unsigned width = bytes[0];
  frequency_width_ = bytes[1];
  const size_t differences = packed_bytes(size_, width), frequencies = packed_bytes(size_, frequency_width_);
  if (width > kMaxDocumentBits || frequency_width_ > kMaxFrequencyBits ||
      differences + frequencies > all.size() - at - 2)
    return end_here(), false;
  const uint32_t above = block == 0 ? lists_->documents_ + 1 : lowest(block - 1);
  bytes += 2;
  frequencies_ = bytes + differences;
  if (size_ == kPostingsPerBlock) {
    unpack_falling(bytes, width, above, documents_.data());
    return true;
  }
  uint32_t document = above;
  for (uint32_t i = 0; i < size_; ++i) {
    document -= 1 + static_cast<uint32_t>(read_bits(bytes, uint64_t{i} * width, width));
    documents_[i] = document;
  }
  return true;
}

/// The first block from the current one on that reaches down to `document`.
uint32_t SealedCursor::find_block(uint32_t document) const {
  uint32_t low = block_;
  for (uint32_t step = 1;; step *= 2) {  // gallops: the block is mostly near
    const uint32_t next = std::min(low + step, blocks_);
    if (lowest(next - 1) <= document) {
      uint32_t high = next - 1;  // fits
      while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (lowest(middle) <= document)
          high = middle;
        else
          low = middle + 1;
      }
      return low;
    }
    if (next == blocks_) return blocks_;
    low = next;
  }
}

uint32_t SealedCursor::move(uint32_t document) {
  if (size_ == 0) return document_ = 0;
  if (documents_[size_ - 1] > document) {
    if (table_ == nullptr) return end_here();
    const uint32_t block = find_block(document);
    if (block == blocks_) return end_here();
    if (block != block_) {
      block_ = block;
      index_ = 0;
      if (!load_block(block)) return 0;
    }
  }
  return find_in_block(document);
}

/// The first number from the current one on that is not above `document`, without branches that depend on the numbers.
uint32_t SealedCursor::find_in_block(uint32_t document) {
  const uint32_t* base = documents_.data() + index_;
  uint32_t left = size_ - index_;
  while (left > 1) {
    const uint32_t half = left / 2;
    base += base[half - 1] > document ? half : 0;
    left -= half;
  }
  index_ = static_cast<uint32_t>(base - documents_.data());
  if (*base > document) return end_here();  // only in a damaged list
  return document_ = *base;
}

BlockBound SealedCursor::block(uint32_t document) const {
  BlockBound bound;
  if (size_ == 0) return bound;
  if (table_ == nullptr) {
    bound.lowest = 1;
    bound.max_frequency = term_.max_frequency_;
    bound.min_length = term_.min_length_;
    return bound;
  }
  const uint32_t block = find_block(document);
  if (block == blocks_) return bound;
  const uint8_t* at = entry(block);
  bound.lowest = lowest(block);
  bound.max_frequency = at[8];
  bound.min_length = at[9];
  return bound;
}

void PostingWriter::add(uint32_t document, uint32_t frequency, std::span<const uint32_t> places) {
  if (count_ == 0) above_ = static_cast<uint32_t>(facts_.size());
  documents_[filled_] = document;
  frequencies_[filled_] = frequency;
  places_.insert(places_.end(), places.begin(), places.end());
  ++count_;
  if (++filled_ == kPostingsPerBlock) flush();
}

std::string_view PostingWriter::finish() {
  const bool few = count_ <= kInlinePostings;
  body_.clear();
  if (few)
    write_inline();
  else
    write_head();
  entry_.clear();
  put_varint(entry_, body_.size() << 1 | (few ? 1u : 0u));
  entry_ += body_;
  filled_ = count_ = 0;
  places_.clear();
  blocks_.clear();
  return entry_;
}

/// What an entry holds of a list that lies in the section.
void PostingWriter::write_head() {
  if (filled_ > 0) flush();
  uint8_t max_frequency = 0, min_length = 0xFF;
  for (const Block& block : blocks_) {
    max_frequency = std::max(max_frequency, block.max_frequency);
    min_length = std::min(min_length, block.min_length);
  }
  const uint64_t at = blocks_.size() > 1 ? postings_.size() : blocks_.front().postings;
  if (blocks_.size() > 1) write_table();
  put_varint(body_, count_);
  body_ += static_cast<char>(max_frequency);
  body_ += static_cast<char>(min_length);
  put_varint(body_, at);
  put_varint(body_, blocks_.front().positions);
}

void PostingWriter::write_inline() {
  uint32_t above = above_;
  const uint32_t* value = places_.data();
  for (uint32_t i = 0; i < filled_; ++i) {
    const uint32_t frequency = frequencies_[i];
    put_varint(body_, uint64_t{above - documents_[i] - 1} << 1 | (frequency > 1 ? 1u : 0u));
    if (frequency > 1) put_varint(body_, frequency);
    const uint32_t values = frequency == kMaxCountedFrequency ? 1 + *value : frequency;
    for (uint32_t j = 0; j < values; ++j) put_varint(body_, *value++);
    above = documents_[i];
  }
}

void PostingWriter::flush() {
  Block block;
  block.lowest = documents_[filled_ - 1];
  block.postings = postings_.size();
  block.positions = positions_.size();
  std::array<uint32_t, kPostingsPerBlock> differences, frequencies;
  uint32_t all_differences = 0, all_frequencies = 0;
  uint32_t above = above_;
  for (uint32_t i = 0; i < filled_; ++i) {
    all_differences |= differences[i] = above - documents_[i] - 1;
    all_frequencies |= frequencies[i] = frequencies_[i] - 1;
    above = documents_[i];
    block.max_frequency = std::max(block.max_frequency, static_cast<uint8_t>(frequencies_[i]));
    block.min_length = std::min(block.min_length, facts_[above].length);
  }
  const unsigned width = bits_for(all_differences), frequency_width = bits_for(all_frequencies);
  scratch_.clear();
  scratch_ += static_cast<char>(width);
  scratch_ += static_cast<char>(frequency_width);
  if (filled_ == kPostingsPerBlock) {
    pack_block(differences, width, scratch_);
    pack_block(frequencies, frequency_width, scratch_);
  } else {
    for (uint32_t i = 0; i < filled_; ++i) bits_.put(differences[i], width);
    bits_.flush_to(scratch_);
    for (uint32_t i = 0; i < filled_; ++i) bits_.put(frequencies[i], frequency_width);
    bits_.flush_to(scratch_);
  }
  postings_.write(scratch_);
  scratch_.clear();
  pack_places(places_, scratch_);
  positions_.write(scratch_);
  blocks_.push_back(block);
  above_ = block.lowest;
  filled_ = 0;
  places_.clear();
}

void PostingWriter::write_table() {
  const uint64_t table = postings_.size();
  scratch_.clear();
  for (const Block& block : blocks_) store(scratch_, block.lowest);
  for (const Block& block : blocks_) {
    store(scratch_, static_cast<uint32_t>(table - block.postings));
    store(scratch_, static_cast<uint32_t>(block.positions - blocks_.front().positions));
    scratch_ += static_cast<char>(block.max_frequency);
    scratch_ += static_cast<char>(block.min_length);
  }
  postings_.write(scratch_);
}

}  // namespace fathom::live
