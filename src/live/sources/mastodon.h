// Mastodon's streaming API (https://docs.joinmastodon.org/methods/streaming), which other servers of the Fediverse speak too.
//
// One WebSocket carries all streams that are asked for; where a proxy stands in the way, server-sent events carry one.
// After each connection the timelines are read from the last status on, a small overlap included, so that nothing posted
// meanwhile is missed. The last pages before it are read again: what was edited meanwhile is replaced, and what this run took and
// is no longer there is asked for and removed when the server has it no more. Changes to older statuses of that time are
// missed, since the API tells nothing of them. Edits replace, deletions remove. Only public statuses are taken.
// The cursor is the newest status's id, with the server and streams that it belongs to.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/transport.h"
#include "base/websocket.h"
#include "live/source.h"

namespace fathom::live {

struct MastodonOptions {
  std::string name = "mastodon";
  std::string host{};  // "mastodon.social", or an address with http(s)://
  /// "public", "public:local", "public:remote", "hashtag:TAG", "hashtag:local:TAG", "list:ID"; none: "public".
  std::vector<std::string> streams{};
  std::string token{};  // of a user; servers since Mastodon 4.2 ask for one
  bool web_socket = true;
  size_t first_posts = 40;                   // read at the first start, of each stream
  size_t catch_up_pages = 50;                // of 40 statuses each; a longer gap is left, and said
  size_t look_back_pages = 3;                // before the last status, read again for edits and deletions
  std::chrono::milliseconds timeout{15000};  // of a request
  std::chrono::milliseconds silence{90000};  // the server sends a sign of life every 15 to 30 s
  std::chrono::milliseconds overlap{120000};
};

/// Errors: kInvalidArgument for a host or stream that is none. `run`: kUnauthenticated (no token, or a wrong one),
/// kPermissionDenied, kNotFound, kNetwork, kDeadlineExceeded, RetryAfter where the server says when.
std::unique_ptr<Source> make_mastodon_source(const MastodonOptions& options, Transport& transport,
                                             WebSockets& web_sockets, const Clock& clock);

}  // namespace fathom::live
