// WebSocket as the sources use it (RFC 6455, client side): an interface, so that tests replace the network.
//
// `make_web_sockets` gives the real one (Boost.Beast; TLS verified against the system's certificates). A WebSocket belongs to
// one thread and outlives neither its WebSockets nor an error: after one it is closed. `connect` may be called from any
// thread.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

namespace fathom {

struct WebSocketRequest {
  std::string url;  // ws:// or wss://
  std::map<std::string, std::string> headers;
  std::string protocol;  // of Sec-WebSocket-Protocol; empty: none
  std::chrono::milliseconds connect_timeout{15000};
  /// Longest time without a frame before it is given up; after half of it the other side is pinged, so that one that is
  /// there but has nothing to say is kept.
  std::chrono::milliseconds silence{60000};
  size_t max_message_bytes = size_t{4} << 20;
};

struct WebSocketMessage {
  std::string data;
  bool binary = false;
};

class WebSocket {
 public:
  virtual ~WebSocket() = default;
  /// The next message; empty when the other side closed in order (its code and reason: `close_reason`). Pings are answered.
  /// Errors: kNetwork (broken off, a frame against the protocol, text that is not UTF-8), kDeadlineExceeded (silent),
  /// kCancelled, kResourceExhausted (message too large).
  virtual std::optional<WebSocketMessage> receive(const std::stop_token& stop) = 0;
  /// Errors: kNetwork, kDeadlineExceeded (nothing was taken for the time of `silence`), kCancelled.
  virtual void send(std::string_view text, const std::stop_token& stop) = 0;
  /// "1001 (going away)"; empty while nothing was closed.
  virtual std::string close_reason() const = 0;
};

class WebSockets {
 public:
  virtual ~WebSockets() = default;
  /// Errors: as Transport::fetch; a server that answers without upgrading: kUnauthenticated for 401, kPermissionDenied for 403,
  /// kNotFound for 404, kInvalidArgument for 400, kResourceExhausted for 429, else kNetwork, with the start of its body.
  virtual std::unique_ptr<WebSocket> connect(const WebSocketRequest& request,
                                             const std::stop_token& stop) = 0;
};

std::unique_ptr<WebSockets> make_web_sockets();

}  // namespace fathom
