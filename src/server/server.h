// The server: the store, the assistant and the model behind HTTP, with the web page, on one
// address.
//
// Ownership: a Server owns its socket and threads; all that `Services` refers to is the caller's
// and outlives it. Thread safety: every method may be called from any thread.
//
// Invariants:
//  (1) the socket listens when `create` returns: a client may connect before `run` and is served
//  once it runs; (2) an address that other machines can reach is refused unless requests need a
//  key; (3) slow answers, slow clients and slow readers of the feed never hold up other requests;
//  what a client can make the
//      server keep in memory is bounded by `ServerLimits`;
//  (4) when `run` returns, no thread of the server runs and no service is used any more.
//
// The wire format is in docs/api.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <stop_token>
#include <string>
#include <vector>

#include "answer/assistant.h"
#include "base/clock.h"
#include "infer/embedder.h"
#include "infer/engine.h"
#include "live/store.h"

namespace fathom::cluster {
class Planner;
}
namespace fathom::live {
class StandingQueries;
class Trends;
class VectorIndex;
}  // namespace fathom::live

namespace fathom::answer {
class Conversations;
class Styles;
}  // namespace fathom::answer

namespace fathom::server {

class Setup;

/// What one client, and all together, may take.
struct ServerLimits {
  size_t connections = 1024;                 // more are told 503 and closed
  size_t feed_clients = 256;                 // open event streams; more are told 429
  size_t header_bytes = 16 * 1024;           // request line and headers; more is 431
  size_t chat_body_bytes = size_t{4} << 20;  // more is 413
  size_t posts_body_bytes = size_t{32} << 20;
  size_t all_body_bytes = size_t{256} << 20;  // of all requests being read and handled; more is 503
  size_t answers_at_once =
      64;  // threads that make answers; they mostly wait for the model, which takes many together
  size_t answers_waiting = 256;      // more is 429 with Retry-After
  size_t generations_at_once = 192;  // of the model, running or waiting in it; more is 429 with Retry-After
  std::chrono::milliseconds answer_time{
      600'000};                    // of the model, then the answer ends where it is; 0: no limit
  size_t stored_responses = 1024;  // of POST /v1/responses; the least recently used go first
  size_t stored_response_bytes = size_t{64} << 20;
  size_t requests_at_once = 4;    // threads for all other work
  size_t requests_waiting = 256;  // more is 503
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{
      20'000};  // plus a second for each `body_bytes_per_second` that arrived
  size_t body_bytes_per_second = 16 * 1024;
  std::chrono::milliseconds idle_timeout{75'000};   // between the requests of a connection
  std::chrono::milliseconds write_timeout{30'000};  // a client that takes nothing for so long is dropped
  // So is one for which a streamed answer waits longer in all, a second more for each so many bytes of it.
  size_t client_bytes_per_second = 4 * 1024;
  std::chrono::milliseconds ping{5'000};    // between two signs of life on a silent event stream
  std::chrono::milliseconds drain{20'000};  // what running requests get to finish when the server stops
};

struct ServerOptions {
  std::string address = "127.0.0.1";  // IPv4 or IPv6 literal, or "localhost"
  uint16_t port = 8080;               // 0: any free one
  bool port_fixed = false;            // false: when `port` is busy, the next 20 are tried
  std::vector<std::string> api_keys;  // any of them may do everything
  std::filesystem::path
      key_file;  // named keys, see server/keys.h; without any key: open to whoever reaches the address
  std::filesystem::path audit_file;        // empty: no audit log
  std::vector<std::string> allowed_hosts;  // further names that a Host header may give on a loopback address
  std::filesystem::path tls_certificate, tls_key;  // PEM files; empty: plain HTTP
  std::string version = "0";
  size_t io_threads = 2;
  ServerLimits limits;
};

struct Services {
  live::Store& store;
  const answer::Assistant& assistant;
  infer::Engine* engine = nullptr;            // null: no model; answers are extracts
  infer::Embedder* embedder = nullptr;        // null: no embeddings
  cluster::Planner* planner = nullptr;        // null: no /v1/plan
  live::Trends* trends = nullptr;             // null: no /v1/trends, /v1/stories
  live::StandingQueries* standing = nullptr;  // null: no /v1/standing
  live::VectorIndex* vectors = nullptr;       // null: search by words alone
  live::Store* own_share =
      nullptr;  // of several replicas: what this one holds; null: `store` is all there is
  const Clock& clock;
  /// For GET /v1/status: a list of {name, state, detail, ...}, one a source. Called from many
  /// threads. May be empty.
  std::function<nlohmann::json()> sources_status;
  bool fiction_feed = false;                       // the feed is the sample world: said wherever it shows
  answer::Conversations* conversations = nullptr;  // null: none are kept
  std::string conversations_problem = {};          // why none are, for GET /v1/status
  const answer::Styles* styles = nullptr;          // null: no /v1/styles
  Setup* setup = nullptr;                          // null: no /v1/setup
};

class Server {
 public:
  /// Binds and listens. Errors: kInvalidArgument (not an address of this machine; reachable by
  /// others without a key), kResourceExhausted (port busy), kPermissionDenied (port below 1024),
  /// kIo.
  static std::unique_ptr<Server> create(const ServerOptions& options, const Services& services);
  virtual ~Server() = default;

  virtual uint16_t port() const = 0;
  /// For a browser on this machine: "http://127.0.0.1:8080".
  virtual std::string url() const = 0;

  /// Serves until `stop` is requested or `stop()` is called, then lets running requests finish
  /// within `limits.drain` and returns. Once only.
  virtual void run(const std::stop_token& stop) = 0;
  virtual void stop() = 0;
};

}  // namespace fathom::server
