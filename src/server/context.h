// What the endpoints work with, and how each group of them joins the router.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <utility>

#include "server/metrics.h"
#include "server/router.h"
#include "server/server.h"

namespace fathom::server {

class Feed;
class ResponseStore;
class StandingFeed;

/// Generations that may be under way together, so that the engine's own queue does not fill up. Thread-safe.
class Slots {
 public:
  explicit Slots(size_t most) : most_(most) {}

  /// Gives the slots back when it goes.
  class Hold {
   public:
    Hold(Slots& slots, size_t count) : slots_(&slots), count_(count) {}
    Hold(Hold&& other) noexcept : slots_(other.slots_), count_(std::exchange(other.count_, 0)) {}
    Hold& operator=(Hold&&) = delete;
    ~Hold() { slots_->used_ -= count_; }

   private:
    Slots* slots_;
    size_t count_;
  };
  /// Empty when there are not so many. One request may always take what it needs of an unused gate.
  std::optional<Hold> take(size_t count) {
    size_t used = used_;
    do {
      if (used != 0 && used + count > most_) return std::nullopt;
    } while (!used_.compare_exchange_weak(used, used + count));
    return Hold(*this, count);
  }

 private:
  const size_t most_;
  std::atomic<size_t> used_{0};
};

/// Something that one at a time may have. Thread-safe.
class Turn {
 public:
  /// Waits for it. False: stopped first.
  bool take(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [this] { return !taken_; })) return false;
    taken_ = true;
    return true;
  }
  void give_back() {
    {
      std::lock_guard lock(mutex_);
      taken_ = false;
    }
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool taken_ = false;
};

/// Lives as long as the server; the same for all requests.
struct Context {
  const ServerOptions& options;
  const Services& services;
  Metrics& metrics;
  Feed& feed;
  Slots& generations;
  Turn& scoring;  // of prompts, whose logits take much memory
  ResponseStore& responses;
  std::function<bool()> needs_key;
  std::function<Metrics::Gauges()> gauges;  // all but the store's
  StandingFeed& standing;
};

/// A post as the API shows it: live::to_json and its key.
nlohmann::json post_json(const live::Post& post);
/// The sources' status as a list; empty when the server was given none.
nlohmann::json sources_json(const Services& services);
/// {"id", "object":"model", "created", "owned_by", ...} of all that /v1/chat/completions takes.
nlohmann::json models_json(const Services& services);

/// Seconds since 1970.
int64_t unix_seconds(const Clock& clock);
/// `system_fingerprint`: the program's version.
std::string fingerprint(const Context& context);

void add_chat_routes(Router& router, const Context& context);
void add_conversation_routes(Router& router, const Context& context);
void add_completion_routes(Router& router, const Context& context);
void add_embedding_routes(Router& router, const Context& context);
void add_response_routes(Router& router, const Context& context);
void add_token_routes(Router& router, const Context& context);
void add_plan_routes(Router& router, const Context& context);
void add_post_routes(Router& router, const Context& context);
void add_search_routes(Router& router, const Context& context);
void add_replica_routes(Router& router, const Context& context);
void add_trend_routes(Router& router, const Context& context);
void add_style_routes(Router& router, const Context& context);
void add_standing_routes(Router& router, const Context& context);
void add_feed_routes(Router& router, const Context& context);
void add_model_routes(Router& router, const Context& context);
void add_setup_routes(Router& router, const Context& context);
void add_status_routes(Router& router, const Context& context);
void add_web_routes(Router& router, const Context& context);

}  // namespace fathom::server
