// One answer on its way: the Reply that a handler writes to, and the channel from which its connection reads.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "server/http.h"

namespace fathom::server {

/// Between a handler's thread and the connection's. All members but `stop` are guarded by `mutex`.
struct Channel {
  std::mutex mutex;
  std::condition_variable taken;   // `unsent` fell, or the client is gone
  std::deque<std::string> pieces;  // framed, not yet handed to the socket
  size_t unsent = 0;               // bytes in `pieces` and in the socket's hands
  bool sending = false;            // the connection is at work on `pieces` or was told to be
  bool finished = false;           // no more pieces will come
  bool aborted = false;            // the answer cannot be completed: the connection closes
  bool gone = false;               // the client no longer takes anything
  bool keep_alive = true;
  int status = 0;
  std::string ping;  // framed; empty: none
  std::function<void()> drained;
  std::stop_source stop;
};

/// What of the request decides the framing of its answer.
struct Framing {
  bool http_1_0 = false;
  bool head_only = false;  // HEAD
  bool keep_alive = true;
  std::string request_id;
  Fields headers;  // of every answer to this request
  // A writer waits for its client so long in all, and a second more for each `client_bytes_per_second` written.
  std::chrono::milliseconds patience{30'000};
  size_t client_bytes_per_second = 4096;
};

/// `kick` tells the connection that there is something to do; called with no lock held, at most once between two
/// moments at which `sending` is false.
std::shared_ptr<Reply> make_exchange(std::shared_ptr<Channel> channel, Framing framing,
                                     std::function<void()> kick);

}  // namespace fathom::server
