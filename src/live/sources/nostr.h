// Nostr (https://github.com/nostr-protocol/nips): notes from several relays at once, each over its own WebSocket. No key
// is needed.
//
// Every event's id and signature are checked, so no relay can put words into anyone's mouth. Deletions count only from the
// author of what they name; likes, reposts and replies are counted. What several relays send is taken once. The cursor is the
// time of the newest event; a relay is asked again for some minutes before it, since relays get events late.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/websocket.h"
#include "live/source.h"

namespace fathom::live {

struct NostrOptions {
  std::string name = "nostr";  // of the source; its posts are of the source "nostr" whatever its name
  std::vector<std::string> relays{"wss://relay.damus.io", "wss://nos.lol", "wss://relay.nostr.band"};
  std::vector<std::string> authors;             // only notes of these public keys (hexadecimal); empty: all
  std::vector<std::string> tags;                // only notes with one of these hashtags; empty: all
  bool counts = true;                           // reactions and reposts
  std::string site = "https://njump.me/";       // of the pages that posts link to
  size_t backfill = 500;                        // notes asked for at the first start
  std::chrono::milliseconds rewind{600000};     // before the cursor
  std::chrono::milliseconds silence{60000};     // without a frame, not even an answer to a ping
  std::chrono::milliseconds retry_first{1000};  // of one relay, while others work; doubles to the next
  std::chrono::milliseconds retry_longest{60000};
};

/// `sockets` and `clock` outlive the source. Errors: kInvalidArgument (a relay, a key). Errors of `run`: kNetwork when no
/// relay can be reached.
std::unique_ptr<Source> make_nostr_source(const NostrOptions& options, WebSockets& sockets,
                                          const Clock& clock);

}  // namespace fathom::live
