// Requests to the X API and what their answers mean: data, a wait, or the end. Shared by the streams and the search.
//
// Belongs to the thread that its source runs on.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "live/sources/x.h"
#include "live/sources/x_backoff.h"

namespace fathom::live {

class XApi {
 public:
  XApi(const XOptions& options, Transport& transport, const Clock& clock)
      : options_(options), transport_(transport), clock_(clock) {}

  const XOptions& options() const { return options_; }
  Transport& transport() { return transport_; }
  Time now() const { return clock_.now(); }
  bool sleep(Micros time, const std::stop_token& stop) const { return clock_.sleep(time, stop); }
  XBackoff& backoff() { return backoff_; }

  HttpRequest request(std::string_view target) const;
  /// A whole answer that is good. Errors: RetryAfter and those of `check`.
  HttpResponse get(std::string_view target, const std::stop_token& stop);
  HttpResponse post(std::string_view target, std::string body, const std::stop_token& stop);

  /// Throws unless the status is one of success: RetryAfter for what passes (429 and errors of the server), else what the
  /// status says: kUnauthenticated, kPermissionDenied, kInvalidArgument, kNotFound.
  void check(const HttpResponse& response);

  /// The fields of posts that are asked for, in the spelling that the API took last ("post" or "tweet").
  std::string fields() const;
  /// The API refused the fields of this spelling: true when the other one is to be tried.
  bool try_other_spelling(const HttpResponse& response);
  void prefer_new_spelling() { new_spelling_ = true; }

  /// Failures of the network, as the protocol wants them waited for (not at all where the connection was `healthy`); others
  /// as they are. Called in a catch block.
  [[noreturn]] void rethrow(bool healthy);

  /// When the limit of the last answer ends, where nothing is left of it.
  std::optional<Time> exhausted_until(const HttpResponse& response) const;

 private:
  HttpResponse fetch(const HttpRequest& request, const std::stop_token& stop);
  std::optional<Time> reset_time(const HttpResponse& response) const;

  const XOptions options_;
  Transport& transport_;
  const Clock& clock_;
  XBackoff backoff_;
  bool new_spelling_ = false;
  bool spelling_known_ = false;
};

std::unique_ptr<Source> make_x_stream(const XOptions& options, Transport& transport, const Clock& clock);
std::unique_ptr<Source> make_x_search(const XOptions& options, Transport& transport, const Clock& clock);

}  // namespace fathom::live
