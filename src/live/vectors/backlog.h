// Which posts are still to be read: ranges of sequences, taken from the newest end, so that fresh posts are never kept waiting
// by a long past, and a feed that is faster than the reader leaves old posts out rather than falls behind.
//
// A plain value; not thread-safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace fathom::live {

class Backlog {
 public:
  /// Sequences above `after`, up to and with `last`.
  struct Range {
    uint64_t after = 0, last = 0;
  };
  static constexpr size_t kMostRanges = 256;

  Backlog() = default;
  /// `ranges` rise and do not overlap; all other sequences up to `known` have been read.
  Backlog(uint64_t known, std::vector<Range> ranges) : known_(known), ranges_(std::move(ranges)) {}

  uint64_t known() const { return known_; }
  const std::vector<Range>& ranges() const { return ranges_; }

  /// There are posts up to `last`; those up to `floor` are not wanted any more.
  void extend(uint64_t last, uint64_t floor) {
    if (last > known_) {
      if (!ranges_.empty() && ranges_.back().last == known_)
        ranges_.back().last = last;
      else
        ranges_.push_back({known_, last});
      known_ = last;
    }
    for (Range& range : ranges_) range.after = std::max(range.after, floor);
    std::erase_if(ranges_, [](const Range& range) { return range.after >= range.last; });
    if (ranges_.size() > kMostRanges)
      ranges_.erase(ranges_.begin(), ranges_.end() - static_cast<ptrdiff_t>(kMostRanges));
  }

  /// The newest `count` sequences that are not read yet, or fewer where they are not in one run.
  std::optional<Range> take(uint64_t count) {
    if (ranges_.empty()) return std::nullopt;
    Range& newest = ranges_.back();
    const Range taken{newest.last - newest.after > count ? newest.last - count : newest.after, newest.last};
    newest.last = taken.after;
    if (newest.after == newest.last) ranges_.pop_back();
    return taken;
  }
  /// What was taken and could not be read.
  void give_back(const Range& range) {
    if (range.after >= range.last) return;
    const auto at = std::find_if(ranges_.begin(), ranges_.end(),
                                 [&](const Range& other) { return other.after >= range.last; });
    ranges_.insert(at, range);
  }

  uint64_t waiting() const {
    uint64_t sum = 0;
    for (const Range& range : ranges_) sum += range.last - range.after;
    return sum;
  }
  /// Everything up to here has been read.
  uint64_t read_through() const { return ranges_.empty() ? known_ : ranges_.front().after; }

 private:
  uint64_t known_ = 0;
  std::vector<Range> ranges_;
};

}  // namespace fathom::live
