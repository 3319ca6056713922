// One event of Bluesky's Jetstream (https://github.com/bluesky-social/jetstream) and what it means: a post, an order to
// remove one, a count, or an account that is gone. Both versions of the protocol are read.
//
// Pure functions on untrusted bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "live/facts.h"
#include "live/post.h"

namespace fathom::live {

struct BlueskyEvent {
  Time time{};               // when the relay saw it
  uint64_t sequence = 0;     // of version 2; 0 in version 1, whose place in the stream is its time
  std::optional<Post> post;  // created, changed, or to be removed
  std::string counted;       // id of the post that `count` is about; empty: none
  CountChange count;
  std::string counting;  // "did/rkey" of the like or repost that counts; alone with `count`: it was withdrawn
  std::string renamed;   // an account (DID) that goes by the name of `handle` now; empty: none
  std::string handle;
  std::string gone;  // the account (DID) whose posts are to go; empty: none
};

/// What an event says that Fathom does not keep (follows, profiles) is left empty. A post's time is the
/// earlier of its own claim and the event's. Errors: kCorrupt for what is no event.
BlueskyEvent parse_bluesky_event(std::string_view json, Time received_at);

/// "did:plc:abc/3kxyz" of "at://did:plc:abc/app.bsky.feed.post/3kxyz"; empty for anything else.
std::string bluesky_post_id(std::string_view uri);

}  // namespace fathom::live
