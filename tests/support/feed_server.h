// A server on loopback that speaks the protocols of feeds: HTTP answers, HTTP streams and WebSockets (Boost.Beast).
//
// A function answers each connection, on a thread of its own; it may also misbehave on purpose (`raw`, `drop`). The
// destructor ends all waits, closes all connections and joins all threads.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/http_server.h"

namespace fathom::test {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;

/// One connection; used on the thread of its handler alone. Functions return false when the other side is gone or the
/// server is closing.
class FeedConnection {
 public:
  using Headers = std::map<std::string, std::string>;
  using milliseconds = std::chrono::milliseconds;

  explicit FeedConnection(const std::atomic<bool>& closing) : closing_(closing) {}

  net::io_context& io() { return io_; }
  net::ip::tcp::socket& socket() { return stream_.next_layer(); }

  bool read_request() {
    socket().set_option(net::ip::tcp::no_delay(true));
    if (!perform([&](auto handler) { http::async_read(socket(), buffer_, head_, handler); })) return false;
    request_.method = std::string(head_.method_string());
    request_.target = std::string(head_.target());
    request_.body = head_.body();
    for (const auto& field : head_)
      request_.headers[to_lower_ascii(std::string(field.name_string()))] = std::string(field.value());
    return true;
  }

  const ServerRequest& request() const { return request_; }
  bool wants_web_socket() const { return websocket::is_upgrade(head_); }

  /// A whole answer.
  bool answer(int status, std::string_view body, const Headers& headers = {}) {
    std::string text = head_text(status, headers);
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    return raw(text.append(body));
  }
  /// The head of an answer whose body comes as pieces, chunked.
  bool begin_stream(const Headers& headers = {}) {
    return raw(head_text(200, headers) + "Transfer-Encoding: chunked\r\n\r\n");
  }
  bool piece(std::string_view bytes) {
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
    return raw(size + std::string(bytes) + "\r\n");
  }
  bool end_stream() { return raw("0\r\n\r\n"); }

  /// Makes a WebSocket of the connection.
  bool upgrade(const std::string& protocol = "") {
    stream_.set_option(websocket::stream_base::decorator([&](websocket::response_type& response) {
      if (!protocol.empty()) response.set(http::field::sec_websocket_protocol, protocol);
    }));
    stream_.control_callback([this](websocket::frame_type kind, beast::string_view) {
      if (kind == websocket::frame_type::pong) ++pongs_;
      if (kind == websocket::frame_type::ping) ++pings_;
    });
    return perform([&](auto handler) { stream_.async_accept(head_, handler); });
  }
  bool send(std::string_view text) { return write(text, false); }
  bool send_binary(std::string_view bytes) { return write(bytes, true); }
  bool ping() {
    return perform([&](auto handler) { stream_.async_ping({}, handler); });
  }
  /// The next message; empty when none came in time or the other side is gone (see `gone`).
  std::optional<std::string> receive(milliseconds limit = std::chrono::seconds(10)) {
    begin_read();
    run(limit, [this] { return !reading_; });
    if (reading_ || gone_) return {};
    std::string message = beast::buffers_to_string(buffer_.data());
    buffer_.consume(buffer_.size());
    return message;
  }
  bool close(uint16_t code, const std::string& reason = "") {
    const websocket::close_reason why(static_cast<websocket::close_code>(code), reason);
    return perform([&](auto handler) { stream_.async_close(why, handler); });
  }

  /// Exactly these bytes, whatever the protocol says.
  bool raw(std::string_view bytes) {
    const auto buffer = net::buffer(bytes.data(), bytes.size());
    return perform([&](auto handler) { net::async_write(socket(), buffer, handler); });
  }
  /// Breaks the connection off.
  void drop() { socket().close(); }
  /// Serves pings and waits; false at once when the server is closing or the other side of a WebSocket is gone.
  bool pause(milliseconds time) {
    if (stream_.is_open()) begin_read();
    run(time, [this] { return gone_; });
    return !gone_ && !closing_.load();
  }
  void hang() {
    while (pause(milliseconds(1000))) {
    }
  }
  bool gone() const { return gone_; }
  int pings() const { return pings_; }
  int pongs() const { return pongs_; }

 private:
  /// Runs what was begun until `over` or the time is up; the server's closing ends it too.
  template <class Over>
  void run(milliseconds limit, Over over) {
    const auto end = std::chrono::steady_clock::now() + limit;
    io_.restart();
    while (!over() && !closing_.load() && std::chrono::steady_clock::now() < end) {
      io_.restart();  // nothing may be left to do: then it only waits
      if (io_.run_one_for(milliseconds(2)) == 0) std::this_thread::sleep_for(milliseconds(1));
    }
  }

  /// True when the operation that `start` begins has ended well.
  template <class Start>
  bool perform(Start start) {
    bool done = false;
    beast::error_code result;
    start([&](const beast::error_code& error, auto&&...) {
      done = true;
      result = error;
    });
    run(std::chrono::hours(1), [&] { return done; });
    if (!done) socket().close();
    while (!done) io_.run_one();  // its handler refers to this frame
    return !result;
  }

  void begin_read() {
    if (reading_ || gone_) return;
    reading_ = true;
    stream_.async_read(buffer_, [this](const beast::error_code& error, size_t) {
      reading_ = false;
      if (error) gone_ = true;
    });
  }

  bool write(std::string_view data, bool binary) {
    stream_.binary(binary);
    const auto buffer = net::buffer(data.data(), data.size());
    return perform([&](auto handler) { stream_.async_write(buffer, handler); });
  }

  static std::string head_text(int status, const Headers& headers) {
    std::string text = "HTTP/1.1 " + std::to_string(status) + " Scripted\r\n";
    for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
    return text;
  }

  const std::atomic<bool>& closing_;
  net::io_context io_{1};
  websocket::stream<net::ip::tcp::socket> stream_{io_};
  beast::flat_buffer buffer_;
  http::request<http::string_body> head_;
  ServerRequest request_;
  bool reading_ = false, gone_ = false;
  int pings_ = 0, pongs_ = 0;
};

class FeedServer {
 public:
  using Handler = std::function<void(FeedConnection&)>;

  explicit FeedServer(Handler handler)
      : handler_(std::move(handler)), acceptor_(io_, {net::ip::make_address_v4("127.0.0.1"), 0}) {
    accepting_ = std::thread([this] { accept_loop(); });
  }
  ~FeedServer() {
    closing_.store(true);
    accepting_.join();
    for (auto& connection : connections_) connection.join();
  }
  FeedServer(const FeedServer&) = delete;
  FeedServer& operator=(const FeedServer&) = delete;

  uint16_t port() const { return acceptor_.local_endpoint().port(); }
  std::string url(std::string_view target = "") const { return "http://" + place(target); }
  std::string ws_url(std::string_view target = "") const { return "ws://" + place(target); }
  /// Requests whose handler was called.
  size_t requests() const { return requests_.load(); }

 private:
  std::string place(std::string_view target) const {
    return "127.0.0.1:" + std::to_string(port()) + std::string(target);
  }

  void accept_loop() {
    while (!closing_.load()) {
      auto connection = std::make_unique<FeedConnection>(closing_);
      bool accepted = false;
      acceptor_.async_accept(connection->socket(),
                             [&](const beast::error_code& error) { accepted = !error; });
      while (!accepted && !closing_.load()) {
        io_.restart();
        io_.run_one_for(std::chrono::milliseconds(2));
      }
      if (!accepted) {
        acceptor_.cancel();
        io_.restart();
        io_.run();
        return;
      }
      connections_.emplace_back([this, c = std::move(connection)] {
        if (!c->read_request()) return;
        requests_.fetch_add(1);
        handler_(*c);
      });
    }
  }

  Handler handler_;
  net::io_context io_{1};
  net::ip::tcp::acceptor acceptor_;
  std::atomic<bool> closing_{false};
  std::atomic<size_t> requests_{0};
  std::vector<std::thread> connections_;  // the accepting thread's own until it has ended
  std::thread accepting_;
};

}  // namespace fathom::test
