#include "live/index_supply.h"

#include <sys/resource.h>
#include <unistd.h>

#include <utility>

namespace fathom::live {
namespace {

/// The calling thread gives way to those that posts wait for.
void give_way() {
  constexpr int kNice = 10;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);  // failing changes speed alone
}

}  // namespace

IndexSupply::IndexSupply(size_t expected)
    : expected_(expected), thread_([this](const std::stop_token& stop) { run(stop); }) {}

void IndexSupply::attend(const std::shared_ptr<Index>& active, bool next_soon) {
  {
    const std::lock_guard lock(mutex_);
    active_ = active;
    next_soon_ = next_soon;
    attend_ = true;
  }
  wanted_.notify_one();
}

std::shared_ptr<Index> IndexSupply::take(uint64_t base) {
  std::shared_ptr<Index> index;
  {
    const std::lock_guard lock(mutex_);
    index = std::exchange(next_, nullptr);
    next_soon_ = false;
  }
  if (!index) return std::make_shared<Index>(base, expected_);
  index->begin_above(base);
  return index;
}

void IndexSupply::run(const std::stop_token& stop) {
  give_way();
  std::unique_lock lock(mutex_);
  while (wanted_.wait(lock, stop, [this] { return attend_; })) {
    attend_ = false;
    auto active = active_.lock();
    const bool makes_next = lacks_next();
    lock.unlock();
    if (active) active->warm();
    active.reset();
    std::shared_ptr<Index> next;
    if (makes_next) {
      next = std::make_shared<Index>(0, expected_);
      next->reserve();
    }
    lock.lock();
    if (next && lacks_next()) next_ = std::move(next);
  }
}

}  // namespace fathom::live
