#include "live/index.h"

#include <algorithm>
#include <random>

#include "live/codec.h"

namespace fathom::live {
namespace {

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) ^ device();
}

}  // namespace

Index::Index() : seed_(random_seed()) {
  documents_.grow(0);  // number 0 stands for none
  lists_.grow(0);
}

uint32_t Index::latest(uint64_t key_hash, std::string_view key) const {
  return keys_.find(key_hash, [&](uint32_t number) { return record_key(documents_[number].bytes()) == key; });
}

Document& Index::append(std::string_view record, std::string_view key, uint64_t key_hash, uint64_t sequence) {
  const uint32_t number = next_++;
  Document& document = documents_.grow(number);
  DocumentBlock& block = blocks_.grow(number >> DocumentBlock::kBits);
  const bool first_of_block = (number & ((1u << DocumentBlock::kBits) - 1)) == 0;
  if (first_of_block) block.newest_before = newest_;
  const std::string_view kept = arena_.copy(record);
  document.record = kept.data();
  document.record_size = static_cast<uint32_t>(kept.size());
  document.sequence = sequence;
  document.previous = latest(key_hash, key);
  if (document.previous == 0) {
    keys_.insert(key_hash, number);
  } else {
    keys_.replace(key_hash, document.previous, number);
    dying_.push_back(document.previous);
    count(documents_[document.previous], -1);
  }
  return document;
}

void Index::add(const PreparedPost& post, uint64_t sequence) {
  const uint32_t number = next_;
  Document& document = append(post.record, record_key(post.record), post.key_hash, sequence);
  document.created = post.created.time_since_epoch().count();
  document.sketch = post.sketch;
  document.engagement = post.engagement;
  document.likes = post.likes;
  document.length = post.length;
  document.flags = post.flags;
  by_source_.grow(
      std::min<size_t>(sources_.size(), Names::kOther));  // before a new name is there to be counted
  document.source = sources_.intern(post.source);
  document.lang = langs_.intern(post.lang);
  count(document, 1);
  for (const PreparedTerm& term : post.terms) {
    const std::string_view text = std::string_view(post.bytes).substr(term.begin, term.size);
    list_of(text, term.hash).append(number, term.frequency, post.length, arena_);
  }
  widen_block(number, document);
}

void Index::bury(std::string_view key, uint64_t key_hash, Time time, uint64_t sequence) {
  Post empty;
  const size_t colon = key.find(':');
  empty.source = key.substr(0, colon);
  empty.id = key.substr(colon + 1);
  Document& document = append(encode_record(empty), key, key_hash, sequence);
  document.created = time.time_since_epoch().count();
  document.flags = Document::kTombstone;
  document.dead_from.store(0, std::memory_order_relaxed);
}

void Index::publish() {
  for (const uint32_t number : dying_) documents_[number].dead_from.store(next_, std::memory_order_relaxed);
  dying_.clear();
  end_.store(next_, std::memory_order_release);
}

void Index::prefetch(const PreparedPost& post) const {
  keys_.prefetch(post.key_hash);
  for (const PreparedTerm& term : post.terms) terms_.prefetch(term.hash);
}

void Index::count(const Document& document, int64_t change) {
  if ((document.flags & Document::kTombstone) != 0) return;
  const auto step = static_cast<uint64_t>(change);  // wraps around to a subtraction
  posts_.fetch_add(step, std::memory_order_relaxed);
  words_.fetch_add(step * document.length, std::memory_order_relaxed);
  by_source_[document.source].fetch_add(step, std::memory_order_relaxed);
}

void Index::widen_block(uint32_t number, const Document& document) {
  DocumentBlock& block = blocks_[number >> DocumentBlock::kBits];
  constexpr auto kRelaxed = std::memory_order_relaxed;
  if (document.created < block.oldest.load(kRelaxed)) block.oldest.store(document.created, kRelaxed);
  if (document.created > block.newest.load(kRelaxed)) block.newest.store(document.created, kRelaxed);
  if (document.engagement > block.engagement.load(kRelaxed))
    block.engagement.store(document.engagement, kRelaxed);
  newest_ = std::max(newest_, document.created);
}

PostingList& Index::list_of(std::string_view term, uint64_t hash) {
  const uint32_t found = terms_.find(hash, [&](uint32_t number) { return lists_[number].term() == term; });
  if (found != 0) return lists_[found];
  const uint32_t number = next_list_++;
  PostingList& list = lists_.grow(number);
  list.name(arena_.copy(term));
  terms_.insert(hash, number);
  term_count_.fetch_add(1, std::memory_order_relaxed);
  return list;
}

Index::Snapshot Index::snapshot() const {
  Snapshot snapshot;
  snapshot.end = end_.load(std::memory_order_acquire);
  const uint64_t posts = posts_.load(std::memory_order_relaxed);
  snapshot.posts = static_cast<double>(posts);
  if (posts > 0)
    snapshot.mean_length =
        std::max(1.0, static_cast<double>(words_.load(std::memory_order_relaxed)) / snapshot.posts);
  return snapshot;
}

const PostingList* Index::find_term(std::string_view term) const {
  const uint32_t number = terms_.find(hash(term), [&](uint32_t n) { return lists_[n].term() == term; });
  return number == 0 ? nullptr : &lists_[number];
}

uint32_t Index::find_key(std::string_view key, const Snapshot& snapshot) const {
  uint32_t number = latest(hash(key), key);
  while (number >= snapshot.end) number = documents_[number].previous;  // not published yet
  return number != 0 && alive(documents_[number], snapshot) ? number : 0;
}

uint32_t Index::first_after(uint64_t sequence, const Snapshot& snapshot) const {
  uint32_t low = 1, high = snapshot.end;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (documents_[middle].sequence <= sequence)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

uint64_t Index::dead() const { return end_.load(std::memory_order_acquire) - 1 - posts(); }

uint64_t Index::bytes() const {
  return arena_.bytes() + documents_.bytes() + blocks_.bytes() + lists_.bytes() + terms_.bytes() +
         keys_.bytes();
}

}  // namespace fathom::live
