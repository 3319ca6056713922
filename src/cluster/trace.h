// Chrome trace events: what Perfetto (ui.perfetto.dev) and chrome://tracing open.
//
// Format: "Trace Event Format" (Google, 2016): one JSON object with `traceEvents`; times in microseconds. Written as it goes
// to a stream that the caller owns; nothing is kept but a count. Not thread-safe. Names may hold anything: they are written
// as JSON strings, ill-formed UTF-8 replaced.
//
// Invariant: slices of one track either lie within each other or apart; the caller sees to it.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom::cluster {

class TraceWriter {
 public:
  struct Track {
    uint32_t process = 0, thread = 0;
  };
  using Arguments = std::vector<std::pair<std::string_view, double>>;

  explicit TraceWriter(std::ostream& out);
  /// Ends the document. Errors of the stream are the caller's to look for.
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  void name_process(uint32_t process, std::string_view name);
  void name_track(const Track& track, std::string_view name, uint32_t rank);  // shown in the order of ranks
  void slice(const Track& track, std::string_view name, double begin_s, double end_s,
             const Arguments& arguments = {});
  void instant(const Track& track, std::string_view name, double time_s, const Arguments& arguments = {});
  void counter(uint32_t process, std::string_view name, double time_s, double value);

  uint64_t events() const { return events_; }

 private:
  void begin(char phase, uint32_t process, uint32_t thread, std::string_view name);
  void end(const Arguments& arguments);

  std::ostream& out_;
  uint64_t events_ = 0;
};

}  // namespace fathom::cluster
