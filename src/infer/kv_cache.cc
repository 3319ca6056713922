#include "infer/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace fathom::infer {
namespace {

size_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t n = std::min(a.size(), b.size());
  size_t i = 0;
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

tensor::KvShape shape_of(const model::ModelConfig& config, tensor::DType dtype) {
  return {dtype, config.kv_heads, config.head_dim};
}

}  // namespace

// ------------------------------------------------------------------ the pool

KvPool::KvPool(const model::ModelConfig& config, tensor::DType dtype, size_t pages)
    : shape_(shape_of(config, dtype)),
      page_bytes_(page_bytes(config, dtype)),
      count_(pages),
      memory_(page_bytes_ * pages),
      index_(Order{&pages_}) {}

size_t KvPool::page_bytes(const model::ModelConfig& config, tensor::DType dtype) {
  return config.layers * shape_of(config, dtype).bytes();
}

KvPool::Key KvPool::Order::key(Id id) const {
  const Page& page = (*pages)[id];
  return {page.parent, std::span(page.tokens).first(page.filled)};
}

bool KvPool::Order::less(const Key& a, const Key& b) {
  if (a.parent != b.parent) return a.parent < b.parent;
  return std::lexicographical_compare(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end());
}

KvPool::Id KvPool::take() {
  Id id = kNone;
  if (free_.empty() && pages_.size() == count_) {
    if (idle_.empty()) return kNone;
    empty(idle_.begin()->second);
  }
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
  } else {
    id = static_cast<Id>(pages_.size());
    pages_.emplace_back();
  }
  pages_[id].holders = 1;
  ++held_;
  used_.fetch_add(1, std::memory_order_relaxed);
  return id;
}

void KvPool::hold(Id id) {
  Page& page = pages_[id];
  if (page.holders++ != 0) return;
  ++held_;
  idle_.erase(page.released);
}

void KvPool::release(Id id) {
  Page& page = pages_[id];
  FATHOM_CHECK(page.holders > 0);
  if (--page.holders != 0) return;
  --held_;
  page.released = next_release_++;
  idle_.emplace(page.released, id);
  if (!published(id)) empty(id);
}

/// A page without holders forgets what it held.
void KvPool::empty(Id id) {
  Page& page = pages_[id];
  if (published(id)) index_.erase(id);
  idle_.erase(page.released);
  page = Page{};
  free_.push_back(id);
  used_.fetch_sub(1, std::memory_order_relaxed);
}

KvPool::Id KvPool::publish(Id id, uint64_t parent, std::span<const int32_t> tokens) {
  const auto at = index_.lower_bound(Key{parent, tokens});
  if (at != index_.end() && pages_[*at].parent == parent) {
    const Page& there = pages_[*at];
    // One that goes on after these tokens serves as well where nobody will go on from here (a sequence's last page).
    if (common_prefix(std::span(there.tokens).first(there.filled), tokens) == tokens.size() &&
        (there.filled == tokens.size() || tokens.size() < kPositions)) {
      const Id equal = *at;
      hold(equal);
      release(id);
      return equal;
    }
  }
  Page& page = pages_[id];
  page.identity = next_identity_++;
  page.parent = parent;
  page.filled = static_cast<uint32_t>(tokens.size());
  std::copy(tokens.begin(), tokens.end(), page.tokens.begin());
  const auto place = index_.insert(id).first;
  // What ended earlier with the same tokens is now part of this page.
  if (place == index_.begin()) return id;
  const Id before = *std::prev(place);
  const Page& shorter = pages_[before];
  if (shorter.holders == 0 && shorter.parent == parent &&
      common_prefix(std::span(shorter.tokens).first(shorter.filled), tokens) == shorter.filled)
    empty(before);
  return id;
}

KvPool::Match KvPool::find(uint64_t parent, std::span<const int32_t> tokens) const {
  // In lexicographic order the longest common beginning is that of a neighbour.
  const auto at = index_.lower_bound(Key{parent, tokens});
  Match best;
  const auto consider = [&](Id id) {
    const Page& page = pages_[id];
    if (page.parent != parent) return;
    const size_t count = common_prefix(std::span(page.tokens).first(page.filled), tokens);
    if (count > best.count) best = {id, count};
  };
  if (at != index_.end()) consider(*at);
  if (at != index_.begin()) consider(*std::prev(at));
  return best;
}

// ------------------------------------------------------------------ a sequence

void KvSequence::release() {
  publish();
  const size_t full = tokens_.size() / KvPool::kPositions;
  const auto rest = std::span<const int32_t>(tokens_).subspan(full * KvPool::kPositions);
  if (!rest.empty() && !pool_->published(ids_[full]))
    ids_[full] = pool_->publish(ids_[full], parent_of(full), rest);
  discard();
}

tensor::PagedKv KvSequence::layer(size_t index) const {
  return {pool_->shape_, data_.data(), data_.size(), index * pool_->shape_.bytes()};
}

size_t KvSequence::adopt(std::span<const int32_t> prompt) {
  constexpr size_t kPositions = KvPool::kPositions;
  FATHOM_CHECK(prompt.size() >= tokens_.size());
  const size_t before = tokens_.size();
  while (tokens_.size() % kPositions == 0 && tokens_.size() < prompt.size()) {
    const size_t at = tokens_.size();
    const size_t page = at / kPositions;
    publish();
    const auto rest = prompt.subspan(at, std::min(kPositions, prompt.size() - at));
    const auto match = pool_->find(parent_of(page), rest);
    if (match.count == 0) break;
    drop_pages(page);
    pool_->hold(match.id);
    ids_.push_back(match.id);
    data_.push_back(pool_->data(match.id));
    if (match.count == kPositions) ++published_;
    extend(rest.first(match.count));
  }
  return tokens_.size() - before;
}

bool KvSequence::same_place(const KvSequence& other) const {
  if (tokens_.size() != other.tokens_.size() || tokens_.size() % KvPool::kPositions != 0) return false;
  const size_t page = tokens_.size() / KvPool::kPositions;
  return published_ == page && other.published_ == page && parent_of(page) == other.parent_of(page);
}

bool KvSequence::reserve(size_t count) {
  const size_t wanted = KvPool::pages_of(count);
  const size_t last = tokens_.size() / KvPool::kPositions;
  const bool copy = count > tokens_.size() && last < ids_.size() && pool_->published(ids_[last]);
  const size_t more = wanted > ids_.size() ? wanted - ids_.size() : 0;
  // A page that only this sequence holds is not available while it is copied.
  if (pool_->available() < more + (copy ? 1 : 0)) return false;
  if (copy) {
    const KvPool::Id own = pool_->take();
    std::memcpy(pool_->data(own), data_[last], pool_->page_bytes_);
    pool_->release(ids_[last]);
    ids_[last] = own;
    data_[last] = pool_->data(own);
  }
  for (size_t i = 0; i < more; ++i) {
    ids_.push_back(pool_->take());
    data_.push_back(pool_->data(ids_.back()));
  }
  return true;
}

void KvSequence::extend(std::span<const int32_t> tokens) {
  FATHOM_CHECK(tokens_.size() + tokens.size() <= capacity());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void KvSequence::truncate(size_t count) {
  if (count >= tokens_.size()) return;
  tokens_.resize(count);
  published_ = std::min(published_, count / KvPool::kPositions);
  drop_pages(KvPool::pages_of(count));
}

void KvSequence::publish() {
  constexpr size_t kPositions = KvPool::kPositions;
  for (; (published_ + 1) * kPositions <= tokens_.size(); ++published_) {
    const auto tokens = std::span<const int32_t>(tokens_).subspan(published_ * kPositions, kPositions);
    KvPool::Id& id = ids_[published_];
    if (pool_->published(id)) continue;
    id = pool_->publish(id, parent_of(published_), tokens);
    data_[published_] = pool_->data(id);
  }
}

void KvSequence::discard() {
  drop_pages(0);
  tokens_.clear();
  published_ = 0;
}

void KvSequence::drop_pages(size_t keep) {
  // The last first: what is given up for memory goes in the order in which it was released.
  while (ids_.size() > keep) {
    pool_->release(ids_.back());
    ids_.pop_back();
    data_.pop_back();
  }
}

}  // namespace fathom::infer
