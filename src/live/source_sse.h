// Server-sent events (HTML Living Standard, section 9.2) read from pieces of a stream.
//
// Holds the unfinished event between pieces. Not thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace fathom::live {

struct SseEvent {
  std::string type;  // "message" when the stream names none
  std::string data;  // lines joined by '\n'
  std::string id;    // the last one given
};

class SseParser {
 public:
  explicit SseParser(size_t max_event_bytes = size_t{4} << 20) : max_event_bytes_(max_event_bytes) {}

  /// Calls `on_event` for every event completed by `piece`. Errors: kResourceExhausted for an event over the limit.
  void feed(std::string_view piece, const std::function<void(const SseEvent&)>& on_event);

 private:
  void end_line(const std::function<void(const SseEvent&)>& on_event);
  void field(std::string_view name, std::string_view value);

  size_t max_event_bytes_;
  std::string line_;
  SseEvent event_;
  bool has_data_ = false;
  bool after_cr_ = false;
  bool at_start_ = true;
};

}  // namespace fathom::live
