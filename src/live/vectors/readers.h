// Who is reading, so that the writer knows when nobody can hold what it took away: two epochs that readers count themselves
// in and out of (as in McKenney's read-copy-update). Readers never wait; the writer does, in `wait_for_all`.
//
// Thread safety: `enter` for any thread, `wait_for_all` for one at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

namespace fathom::live {

class Readers {
 public:
  class Hold {
   public:
    explicit Hold(std::atomic<uint64_t>& count) : count_(count) {}
    ~Hold() { count_.fetch_sub(1, std::memory_order_release); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    std::atomic<uint64_t>& count_;
  };

  Hold enter() const {
    for (;;) {
      const uint64_t epoch = epoch_.load();
      auto& count = counts_[epoch & 1].value;
      count.fetch_add(1);
      // Counted after the writer had turned the epoch: it may not have been seen.
      if (epoch_.load() == epoch) return Hold(count);
      count.fetch_sub(1, std::memory_order_release);
    }
  }

  /// Returns when all who read at the call have left.
  void wait_for_all() {
    const auto& count = counts_[epoch_.fetch_add(1) & 1].value;
    while (count.load() != 0) std::this_thread::yield();
  }

 private:
  struct alignas(64) Count {
    std::atomic<uint64_t> value{0};
  };
  std::atomic<uint64_t> epoch_{0};
  mutable std::array<Count, 2> counts_;
};

}  // namespace fathom::live
