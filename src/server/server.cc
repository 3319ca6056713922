#include "server/server.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "server/access.h"
#include "server/api_error.h"
#include "server/audit.h"
#include "server/context.h"
#include "server/feed.h"
#include "server/listener.h"
#include "server/posts_body.h"
#include "server/response_store.h"
#include "server/standing_feed.h"
#include "server/workers.h"

namespace fathom::server {
namespace {

using std::chrono::milliseconds;

/// Runs a handler; an error that it did not answer itself is the answer.
void run_handler(const Route& route, const Request& request, const std::shared_ptr<Reply>& reply) {
  try {
    route.handler(request, reply);
  } catch (const std::exception& error) {
    const ApiError told = to_api_error(error, request.id);
    if (!reply->started()) reply->send(error_response(told));
  }
}

ApiError overloaded(Lane lane) {
  ApiError error =
      lane == Lane::kAnswers
          ? ApiError(429, "too many answers are being made; try again in a moment", "rate_limit_exceeded")
          : ApiError(503, "the server is busy; try again in a moment", "overloaded");
  error.headers.emplace_back("Retry-After", lane == Lane::kAnswers ? "2" : "1");
  return error;
}

ApiError shutting_down() {
  ApiError error(503, "the server is shutting down; try another, or again in a moment", "shutting_down");
  error.headers.emplace_back("Retry-After", "5");
  return error;
}

/// What of HTTP itself is not right, or not done here.
std::optional<ApiError> protocol_refusal(const Request& head) {
  if (!head.http_1_0 && head.header("host") == nullptr)
    return ApiError(400, "the request has no Host header", "bad_request");
  const auto* transfer = head.header("transfer-encoding");
  if (transfer != nullptr && !equals_ignore_case(trim(*transfer), "chunked"))
    return ApiError(400, "the transfer encoding must be chunked", "bad_request");
  const auto* content = head.header("content-encoding");
  if (content != nullptr && !equals_ignore_case(trim(*content), "identity"))
    return ApiError(415, "compressed bodies are not taken; send the body as it is", "unsupported_encoding");
  const auto* expect = head.header("expect");
  if (expect != nullptr && !equals_ignore_case(trim(*expect), "100-continue"))
    return ApiError(417, "only \"Expect: 100-continue\" is understood", "expectation_failed");
  return std::nullopt;
}

Response options_response(const std::string& allow) {
  Response response;
  response.status = 204;
  response.headers.emplace_back("Allow", allow);
  return response;
}

class ServerImpl final : public Server, private Application {
 public:
  ServerImpl(const ServerOptions& options, const Services& services)
      : options_(options),
        services_(services),
        access_(options_),
        metrics_(options_.version),
        feed_(services_, options_.limits),
        standing_(services_, options_.limits),
        generations_(options_.limits.generations_at_once),
        responses_(options_.limits.stored_responses, options_.limits.stored_response_bytes),
        context_{options_,
                 services_,
                 metrics_,
                 feed_,
                 generations_,
                 scoring_,
                 responses_,
                 [this] { return access_.needs_key(); },
                 [this] { return gauges(); },
                 standing_},
        requests_(options_.limits.requests_at_once, options_.limits.requests_waiting),
        answers_(options_.limits.answers_at_once, options_.limits.answers_waiting) {
    add_chat_routes(router_, context_);
    add_completion_routes(router_, context_);
    add_conversation_routes(router_, context_);
    add_embedding_routes(router_, context_);
    add_response_routes(router_, context_);
    add_token_routes(router_, context_);
    add_plan_routes(router_, context_);
    add_post_routes(router_, context_);
    add_search_routes(router_, context_);
    add_replica_routes(router_, context_);
    add_trend_routes(router_, context_);
    add_standing_routes(router_, context_);
    add_style_routes(router_, context_);
    add_feed_routes(router_, context_);
    add_model_routes(router_, context_);
    add_setup_routes(router_, context_);
    add_status_routes(router_, context_);
    add_web_routes(router_, context_);
    if (!options_.audit_file.empty()) audit_.emplace(options_.audit_file, services_.clock);
    listener_ = Listener::open(options_, *this);
  }

  ~ServerImpl() override { shut_down(milliseconds(0)); }

  uint16_t port() const override { return listener_->port(); }

  std::string url() const override {
    std::string host = options_.address;
    if (host == "0.0.0.0") host = "127.0.0.1";
    if (host == "::") host = "::1";
    if (host.find(':') != std::string::npos) host = "[" + host + "]";
    return fmt::format("{}://{}:{}", options_.tls_certificate.empty() ? "http" : "https", host, port());
  }

  void run(const std::stop_token& stop) override {
    const std::stop_callback forward(stop, [this] { this->stop(); });
    listener_->start();
    {
      std::unique_lock lock(mutex_);
      stopped_.wait(lock, [this] { return stopping_; });
    }
    shut_down(options_.limits.drain);
  }

  void stop() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stopped_.notify_all();
  }

 private:
  Admission admit(const Request& head) override {
    Admission out;
    if (draining_) return refused(std::move(out), shutting_down());
    if (const auto error = protocol_refusal(head)) return refused(std::move(out), *error);
    if (const auto error = access_.refusal(head)) return refused(std::move(out), *error);
    auto match = router_.find(head.method, head.path);
    if (match.route == nullptr) return no_route(std::move(out), head, match.allow);
    out.name = match.route->name;
    if (!match.route->open)
      if (const auto error = identify(head, match.route->role, out)) return refused(std::move(out), *error);
    if (match.route->json_body && !is_json(head))
      return refused(std::move(out),
                     ApiError(415, "the body must be JSON: send \"Content-Type: application/json\"",
                              "unsupported_media_type"));
    out.route = match.route;
    out.captures = std::move(match.captures);
    return out;
  }

  /// Notes who asks. Returns why they may not.
  std::optional<ApiError> identify(const Request& head, Role role, Admission& out) {
    Access::Caller caller = access_.identify(head, role);
    if (caller.holder) {
      out.key = caller.holder->key.name;
      out.role = to_string(caller.holder->key.role);
    }
    if (caller.rate.limit > 0) {
      out.headers.emplace_back("x-ratelimit-limit-requests", std::to_string(caller.rate.limit));
      out.headers.emplace_back("x-ratelimit-remaining-requests", std::to_string(caller.rate.remaining));
      out.headers.emplace_back("x-ratelimit-reset-requests", fmt::format("{}ms", caller.rate.wait.count()));
    }
    return std::move(caller.refusal);
  }

  static Admission refused(Admission out, const ApiError& error) {
    out.refusal = error_response(error);
    return out;
  }

  static Admission no_route(Admission out, const Request& head, const std::string& allow) {
    if (allow.empty())
      return refused(
          std::move(out),
          ApiError(404, fmt::format("there is nothing at {}", head.path.substr(0, 200)), "unknown_url"));
    if (head.method == "OPTIONS") {
      out.refusal = options_response(allow);
      return out;
    }
    ApiError error(405, fmt::format("this address takes {}, not {}", allow, head.method.substr(0, 20)),
                   "method_not_allowed");
    error.headers.emplace_back("Allow", allow);
    return refused(std::move(out), error);
  }

  void handle(const Route& route, Request request, std::shared_ptr<Reply> reply) override {
    if (route.lane == Lane::kInline) return run_handler(route, request, reply);
    Workers& workers = route.lane == Lane::kAnswers ? answers_ : requests_;
    auto job = [&route, reply, request = std::make_shared<const Request>(std::move(request))]() mutable {
      if (reply->stop().stop_requested()) {  // nobody waits for it any more
        reply->send(error_response(ApiError(503, "the request was cancelled", "cancelled")));
      } else {
        run_handler(route, *request, reply);
      }
    };
    if (!workers.submit(std::move(job))) reply->send(error_response(overloaded(route.lane)));
  }

  void completed(const Completed& request) override {
    metrics_.request(request.route, request.status, request.seconds);
    if (audit_ && request.path.starts_with("/v1/"))
      audit_->write({request.id, request.key, request.role, request.from, request.method, request.path,
                     request.status, request.seconds});
  }

  Metrics::Gauges gauges() const {
    Metrics::Gauges out;
    out.connections = listener_->connections();
    out.feed_clients = feed_.clients() + standing_.clients();
    out.answers_running = answers_.running();
    out.answers_waiting = answers_.waiting();
    return out;
  }

  void shut_down(milliseconds drain) {
    if (ended_) return;
    ended_ = true;
    draining_ = true;
    listener_->drain();
    feed_.stop();
    standing_.stop();
    if (!listener_->wait_idle(drain)) {
      listener_->cancel();
      listener_->wait_idle(milliseconds(1000));  // for the last words of streams
    }
    listener_->disconnect();
    answers_.join();
    requests_.join();
    listener_->close();
  }

  const ServerOptions options_;
  const Services services_;
  Access access_;
  std::optional<Audit> audit_;
  Metrics metrics_;
  Feed feed_;
  StandingFeed standing_;
  Slots generations_;
  Turn scoring_;
  ResponseStore responses_;
  const Context context_;
  Router router_;
  Workers requests_, answers_;
  std::unique_ptr<Listener> listener_;

  std::atomic<bool> draining_{false};
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  bool ended_ = false;  // used by the thread that runs, then by the one that destroys
};

}  // namespace

std::unique_ptr<Server> Server::create(const ServerOptions& options, const Services& services) {
  return std::make_unique<ServerImpl>(options, services);
}

}  // namespace fathom::server
