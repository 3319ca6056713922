#include "base/websocket.h"

#include <fmt/format.h>

#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include "base/connection.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using connection::BoostError;
using connection::Call;

constexpr size_t kShownBodyBytes = 200;  // of a refusal, in its sentence

ErrorCode code_of_refusal(int status) {
  switch (status) {
    case 400: return ErrorCode::kInvalidArgument;
    case 401: return ErrorCode::kUnauthenticated;
    case 403: return ErrorCode::kPermissionDenied;
    case 404: return ErrorCode::kNotFound;
    case 429: return ErrorCode::kResourceExhausted;
    default: return ErrorCode::kNetwork;
  }
}

[[noreturn]] void throw_refused(const Url& url, const websocket::response_type& response) {
  const auto body = trim(std::string_view(response.body()).substr(0, kShownBodyBytes));
  throw Error(code_of_refusal(static_cast<int>(response.result_int())),
              fmt::format("{} answered with status {} instead of opening a WebSocket{}{}", url.authority(),
                          response.result_int(), body.empty() ? "" : ": ", sanitize_utf8(body)));
}

/// RFC 6455, section 4.1: a subprotocol that was not asked for ends the connection.
void check_protocol(const Url& url, const WebSocketRequest& request,
                    const websocket::response_type& response) {
  const auto given = response[http::field::sec_websocket_protocol];
  if (!given.empty() && std::string_view(given.data(), given.size()) != request.protocol)
    throw Error(
        ErrorCode::kNetwork,
        fmt::format("{} opened a WebSocket with a subprotocol that was not asked for", url.authority()));
}

/// `Layer` is what the WebSocket runs over: beast::tcp_stream or connection::TlsStream.
template <class Layer>
class BeastWebSocket final : public WebSocket {
 public:
  template <class... Args>
  BeastWebSocket(const WebSocketRequest& request, Url url, Args&&... args)
      : request_(request), url_(std::move(url)), connection_(std::forward<Args>(args)...) {}

  void open(const std::stop_token& stop) {
    const auto deadline = std::chrono::steady_clock::now() + request_.connect_timeout;
    const Call call{url_, stop, request_.connect_timeout, deadline};
    call.check_stop();
    connection_.connect(call, connection::resolve(call));
    if constexpr (std::is_same_v<Layer, connection::TlsStream>)
      shake_hands(connection_, stream().next_layer(), call);
    upgrade(call);
  }

  std::optional<WebSocketMessage> receive(const std::stop_token& stop) override {
    const Call call = message_call(stop);
    const auto error =
        connection_.perform(call, [&](auto handler) { stream().async_read(buffer_, std::move(handler)); });
    if (error == websocket::error::closed) {
      const auto& reason = stream().reason();
      close_reason_ =
          fmt::format("{} ({})", reason.code, sanitize_utf8({reason.reason.data(), reason.reason.size()}));
      return {};
    }
    if (error) throw_broken(call, error, "to send a sign of life", "between its messages");
    WebSocketMessage message{beast::buffers_to_string(buffer_.data()), stream().got_binary()};
    buffer_.consume(buffer_.size());
    return message;
  }

  void send(std::string_view text, const std::stop_token& stop) override {
    const Call call = message_call(stop);
    const auto error = connection_.perform(call, [&](auto handler) {
      stream().async_write(connection::net::buffer(text.data(), text.size()), std::move(handler));
    });
    if (error) throw_broken(call, error, "to take a message", "while a message was sent");
  }

  std::string close_reason() const override { return close_reason_; }

 private:
  websocket::stream<Layer>& stream() { return connection_.stream(); }

  Call message_call(const std::stop_token& stop) const {
    return {url_, stop, request_.silence, {}};  // the stream keeps the time itself
  }

  void upgrade(const Call& call) {
    connection_.lowest().expires_never();
    const auto left = call.deadline - std::chrono::steady_clock::now();
    stream().set_option(websocket::stream_base::timeout{std::max(left, connection::SteadyTime::duration(1)),
                                                        request_.silence, true});
    stream().set_option(websocket::stream_base::decorator([this](websocket::request_type& head) {
      head.set(http::field::user_agent, std::string(connection::kUserAgent));
      if (!request_.protocol.empty()) head.set(http::field::sec_websocket_protocol, request_.protocol);
      for (const auto& [name, value] : request_.headers) head.set(name, value);
    }));
    stream().read_message_max(request_.max_message_bytes);
    websocket::response_type response;
    const auto error = connection_.perform(call, [&](auto handler) {
      stream().async_handshake(response, url_.authority(), url_.target, std::move(handler));
    });
    if (error == websocket::error::upgrade_declined) throw_refused(url_, response);
    if (error == beast::error::timeout) call.throw_late("to open a WebSocket");
    if (error) call.throw_failed(error, "while a WebSocket was opened");
    check_protocol(url_, request_, response);
  }

  [[noreturn]] void throw_broken(const Call& call, const BoostError& error, std::string_view late,
                                 std::string_view doing) const {
    if (error == beast::error::timeout) call.throw_late(late);
    if (error == websocket::error::message_too_big || error == websocket::error::buffer_overflow)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("a message of {} is larger than the {} bytes that are taken", url_.authority(),
                              request_.max_message_bytes));
    if (error == websocket::condition::protocol_violation)
      throw Error(ErrorCode::kNetwork, fmt::format("{} sent a frame against the WebSocket protocol: {}",
                                                   url_.authority(), error.message()));
    call.throw_failed(error, doing);
  }

  const WebSocketRequest request_;
  const Url url_;
  connection::Connection<websocket::stream<Layer>> connection_;
  beast::flat_buffer buffer_;
  std::string close_reason_;
};

class BeastWebSockets final : public WebSockets {
 public:
  std::unique_ptr<WebSocket> connect(const WebSocketRequest& request, const std::stop_token& stop) override {
    const Url url = parse_web_socket_url(request.url);
    connection::check_headers(request.headers, request.url);
    if (!request.protocol.empty())
      connection::check_headers({{"Sec-WebSocket-Protocol", request.protocol}}, request.url);
    if (url.encrypted())
      return opened(std::make_unique<BeastWebSocket<connection::TlsStream>>(request, url, tls_.context()),
                    stop);
    return opened(std::make_unique<BeastWebSocket<beast::tcp_stream>>(request, url), stop);
  }

 private:
  template <class Socket>
  static std::unique_ptr<WebSocket> opened(std::unique_ptr<Socket> socket, const std::stop_token& stop) {
    socket->open(stop);
    return socket;
  }

  connection::TlsClient tls_;
};

}  // namespace

std::unique_ptr<WebSockets> make_web_sockets() { return std::make_unique<BeastWebSockets>(); }

}  // namespace fathom
