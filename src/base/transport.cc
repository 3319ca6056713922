#include "base/transport.h"

#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace fathom {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Tcp = net::ip::tcp;
using BoostError = boost::system::error_code;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr int kMaxRedirects = 5;
constexpr uint32_t kMaxHeaderBytes = 64 * 1024;
constexpr size_t kPieceBytes = 64 * 1024;
constexpr auto kShortestTry = std::chrono::seconds(2);  // of one address, while others are left

// --- addresses --------------------------------------------------------------------------------------------------------

[[noreturn]] void throw_bad_url(std::string_view url, std::string_view why) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is not an address that can be fetched: {}",
                                                       sanitize_utf8(url.substr(0, 200)), why));
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/// Takes "host", "host:port", "[v6]" or "[v6]:port" apart.
void parse_authority(std::string_view url, std::string_view authority, Url& out) {
  std::string_view port;
  bool has_port = false;
  if (!authority.empty() && authority.front() == '[') {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) throw_bad_url(url, "its '[' is not closed");
    out.host = to_lower_ascii(authority.substr(1, end - 1));
    BoostError bad;
    net::ip::make_address_v6(out.host, bad);
    if (bad) throw_bad_url(url, "what stands in brackets is no IPv6 address");
    const auto rest = authority.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') throw_bad_url(url, "']' is followed by no port");
    has_port = !rest.empty();
    if (has_port) port = rest.substr(1);
  } else {
    const size_t colon = authority.find(':');
    has_port = colon != std::string_view::npos;
    if (has_port) port = authority.substr(colon + 1);
    out.host = to_lower_ascii(authority.substr(0, colon));
    if (out.host.empty()) throw_bad_url(url, "it names no host");
    if (out.host.size() > 253 || !std::all_of(out.host.begin(), out.host.end(), is_host_character))
      throw_bad_url(url, "its host is no host name");
  }
  out.port = out.scheme == "https" ? "443" : "80";
  if (!has_port || port.empty()) return;
  unsigned number = 0;
  const auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (ec != std::errc{} || end != port.data() + port.size() || number < 1 || number > 65535)
    throw_bad_url(url, "its port is no number from 1 to 65535");
  out.port = std::to_string(number);
}

}  // namespace

Url parse_url(std::string_view url) {
  for (const char c : url)
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f' || c == '\\')
      throw_bad_url(url, "it has a space, a control character or a backslash in it");
  Url out;
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos) throw_bad_url(url, "it does not begin with http:// or https://");
  out.scheme = to_lower_ascii(url.substr(0, colon));
  if (out.scheme != "http" && out.scheme != "https")
    throw_bad_url(url, "only http:// and https:// are supported");
  auto rest = url.substr(colon + 3);
  rest = rest.substr(0, rest.find('#'));
  const size_t slash = rest.find_first_of("/?");
  const auto authority = rest.substr(0, slash);
  if (authority.find('@') != std::string_view::npos)
    throw_bad_url(url, "a user name in it is not supported; use an Authorization header");
  parse_authority(url, authority, out);
  out.target = slash == std::string_view::npos ? "/" : std::string(rest.substr(slash));
  if (out.target.front() == '?') out.target.insert(0, "/");
  return out;
}

namespace {

/// host, or [host] for IPv6; with the port where it is not the scheme's own.
std::string authority(const Url& url) {
  std::string text = url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]";
  if (url.port != (url.scheme == "https" ? "443" : "80")) text += ":" + url.port;
  return text;
}

/// RFC 3986, section 5.2, as far as redirects use it: absolute, //authority, /path, ?query and relative references.
std::string resolve_reference(const Url& base, std::string_view location) {
  if (const size_t colon = location.find(':');
      colon != std::string_view::npos && colon < location.find_first_of("/?#"))
    return std::string(location);
  if (location.starts_with("//")) return fmt::format("{}:{}", base.scheme, location);
  const std::string site = fmt::format("{}://{}", base.scheme, authority(base));
  if (location.starts_with("/")) return site + std::string(location);
  const std::string path = base.target.substr(0, base.target.find('?'));
  if (location.starts_with("?") || location.empty()) return site + path + std::string(location);
  return site + path.substr(0, path.rfind('/') + 1) + std::string(location);
}

// --- names to addresses -----------------------------------------------------------------------------------------------

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

// --- one call ---------------------------------------------------------------------------------------------------------

std::string seconds_text(std::chrono::milliseconds time) {
  return fmt::format("{:.3g} s", std::chrono::duration<double>(time).count());
}

/// What one call to one host shares: where it goes, until when, and how its failures are told.
struct Call {
  const HttpRequest& request;
  const Url& url;
  const std::stop_token& stop;
  SteadyTime deadline;

  void check_stop() const {
    if (stop.stop_requested())
      throw Error(ErrorCode::kCancelled, fmt::format("the request to {} was cancelled", url.host));
  }

  [[noreturn]] void throw_late(std::string_view doing) const {
    throw Error(ErrorCode::kDeadlineExceeded, fmt::format("{} took longer than {} {}", authority(url),
                                                          seconds_text(request.timeout), doing));
  }

  [[noreturn]] void throw_failed(const BoostError& error, std::string_view doing) const {
    check_stop();
    if (error == beast::error::timeout) throw_late(doing);
    if (error == http::error::body_limit)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("the answer of {} to '{}' is larger than the {} bytes that are taken",
                              authority(url), url.target, request.max_bytes));
    const bool broke_off = error == net::error::eof || error == http::error::end_of_stream ||
                           error == http::error::partial_message ||
                           error == net::ssl::error::stream_truncated;
    throw Error(ErrorCode::kNetwork,
                broke_off ? fmt::format("{} closed the connection too early {}", authority(url), doing)
                          : fmt::format("{} failed {}: {}", authority(url), doing, error.message()));
  }
};

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

/// One connection, driven on the calling thread. `Stream` is beast::tcp_stream, plain or inside an ssl_stream.
template <class Stream>
class Connection {
 public:
  template <class... Args>
  Connection(const Call& call, Args&&... args)
      : call_(call), stream_(io_, std::forward<Args>(args)...), on_stop_(call.stop, Closer{this}) {}

  Stream& stream() { return stream_; }

  /// `start(handler)` begins one asynchronous operation; returns its error when it has ended.
  template <class Start>
  BoostError perform(Start start) {
    call_.check_stop();
    bool done = false;
    BoostError result;
    start([&](const BoostError& error, auto&&...) {
      done = true;
      result = error;
    });
    io_.restart();
    while (!done) io_.run_one();
    call_.check_stop();
    return result;
  }

  void connect(const std::vector<Tcp::endpoint>& endpoints) {
    BoostError error;
    for (size_t i = 0; i < endpoints.size(); ++i) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= call_.deadline) call_.throw_late("to be connected");
      const auto share = (call_.deadline - now) / static_cast<long>(endpoints.size() - i);
      lowest().expires_at(
          std::min(call_.deadline, now + std::max<SteadyTime::duration>(share, kShortestTry)));
      error = perform([&](auto handler) { lowest().async_connect(endpoints[i], std::move(handler)); });
      if (!error) return;
    }
    if (error == beast::error::timeout) call_.throw_late("to be connected");
    throw Error(ErrorCode::kNetwork,
                fmt::format("{} cannot be reached: {}", authority(call_.url), error.message()));
  }

  HttpResponse exchange(const std::function<bool(std::string_view)>* on_data) {
    send();
    return on_data == nullptr ? receive_whole() : receive_pieces(*on_data);
  }

  beast::tcp_stream& lowest() { return beast::get_lowest_layer(stream_); }

 private:
  /// Runs on the thread that requests the stop: hands the closing over to the thread that drives the connection.
  struct Closer {
    Connection* connection;
    void operator()() const {
      net::post(connection->io_, [c = connection] { c->lowest().close(); });
    }
  };

  void send() {
    const HttpRequest& from = call_.request;
    http::request<http::string_body> message;
    message.version(11);
    message.method_string(from.method);
    message.target(call_.url.target);
    message.set(http::field::host, authority(call_.url));
    message.set(http::field::user_agent, "fathom/0.1");
    message.set(http::field::accept_encoding, "identity");
    message.set(http::field::connection, "close");
    for (const auto& [name, value] : from.headers) message.set(name, value);
    message.body() = from.body;
    if (!from.body.empty() || (from.method != "GET" && from.method != "HEAD"))
      message.content_length(from.body.size());
    lowest().expires_at(call_.deadline);
    const auto error =
        perform([&](auto handler) { http::async_write(stream_, message, std::move(handler)); });
    if (error) call_.throw_failed(error, "while the request was sent");
  }

  template <class Parser>
  void prepare(Parser& parser) const {
    parser.header_limit(kMaxHeaderBytes);
    if (call_.request.method == "HEAD") parser.skip(true);
  }

  template <class Message>
  static HttpResponse head_of(const Message& message) {
    HttpResponse response;
    response.status = static_cast<int>(message.result_int());
    for (const auto& field : message) {
      auto& value =
          response.headers[to_lower_ascii({field.name_string().data(), field.name_string().size()})];
      if (!value.empty()) value += ", ";
      value.append(field.value().data(), field.value().size());
    }
    return response;
  }

  HttpResponse receive_whole() {
    http::response_parser<http::string_body> parser;
    prepare(parser);
    parser.body_limit(call_.request.max_bytes);
    lowest().expires_at(call_.deadline);
    const auto error =
        perform([&](auto handler) { http::async_read(stream_, buffer_, parser, std::move(handler)); });
    if (error) call_.throw_failed(error, "while it answered");
    auto response = head_of(parser.get());
    response.body = std::move(parser.get().body());
    return response;
  }

  HttpResponse receive_pieces(const std::function<bool(std::string_view)>& on_data) {
    http::response_parser<http::buffer_body> parser;
    prepare(parser);
    parser.body_limit(boost::none);
    lowest().expires_at(call_.deadline);
    const auto error =
        perform([&](auto handler) { http::async_read_header(stream_, buffer_, parser, std::move(handler)); });
    if (error) call_.throw_failed(error, "before it answered");
    auto response = head_of(parser.get());
    const bool whole = response.status == 200;
    const bool range = response.status == 206 && call_.request.headers.contains("Range");
    if (!whole && !range) return response;
    if (call_.request.on_head && !call_.request.on_head(response)) return response;
    std::vector<char> piece(std::clamp<size_t>(call_.request.max_bytes, 1, kPieceBytes));
    while (!parser.is_done()) {
      const size_t size = receive_piece(parser, piece);
      if (size > 0 && !on_data({piece.data(), size})) break;
      call_.check_stop();
    }
    return response;
  }

  size_t receive_piece(http::response_parser<http::buffer_body>& parser, std::vector<char>& piece) {
    auto& body = parser.get().body();
    body.data = piece.data();
    body.size = piece.size();
    lowest().expires_after(call_.request.timeout);
    const auto error =
        perform([&](auto handler) { http::async_read_some(stream_, buffer_, parser, std::move(handler)); });
    if (error && error != http::error::need_buffer) call_.throw_failed(error, "in the middle of its stream");
    return piece.size() - body.size;
  }

  const Call& call_;
  net::io_context io_{1};
  Stream stream_;
  beast::flat_buffer buffer_{kMaxHeaderBytes + kPieceBytes};
  std::stop_callback<Closer> on_stop_;  // last: gone before what it closes
};

using PlainConnection = Connection<beast::tcp_stream>;
using TlsConnection = Connection<beast::ssl_stream<beast::tcp_stream>>;

void shake_hands(TlsConnection& connection, const Call& call) {
  auto& stream = connection.stream();
  BoostError literal;
  net::ip::make_address(call.url.host, literal);
  // SNI carries names only (RFC 6066, section 3).
  if (literal && SSL_set_tlsext_host_name(stream.native_handle(), call.url.host.c_str()) != 1)
    throw Error(ErrorCode::kInternal, fmt::format("cannot ask for {} by name (SNI)", call.url.host));
  stream.set_verify_mode(net::ssl::verify_peer);
  stream.set_verify_callback(net::ssl::host_name_verification(call.url.host));
  connection.lowest().expires_at(call.deadline);
  const auto error = connection.perform(
      [&](auto handler) { stream.async_handshake(net::ssl::stream_base::client, std::move(handler)); });
  if (!error) return;
  const long verdict = SSL_get_verify_result(stream.native_handle());
  if (verdict != X509_V_OK)
    throw Error(ErrorCode::kNetwork,
                fmt::format("the certificate of {} is not trusted: {}; check the system's certificates "
                            "(package ca-certificates) and its clock",
                            call.url.host, ::X509_verify_cert_error_string(verdict)));
  call.throw_failed(error, "while the encrypted connection was set up");
}

void check_request(const HttpRequest& request) {
  const auto is_token = [](std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
      return c > ' ' && c < '\x7f' && std::strchr("()<>@,;:\\\"/[]?={}", c) == nullptr;
    });
  };
  const auto is_value = [](std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
  };
  if (!is_token(request.method))
    throw Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is no HTTP method", request.method));
  for (const auto& [name, value] : request.headers)
    if (!is_token(name) || !is_value(value))
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("the header '{}' of the request to '{}' has characters that no header may have",
                              name, request.url));
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

class BeastTransport final : public Transport {
 public:
  HttpResponse fetch(const HttpRequest& request, const std::stop_token& stop) override {
    return follow(request, nullptr, stop);
  }

  HttpResponse stream(const HttpRequest& request, const std::function<bool(std::string_view)>& on_data,
                      const std::stop_token& stop) override {
    return follow(request, &on_data, stop);
  }

 private:
  HttpResponse follow(HttpRequest request, const std::function<bool(std::string_view)>* on_data,
                      const std::stop_token& stop) {
    check_request(request);
    const auto deadline = std::chrono::steady_clock::now() + request.timeout;
    Url url = parse_url(request.url);
    for (int redirects = 0;; ++redirects) {
      const Call call{request, url, stop, deadline};
      HttpResponse response = call_once(call, on_data);
      const auto location = response.headers.find("location");
      if (!request.follow_redirects || !is_redirect(response.status) || location == response.headers.end())
        return response;
      if (redirects == kMaxRedirects)
        throw Error(ErrorCode::kNetwork,
                    fmt::format("{} redirects more than {} times", url.host, kMaxRedirects));
      url = redirect(request, url, location->second, response.status);
    }
  }

  /// Where a redirect leads; changes `request` as RFC 9110, section 15.4 says.
  static Url redirect(HttpRequest& request, const Url& from, std::string_view location, int status) {
    Url to;
    try {
      to = parse_url(resolve_reference(from, location));
    } catch (const Error& error) {
      throw Error(ErrorCode::kNetwork, fmt::format("{} redirects wrongly: {}", from.host, error.what()));
    }
    if (from.scheme == "https" && to.scheme != "https")
      throw Error(
          ErrorCode::kNetwork,
          fmt::format("{} redirects to {} without encryption, which is not followed", from.host, to.host));
    if (status == 303 || (status < 303 && request.method == "POST")) {
      if (request.method != "HEAD") request.method = "GET";
      request.body.clear();
    }
    if (to.scheme != from.scheme || to.host != from.host || to.port != from.port)
      std::erase_if(request.headers, [](const auto& header) {
        return equals_ignore_case(header.first, "authorization") ||
               equals_ignore_case(header.first, "cookie");
      });
    return to;
  }

  HttpResponse call_once(const Call& call, const std::function<bool(std::string_view)>* on_data) {
    call.check_stop();
    const auto endpoints = resolve(call);
    if (call.url.scheme == "http") {
      PlainConnection connection(call);
      connection.connect(endpoints);
      return connection.exchange(on_data);
    }
    TlsConnection connection(call, tls());
    connection.connect(endpoints);
    shake_hands(connection, call);
    return connection.exchange(on_data);
  }

  /// Made at the first use (reading the system's certificates takes a while), then shared by all connections.
  net::ssl::context& tls() {
    std::call_once(tls_made_, [this] {
      auto context = std::make_unique<net::ssl::context>(net::ssl::context::tls_client);
      SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
      context->set_default_verify_paths();
      tls_ = std::move(context);
    });
    return *tls_;
  }

  std::once_flag tls_made_;
  std::unique_ptr<net::ssl::context> tls_;
};

}  // namespace

std::unique_ptr<Transport> make_transport() { return std::make_unique<BeastTransport>(); }

}  // namespace fathom
