// The matches of standing queries as server-sent events, to many clients at once.
//
// One thread serves all clients, each from its own place: a client that does not keep up is left alone until it has taken
// what it was sent. What a client gets is what the store's search finds above its place, so that a client that comes back with
// the id of the last event it saw misses nothing and gets nothing twice.
//
// Ownership: owns the replies that it was given until their client leaves or `stop`. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/http.h"
#include "server/server.h"

namespace fathom::server {

class StandingFeed {
 public:
  /// Without standing queries among the services it takes no clients.
  StandingFeed(const Services& services, const ServerLimits& limits);
  ~StandingFeed();

  /// Sends what query `id` matches after sequence `after`, and a sign of life at each ping. False: too many clients already.
  bool add(std::shared_ptr<Reply> reply, const std::string& id, uint64_t after);
  size_t clients() const;
  /// Ends all streams and the thread. Idempotent.
  void stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fathom::server
