#include "live/names.h"

#include <algorithm>

namespace fathom::live {

uint16_t Names::intern(std::string_view name) {
  if (last_.second != kOther && last_.first == name) return last_.second;
  const uint16_t number = look_up(name);
  last_ = {std::string(name), number};
  return number;
}

uint16_t Names::look_up(std::string_view name) {
  const auto at =
      std::lower_bound(sorted_.begin(), sorted_.end(), name,
                       [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
  if (at != sorted_.end() && at->first == name) return at->second;
  const size_t number = count_.load(std::memory_order_relaxed);
  if (number == kOther) return kOther;
  names_.grow(number) = name;
  sorted_.insert(at, {std::string(name), static_cast<uint16_t>(number)});
  count_.store(number + 1, std::memory_order_release);
  return static_cast<uint16_t>(number);
}

}  // namespace fathom::live
