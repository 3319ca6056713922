#include "base/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/http.hpp>
#include <vector>

#include "base/connection.h"
#include "base/error.h"
#include "base/public_address.h"
#include "base/text.h"

namespace fathom {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using connection::BoostError;
using connection::Call;

constexpr int kMaxRedirects = 5;
constexpr size_t kPieceBytes = 64 * 1024;
constexpr size_t kMaxRefusalBytes = 16 * 1024;
constexpr auto kRefusalPatience = std::chrono::seconds(5);

/// One request and its answer over a connection that stands.
template <class Stream>
class Exchange {
 public:
  Exchange(const HttpRequest& request, const Call& call, connection::Connection<Stream>& connection)
      : request_(request), call_(call), connection_(connection) {}

  HttpResponse run(const std::function<bool(std::string_view)>* on_data) {
    send();
    return on_data == nullptr ? receive_whole() : receive_pieces(*on_data);
  }

 private:
  template <class Start>
  BoostError perform(Start start) {
    return connection_.perform(call_, std::move(start));
  }

  void send() {
    http::request<http::string_body> message;
    message.version(11);
    message.method_string(request_.method);
    message.target(call_.url.target);
    message.set(http::field::host, call_.url.authority());
    message.set(http::field::user_agent, std::string(connection::kUserAgent));
    message.set(http::field::accept_encoding, "identity");
    message.set(http::field::connection, "close");
    for (const auto& [name, value] : request_.headers) message.set(name, value);
    message.body() = request_.body;
    if (!request_.body.empty() || (request_.method != "GET" && request_.method != "HEAD"))
      message.content_length(request_.body.size());
    connection_.lowest().expires_at(call_.deadline);
    const auto error =
        perform([&](auto handler) { http::async_write(connection_.stream(), message, std::move(handler)); });
    if (error) call_.throw_failed(error, "while the request was sent");
  }

  template <class Parser>
  void prepare(Parser& parser) const {
    parser.header_limit(connection::kMaxHeaderBytes);
    if (request_.method == "HEAD") parser.skip(true);
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
    parser.body_limit(request_.max_bytes);
    connection_.lowest().expires_at(call_.deadline);
    const auto error = perform(
        [&](auto handler) { http::async_read(connection_.stream(), buffer_, parser, std::move(handler)); });
    if (error == http::error::body_limit)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("the answer of {} to '{}' is larger than the {} bytes that are taken",
                              call_.url.authority(), call_.url.target, request_.max_bytes));
    if (error) call_.throw_failed(error, "while it answered");
    auto response = head_of(parser.get());
    response.body = std::move(parser.get().body());
    return response;
  }

  HttpResponse receive_pieces(const std::function<bool(std::string_view)>& on_data) {
    http::response_parser<http::buffer_body> parser;
    prepare(parser);
    parser.body_limit(boost::none);
    connection_.lowest().expires_at(call_.deadline);
    const auto error = perform([&](auto handler) {
      http::async_read_header(connection_.stream(), buffer_, parser, std::move(handler));
    });
    if (error) call_.throw_failed(error, "before it answered");
    auto response = head_of(parser.get());
    const bool whole = response.status == 200;
    const bool range = response.status == 206 && request_.headers.contains("Range");
    if (response.status >= 400) receive_refusal(parser, response.body);
    if (!whole && !range) return response;
    if (request_.on_head && !request_.on_head(response)) return response;
    std::vector<char> piece(std::clamp<size_t>(request_.max_bytes, 1, kPieceBytes));
    while (!parser.is_done()) {
      const size_t size = receive_piece(parser, piece, request_.timeout);
      if (size > 0 && !on_data({piece.data(), size})) break;
      call_.check_stop();
    }
    return response;
  }

  /// The start of an error's body, as far as it comes soon: it says why.
  void receive_refusal(http::response_parser<http::buffer_body>& parser, std::string& body) {
    std::vector<char> piece(kMaxRefusalBytes);
    const auto patience = std::min<std::chrono::milliseconds>(request_.timeout, kRefusalPatience);
    try {
      while (!parser.is_done() && body.size() < kMaxRefusalBytes)
        body.append(piece.data(), receive_piece(parser, piece, patience));
    } catch (const Error&) {  // the status alone has to do
      call_.check_stop();
    }
  }

  size_t receive_piece(http::response_parser<http::buffer_body>& parser, std::vector<char>& piece,
                       std::chrono::milliseconds patience) {
    auto& body = parser.get().body();
    body.data = piece.data();
    body.size = piece.size();
    connection_.lowest().expires_after(patience);
    const auto error = perform([&](auto handler) {
      http::async_read_some(connection_.stream(), buffer_, parser, std::move(handler));
    });
    if (error && error != http::error::need_buffer) call_.throw_failed(error, "in the middle of its stream");
    return piece.size() - body.size;
  }

  const HttpRequest& request_;
  const Call& call_;
  connection::Connection<Stream>& connection_;
  beast::flat_buffer buffer_{connection::kMaxHeaderBytes + kPieceBytes};
};

void check_request(const HttpRequest& request) {
  if (!connection::is_token(request.method))
    throw Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is no HTTP method", request.method));
  connection::check_headers(request.headers, request.url);
}

/// After resolving, so that no name leads to this machine or its neighbours; what is checked is what is connected to.
void check_public(const Url& url, const std::vector<connection::Tcp::endpoint>& endpoints) {
  for (const auto& endpoint : endpoints)
    if (!is_public_address(endpoint.address().to_string()))
      throw Error(
          ErrorCode::kPermissionDenied,
          fmt::format("{} is this machine or in a private network, which is not allowed here", url.host));
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
      const Call call{url, stop, request.timeout, deadline};
      HttpResponse response = call_once(request, call, on_data);
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

  HttpResponse call_once(const HttpRequest& request, const Call& call,
                         const std::function<bool(std::string_view)>* on_data) {
    call.check_stop();
    const auto endpoints = connection::resolve(call);
    if (request.public_only) check_public(call.url, endpoints);
    if (!call.url.encrypted()) {
      connection::Connection<beast::tcp_stream> plain;
      plain.connect(call, endpoints);
      return Exchange(request, call, plain).run(on_data);
    }
    connection::Connection<connection::TlsStream> encrypted(tls_.context());
    encrypted.connect(call, endpoints);
    shake_hands(encrypted, encrypted.stream(), call);
    return Exchange(request, call, encrypted).run(on_data);
  }

  connection::TlsClient tls_;
};

}  // namespace

std::unique_ptr<Transport> make_transport() { return std::make_unique<BeastTransport>(); }

}  // namespace fathom
