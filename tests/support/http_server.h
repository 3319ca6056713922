// A scripted HTTP server on loopback for tests: each request is answered by a function that may also misbehave on purpose.
//
// Plain sockets rather than a library, so that it can send what a library would not: half answers, wrong lengths, nothing.
// One thread a connection, one request a connection. The destructor closes all connections and joins all threads.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/text.h"

namespace fathom::test {

struct ServerRequest {
  std::string method, target, body;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

/// The bytes of one connection; a TLS server wraps it.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  virtual long read(char* data, size_t size) = 0;  // 0: end, negative: failed
  virtual bool write(std::string_view bytes) = 0;
};

class SocketStream final : public ByteStream {
 public:
  explicit SocketStream(int fd) : fd_(fd) {}
  long read(char* data, size_t size) override { return ::recv(fd_, data, size, 0); }
  bool write(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

 private:
  int fd_;
};

/// What a handler answers with.
class Reply {
 public:
  Reply(ByteStream& stream, const std::atomic<bool>& closing) : stream_(stream), closing_(closing) {}

  /// A whole answer.
  bool send(int status, std::string_view body, const std::map<std::string, std::string>& headers = {}) {
    std::string text = "HTTP/1.1 " + std::to_string(status) + " Scripted\r\n";
    for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    return raw(text.append(body));
  }
  /// Exactly these bytes.
  bool raw(std::string_view bytes) { return stream_.write(bytes); }
  /// Waits; returns false at once when the server is about to close.
  bool pause(std::chrono::milliseconds time) const {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      if (closing_.load()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return !closing_.load();
  }
  /// Says nothing until the server is closed.
  void hang() const {
    while (pause(std::chrono::milliseconds(1000))) {
    }
  }
  bool closing() const { return closing_.load(); }

 private:
  ByteStream& stream_;
  const std::atomic<bool>& closing_;
};

class HttpServer {
 public:
  using Handler = std::function<void(const ServerRequest&, Reply&)>;
  /// Turns an accepted socket into the stream that requests come over; null refuses it.
  using Wrap = std::function<std::unique_ptr<ByteStream>(int fd)>;

  explicit HttpServer(Handler handler, Wrap wrap = {})
      : handler_(std::move(handler)), wrap_(std::move(wrap)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (listener_ < 0 || ::bind(listener_, generic, length) != 0 || ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, generic, &length) != 0)
      throw std::runtime_error(std::string("test server: ") + std::strerror(errno));
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_loop(); });
  }

  ~HttpServer() {
    closing_.store(true);
    acceptor_.join();
    ::close(listener_);
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (auto& connection : connections_) connection.join();
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const { return port_; }
  std::string url(std::string_view target = "") const {
    return "http://127.0.0.1:" + std::to_string(port_) + std::string(target);
  }
  /// Requests whose handler was called.
  size_t requests() const { return requests_.load(); }

 private:
  void accept_loop() {
    while (!closing_.load()) {
      pollfd waiting{listener_, POLLIN, 0};
      if (::poll(&waiting, 1, 5) <= 0) continue;
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      connections_.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) {
    {
      const auto stream = wrap_ ? wrap_(fd) : std::make_unique<SocketStream>(fd);
      ServerRequest request;
      if (stream != nullptr && read_request(*stream, request)) {
        requests_.fetch_add(1);
        Reply reply(*stream, closing_);
        handler_(request, reply);
      }
    }
    ::shutdown(fd, SHUT_WR);
    char rest[1024];  // lets the other end read what was sent before the connection is reset
    pollfd waiting{fd, POLLIN, 0};
    while (!closing_.load() && ::poll(&waiting, 1, 20) >= 0)
      if (waiting.revents != 0 && ::recv(fd, rest, sizeof rest, 0) <= 0) break;
    const std::lock_guard lock(mutex_);
    std::erase(open_, fd);
    ::close(fd);
  }

  static bool read_request(ByteStream& stream, ServerRequest& request) {
    std::string text;
    size_t end = std::string::npos;
    char chunk[4096];
    while ((end = text.find("\r\n\r\n")) == std::string::npos) {
      const long n = stream.read(chunk, sizeof chunk);
      if (n <= 0 || text.size() > 1 << 20) return false;
      text.append(chunk, static_cast<size_t>(n));
    }
    parse_head(std::string_view(text).substr(0, end), request);
    const size_t length =
        static_cast<size_t>(std::strtoull(request.header("content-length").c_str(), nullptr, 10));
    request.body = text.substr(end + 4);
    while (request.body.size() < length) {
      const long n = stream.read(chunk, sizeof chunk);
      if (n <= 0) return false;
      request.body.append(chunk, static_cast<size_t>(n));
    }
    return true;
  }

  static void parse_head(std::string_view head, ServerRequest& request) {
    bool first = true;
    for (const auto line : split(head, '\n')) {
      if (std::exchange(first, false)) {
        const auto words = split(trim(line), ' ');
        request.method = words[0];
        if (words.size() > 1) request.target = words[1];
        continue;
      }
      const size_t colon = line.find(':');
      if (colon == std::string_view::npos) continue;
      request.headers[to_lower_ascii(line.substr(0, colon))] = trim(line.substr(colon + 1));
    }
  }

  Handler handler_;
  Wrap wrap_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> closing_{false};
  std::atomic<size_t> requests_{0};
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> connections_;
  std::thread acceptor_;
};

/// Polls `condition` until it holds; false when it has not come true within `limit`.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return condition();
}

}  // namespace fathom::test
