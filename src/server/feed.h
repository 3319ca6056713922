// The live feed as server-sent events to many clients at once.
//
// One thread serves all clients, each from its own place in the store's sequence: a client that does not keep up is left
// alone until it has taken what it was sent, so that it costs one bounded batch of memory and nobody else's time.
//
// Ownership: the feed owns the replies that it was given until their client leaves or `stop`. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/http.h"
#include "server/server.h"

namespace fathom::server {

/// Empty lists let everything pass. Handles are in lower case.
struct FeedFilter {
  std::vector<std::string> sources, langs, handles;
  bool passes(const live::Post& post) const;
};

class Feed {
 public:
  Feed(const Services& services, const ServerLimits& limits);
  ~Feed();

  /// Sends every post after sequence `after`, and the feed's clock at each ping. False: too many clients already.
  bool add(std::shared_ptr<Reply> reply, uint64_t after, FeedFilter filter);
  size_t clients() const;
  /// Ends all streams and the threads. Idempotent.
  void stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fathom::server
