#include "server/standing_feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "live/trends/standing.h"
#include "server/context.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kMostBytes = 256 * 1024;  // sent to one client before the next one's turn
constexpr milliseconds kRest{500};         // between two looks at clients that left

std::string match_event(const std::string& query_id, const live::Hit& hit) {
  json post = post_json(hit.post);
  post["sequence"] = hit.sequence;
  const json data = {{"query", query_id}, {"sequence", hit.sequence}, {"post", std::move(post)}};
  return fmt::format("id: {}\nevent: match\ndata: {}\n\n", hit.sequence, to_text(data));
}

}  // namespace

class StandingFeed::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(const Services& services, const ServerLimits& limits)
      : standing_(services.standing), most_(limits.feed_clients), ping_(limits.ping) {}

  void start() {
    if (standing_ == nullptr) return;
    pump_ = std::jthread([this](const std::stop_token& stop) { pump(stop); });
  }

  bool add(std::shared_ptr<Reply> reply, const std::string& id, uint64_t after) {
    auto client = std::make_unique<Client>();
    client->reply = std::move(reply);
    client->id = id;
    client->after = after;
    client->handle = standing_->listen(id, [weak = weak_from_this()](const live::StandingMatch&) {
      if (const auto self = weak.lock()) self->wake();
    });
    const std::lock_guard lock(mutex_);
    if (stopping_ || count_ >= most_) return false;
    ++count_;
    arrived_.push_back(std::move(client));
    awake_ = true;
    wake_.notify_one();
    return true;
  }

  size_t clients() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    pump_.request_stop();
    if (pump_.joinable()) pump_.join();
  }

 private:
  struct Client {
    std::shared_ptr<Reply> reply;
    std::string id;
    uint64_t after = 0;
    bool open = false;
    SteadyClock::time_point next_ping{};
    live::StandingQueries::Handle handle;
  };

  void wake() {
    const std::lock_guard lock(mutex_);
    awake_ = true;
    wake_.notify_one();
  }

  void pump(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      wait_for_work(stop);
      for (auto at = clients_.begin(); at != clients_.end();) {
        if (serve_safely(**at)) {
          ++at;
        } else {
          end(**at);
          at = clients_.erase(at);
          const std::lock_guard lock(mutex_);
          --count_;
        }
      }
    }
    take_arrived();
    for (auto& client : clients_) end(*client);
    clients_.clear();
    const std::lock_guard lock(mutex_);
    count_ = 0;
  }

  void end(Client& client) {
    if (!client.open) open(client);
    client.reply->finish();
  }

  void wait_for_work(const std::stop_token& stop) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, stop, std::min(ping_, kRest), [this] { return awake_; });
      awake_ = false;
    }
    take_arrived();
  }

  void take_arrived() {
    const std::lock_guard lock(mutex_);
    for (auto& client : arrived_) clients_.push_back(std::move(client));
    arrived_.clear();
  }

  bool serve_safely(Client& client) {
    try {
      return serve(client);
    } catch (const std::exception& error) {
      log().error("a client of a standing query was dropped: {}", error.what());
      return false;
    }
  }

  /// Sends what is due. False: the client is gone, or the query is.
  bool serve(Client& client) {
    if (client.reply->stop().stop_requested()) return false;
    if (!client.open) open(client);
    if (client.reply->unsent() > 0) return true;  // its turn comes when it has taken that
    const auto match = standing_->matches(client.id, client.after);
    if (!match) {
      client.reply->write("event: removed\ndata: {}\n\n");
      return false;
    }
    std::string out;
    client.after = match->sequence;
    for (const live::Hit& hit : match->hits) {
      out += match_event(client.id, hit);
      if (out.size() < kMostBytes) continue;
      client.after = hit.sequence;
      break;
    }
    if (!match->hits.empty()) wake();  // there may be more
    const auto now = SteadyClock::now();
    if (now >= client.next_ping) {
      // The place to resume from, when nothing matched.
      out += fmt::format("id: {}\nevent: clock\ndata: {{\"sequence\":{}}}\n\n", client.after, client.after);
      client.next_ping = now + ping_;
    }
    return out.empty() || client.reply->write(std::move(out));
  }

  void open(Client& client) {
    Response head;
    head.content_type = "text/event-stream";
    head.headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
    head.body = "retry: 2000\n\n";
    client.reply->on_drained([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->wake();
    });
    client.reply->start(std::move(head), "");
    client.open = true;
  }

  live::StandingQueries* const standing_;
  const size_t most_;
  const milliseconds ping_;

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  bool awake_ = false, stopping_ = false;
  size_t count_ = 0;
  std::vector<std::unique_ptr<Client>> arrived_;
  std::list<std::unique_ptr<Client>> clients_;  // the pump's alone
  std::jthread pump_;
};

StandingFeed::StandingFeed(const Services& services, const ServerLimits& limits)
    : impl_(std::make_shared<Impl>(services, limits)) {
  impl_->start();
}

StandingFeed::~StandingFeed() { stop(); }

bool StandingFeed::add(std::shared_ptr<Reply> reply, const std::string& id, uint64_t after) {
  return impl_->add(std::move(reply), id, after);
}

size_t StandingFeed::clients() const { return impl_->clients(); }

void StandingFeed::stop() { impl_->stop(); }

}  // namespace fathom::server
