// A recorded feed: NDJSON (one post a line, see parse_post), plain or zstd-compressed, from a file, a pipe or standard input.
//
// Compression is recognised by its magic number, not by the name. A bad line is rejected with its number and the rest is
// read. Lines may be up to kMaxLineBytes long. The cursor is the number of lines read, with a mark of their content:
// a restart goes on where it stopped, even when the file has grown, and a file that begins otherwise is read from its start.
// A pipe always is.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "live/source.h"

namespace fathom::live {

inline constexpr size_t kMaxLineBytes = size_t{1} << 20;

enum class Pace {
  kAtOnce,  // as fast as the store takes them
  kRate,    // `posts_per_second`
  kFeed,    // the distances between their times, divided by `speed`
};

struct FileSourceOptions {
  std::string path;                     // "-": standard input
  std::string name = "file";            // of the source, see Source::name
  std::string default_source = "file";  // of a post that names none
  Pace pace = Pace::kAtOnce;
  double posts_per_second = 0;  // kRate; over 0
  double speed = 1;             // kFeed; over 0
  // The lead is delivered at once, whatever the pace: posts up to a time, the first share of the posts (0 to 1; not from a
  // pipe), or the posts of the first so-and-so long. At most one of them is set.
  std::optional<Time> lead_until;
  std::optional<double> lead_fraction;
  std::optional<Micros> lead_duration;
};

/// Reads "at-once", "250/s", "feed" or "feed*60" (sixty times as fast). Errors: kInvalidArgument.
void parse_pace(std::string_view text, FileSourceOptions& options);

/// Reads "25%", "6h", "90m", "30s", "2d" or a time (RFC 3339). Errors: kInvalidArgument.
void parse_lead(std::string_view text, FileSourceOptions& options);

/// The file is opened by `run`. Errors here: kInvalidArgument for options that contradict each other. Errors of `run`:
/// kNotFound, kIo, kCorrupt (a zstd frame that is damaged or cut off, named with its offset; what came before is kept).
std::unique_ptr<Source> make_file_source(const FileSourceOptions& options, const Clock& clock);

}  // namespace fathom::live
