// Keeps the active index's memory ahead of its writer, and the next index ready, on a thread of its own: fresh memory costs
// milliseconds a huge page, for which a post on its way to being found must not wait.
//
// Thread safety: every method may be called from any thread. Owns the next index until it is taken; watches the active one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "live/index.h"

namespace fathom::live {

class IndexSupply {
 public:
  /// Indexes for about `expected` documents.
  explicit IndexSupply(size_t expected);

  /// To be called now and then while `active` grows; `next_soon`: the next index will be taken before long.
  void attend(const std::shared_ptr<Index>& active, bool next_soon);
  /// An empty index above `base`: the one that is ready, or a new one.
  std::shared_ptr<Index> take(uint64_t base);

 private:
  void run(const std::stop_token& stop);
  bool lacks_next() const { return next_soon_ && next_ == nullptr; }

  const size_t expected_;
  std::mutex mutex_;
  std::condition_variable_any wanted_;
  std::weak_ptr<Index> active_;
  bool attend_ = false, next_soon_ = false;
  std::shared_ptr<Index> next_;
  std::jthread thread_;
};

}  // namespace fathom::live
