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

/// One source as configured: options are text, lists joined by the TOML reader with '\n'.
struct SourceSpec {
  std::string name, kind;
  bool enabled = true;
  std::map<std::string, std::string> options;

  /// Empty when absent.
  std::string_view option(std::string_view key) const;
  std::vector<std::string> list(std::string_view key) const;
  bool operator==(const SourceSpec&) const = default;
};

struct SourceOption {
  std::string_view name, help;
  bool required = false, secret = false, list = false;
  std::string_view example;
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
  /// Errors: kInvalidArgument (names the option).
  std::function<std::unique_ptr<Source>(const SourceSpec&, const SourceContext&)> make;
};

const std::vector<SourceKind>& source_kinds();

/// Errors: kInvalidArgument, names the place and what is wrong (unknown kind or option, a secret in the open).
std::vector<SourceSpec> read_sources(const std::filesystem::path& file);
void write_sources(const std::filesystem::path& file, const std::vector<SourceSpec>& sources);
/// "kind", "kind:place" or "kind:place,option=value,...": place is the kind's first option.
SourceSpec parse_source(std::string_view text);
/// Checks a spec against its kind and makes its source. Errors: kInvalidArgument, kNotFound or kPermissionDenied (a secret).
std::unique_ptr<Source> make_source(const SourceSpec& spec, const SourceContext& context);

/// The value that a secret option names. Errors: kNotFound (no such variable or file), kPermissionDenied (others may read it).
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
