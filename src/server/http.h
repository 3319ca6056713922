// HTTP as the endpoints see it: plain requests in, replies out. What speaks HTTP on the socket is behind listener.h.
//
// Ownership: a Request is a value. A Reply belongs to whoever answers the request and may be kept after the handler has
// returned (the feed does); letting it go unanswered ends the request with an error, so none hangs.
// Thread safety: a Reply's methods may be called from any thread, by one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom::server {

using Fields = std::vector<std::pair<std::string, std::string>>;

/// The first value of `name`, or null.
const std::string* find_field(const Fields& fields, std::string_view name);

struct Request {
  std::string method;  // as sent: methods are case-sensitive
  std::string path;    // as sent, without the query: "/v1/posts/hn%3A1"
  Fields query;        // percent-decoded, in order
  Fields headers;      // names in lower case
  Fields captures;     // what the route's {names} matched, percent-decoded
  std::string body;
  bool http_1_0 = false;
  std::string id;    // X-Request-Id: the client's own when it is sane, else a fresh one
  std::string from;  // the client's address
  std::string key;   // the name of the caller's API key; empty: none, or one without a name
  std::string role;  // what the key may do; empty: no key is needed here

  const std::string* header(std::string_view lower_name) const { return find_field(headers, lower_name); }
  const std::string* param(std::string_view name) const { return find_field(query, name); }
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  Fields headers;
  std::string body;
};

/// `json` as text; ill-formed UTF-8 in it is replaced, so this never throws.
std::string to_text(const nlohmann::json& json);
Response json_response(const nlohmann::json& json, int status = 200);

class Reply {
 public:
  virtual ~Reply() = default;

  /// The whole answer at once. REQUIRES: nothing was sent or started.
  virtual void send(Response response) = 0;

  /// Begins an answer of unknown length with `head` and its body. While the stream is silent for longer than the
  /// server's ping interval, `ping` is written. REQUIRES: nothing was sent or started.
  virtual void start(Response head, std::string ping) = 0;
  /// More of the body. Waits while the client lags by more than a fixed amount. False: the client is gone.
  virtual bool write(std::string piece) = 0;
  virtual void finish() = 0;

  virtual bool started() const = 0;
  /// Bytes written here that the socket has not taken yet.
  virtual size_t unsent() const = 0;
  /// Called from an I/O thread whenever all that was written has been taken, and when the client goes away. Must be quick.
  virtual void on_drained(std::function<void()> call) = 0;
  /// Requested when the client goes away or the server must stop.
  virtual std::stop_token stop() const = 0;
};

/// Percent-decoding; '+' stays. Empty for a broken escape or a NUL.
std::optional<std::string> percent_decode(std::string_view text);

/// Splits a request target into path and decoded query ('+' is a space there). Empty when it is not a path ("*",
/// "http://...") or an escape is broken.
struct Target {
  std::string path;
  Fields query;
};
std::optional<Target> parse_target(std::string_view target);

std::string_view reason_phrase(int status);

/// 32 hex digits that cannot be guessed.
std::string random_hex();

}  // namespace fathom::server
