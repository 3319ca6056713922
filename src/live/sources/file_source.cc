#include "live/sources/file_source.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/line_reader.h"
#include "base/text.h"
#include "live/sources/config.h"

namespace fathom::live {
namespace {

constexpr uint64_t kCursorEvery = 500;  // lines
constexpr double kLongestWait = 366.0 * 24 * 3600;

/// FNV-1a, 64 bits, over the lines read: tells files that only begin alike apart; not for secrets.
class Mark {
 public:
  void add(LineReader::Result result, std::string_view line) {
    if (result == LineReader::Result::kLine)
      for (const char c : line) add(c);
    add('\n');
  }
  uint64_t value() const { return hash_; }

 private:
  void add(char c) { hash_ = (hash_ ^ static_cast<uint8_t>(c)) * 0x100000001B3u; }
  uint64_t hash_ = 0xCBF29CE484222325u;
};

std::optional<double> read_number(std::string_view text) {
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

Micros to_micros(double seconds) {
  return Micros(static_cast<int64_t>(std::min(seconds, kLongestWait) * 1e6));
}

/// "LINES MARK", as `advance` was given it.
struct Cursor {
  uint64_t lines = 0;
  uint64_t mark = 0;

  std::string text() const { return fmt::format("{} {:016x}", lines, mark); }

  static Cursor parse(std::string_view text) {
    Cursor cursor;
    const auto parts = split(text, ' ');
    if (parts.size() != 2) return {};
    const auto read = [](std::string_view part, uint64_t& value, int base) {
      const auto [end, ec] = std::from_chars(part.data(), part.data() + part.size(), value, base);
      return ec == std::errc{} && end == part.data() + part.size();
    };
    return read(parts[0], cursor.lines, 10) && read(parts[1], cursor.mark, 16) ? cursor : Cursor{};
  }
};

/// Says until when each post waits.
class Pacer {
 public:
  /// `lead_posts` are left of a lead by share; `oldest` is the creation of the file's first post, where it can be told.
  Pacer(const FileSourceOptions& options, const Clock& clock, uint64_t lead_posts, std::optional<Time> oldest)
      : options_(options), clock_(clock), lead_posts_(lead_posts), oldest_(oldest) {}

  /// Waits until the post that was created at `created` is due. False when stopped.
  bool wait(Time created, const std::stop_token& stop) {
    if (options_.pace == Pace::kAtOnce || in_lead(created)) return !stop.stop_requested();
    if (!start_) {
      start_ = clock_.now();
      first_ = created;
    }
    const Time due = *start_ + offset(created);
    ++paced_;
    const Time now = clock_.now();
    return due <= now ? !stop.stop_requested() : clock_.sleep(due - now, stop);
  }

  /// The lead is over and posts come one by one.
  bool pacing() const { return start_.has_value(); }

 private:
  bool in_lead(Time created) {
    if (start_) return false;  // once over, a stray old post does not bring it back
    if (!oldest_) oldest_ = created;
    if (options_.lead_until) return created < *options_.lead_until;
    if (options_.lead_duration) return created < *oldest_ + *options_.lead_duration;
    return lead_posts_ > 0 && lead_posts_-- > 0;
  }

  Micros offset(Time created) const {
    if (options_.pace == Pace::kRate)
      return to_micros(static_cast<double>(paced_) / options_.posts_per_second);
    const double seconds = std::chrono::duration<double>(created - first_).count();
    return to_micros(std::max(0.0, seconds / options_.speed));
  }

  const FileSourceOptions& options_;
  const Clock& clock_;
  uint64_t lead_posts_;
  std::optional<Time> start_;  // when the first paced post was due
  std::optional<Time> oldest_;
  Time first_{};  // creation of the first paced post
  uint64_t paced_ = 0;
};

class FileSource final : public Source {
 public:
  FileSource(FileSourceOptions options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}

  std::string_view name() const override { return options_.name; }
  bool replays() const override { return true; }

  void run(Sink& sink, const std::stop_token& stop) override {
    live_ = false;
    LineReader lines(options_.path, kMaxLineBytes);
    const uint64_t lead = lead_posts(lines, stop);
    skip_ = lines_to_skip(lines, Cursor::parse(sink.cursor()), stop);
    std::optional<Pacer> pacer;
    Mark mark;
    std::string line;
    for (;;) {
      const auto result = lines.next(line, stop);
      if (result == LineReader::Result::kStopped) return;
      if (result == LineReader::Result::kEnd) break;
      mark.add(result, line);
      if (!pacer) pacer.emplace(options_, clock_, lead > skip_ ? lead - skip_ : 0, creation_of(line));
      if (lines.number() <= skip_) continue;
      if (!take(result, line, lines.number(), *pacer, sink, stop)) return;
      if (lines.number() % kCursorEvery == 0 || pacer->pacing())
        sink.advance(Cursor{lines.number(), mark.value()}.text());
    }
    if (lines.number() > skip_) sink.advance(Cursor{lines.number(), mark.value()}.text());
  }

 private:
  /// How many lines an earlier run delivered: those of the cursor, when the file still begins with them. A pipe cannot be
  /// read twice to find out; what comes out of it is all new.
  uint64_t lines_to_skip(const LineReader& input, const Cursor& cursor, const std::stop_token& stop) const {
    if (cursor.lines == 0 || !input.is_regular()) return 0;
    Mark mark;
    try {
      LineReader lines(options_.path, kMaxLineBytes);
      std::string line;
      while (lines.number() < cursor.lines) {
        const auto result = lines.next(line, stop);
        if (result == LineReader::Result::kEnd || result == LineReader::Result::kStopped) return 0;
        mark.add(result, line);
      }
    } catch (const Error&) {
      return 0;  // damaged before the cursor: not the file of then; reading it from its start says what is wrong
    }
    return mark.value() == cursor.mark ? cursor.lines : 0;
  }

  /// One line on its way. False when stopped.
  bool take(LineReader::Result result, const std::string& line, uint64_t number, Pacer& pacer, Sink& sink,
            const std::stop_token& stop) {
    if (result == LineReader::Result::kTooLong) {
      sink.reject(
          fmt::format("line {} of '{}': it is longer than {} bytes", number, options_.path, kMaxLineBytes));
      return true;
    }
    if (trim(line).empty()) return true;
    std::optional<Post> post;
    try {
      post = parse_post(line, clock_.now(), options_.default_source);
    } catch (const Error& error) {
      sink.reject(fmt::format("line {} of '{}': {}", number, options_.path, error.what()));
      return true;
    }
    if (!pacer.wait(post->created_at, stop)) return false;
    if (!std::exchange(live_, true)) sink.set_live();
    post->received_at = clock_.now();
    return sink.deliver(std::move(*post));
  }

  std::optional<Time> creation_of(const std::string& line) const {
    try {
      return parse_post(line, clock_.now(), options_.default_source).created_at;
    } catch (const Error&) {
      return {};  // it is rejected in its turn
    }
  }

  /// How many posts a lead by share is; the file is read once more for that.
  uint64_t lead_posts(const LineReader& input, const std::stop_token& stop) const {
    if (!options_.lead_fraction) return 0;
    if (!input.is_regular())
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("a lead in per cent needs a file, but '{}' is none; give a time or a duration",
                              options_.path));
    LineReader lines(options_.path, kMaxLineBytes);
    std::string line;
    for (;;) {
      const auto result = lines.next(line, stop);
      if (result == LineReader::Result::kEnd || result == LineReader::Result::kStopped) break;
    }
    return static_cast<uint64_t>(std::llround(static_cast<double>(lines.number()) * *options_.lead_fraction));
  }

  const FileSourceOptions options_;
  const Clock& clock_;
  uint64_t skip_ = 0;  // lines that an earlier run delivered
  bool live_ = false;
};

[[noreturn]] void throw_options(std::string_view sentence) {
  throw Error(ErrorCode::kInvalidArgument, std::string(sentence));
}

}  // namespace

void parse_pace(std::string_view text, FileSourceOptions& options) {
  const auto refuse = [&] {
    throw_options(fmt::format("'{}' is no pace: use at-once, a rate such as 250/s, feed, or feed*60", text));
  };
  if (text == "at-once") {
    options.pace = Pace::kAtOnce;
  } else if (text == "feed") {
    options.pace = Pace::kFeed;
    options.speed = 1;
  } else if (text.starts_with("feed*")) {
    const auto speed = read_number(text.substr(5));
    if (!speed || *speed <= 0) refuse();
    options.pace = Pace::kFeed;
    options.speed = *speed;
  } else if (text.ends_with("/s")) {
    const auto rate = read_number(text.substr(0, text.size() - 2));
    if (!rate || *rate <= 0) refuse();
    options.pace = Pace::kRate;
    options.posts_per_second = *rate;
  } else {
    refuse();
  }
}

void parse_lead(std::string_view text, FileSourceOptions& options) {
  const auto refuse = [&] {
    throw_options(
        fmt::format("'{}' is no lead: use a share such as 25%, a duration such as 6h, 90m or 2d, or a time "
                    "such as 2026-01-31T12:00:00Z",
                    text));
  };
  if (const auto time = parse_time(text)) {
    options.lead_until = time;
    return;
  }
  if (text.size() < 2) refuse();
  const auto number = read_number(text.substr(0, text.size() - 1));
  if (!number || *number < 0) refuse();
  switch (text.back()) {
    case '%':
      if (*number > 100) refuse();
      options.lead_fraction = *number / 100;
      return;
    case 's': options.lead_duration = to_micros(*number); return;
    case 'm': options.lead_duration = to_micros(*number * 60); return;
    case 'h': options.lead_duration = to_micros(*number * 3600); return;
    case 'd': options.lead_duration = to_micros(*number * 86400); return;
    default: refuse();
  }
}

std::unique_ptr<Source> make_file_source(const FileSourceOptions& options, const Clock& clock) {
  if (options.path.empty()) throw_options("a file source needs a path, or '-' for standard input");
  if (options.pace == Pace::kRate && !(options.posts_per_second > 0))
    throw_options("a file source at a rate needs more than 0 posts a second");
  if (options.pace == Pace::kFeed && !(options.speed > 0))
    throw_options("a file source at the feed's pace needs a speed over 0");
  const int leads = int{options.lead_until.has_value()} + int{options.lead_fraction.has_value()} +
                    int{options.lead_duration.has_value()};
  if (leads > 1) throw_options("a file source takes one lead: a time, a share or a duration");
  if (options.lead_fraction && !(*options.lead_fraction >= 0 && *options.lead_fraction <= 1))
    throw_options("the share of a lead lies between 0 and 1");
  return std::make_unique<FileSource>(options, clock);
}

namespace {

std::unique_ptr<Source> make_from_spec(const SourceSpec& spec, const SourceContext& context) {
  FileSourceOptions options;
  options.path = spec.kind == "stdin" ? "-" : std::string(spec.option("path"));
  options.name = spec.name;
  if (const auto source = spec.option("source"); !source.empty()) options.default_source = source;
  const auto pace = spec.option("pace"), rate = spec.option("rate");
  if (!pace.empty() && !rate.empty()) throw_options("give a pace or a rate, not both");
  if (!pace.empty()) parse_pace(pace, options);
  if (!rate.empty()) parse_pace(fmt::format("{}/s", rate), options);
  if (spec.flag("at-once", false)) parse_pace("at-once", options);
  if (const auto lead = spec.option("lead"); !lead.empty()) parse_lead(lead, options);
  return make_file_source(options, context.clock);
}

}  // namespace

std::vector<SourceKind> file_kinds() {
  const SourceOption path{.name = "path",
                          .help = "NDJSON, a post a line, plain or zstd-compressed; a pipe, too",
                          .required = true,
                          .example = "posts.jsonl.zst"};
  const std::vector<SourceOption> common = {
      {.name = "source", .help = "Source of posts that name none; default file", .example = "archive"},
      {.name = "pace", .help = "at-once (the default), N/s, feed or feed*SPEED", .example = "feed*60"},
      {.name = "lead",
       .help = "What comes at once before the pace: SHARE%, a duration or a time",
       .example = "90%"},
      {.name = "rate", .help = "Short for pace=N/s", .example = "250"},
      {.name = "at-once", .help = "Short for pace=at-once", .example = "true"},
  };
  SourceKind file{.name = "file",
                  .summary = "Recorded posts: a file of one JSON object a line",
                  .options = {path},
                  .make = make_from_spec};
  file.options.insert(file.options.end(), common.begin(), common.end());
  SourceKind standard_input{.name = "stdin",
                            .summary = "The same from standard input, such as a pipe",
                            .options = common,
                            .make = make_from_spec};
  return {file, standard_input};
}

}  // namespace fathom::live
