// One connection to a host, plain or encrypted, driven on the calling thread: what Transport and WebSockets share.
//
// Included by their .cc files alone. Every operation ends by its deadline or when its stop token is requested. A
// Connection belongs to one thread; TlsClient is thread-safe.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/url.h"

namespace fathom::connection {

namespace net = boost::asio;
namespace beast = boost::beast;
using Tcp = net::ip::tcp;
using BoostError = boost::system::error_code;
using SteadyTime = std::chrono::steady_clock::time_point;

inline constexpr std::string_view kUserAgent = "fathom/0.1";
inline constexpr uint32_t kMaxHeaderBytes = 64 * 1024;

/// What the steps of one call share: where it goes, until when, and how its failures are told.
struct Call {
  const Url& url;
  const std::stop_token& stop;
  std::chrono::milliseconds timeout;  // for the sentences
  SteadyTime deadline;

  void check_stop() const;
  [[noreturn]] void throw_late(std::string_view doing) const;
  /// kCancelled, kDeadlineExceeded or kNetwork.
  [[noreturn]] void throw_failed(const BoostError& error, std::string_view doing) const;
};

/// Errors: kInvalidArgument for a header that would end the head or that has no name.
void check_headers(const std::map<std::string, std::string>& headers, std::string_view url);
bool is_token(std::string_view text);  // RFC 9110, section 5.6.2

/// The addresses of the call's host. Errors: kNetwork, kDeadlineExceeded, kCancelled.
std::vector<Tcp::endpoint> resolve(const Call& call);

/// Until when one of the `left` addresses that are still to be tried is. Errors: kDeadlineExceeded.
SteadyTime share_of_deadline(const Call& call, size_t left);
[[noreturn]] void throw_unreachable(const Call& call, const BoostError& error);

/// Trusts the system's certificates, TLS 1.2 or newer. Read at the first use (it takes a while), then shared.
class TlsClient {
 public:
  net::ssl::context& context();

 private:
  std::once_flag made_;
  std::unique_ptr<net::ssl::context> context_;
};

/// `Stream` has a beast::tcp_stream at its bottom.
template <class Stream>
class Connection {
 public:
  template <class... Args>
  explicit Connection(Args&&... args) : stream_(io_, std::forward<Args>(args)...) {}

  Stream& stream() { return stream_; }
  beast::tcp_stream& lowest() { return beast::get_lowest_layer(stream_); }

  /// `start(handler)` begins one asynchronous operation; returns its error when it has ended. Errors: kCancelled.
  template <class Start>
  BoostError perform(const Call& call, Start start) {
    call.check_stop();
    // Runs on the thread that requests the stop: hands the closing over to the thread that drives the connection.
    const std::stop_callback on_stop(call.stop, [this] { net::post(io_, [this] { lowest().close(); }); });
    bool done = false;
    BoostError result;
    start([&](const BoostError& error, auto&&...) {
      done = true;
      result = error;
    });
    io_.restart();
    while (!done) io_.run_one();
    call.check_stop();
    return result;
  }

  /// To the first of `endpoints` that answers. Errors: kNetwork, kDeadlineExceeded, kCancelled.
  void connect(const Call& call, const std::vector<Tcp::endpoint>& endpoints) {
    BoostError error;
    for (size_t i = 0; i < endpoints.size(); ++i) {
      lowest().expires_at(share_of_deadline(call, endpoints.size() - i));
      error = perform(call, [&](auto handler) { lowest().async_connect(endpoints[i], std::move(handler)); });
      if (!error) return;
    }
    throw_unreachable(call, error);
  }

 private:
  net::io_context io_{1};
  Stream stream_;
};

using TlsStream = beast::ssl_stream<beast::tcp_stream>;

/// Asks for the host by name and for a certificate of it.
void prepare_tls(TlsStream& stream, const Call& call);
[[noreturn]] void throw_no_tls(TlsStream& stream, const Call& call, const BoostError& error);

/// `tls` is a layer of the connection's stream. Errors: kNetwork (names a certificate that is not trusted),
/// kDeadlineExceeded, kCancelled.
template <class Stream>
void shake_hands(Connection<Stream>& connection, TlsStream& tls, const Call& call) {
  prepare_tls(tls, call);
  connection.lowest().expires_at(call.deadline);
  const auto error = connection.perform(
      call, [&](auto handler) { tls.async_handshake(net::ssl::stream_base::client, std::move(handler)); });
  if (error) throw_no_tls(tls, call, error);
}

}  // namespace fathom::connection
