// A small blocking HTTP client that sends exactly the bytes it is told to and reads what a strict client would accept.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.h"

namespace fathom::server {

struct Answer {
  int status = 0;
  std::string version;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
  nlohmann::json json() const { return nlohmann::json::parse(body); }
  nlohmann::json error() const { return json().at("error"); }
};

/// One connection. Every wait ends after ten seconds with an exception.
class Client {
 public:
  explicit Client(uint16_t port, int receive_buffer = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const timeval wait{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
  }
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void half_close() { ::shutdown(fd_, SHUT_WR); }

  /// False when the other end has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  /// Reads status line and headers; the body stays to be read.
  Answer read_head() {
    Answer out;
    const std::string line = read_line();
    if (line.size() < 12) throw std::runtime_error("no status line: " + line);
    out.version = line.substr(0, 8);
    out.status = std::stoi(line.substr(9, 3));
    for (std::string field = read_line(); !field.empty(); field = read_line()) {
      const size_t colon = field.find(':');
      if (colon == std::string::npos) throw std::runtime_error("no header: " + field);
      out.headers[to_lower_ascii(field.substr(0, colon))] = std::string(trim(field.substr(colon + 1)));
    }
    return out;
  }

  /// The next chunk of a chunked body; empty at its end.
  std::string read_chunk() {
    const size_t size = std::stoul(read_line(), nullptr, 16);
    std::string out = read_exactly(size);
    if (!read_line().empty()) throw std::runtime_error("a chunk does not end where it says");
    return out;
  }

  /// A whole response. `to_head`: the answer to HEAD, which has no body whatever its headers say.
  Answer read(bool to_head = false) {
    Answer out = read_head();
    if (to_head || out.status == 204 || out.status == 304 || out.status == 100) return out;
    if (out.header("transfer-encoding") == "chunked") {
      for (std::string piece = read_chunk(); !piece.empty(); piece = read_chunk()) out.body += piece;
    } else if (!out.header("content-length").empty()) {
      out.body = read_exactly(std::stoul(out.header("content-length")));
    } else {
      while (fill()) {
      }
      out.body = std::exchange(buffer_, {});
    }
    return out;
  }

  /// True when the other end closes (or has) without sending anything more.
  bool ends() { return buffer_.empty() && !fill(); }

  std::string read_line() {
    for (;;) {
      const size_t end = buffer_.find("\r\n");
      if (end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 2);
        return line;
      }
      if (!fill()) throw std::runtime_error("the connection ended within a line: " + buffer_);
    }
  }

  std::string read_exactly(size_t size) {
    while (buffer_.size() < size) {
      if (!fill()) throw std::runtime_error("the connection ended within a body");
    }
    std::string out = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return out;
  }

 private:
  /// False at the end of the connection.
  bool fill() {
    char bytes[16384];
    const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      throw std::runtime_error("nothing came for ten seconds");
    if (n <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }

  int fd_ = -1;
  std::string buffer_;
};

using HeaderList = std::vector<std::pair<std::string, std::string>>;

/// The bytes of an HTTP/1.1 request with a Host header unless `headers` has one.
inline std::string request_text(std::string_view method, std::string_view target,
                                const HeaderList& headers = {}, std::string_view body = {}) {
  std::string out = std::string(method) + " " + std::string(target) + " HTTP/1.1\r\n";
  bool host = false;
  for (const auto& [name, value] : headers) {
    out += name + ": " + value + "\r\n";
    host = host || equals_ignore_case(name, "host");
  }
  if (!host) out += "Host: 127.0.0.1\r\n";
  if (!body.empty() || method == "POST") out += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return out + "\r\n" + std::string(body);
}

/// One request on a connection of its own.
inline Answer ask(uint16_t port, std::string_view method, std::string_view target,
                  const HeaderList& headers = {}, std::string_view body = {}) {
  Client client(port);
  client.send(request_text(method, target, headers, body));
  return client.read(method == "HEAD");
}

inline Answer get(uint16_t port, std::string_view target, const HeaderList& headers = {}) {
  return ask(port, "GET", target, headers);
}

/// The events of a body of server-sent events: {field -> value} each; comments as field "".
inline std::vector<std::map<std::string, std::string>> parse_events(std::string_view body) {
  std::vector<std::map<std::string, std::string>> out;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    if (end == std::string_view::npos) throw std::runtime_error("an event is cut: " + std::string(body));
    std::map<std::string, std::string> event;
    for (const auto line : split(body.substr(0, end), '\n')) {
      const size_t colon = std::min(line.find(':'), line.size());
      event[std::string(line.substr(0, colon))] =
          std::string(trim(line.substr(std::min(colon + 1, line.size()))));
    }
    out.push_back(std::move(event));
    body.remove_prefix(end + 2);
  }
  return out;
}

}  // namespace fathom::server
