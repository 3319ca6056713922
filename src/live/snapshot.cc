#include "live/snapshot.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"

namespace fathom::live {
namespace {

constexpr auto kShortestPause = std::chrono::microseconds(20),
               kLongestPause = std::chrono::microseconds(2000);

struct alignas(64) Readers {
  std::atomic<uint64_t> count{0};
};

}  // namespace

Snapshot::Snapshot(Snapshot&& other) noexcept
    : readers_(std::exchange(other.readers_, nullptr)),
      list_(other.list_),
      sequence_(other.sequence_),
      posts_(other.posts_),
      mean_length_(other.mean_length_) {}

Snapshot::~Snapshot() {
  if (readers_ != nullptr) readers_->fetch_sub(1, std::memory_order_release);
}

void Snapshot::sum_up() {
  uint64_t posts = 0, words = 0;
  const auto add = [&](const auto& parts) {
    for (const auto& part : parts) {
      posts += part->posts();
      words += part->words();
    }
  };
  add(list_->sealed);
  add(list_->memory);
  posts_ = static_cast<double>(posts);
  if (posts > 0) mean_length_ = std::max(1.0, static_cast<double>(words) / posts_);
}

struct Segments::State {
  std::atomic<const SegmentList*> list{nullptr};
  std::atomic<uint64_t> published{0};
  std::atomic<uint64_t> epoch{0};
  Readers readers[2];

  std::unique_ptr<const SegmentList> current;  // the writer's

  std::mutex retired_mutex;
  std::vector<std::unique_ptr<const SegmentList>> retired;
  std::mutex reclaim_mutex;

  /// Returns when all readers that could hold a list replaced before the call have left: each epoch's count was zero once.
  /// New readers count in the other epoch meanwhile, so that their stream does not hold the wait up.
  void await_readers() {
    for (int turn = 0; turn < 2; ++turn) {
      const size_t old = epoch.fetch_add(1, std::memory_order_seq_cst) % 2;
      for (auto pause = kShortestPause; readers[old].count.load(std::memory_order_seq_cst) != 0;
           pause = std::min(2 * pause, kLongestPause))
        std::this_thread::sleep_for(pause);
    }
  }
};

Segments::Segments(SegmentList first) : state_(std::make_unique<State>()) {
  FATHOM_CHECK(!first.memory.empty());
  state_->published.store(first.since, std::memory_order_release);
  state_->current = std::make_unique<const SegmentList>(std::move(first));
  state_->list.store(state_->current.get(), std::memory_order_seq_cst);
}

Segments::~Segments() = default;

Snapshot Segments::snapshot() const {
  State& state = *state_;
  auto& readers = state.readers[state.epoch.load(std::memory_order_seq_cst) % 2].count;
  readers.fetch_add(1, std::memory_order_seq_cst);
  Snapshot snapshot(&readers);
  const uint64_t published = state.published.load(std::memory_order_acquire);
  snapshot.list_ = state.list.load(std::memory_order_seq_cst);
  snapshot.sequence_ = std::max(published, snapshot.list_->since);
  snapshot.sum_up();
  return snapshot;
}

const SegmentList& Segments::list() const { return *state_->current; }

void Segments::publish(uint64_t sequence) { state_->published.store(sequence, std::memory_order_release); }

uint64_t Segments::published() const { return state_->published.load(std::memory_order_acquire); }

void Segments::replace(SegmentList list) {
  State& state = *state_;
  FATHOM_CHECK(!list.memory.empty() && list.since <= published());
  auto next = std::make_unique<const SegmentList>(std::move(list));
  state.list.store(next.get(), std::memory_order_seq_cst);
  const std::lock_guard lock(state.retired_mutex);
  state.retired.push_back(std::exchange(state.current, std::move(next)));
}

void Segments::reclaim() {
  State& state = *state_;
  const std::lock_guard one(state.reclaim_mutex);
  std::vector<std::unique_ptr<const SegmentList>> old;
  {
    const std::lock_guard lock(state.retired_mutex);
    old.swap(state.retired);
  }
  if (!old.empty()) state.await_readers();
}

}  // namespace fathom::live
