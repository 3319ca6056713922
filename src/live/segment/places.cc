#include "live/segment/places.h"

#include <algorithm>
#include <bit>

#include "live/segment/bit_packing.h"
#include "live/segment/positions.h"

namespace fathom::live {
namespace {

uint64_t sum_of_frequencies(const Index& index, const Index::Term& term) {
  if (term.max_frequency() == 1) return term.count();
  uint64_t sum = 0;
  Index::Cursor cursor = index.cursor(term, index.documents() + 1);
  for (uint32_t document = cursor.document(); document != 0; document = cursor.seek(document - 1))
    sum += cursor.frequency();
  return sum;
}

}  // namespace

PlaceTable::PlaceTable(const Index& index)
    : known_mask_(std::bit_ceil(size_t{index.terms()} + index.terms() / 3 + 1) - 1),
      known_memory_((known_mask_ + 1) * sizeof(Known)),
      known_(reinterpret_cast<Known*>(known_memory_.data())),
      place_bits_(32 - bits_for(index.documents())) {
  const uint32_t terms = index.terms();
  begins_.reserve(terms);
  uint64_t sum = 0;
  for (uint32_t i = 0; i < terms; ++i) {
    const Index::Term term = index.term_at(i);
    const uint64_t hash = term_hash(term.text());
    Known& free = find(hash);
    if (free.term == 0) free = {hash, i + 1};
    begins_.push_back(static_cast<uint32_t>(sum));
    sum += sum_of_frequencies(index, term);
  }
  ends_ = begins_;
  begins_.push_back(static_cast<uint32_t>(sum));
  places_memory_ = HugeMemory(std::max<uint64_t>(sum, 1) * sizeof(uint32_t));
  places_ = reinterpret_cast<uint32_t*>(places_memory_.data());
}

/// The term, or the free slot for it.
PlaceTable::Known& PlaceTable::find(uint64_t hash) const {
  size_t slot = hash & known_mask_;
  while (known_[slot].term != 0 && known_[slot].hash != hash) slot = (slot + 1) & known_mask_;
  return known_[slot];
}

void PlaceTable::add(uint32_t document, std::string_view text) {
  analyze(text, tokens_);
  for (const Token& token : tokens_.tokens) __builtin_prefetch(&known_[token.hash & known_mask_]);
  for (const Token& token : tokens_.tokens) {
    const Known& known = find(token.hash);
    FATHOM_CHECK(known.term != 0, "every word of a text is one of its terms");
    const uint32_t term = known.term - 1;
    uint32_t& end = ends_[term];
    if (end == begins_[term + 1] || token.position > most_place())
      aside_.push_back({term, document, token.position});
    else
      places_[end++] = document << place_bits_ | token.position;
  }
}

void PlaceTable::take(uint32_t term, uint32_t document, uint32_t frequency, std::vector<uint32_t>& values) {
  found_.clear();
  for (uint32_t& end = ends_[term]; end > begins_[term] && places_[end - 1] >> place_bits_ == document; --end)
    found_.push_back(places_[end - 1] & most_place());
  if (!aside_.empty()) take_aside(term, document);
  if (found_.size() > 1) {
    std::sort(found_.begin(), found_.end());
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
  }
  values.clear();
  encode_places(found_, frequency, values);
}

void PlaceTable::take_aside(uint32_t term, uint32_t document) {
  if (!aside_sorted_) std::sort(aside_.begin(), aside_.end());
  aside_sorted_ = true;
  const Aside first{term, document, 0};
  for (auto at = std::lower_bound(aside_.begin(), aside_.end(), first);
       at != aside_.end() && at->term == term && at->document == document; ++at)
    found_.push_back(at->place);
}

}  // namespace fathom::live
