// Bluesky by its public Jetstream (https://github.com/bluesky-social/jetstream): every post as it is written, changed or
// deleted, with likes, reposts and replies counted. No key is needed.
//
// One WebSocket to one of several hosts, which are tried in turn. The cursor is the time of the last event; after a break the
// stream is taken up a few seconds before it, since the hosts' clocks differ. Posts that come again are the store's to
// recognise; counts are not taken again. Withdrawn likes are not counted back: their events do not say of what.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/websocket.h"
#include "live/source.h"

namespace fathom::live {

struct BlueskyOptions {
  std::string name = "bluesky";  // of the source; its posts are of the source "bluesky" whatever its name
  std::vector<std::string> hosts{
      "wss://jetstream2.us-east.bsky.network", "wss://jetstream1.us-east.bsky.network",
      "wss://jetstream2.us-west.bsky.network", "wss://jetstream1.us-west.bsky.network"};
  std::vector<std::string> dids;  // only these accounts, up to 10,000; empty: all
  bool counts = true;             // likes and reposts: about nine events in ten
  int version = 1;                // of the protocol: 1 or 2
  std::chrono::milliseconds rewind{5000};
  std::chrono::milliseconds silence{30000};
};

/// `sockets` and `clock` outlive the source. Errors: kInvalidArgument (a host, a DID, the version).
std::unique_ptr<Source> make_bluesky_source(const BlueskyOptions& options, WebSockets& sockets,
                                            const Clock& clock);

}  // namespace fathom::live
