// One connection. Private to the listener.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "server/listener.h"
#include "server/tls.h"

namespace fathom::server {

/// What all connections of a listener share. Outlives them.
struct SessionShared {
  SessionShared(const ServerLimits& the_limits, Application& the_application)
      : limits(the_limits), application(the_application) {}

  const ServerLimits& limits;
  Application& application;
  std::unique_ptr<Certificate> certificate;  // null: no TLS
  std::atomic<size_t> open{0};               // connections
  std::atomic<size_t> body_bytes{0};         // of requests being read or handled
  std::atomic<bool> draining{false};

  void busy(int change) {
    {
      std::lock_guard lock(mutex);
      busy_count = static_cast<size_t>(static_cast<long>(busy_count) + change);
    }
    if (change < 0) idle.notify_all();
  }
  std::mutex mutex;
  std::condition_variable idle;
  size_t busy_count = 0;  // requests being answered
};

/// Thread-safe.
class SessionHandle {
 public:
  virtual ~SessionHandle() = default;
  virtual void close_when_idle() = 0;
  virtual void cancel() = 0;
  virtual void close() = 0;
};

/// `refuse`: there are too many connections; answer 503 and close.
std::shared_ptr<SessionHandle> start_session(boost::asio::ip::tcp::socket socket, SessionShared& shared,
                                             bool refuse);

}  // namespace fathom::server
