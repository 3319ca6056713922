// What Mastodon's API sends (https://docs.joinmastodon.org/entities/Status/ and methods/streaming), turned into posts. Other
// servers of the Fediverse that speak the same API send less or more; what is missing is left out.
//
// Pure functions over untrusted bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/post.h"

namespace fathom::live {

/// Id of a post: the status's own is unique on its server only.
std::string mastodon_post_id(std::string_view status_id, std::string_view host);

struct MastodonStatus {
  std::string id;  // on its server
  std::vector<Post>
      posts;  // none (not public, or without text), the post, or of a reblog: its original, then itself
};

/// A Status. HTML becomes plain text, a content warning goes before it. Errors: kCorrupt for what is no status.
MastodonStatus parse_mastodon_status(std::string_view json, std::string_view host, Time received_at);

/// A page of a timeline, newest first as it came; entries that are no status are passed over and counted.
struct MastodonPage {
  std::vector<MastodonStatus> statuses;
  size_t bad = 0;
};
MastodonPage parse_mastodon_page(std::string_view json, std::string_view host, Time received_at);

/// An order to remove the post of a status.
Post mastodon_removal(std::string_view status_id, std::string_view host, Time at);

/// One message of the streaming API's WebSocket. Errors: kCorrupt.
struct MastodonMessage {
  std::string event;    // "update", "status.update", "delete", ...
  std::string payload;  // JSON, or a bare id
  std::string error;    // what the server refuses, else empty
};
MastodonMessage parse_mastodon_message(std::string_view json);

/// The streaming API's address, as GET /api/v2/instance tells it; empty when it does not.
std::string mastodon_streaming_url(std::string_view instance_json);

/// The later of two ids of statuses: numbers by size, which is by time; others as text.
bool mastodon_id_before(std::string_view a, std::string_view b);

/// The id that a status of `overlap` earlier would have (a snowflake: milliseconds in front of 16 bits); of other ids, itself.
std::string mastodon_id_earlier(std::string_view id, std::chrono::milliseconds overlap);

}  // namespace fathom::live
