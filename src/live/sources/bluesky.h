// Bluesky by its public Jetstream (https://github.com/bluesky-social/jetstream): every post as it is written, changed or
// deleted, with likes, reposts and replies counted. No key is needed.
//
// One WebSocket to one of several hosts, which are tried in turn. The cursor is the time of the last event; after a break the
// stream is taken up a few seconds before it, since the hosts' clocks differ. Posts that come again are the store's to
// recognise; counts are not taken again. What withdraws a like does not say of which post: it is counted back when the like was
// among the last 250,000 that this source saw. Authors stand under their handles as far as these are known
// (bluesky_authors.h), with the DID for an id, by which `from:` finds them too.
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

struct BlueskyOptions {
  std::string name = "bluesky";  // of the source; its posts are of the source "bluesky" whatever its name
  std::vector<std::string> hosts{
      "wss://jetstream2.us-east.bsky.network", "wss://jetstream1.us-east.bsky.network",
      "wss://jetstream2.us-west.bsky.network", "wss://jetstream1.us-west.bsky.network"};
  std::vector<std::string> dids;                         // only these accounts, up to 10,000; empty: all
  bool counts = true;                                    // likes and reposts: about nine events in ten
  std::string app_view = "https://public.api.bsky.app";  // asked for the handles of authors; empty: none
  int version = 1;                                       // of the protocol: 1 or 2
  std::chrono::milliseconds rewind{5000};
  std::chrono::milliseconds silence{30000};
};

/// All that is referred to outlives the source. Errors: kInvalidArgument (a host, a DID, the version).
std::unique_ptr<Source> make_bluesky_source(const BlueskyOptions& options, WebSockets& sockets,
                                            Transport& transport, const Clock& clock);

}  // namespace fathom::live
