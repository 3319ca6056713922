#include "infer/text_stream.h"

#include <algorithm>

#include "base/text.h"

namespace fathom::infer {
namespace {

/// How many bytes at the end of `text` a stop string may begin with.
size_t possible_stop(std::string_view text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops) {
    for (size_t n = std::min(stop.size() - 1, text.size()); n > longest; --n) {
      if (!text.ends_with(std::string_view(stop).substr(0, n))) continue;
      longest = n;
      break;
    }
  }
  return longest;
}

}  // namespace

TextStream::TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& s) { return s.empty(); });
}

std::string TextStream::take(size_t count) {
  std::string out = sanitize_utf8(std::string_view(held_).substr(0, count));
  held_.erase(0, count);
  return out;
}

std::string TextStream::push(std::string_view bytes) {
  if (stopped_) return {};
  held_ += bytes;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at >= first) continue;
    first = at;
    stopped_by_ = stop;
  }
  if (first != std::string::npos) {
    stopped_ = true;
    std::string out = take(first);
    held_.clear();
    return out;
  }
  size_t certain = held_.size() - possible_stop(held_, stops_);
  certain -= incomplete_utf8_tail(std::string_view(held_).substr(0, certain));
  return take(certain);
}

std::string TextStream::finish() { return stopped_ ? std::string() : take(held_.size()); }

}  // namespace fathom::infer
