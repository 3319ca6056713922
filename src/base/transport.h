// HTTP as the sources use it: an interface, so that tests replace the network with a local server or a fault.
//
// `make_transport` gives the real one (Boost.Beast; TLS verified against the system's certificates). Thread-safe; each
// call is its own connection. Every call ends by its deadline or when `stop` is requested.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/url.h"

namespace fathom {

struct HttpResponse;

struct HttpRequest {
  std::string method = "GET";
  std::string url;  // http:// or https://
  std::map<std::string, std::string> headers;
  std::string body;
  std::chrono::milliseconds timeout{15000};  // for `stream`: the longest silence
  size_t max_bytes = size_t{32} << 20;       // of the response's body; for `stream`: of one chunk
  bool follow_redirects = true;              // false: a redirect is the response
  bool public_only = false;  // kPermissionDenied when the host's addresses are not all on the internet
  /// For `stream`: sees status and headers before the first piece; false ends the call there. May be empty.
  std::function<bool(const HttpResponse&)> on_head;
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class Transport {
 public:
  virtual ~Transport() = default;
  /// Errors: kNetwork (cannot connect, broken off), kDeadlineExceeded, kCancelled, kInvalidArgument (bad URL),
  /// kResourceExhausted (body too large). A status of 400 or above is a response, not an error.
  virtual HttpResponse fetch(const HttpRequest& request, const std::stop_token& stop) = 0;
  /// Hands over the body piece by piece as it arrives, until the server ends it or `on_data` returns false.
  /// `on_data` is called only for a status of 200, or 206 where a range was asked for; the returned response has no body
  /// then. That of an error (400 and above) has the start of its body.
  virtual HttpResponse stream(const HttpRequest& request,
                              const std::function<bool(std::string_view)>& on_data,
                              const std::stop_token& stop) = 0;
};

std::unique_ptr<Transport> make_transport();

}  // namespace fathom
