#include "base/connection.h"

#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/beast/http/error.hpp>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <thread>

#include "base/error.h"

namespace fathom::connection {
namespace {

constexpr auto kShortestTry = std::chrono::seconds(2);  // of one address, while others are left

std::string seconds_text(std::chrono::milliseconds time) {
  return fmt::format("{:.3g} s", std::chrono::duration<double>(time).count());
}

/// What a look-up leaves behind; shared, because getaddrinfo cannot be interrupted and may outlive the call that wanted it.
struct Lookup {
  std::mutex mutex;
  std::condition_variable_any done_changed;
  bool done = false;
  int error = 0;
  std::vector<Tcp::endpoint> endpoints;
};

void look_up(const std::shared_ptr<Lookup>& lookup, const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  std::vector<Tcp::endpoint> endpoints;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
    Tcp::endpoint endpoint;
    endpoint.resize(at->ai_addrlen);
    std::memcpy(endpoint.data(), at->ai_addr, at->ai_addrlen);
    endpoint.port(port);
    endpoints.push_back(endpoint);
  }
  if (found != nullptr) ::freeaddrinfo(found);
  {
    const std::lock_guard lock(lookup->mutex);
    lookup->error = error;
    lookup->endpoints = std::move(endpoints);
    lookup->done = true;
  }
  lookup->done_changed.notify_all();
}

}  // namespace

void Call::check_stop() const {
  if (stop.stop_requested())
    throw Error(ErrorCode::kCancelled, fmt::format("the request to {} was cancelled", url.host));
}

void Call::throw_late(std::string_view doing) const {
  throw Error(ErrorCode::kDeadlineExceeded,
              fmt::format("{} took longer than {} {}", url.authority(), seconds_text(timeout), doing));
}

void Call::throw_failed(const BoostError& error, std::string_view doing) const {
  namespace http = beast::http;
  check_stop();
  if (error == beast::error::timeout) throw_late(doing);
  const bool broke_off = error == net::error::eof || error == http::error::end_of_stream ||
                         error == http::error::partial_message || error == net::ssl::error::stream_truncated;
  throw Error(ErrorCode::kNetwork,
              broke_off ? fmt::format("{} closed the connection too early {}", url.authority(), doing)
                        : fmt::format("{} failed {}: {}", url.authority(), doing, error.message()));
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < '\x7f' && std::strchr("()<>@,;:\\\"/[]?={}", c) == nullptr;
  });
}

void check_headers(const std::map<std::string, std::string>& headers, std::string_view url) {
  const auto is_value = [](std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
  };
  for (const auto& [name, value] : headers)
    if (!is_token(name) || !is_value(value))
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("the header '{}' of the request to '{}' has characters that no header may have",
                              name, url));
}

std::vector<Tcp::endpoint> resolve(const Call& call) {
  uint16_t port = 0;
  std::from_chars(call.url.port.data(), call.url.port.data() + call.url.port.size(), port);
  BoostError not_literal;
  const auto literal = net::ip::make_address(call.url.host, not_literal);
  if (!not_literal) return {Tcp::endpoint(literal, port)};

  const auto lookup = std::make_shared<Lookup>();
  std::thread(look_up, lookup, call.url.host, port).detach();
  std::unique_lock lock(lookup->mutex);
  lookup->done_changed.wait_until(lock, call.stop, call.deadline, [&] { return lookup->done; });
  call.check_stop();
  if (!lookup->done) call.throw_late("to be found by name");
  if (lookup->error != 0 || lookup->endpoints.empty())
    throw Error(ErrorCode::kNetwork,
                fmt::format("the address of {} cannot be found: {}", call.url.host,
                            lookup->error != 0 ? ::gai_strerror(lookup->error) : "it has none"));
  return std::move(lookup->endpoints);
}

SteadyTime share_of_deadline(const Call& call, size_t left) {
  const auto now = std::chrono::steady_clock::now();
  if (now >= call.deadline) call.throw_late("to be connected");
  const auto share = (call.deadline - now) / static_cast<long>(left);
  return std::min(call.deadline, now + std::max<SteadyTime::duration>(share, kShortestTry));
}

void throw_unreachable(const Call& call, const BoostError& error) {
  if (error == beast::error::timeout) call.throw_late("to be connected");
  throw Error(ErrorCode::kNetwork,
              fmt::format("{} cannot be reached: {}", call.url.authority(), error.message()));
}

net::ssl::context& TlsClient::context() {
  std::call_once(made_, [this] {
    auto context = std::make_unique<net::ssl::context>(net::ssl::context::tls_client);
    SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
    context->set_default_verify_paths();
    context_ = std::move(context);
  });
  return *context_;
}

void prepare_tls(TlsStream& stream, const Call& call) {
  BoostError literal;
  net::ip::make_address(call.url.host, literal);
  // SNI carries names only (RFC 6066, section 3).
  if (literal && SSL_set_tlsext_host_name(stream.native_handle(), call.url.host.c_str()) != 1)
    throw Error(ErrorCode::kInternal, fmt::format("cannot ask for {} by name (SNI)", call.url.host));
  stream.set_verify_mode(net::ssl::verify_peer);
  stream.set_verify_callback(net::ssl::host_name_verification(call.url.host));
}

void throw_no_tls(TlsStream& stream, const Call& call, const BoostError& error) {
  const long verdict = SSL_get_verify_result(stream.native_handle());
  if (verdict != X509_V_OK)
    throw Error(ErrorCode::kNetwork,
                fmt::format("the certificate of {} is not trusted: {}; check the system's certificates "
                            "(package ca-certificates) and its clock",
                            call.url.host, ::X509_verify_cert_error_string(verdict)));
  call.throw_failed(error, "while the encrypted connection was set up");
}

}  // namespace fathom::connection
