#include "live/index.h"

#include <algorithm>
#include <array>

#include "live/analysis.h"
#include "live/codec.h"
#include "live/packed_record.h"

namespace fathom::live {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr uint32_t kMaxCount = std::numeric_limits<uint32_t>::max();
constexpr size_t kMinRoom = size_t{64} << 20;  // of the arena
constexpr size_t kMostBytesOfPost = size_t{1} << 20;

uint32_t saturated(int64_t count) { return static_cast<uint32_t>(std::clamp<int64_t>(count, 0, kMaxCount)); }

/// How far ahead of a post its memory is asked for: the slots of its tables, then the lists they lead to, then what those
/// lead to: a post costs some thirty reads from memory, each of which would be waited for.
constexpr size_t kSlotsAhead = 12, kListsAhead = 8, kTailsAhead = 5, kEndsAhead = 2;

}  // namespace

Index::Index(uint64_t base, size_t expected) : base_(base), terms_(expected + expected / 8), keys_(expected) {
  documents_.grow(0);  // number 0 stands for none
  rank_facts_.grow(0);
  blocks_.grow(0);
  lists_.grow(0);
  changes_.grow(0);
}

// Documents

/// A sequence as this index counts, for comparing with Document::ended.
uint32_t Index::ending(uint64_t sequence) const {
  return static_cast<uint32_t>(std::min<uint64_t>(sequence < base_ ? 0 : sequence - base_, kAlive - 1));
}

uint32_t Index::end(uint64_t sequence) const { return std::min(ending(sequence), documents()) + 1; }

std::string_view Index::stored(uint32_t number) const {
  const uint32_t offset = documents_[number].record;
  if (offset == 0) return {};
  const char* at = arena_.at(offset);
  size_t size = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(*at++);
    size |= size_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return {at, size};
  }
}

/// Empty when the table of names was full: then the packed record has it.
std::string_view Index::source_of(uint32_t number) const {
  const uint16_t source = documents_[number].source;
  return source == Names::kOther ? std::string_view() : sources_.name(source);
}

bool Index::has_key(uint32_t number, std::string_view key) const {
  const std::string_view source = source_of(number), id = packed_id(stored(number));
  if (source.empty()) return id == key;
  return key.size() == source.size() + 1 + id.size() && key.starts_with(source) &&
         key[source.size()] == ':' && key.ends_with(id);
}

uint32_t Index::previous(uint32_t number) const {
  const Document& document = documents_[number];
  if ((document.change.load(kRelaxed) & Document::kReplaces) == 0) return 0;
  uint32_t before = 0;
  std::memcpy(&before, arena_.at(document.record) - sizeof before, sizeof before);
  return before;
}

std::string Index::record(uint32_t number) const {
  const std::string_view packed = stored(number);
  return packed.empty() ? std::string() : unpack_record(packed, source_of(number), created(number));
}

std::string Index::key(uint32_t number) const {
  const std::string_view packed = stored(number);
  if (packed.empty()) return {};
  const std::string_view source = source_of(number), id = packed_id(packed);
  std::string key(source);
  if (!source.empty()) key += ':';
  return key += id;
}

std::string Index::text(uint32_t number) const {
  const std::string_view packed = stored(number);
  return packed.empty() ? std::string() : std::string(packed_text(packed));
}

Post Index::post(uint32_t number) const {
  Post post = decode_record(record(number));
  if (const uint32_t at = change_of(number); at != 0) {
    const Change& change = changes_[at];
    const auto add = [](std::optional<int64_t>& count, const std::atomic<int64_t>& more) {
      if (const int64_t n = more.load(kRelaxed); n != 0) count = std::max<int64_t>(0, count.value_or(0) + n);
    };
    add(post.metrics.likes, change.likes);
    add(post.metrics.reposts, change.reposts);
    add(post.metrics.replies, change.replies);
  }
  return post;
}

CountChange Index::counts(uint32_t number) const {
  const uint32_t at = change_of(number);
  if (at == 0) return {};
  const auto sum = [](const std::atomic<int64_t>& count) {
    return static_cast<int32_t>(std::clamp<int64_t>(count.load(kRelaxed), INT32_MIN, INT32_MAX));
  };
  return {sum(changes_[at].likes), sum(changes_[at].reposts), sum(changes_[at].replies)};
}

bool Index::has_phrase(uint32_t number, const Phrase& phrase) const {
  const std::string_view packed = stored(number);
  return !packed.empty() && PhraseMatcher(packed_text(packed)).has(phrase);
}

DocumentFacts Index::facts(uint32_t number) const {
  const Document& document = documents_[number];
  DocumentFacts facts;
  facts.created = created(number);
  facts.likes = document.likes.load(kRelaxed);
  facts.source = document.source;
  facts.lang = document.lang;
  const RankFacts rank = rank_facts(number);
  facts.length = rank.length;
  facts.engagement = rank.engagement;
  facts.author = rank.author;
  facts.flags = rank.flags;
  return facts;
}

uint32_t Index::find_key(uint64_t key_hash, std::string_view key, uint32_t end) const {
  uint32_t number = keys_.find(key_hash, [&](uint32_t found) { return has_key(found, key); });
  while (number >= end) number = previous(number);
  return number;
}

// Writing

bool Index::has_room(size_t posts) const {
  return posts < kMaxDocuments - next_.load(kRelaxed) &&
         arena_.left() > kMinRoom + posts * std::min<size_t>(kMostBytesOfPost, size_t{4096});
}

void Index::warm() {
  terms_.warm();
  keys_.warm();
  arena_.warm();
  documents_.warm();
  lists_.warm();
}

void Index::reserve() {
  terms_.reserve();
  keys_.reserve();
  warm();
}

Index::Document& Index::grow(uint32_t number) {
  rank_facts_.grow(number);
  TimeBounds& block = blocks_.grow(number >> kBlockBits);
  const bool first_of_block = (number & ((1u << kBlockBits) - 1)) == 0;
  if (first_of_block) block.newest_before = newest_;
  return documents_.grow(number);
}

void Index::fill_gap(uint64_t sequence) {
  FATHOM_CHECK(sequence > base_ && sequence - base_ < kMaxDocuments);
  const auto number = static_cast<uint32_t>(sequence - base_);
  uint32_t next = next_.load(kRelaxed);
  FATHOM_CHECK(number >= next);
  for (; next < number; ++next) {
    grow(next);
    publish(next);
  }
}

Index::Document& Index::append(std::string_view record, std::string_view key, uint64_t key_hash,
                               int64_t created, uint64_t sequence) {
  fill_gap(sequence);
  const auto number = static_cast<uint32_t>(sequence - base_);
  Document& document = grow(number);
  document.created = static_cast<uint64_t>(created);
  by_source_.grow(
      std::min<size_t>(sources_.size(), Names::kOther));  // before a new name is there to be counted
  document.source = sources_.intern(key.substr(0, key.find(':')));
  const uint32_t before = find_key(key_hash, key);
  store_record(document, record, created, before);
  document.ended.store(kAlive, kRelaxed);
  // From here on readers may come upon it.
  if (before == 0) {
    keys_.insert(key_hash, number);
  } else {
    keys_.replace(key_hash, before, number);
    bury(before, sequence);
  }
  return document;
}

void Index::store_record(Document& document, std::string_view record, int64_t created, uint32_t before) {
  scratch_.resize(packed_room(record));
  const size_t size = pack_record(record, created, document.source == Names::kOther, scratch_.data());
  std::array<char, 5> prefix;
  size_t prefix_size = 0;
  for (size_t rest = size;; rest >>= 7) {
    prefix[prefix_size++] = static_cast<char>((rest & 0x7F) | (rest >= 0x80 ? 0x80u : 0u));
    if (rest < 0x80) break;
  }
  const size_t link = before != 0 ? sizeof before : 0;
  const uint32_t at = arena_.allocate(link + prefix_size + size, 1);
  std::memcpy(arena_.at(at), &before, link);
  document.record = at + static_cast<uint32_t>(link);
  document.change.store(before != 0 ? Document::kReplaces : 0, kRelaxed);
  char* to = arena_.at(document.record);
  std::memcpy(to, prefix.data(), prefix_size);
  std::memcpy(to + prefix_size, scratch_.data(), size);
}

void Index::add(const PreparedPost& post, uint64_t sequence) { add(post, sequence, {}); }

void Index::add(const PreparedPost& post, uint64_t sequence, std::span<const uint32_t> guesses) {
  if (post.deleted) return add_tombstone(post.key, post.key_hash, post.created, sequence);
  const auto number = static_cast<uint32_t>(sequence - base_);
  Document& document =
      append(post.record, post.key, post.key_hash, post.created.time_since_epoch().count(), sequence);
  document.sketch = post.sketch;
  document.likes.store(post.likes, kRelaxed);
  set_rank_facts(number, {post.length, post.engagement, post.author, post.flags});
  document.lang = langs_.intern(post.lang);
  count(number, 1);
  for (size_t i = 0; i < post.terms.size(); ++i) {
    const PreparedTerm& term = post.terms[i];
    const uint32_t list = list_of(post.term(term), term.hash, i < guesses.size() ? guesses[i] : 0);
    lists_[list].append(number, term.frequency, post.length, arena_);
  }
  widen_block(number);
  publish(number);
}

void Index::add(std::span<const PreparedPost* const> posts, uint64_t first) {
  constexpr size_t kRing = 16;
  static_assert(kListsAhead < kRing);
  std::array<Guesses, kRing> guesses;
  for (size_t step = 0; step < posts.size() + kSlotsAhead; ++step) {
    const auto at =
        [&](size_t ahead) {  // the post that is now `ahead` of the one being added, if there is one
          const size_t i = step - (kSlotsAhead - ahead);
          return step + ahead >= kSlotsAhead && i < posts.size() ? i : posts.size();
        };
    if (const size_t i = at(kSlotsAhead); i < posts.size()) {
      keys_.prefetch(posts[i]->key_hash);
      for (const PreparedTerm& term : posts[i]->terms) terms_.prefetch(term.hash);
    }
    if (const size_t i = at(kListsAhead); i < posts.size()) ask_for_lists(*posts[i], guesses[i % kRing]);
    if (const size_t i = at(kTailsAhead); i < posts.size()) ask_for_tails(guesses[i % kRing]);
    if (const size_t i = at(kEndsAhead); i < posts.size()) ask_for_ends(guesses[i % kRing]);
    if (const size_t i = at(0); i < posts.size()) add(*posts[i], first + i, guesses[i % kRing].span());
  }
}

void Index::ask_for_lists(const PreparedPost& post, Guesses& guesses) const {
  guesses.count = static_cast<uint32_t>(std::min(post.terms.size(), Guesses::kMost));
  for (uint32_t t = 0; t < guesses.count; ++t) {
    guesses.lists[t] = terms_.guess(post.terms[t].hash);
    if (guesses.lists[t] != 0) lists_[guesses.lists[t]].prefetch();
  }
}

void Index::ask_for_tails(const Guesses& guesses) const {
  for (const uint32_t list : guesses.span())
    if (list != 0) lists_[list].prefetch_tail(arena_);
}

void Index::ask_for_ends(const Guesses& guesses) const {
  for (const uint32_t list : guesses.span())
    if (list != 0) lists_[list].prefetch_end(arena_);
}

void Index::add_tombstone(std::string_view key, uint64_t key_hash, Time time, uint64_t sequence) {
  Post empty;
  const size_t colon = key.find(':');
  empty.source = key.substr(0, colon);
  empty.id = key.substr(colon + 1);
  empty.created_at = time;
  append(encode_record(empty), key, key_hash, time.time_since_epoch().count(), sequence);
  set_rank_facts(static_cast<uint32_t>(sequence - base_), {0, 0, 0, DocumentFacts::kTombstone});
  publish(static_cast<uint32_t>(sequence - base_));
}

void Index::bury(uint32_t number, uint64_t sequence) {
  std::atomic<uint32_t>& ended = documents_[number].ended;
  if (ended.load(kRelaxed) != kAlive) return;
  count(number, -1);
  ended.store(ending(sequence), kRelaxed);
}

void Index::add_counts(uint32_t number, const CountChange& change) {
  Document& document = documents_[number];
  uint32_t at = change_of(number);
  if (at == 0) {
    at = next_change_++;
    changes_.grow(at);
  }
  Change& sum = changes_[at];
  sum.likes.fetch_add(change.likes, kRelaxed);
  sum.reposts.fetch_add(change.reposts, kRelaxed);
  sum.replies.fetch_add(change.replies, kRelaxed);
  document.change.store(at | (document.change.load(kRelaxed) & Document::kReplaces),
                        std::memory_order_release);
  const Metrics now = post(number).metrics;
  const int64_t likes = now.likes.value_or(0);
  const int64_t others = now.reposts.value_or(0) + now.replies.value_or(0);
  document.likes.store(saturated(likes), kRelaxed);
  RankFacts rank = rank_facts(number);
  rank.engagement = log_steps(static_cast<double>(likes + others));
  set_rank_facts(number, rank);
  widen_block(number);
}

void Index::count(uint32_t number, int64_t change) {
  const RankFacts rank = rank_facts(number);
  if ((rank.flags & DocumentFacts::kTombstone) != 0) return;
  // One writer: no need of a locked addition.
  const auto add = [](std::atomic<uint64_t>& sum, int64_t n) {
    sum.store(sum.load(kRelaxed) + static_cast<uint64_t>(n), kRelaxed);
  };
  add(posts_, change);
  add(words_, change * rank.length);
  add(by_source_[documents_[number].source], change);
}

void Index::set_rank_facts(uint32_t number, const RankFacts& facts) {
  const auto part = [](uint8_t value, int i) { return uint32_t{value} << (8 * i); };
  rank_facts_[number].store(
      part(facts.length, 0) | part(facts.engagement, 1) | part(facts.author, 2) | part(facts.flags, 3),
      kRelaxed);
}

void Index::widen_block(uint32_t number) {
  TimeBounds& block = blocks_[number >> kBlockBits];
  const RankFacts rank = rank_facts(number);
  const int64_t time = created(number);
  if (time < block.oldest.load(kRelaxed)) block.oldest.store(time, kRelaxed);
  if (time > block.newest.load(kRelaxed)) block.newest.store(time, kRelaxed);
  if (rank.engagement > block.engagement.load(kRelaxed)) block.engagement.store(rank.engagement, kRelaxed);
  if (rank.author > block.author.load(kRelaxed)) block.author.store(rank.author, kRelaxed);
  newest_ = std::max(newest_, time);
}

// Terms

uint32_t Index::list_of(std::string_view term, uint64_t hash, uint32_t guess) {
  if (guess != 0 && lists_[guess].term(arena_) == term) return guess;
  const uint32_t found =
      terms_.find(hash, [&](uint32_t number) { return lists_[number].term(arena_) == term; });
  if (found != 0) return found;
  const uint32_t number = next_list_++;
  lists_.grow(number).name(arena_.copy(term), static_cast<uint16_t>(term.size()));
  terms_.insert(hash, number);
  term_count_.store(number, std::memory_order_release);
  return number;
}

Index::Term Index::term(std::string_view term) const {
  const uint32_t number =
      terms_.find(term_hash(term), [&](uint32_t n) { return lists_[n].term(arena_) == term; });
  return number == 0 ? Term() : Term(&lists_[number], &arena_);
}

uint64_t Index::bytes() const {
  return arena_.bytes() + documents_.bytes() + rank_facts_.bytes() + blocks_.bytes() + lists_.bytes() +
         changes_.bytes() + terms_.bytes() + keys_.bytes();
}

}  // namespace fathom::live
