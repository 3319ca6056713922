#include "cluster/trace.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

namespace fathom::cluster {
namespace {

std::string quoted(std::string_view text) {
  return nlohmann::json(std::string(text)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

/// Nanoseconds are kept; what is not finite has no place in JSON.
std::string micros(double seconds) {
  return fmt::format("{:.3f}", std::isfinite(seconds) ? seconds * 1e6 : 0.0);
}
std::string number(double value) { return std::isfinite(value) ? fmt::format("{:.9g}", value) : "null"; }

}  // namespace

TraceWriter::TraceWriter(std::ostream& out) : out_(out) {
  out_ << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
}

TraceWriter::~TraceWriter() { out_ << "\n]}\n"; }

void TraceWriter::begin(char phase, uint32_t process, uint32_t thread, std::string_view name) {
  out_ << (events_++ == 0 ? "\n" : ",\n")
       << fmt::format("{{\"ph\":\"{}\",\"pid\":{},\"tid\":{},\"name\":{}", phase, process, thread,
                      quoted(name));
}

void TraceWriter::end(const Arguments& arguments) {
  if (!arguments.empty()) {
    out_ << ",\"args\":{";
    const char* separator = "";
    for (const auto& [name, value] : arguments) {
      out_ << separator << quoted(name) << ":" << number(value);
      separator = ",";
    }
    out_ << "}";
  }
  out_ << "}";
}

void TraceWriter::name_process(uint32_t process, std::string_view name) {
  begin('M', process, 0, "process_name");
  out_ << fmt::format(",\"args\":{{\"name\":{}}}}}", quoted(name));
}

void TraceWriter::name_track(const Track& track, std::string_view name, uint32_t rank) {
  begin('M', track.process, track.thread, "thread_name");
  out_ << fmt::format(",\"args\":{{\"name\":{}}}}}", quoted(name));
  begin('M', track.process, track.thread, "thread_sort_index");
  out_ << fmt::format(",\"args\":{{\"sort_index\":{}}}}}", rank);
}

void TraceWriter::slice(const Track& track, std::string_view name, double begin_s, double end_s,
                        const Arguments& arguments) {
  // Both ends are rounded alike, so that slices which touch do not overlap.
  const double from = std::round(begin_s * 1e9), to = std::round(end_s * 1e9);
  begin('X', track.process, track.thread, name);
  out_ << ",\"ts\":" << micros(from * 1e-9) << ",\"dur\":" << micros(std::fmax(0, to - from) * 1e-9);
  end(arguments);
}

void TraceWriter::instant(const Track& track, std::string_view name, double time_s,
                          const Arguments& arguments) {
  begin('i', track.process, track.thread, name);
  out_ << ",\"s\":\"t\",\"ts\":" << micros(time_s);
  end(arguments);
}

void TraceWriter::counter(uint32_t process, std::string_view name, double time_s, double value) {
  begin('C', process, 0, name);
  out_ << ",\"ts\":" << micros(time_s);
  end({{name, value}});
}

}  // namespace fathom::cluster
