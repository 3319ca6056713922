#include "live/segment/places.h"

#include <algorithm>

#include "base/error.h"
#include "live/facts.h"
#include "live/segment/format.h"
#include "live/segment/positions.h"

namespace fathom::live {

void PlaceTable::sort(std::vector<Placed>& terms) {
  std::sort(terms.begin(), terms.end(), [](const Placed& a, const Placed& b) {
    if (a.head.bytes != b.head.bytes) return a.head.bytes < b.head.bytes;
    if (const int order = a.term.compare(b.term); order != 0) return order < 0;
    return a.place < b.place;
  });
}

void PlaceTable::add(const Post& post, bool tombstone) {
  next_.push_back(bytes_.size());
  if (tombstone) return;
  batch_.clear();
  batch_.add(post);
  analyze(post.text, tokens_);
  terms_.clear();
  words_.clear();
  for (const PreparedTerm& term : batch_[0].terms) {
    const std::string_view name = batch_[0].term(term);
    terms_.push_back({TermHead(name), name, std::min<uint32_t>(term.frequency, kMaxCountedFrequency)});
  }
  for (const Token& token : tokens_.tokens) {
    const std::string_view name = tokens_.term(token);
    words_.push_back({TermHead(name), name, token.position});
  }
  sort(terms_);
  sort(words_);
  values_.clear();
  auto word = words_.begin();
  for (const Placed& term : terms_) {
    places_.clear();
    for (; word != words_.end() && word->term == term.term; ++word)
      if (places_.empty() || places_.back() != word->place) places_.push_back(word->place);
    encode_places(places_, term.place, values_);
  }
  FATHOM_CHECK(word == words_.end(), "every word of a text is one of its terms");
  for (const uint32_t value : values_) put_varint(bytes_, value);
}

void PlaceTable::next(uint32_t number, uint32_t frequency, std::vector<uint32_t>& values) {
  values.clear();
  const auto* begin = reinterpret_cast<const uint8_t*>(bytes_.data());
  ByteReader in(begin + next_[number], begin + bytes_.size());
  uint64_t count = frequency;
  if (frequency == kMaxCountedFrequency) {
    count = in.varint();
    values.push_back(static_cast<uint32_t>(count));
  }
  for (uint64_t i = 0; i < count && in.ok(); ++i) values.push_back(static_cast<uint32_t>(in.varint()));
  FATHOM_CHECK(in.ok(), "a post has a place for each of its terms");
  next_[number] = static_cast<uint64_t>(in.at() - begin);
}

}  // namespace fathom::live
