#include "live/damage.h"

#include "base/log.h"

namespace fathom::live {
namespace {

constexpr size_t kMostCounted = 65'536, kMostTold = 1'000;

}  // namespace

uint64_t DamageLog::records() const {
  const std::lock_guard lock(mutex_);
  return sequences_.size();
}

void DamageLog::note(uint64_t sequence, const std::string& what) {
  {
    const std::lock_guard lock(mutex_);
    if (sequences_.size() < kMostCounted) sequences_.insert(sequence);
    if (told_.size() >= kMostTold || !told_.insert(what).second) return;
  }
  log().error("posts are left out: {}", what);
}

}  // namespace fathom::live
