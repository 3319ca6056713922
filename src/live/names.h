// The short strings of a column (sources, languages) as small numbers, for one writer and many readers without locks.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "live/concurrent.h"

namespace fathom::live {

class Names {
 public:
  static constexpr uint16_t kOther = 0xFFFF;  // the table is full: compare the post itself
  uint16_t intern(std::string_view name);     // writer
  size_t size() const { return count_.load(std::memory_order_acquire); }
  std::string_view name(size_t number) const { return names_[number]; }

 private:
  uint16_t look_up(std::string_view name);

  ChunkedArray<std::string, 256, 256> names_;
  std::atomic<size_t> count_{0};
  std::vector<std::pair<std::string, uint16_t>> sorted_;  // writer
  std::pair<std::string, uint16_t> last_{{}, kOther};  // writer: most posts have the name of the post before
};

}  // namespace fathom::live
