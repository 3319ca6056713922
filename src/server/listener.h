// HTTP/1.0 and 1.1 on a TCP socket: connections, limits, timeouts and framing. What requests mean is the Application's.
//
// Ownership: the listener owns its socket, I/O threads and connections; the application and the limits are the caller's
// and outlive it. Replies must be gone before the listener is destroyed.
// Thread safety: all methods from any thread.
//
// Invariants:
//  (1) a connection handles one request after another; answers leave in the order of the requests;
//  (2) every wait for a client has a deadline: to begin a request, to finish its head and its body, to take the answer;
//  (3) a request that is refused by its head alone is answered before its body is read.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http.h"
#include "server/router.h"
#include "server/server.h"

namespace fathom::server {

class Application {
 public:
  virtual ~Application() = default;

  struct Admission {
    std::optional<Response> refusal;
    const Route* route = nullptr;  // set unless refused
    Fields captures;
    std::string name = "none";  // of the route, for `completed`
    std::string key, role;      // of the caller's API key, for `completed`
    Fields headers;             // to be added to the answer
  };
  /// Decides on the head alone. Called on I/O threads; must be quick and must not throw.
  virtual Admission admit(const Request& head) = 0;
  /// Sees to it that `reply` is answered. Called on I/O threads; must be quick and must not throw.
  virtual void handle(const Route& route, Request request, std::shared_ptr<Reply> reply) = 0;
  /// An answer has left, or its client has.
  struct Completed {
    std::string route, key, role;  // of the admission
    std::string id, from, method, path;
    int status = 0;
    double seconds = 0;
  };
  virtual void completed(const Completed& request) = 0;
};

class Listener {
 public:
  /// Binds and listens. Errors: as Server::create.
  static std::unique_ptr<Listener> open(const ServerOptions& options, Application& application);
  virtual ~Listener() = default;

  virtual uint16_t port() const = 0;
  virtual size_t connections() const = 0;
  /// Begins to serve.
  virtual void start() = 0;
  /// Running requests go on. Idle connections close; a new one is served one request, which the application refuses.
  virtual void drain() = 0;
  /// Waits until no request runs. False: not within `wait`.
  virtual bool wait_idle(std::chrono::milliseconds wait) = 0;
  /// Requests the stop of every running request.
  virtual void cancel() = 0;
  /// Takes no further connections and closes all; replies go nowhere from here on.
  virtual void disconnect() = 0;
  /// Ends the I/O threads. REQUIRES: no request runs.
  virtual void close() = 0;
};

/// True for 127.0.0.0/8, ::1 and "localhost". Error: kInvalidArgument for what is not an address.
bool is_loopback(const std::string& address);

}  // namespace fathom::server
