#include "live/source_sse.h"

#include <fmt/format.h>

#include "base/error.h"

namespace fathom::live {

void SseParser::feed(std::string_view piece, const std::function<void(const SseEvent&)>& on_event) {
  for (const char c : piece) {
    const bool line_feed_of_crlf = c == '\n' && after_cr_;
    after_cr_ = c == '\r';
    if (line_feed_of_crlf) continue;
    if (c == '\n' || c == '\r') {
      end_line(on_event);
      continue;
    }
    if (line_.size() + event_.data.size() >= max_event_bytes_)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("an event of the stream is larger than {} bytes", max_event_bytes_));
    line_ += c;
  }
}

void SseParser::end_line(const std::function<void(const SseEvent&)>& on_event) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::string_view line = line_;
  if (at_start_ && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  at_start_ = false;
  if (line.empty()) {
    if (has_data_) {
      if (event_.type.empty()) event_.type = "message";
      on_event(event_);
    }
    event_.type.clear();
    event_.data.clear();
    has_data_ = false;
  } else if (line.front() != ':') {  // ':' begins a comment, sent as a sign of life
    const size_t colon = line.find(':');
    std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    field(line.substr(0, colon), value);
  }
  line_.clear();
}

void SseParser::field(std::string_view name, std::string_view value) {
  if (name == "event") {
    event_.type = value;
  } else if (name == "data") {
    if (has_data_) event_.data += '\n';
    event_.data += value;
    has_data_ = true;
  } else if (name == "id" && value.find('\0') == std::string_view::npos) {
    event_.id = value;
  }  // `retry` is not used: the runner decides when to come back
}

}  // namespace fathom::live
