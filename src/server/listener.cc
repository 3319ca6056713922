#include "server/listener.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "server/session.h"

namespace fathom::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr int kPortsTried = 20;   // after the first
constexpr size_t kRefusals = 64;  // connections beyond the limit that are told so

asio::ip::address parse_address(const std::string& text) {
  if (text == "localhost") return asio::ip::address_v4::loopback();
  error_code ec;
  const auto address = asio::ip::make_address(text, ec);
  if (ec)
    throw Error(
        ErrorCode::kInvalidArgument,
        "\"" + text + "\" is not an address to listen on; give an IPv4 or IPv6 address such as 127.0.0.1");
  return address;
}

[[noreturn]] void throw_bind_error(const error_code& ec, const std::string& address, uint16_t port,
                                   bool tried_more) {
  const std::string place = address + " port " + std::to_string(port);
  if (ec == asio::error::address_in_use)
    throw Error(ErrorCode::kResourceExhausted,
                place +
                    (tried_more ? " and the " + std::to_string(kPortsTried) + " ports after it are" : " is") +
                    " in use by another program; choose another port");
  if (ec == asio::error::access_denied)
    throw Error(ErrorCode::kPermissionDenied,
                place + " may not be used by this user; choose a port above 1023");
  if (ec == boost::system::errc::address_not_available)
    throw Error(ErrorCode::kInvalidArgument,
                address + " is not an address of this machine; listen on 127.0.0.1");
  throw Error(ErrorCode::kIo, "cannot listen on " + place + ": " + ec.message());
}

class BeastListener final : public Listener {
 public:
  BeastListener(const ServerOptions& options, Application& application)
      : limits_(options.limits),
        io_threads_(options.io_threads),
        shared_(limits_, application),
        acceptor_(asio::make_strand(io_)),
        retry_(acceptor_.get_executor()) {
    if (!options.tls_certificate.empty())
      shared_.certificate = std::make_unique<Certificate>(options.tls_certificate, options.tls_key);
    const auto address = parse_address(options.address);
    const bool more = !options.port_fixed && options.port != 0;
    error_code ec;
    for (int i = 0; i <= (more ? kPortsTried : 0); ++i) {
      const int port = options.port + i;
      if (port > 65535) break;
      ec = bind(tcp::endpoint(address, static_cast<uint16_t>(port)));
      if (ec != asio::error::address_in_use) break;
    }
    if (ec) throw_bind_error(ec, options.address, options.port, more);
    port_ = acceptor_.local_endpoint().port();
  }

  ~BeastListener() override { close(); }

  uint16_t port() const override { return port_; }
  size_t connections() const override { return shared_.open; }

  void start() override {
    asio::post(acceptor_.get_executor(), [this] { accept(); });
    for (size_t i = 0; i < std::max<size_t>(io_threads_, 1); ++i) threads_.emplace_back([this] { run(); });
  }

  void drain() override {
    if (threads_.empty()) return;
    shared_.draining = true;
    for (const auto& session : sessions()) session->close_when_idle();
  }

  bool wait_idle(std::chrono::milliseconds wait) override {
    std::unique_lock lock(shared_.mutex);
    return shared_.idle.wait_for(lock, wait, [this] { return shared_.busy_count == 0; });
  }

  void cancel() override {
    for (const auto& session : sessions()) session->cancel();
  }

  void disconnect() override {
    closing_ = true;
    asio::post(acceptor_.get_executor(), [this] {
      error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel();
    });
    for (const auto& session : sessions()) session->close();
  }

  void close() override {
    if (threads_.empty()) return;
    drain();
    disconnect();
    work_guard_.reset();  // the threads end when no operation is left
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  error_code bind(const tcp::endpoint& endpoint) {
    error_code ec, ignored;
    acceptor_.close(ignored);
    acceptor_.open(endpoint.protocol(), ec);
    if (!ec) acceptor_.set_option(tcp::acceptor::reuse_address(true), ec);
    if (!ec) acceptor_.bind(endpoint, ec);
    if (!ec) acceptor_.listen(tcp::acceptor::max_listen_connections, ec);
    return ec;
  }

  void run() {
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception& error) {  // a defect: one connection suffers, not all
        log().error("an I/O thread went on after: {}", error.what());
      }
    }
  }

  void accept() {
    acceptor_.async_accept(asio::make_strand(io_), [this](error_code ec, tcp::socket socket) {
      if (closing_ || ec == asio::error::operation_aborted) return;
      if (ec) return accept_later(ec);
      accept();  // first: what goes wrong with one connection must not end the accepting
      admit(std::move(socket));
    });
  }

  /// Out of descriptors, most likely: connections must end before more can begin.
  void accept_later(const error_code& ec) {
    log().warn("cannot accept a connection: {}", ec.message());
    retry_.expires_after(std::chrono::milliseconds(100));
    retry_.async_wait([this](error_code stopped) {
      if (!stopped && !closing_) accept();
    });
  }

  void admit(tcp::socket socket) {
    const size_t open = shared_.open;
    if (open >= limits_.connections + kRefusals) return;  // closes it
    auto session = start_session(std::move(socket), shared_, open >= limits_.connections);
    {
      std::lock_guard lock(sessions_mutex_);
      forget_ended_sessions();
      sessions_.push_back(session);
    }
    if (closing_) session->close();  // `disconnect` may have missed it
  }

  void forget_ended_sessions() {
    if (sessions_.size() >= 2 * live_estimate_ + 64) {
      std::erase_if(sessions_, [](const auto& weak) { return weak.expired(); });
      live_estimate_ = sessions_.size();
    }
  }

  std::vector<std::shared_ptr<SessionHandle>> sessions() {
    std::vector<std::shared_ptr<SessionHandle>> out;
    std::lock_guard lock(sessions_mutex_);
    for (const auto& weak : sessions_) {
      if (auto session = weak.lock()) out.push_back(std::move(session));
    }
    return out;
  }

  const ServerLimits limits_;
  const size_t io_threads_;
  SessionShared shared_;
  std::atomic<bool> closing_{false};
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_guard_{io_.get_executor()};
  tcp::acceptor acceptor_;  // used by one handler at a time
  asio::steady_timer retry_;
  uint16_t port_ = 0;
  std::vector<std::thread> threads_;
  std::mutex sessions_mutex_;
  std::vector<std::weak_ptr<SessionHandle>> sessions_;
  size_t live_estimate_ = 0;
};

}  // namespace

bool is_loopback(const std::string& address) { return parse_address(address).is_loopback(); }

std::unique_ptr<Listener> Listener::open(const ServerOptions& options, Application& application) {
  return std::make_unique<BeastListener>(options, application);
}

}  // namespace fathom::server
