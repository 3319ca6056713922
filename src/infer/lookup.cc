#include "infer/lookup.h"

#include <algorithm>

namespace fathom::infer {
namespace {

constexpr size_t kLongest = 4;   // tokens at the end of the text that are looked for
constexpr size_t kShortest = 2;  // fewer mean nothing
constexpr size_t kFirstPenalty = 4;
constexpr size_t kMostPenalty = 64;

struct Place {
  size_t matched = 0;  // tokens, at most kLongest
  size_t next = 0;     // index of what followed
};

/// Where the end of `history` stood before: the longest match, the latest of those.
Place find(std::span<const int32_t> history) {
  const size_t n = history.size();
  Place best;
  if (n <= kShortest) return best;
  const int32_t last = history[n - 1];
  for (size_t end = n - 1; end >= kShortest && best.matched < kLongest; --end) {
    if (history[end - 1] != last) continue;
    size_t matched = 1;
    while (matched < kLongest && matched < end && history[end - 1 - matched] == history[n - 1 - matched])
      ++matched;
    if (matched >= kShortest && matched > best.matched) best = {matched, end};
  }
  return best;
}

}  // namespace

void PromptLookup::propose(std::span<const int32_t> history, size_t most, std::vector<int32_t>& guess) {
  guess.clear();
  if (pause_ > 0) {
    --pause_;
    return;
  }
  if (most == 0) return;
  const Place place = find(history);
  if (place.matched == 0) return;
  // Two tokens that occurred before are weak evidence.
  const size_t trusted = place.matched >= 3 ? length_ : std::min<size_t>(length_, 3);
  const size_t count = std::min({trusted, most, history.size() - place.next});
  guess.assign(history.begin() + static_cast<ptrdiff_t>(place.next),
               history.begin() + static_cast<ptrdiff_t>(place.next + count));
}

void PromptLookup::learn(size_t proposed, size_t accepted) {
  if (accepted == proposed) {
    length_ = std::min(kMost, std::max(length_, proposed * 2));
    penalty_ = 0;
  } else if (accepted > 0) {
    length_ = std::max<size_t>(2, accepted + 1);
    penalty_ /= 2;
  } else {
    length_ = 2;
    penalty_ = std::clamp(penalty_ * 2, kFirstPenalty, kMostPenalty);
    pause_ = penalty_;
  }
}

}  // namespace fathom::infer
