// The normalised post: what every source delivers, the log keeps, the index searches and an answer cites.
//
// Plain values. Times are UTC. `id` is unique within `source`; `key()` is unique over all sources and is the key under
// which a post is stored, replaced and deleted.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace fathom::live {

struct Author {
  std::string handle;  // without '@'
  std::string id;      // the source's own identifier, when it differs from the handle
  std::string name;    // as displayed
  std::optional<int64_t> followers;
};

struct Metrics {
  std::optional<int64_t> likes, reposts, replies, views;
};

struct Post {
  std::string id;
  std::string source;  // "hackernews", "x", "world", ...; [a-z0-9_-], 1 to 32 characters
  Author author;
  std::string text;  // plain, valid UTF-8
  std::string lang;  // BCP 47, empty when unknown
  Time created_at{};
  Time received_at{};
  std::string url;                            // http(s), empty when there is none
  std::string reply_to, repost_of, quote_of;  // ids in the same source
  std::vector<std::string> links;             // http(s) addresses in the text or attached to it
  std::vector<std::string> tags;              // without '#'
  Metrics metrics;
  bool sensitive = false;
  bool deleted = false;  // an order to remove the post of this key
  bool fiction = false;  // from the sample world: labelled wherever it shows

  /// "source:id"
  std::string key() const;
};

/// Longest text that is taken; a longer one is refused.
inline constexpr size_t kMaxTextBytes = 64 * 1024;

/// Throws kInvalidArgument, with a sentence that names the field, for a post that must not enter the store: no id, a
/// source outside its alphabet, a field that is too long or not valid UTF-8, an address that is not http(s).
void validate(const Post& post);

/// Reads one JSON object. Accepts the normalised form written by `to_json` and the flat form of NDJSON archives
/// (`author` a string, `author_name`, `followers`, `likes`, `reposts`, `replies`, `link`). Unknown fields are ignored;
/// `created_at` defaults to `received_at`, `source` to `default_source`; ill-formed UTF-8 is replaced.
/// Throws kInvalidArgument with a sentence that names the field.
Post parse_post(std::string_view json, Time received_at, std::string_view default_source = "api");

/// The normalised form: {id, source, author{handle,id?,name?,followers?}, text, lang?, created_at, received_at, url?,
/// reply_to?, repost_of?, quote_of?, links?, tags?, metrics?{likes?,reposts?,replies?,views?}, sensitive?, deleted?, fiction?}.
nlohmann::json to_json(const Post& post);

}  // namespace fathom::live
