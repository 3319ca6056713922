// What sources there are and how each is told what to read: the file STATE/sources.toml, `fathom sources`, and the short
// form "kind:place,option=value,..." of `fathom serve --source`.
//
//   [[source]]
//   name = "tech"            # unique; label of its metrics, key of its cursor; default: the kind
//   kind = "mastodon"        # a kind of source_kinds()
//   enabled = true
//   host = "mastodon.social" # the kind's own options, named by its SourceKind
//   hashtags = ["cpp", "linux"]
//
// Secrets never stand in the file: an option that is one names an environment variable ("$X_BEARER_TOKEN") or a file that only
// its owner may read ("file:/etc/fathom/x-token", mode 0600 or 0400; others are refused). They are read when the source
// starts and are never logged, shown or sent anywhere but to the source.
//
// Plain values and pure functions but for reading and writing the named file. Thread-safe.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/transport.h"
#include "base/websocket.h"
#include "live/source.h"

namespace fathom::live {

/// One source as configured: options are text, the entries of a list joined by '\n'.
struct SourceSpec {
  std::string name, kind;
  bool enabled = true;
  std::map<std::string, std::string> options;

  /// Empty when absent.
  std::string_view option(std::string_view key) const;
  std::vector<std::string> list(std::string_view key) const;
  /// `otherwise` when absent. Errors: kInvalidArgument for what is no number from `low` to `high`.
  double number(std::string_view key, double otherwise, double low, double high) const;
  /// "true", "false" or absent. Errors: kInvalidArgument for anything else.
  bool flag(std::string_view key, bool otherwise) const;
  bool operator==(const SourceSpec&) const = default;
};

struct SourceOption {
  std::string_view name{}, help{};
  bool required = false, secret = false, list = false;
  std::string_view example{};
};

/// All that sources need from outside; outlives them.
struct SourceContext {
  Transport& transport;
  WebSockets& web_sockets;
  const Clock& clock;
};

struct SourceKind {
  std::string_view
      name;  // "x", "bluesky", "mastodon", "rss", "hackernews", "nostr", "file", "stdin", "kafka"
  std::string_view summary;  // one line for people
  std::vector<SourceOption> options;
  /// Reads its secrets itself (`read_secret`). Errors: kInvalidArgument (names the option), those of read_secret.
  std::function<std::unique_ptr<Source>(const SourceSpec&, const SourceContext&)> make;
};

const std::vector<SourceKind>& source_kinds();
/// Null when there is none of the name.
const SourceKind* find_kind(std::string_view name);

/// The option that every kind has besides its own: the most posts a second that are taken of it.
inline constexpr std::string_view kRateOption = "max_per_second";

/// In the order of the file; none when there is no such file. Errors: kInvalidArgument, names the place and what is wrong
/// (unknown kind or option, a name that is taken, a secret in the open); kIo.
std::vector<SourceSpec> read_sources(const std::filesystem::path& file);
/// Replaces the file; what stands in it before the first source is kept. Errors: kIo.
void write_sources(const std::filesystem::path& file, const std::vector<SourceSpec>& sources);
/// "kind", "kind:place" or "kind:place,option=value,...": place is the kind's first option. What follows a comma and names no
/// option is another entry of a list, or belongs to the value before. "-" is short for "stdin". Errors: kInvalidArgument.
SourceSpec parse_source(std::string_view text);
/// Errors: kInvalidArgument: an unknown kind or option, one that is missing, an ill-formed name, a secret in the open.
void check_source(const SourceSpec& spec);
/// Checks a spec and makes its source, which never tells a secret: where one stands in an error or a warning of the
/// source's, it is replaced by "***". Errors: kInvalidArgument, kNotFound or kPermissionDenied (a secret).
std::unique_ptr<Source> make_source(const SourceSpec& spec, const SourceContext& context);
SourceLimits limits_of(const SourceSpec& spec);

/// The value that a secret option names. Errors: kNotFound (no such variable or file), kPermissionDenied (others may read it),
/// kInvalidArgument (neither form, or a value that no header may have). None shows the value.
std::string read_secret(std::string_view reference);

// One maker a kind, each in its own file of this folder.
std::vector<SourceKind> x_kinds();         // x.cc: "x" (mode=filtered|sampled|search)
std::vector<SourceKind> bluesky_kinds();   // bluesky.cc
std::vector<SourceKind> mastodon_kinds();  // mastodon.cc
std::vector<SourceKind> rss_kinds();       // rss.cc
std::vector<SourceKind> nostr_kinds();     // nostr.cc
std::vector<SourceKind> file_kinds();      // "file", "stdin": file_source.cc
std::vector<SourceKind> hackernews_kinds();
std::vector<SourceKind> kafka_kinds();  // kafka.cc: empty when built without librdkafka

}  // namespace fathom::live
