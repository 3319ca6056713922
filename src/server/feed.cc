#include "server/feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "base/text.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/query_params.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kBatchPosts = 64;
constexpr size_t kBatchBytes = 256 * 1024;
constexpr size_t kRoundPosts = 4096;  // that a filter may pass over before the next client's turn
constexpr milliseconds kWatch{1000};
constexpr milliseconds kSettle{20};  // posts that arrive together go out together
constexpr uint64_t kMaxBacklog = 1000;
constexpr uint64_t kMaxNewest = 500;
constexpr size_t kNewestScanned = 5000;

bool contains(const std::vector<std::string>& list, std::string_view value) {
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

uint64_t last_sequence(const live::Store& store) {
  const auto newest = store.newest(1);
  return newest.empty() ? 0 : newest.front().sequence;
}

json sequenced_json(const live::Sequenced& entry) {
  json out = post_json(entry.post);
  out["sequence"] = entry.sequence;
  return out;
}

std::string post_event(const live::Sequenced& entry) {
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", entry.sequence,
                     entry.post.deleted ? "delete" : "post", to_text(sequenced_json(entry)));
}

}  // namespace

bool FeedFilter::passes(const live::Post& post) const {
  return contains(sources, post.source) && contains(langs, post.lang) &&
         (handles.empty() || contains(handles, to_lower_ascii(post.author.handle)));
}

class Feed::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(const Services& services, const ServerLimits& limits)
      : services_(services), max_clients_(limits.feed_clients), clock_interval_(limits.ping) {}

  void start() {
    watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
    pump_ = std::jthread([this](const std::stop_token& stop) { pump(stop); });
  }

  bool add(std::shared_ptr<Reply> reply, uint64_t after, FeedFilter filter) {
    auto client = std::make_unique<Client>();
    client->reply = std::move(reply);
    client->after = after;
    client->filter = std::move(filter);
    std::lock_guard lock(mutex_);
    if (stopping_ || count_ >= max_clients_) return false;
    ++count_;
    arrived_.push_back(std::move(client));
    wake();
    return true;
  }

  size_t clients() const {
    std::lock_guard lock(mutex_);
    return count_;
  }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    for (auto* thread : {&watcher_, &pump_}) {
      thread->request_stop();
      if (thread->joinable()) thread->join();
    }
  }

 private:
  struct Client {
    std::shared_ptr<Reply> reply;
    uint64_t after = 0;
    FeedFilter filter;
    bool open = false;
    SteadyClock::time_point next_clock{};
  };

  void wake() {  // the caller holds the lock
    awake_ = true;
    wake_.notify_one();
  }

  void watch(const std::stop_token& stop) {
    uint64_t seen = 0;
    while (!stop.stop_requested()) {
      if (!services_.store.wait_for(seen, kWatch, stop)) continue;
      seen = last_sequence(services_.store);
      {
        std::lock_guard lock(mutex_);
        wake();
      }
      std::unique_lock lock(settle_mutex_);
      settle_.wait_for(lock, stop, kSettle, [] { return false; });
    }
  }

  void pump(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      wait_for_work(stop);
      for (auto at = clients_.begin(); at != clients_.end();) {
        if (serve_safely(**at)) {
          ++at;
          continue;
        }
        (*at)->reply->finish();
        at = clients_.erase(at);
        std::lock_guard lock(mutex_);
        --count_;
      }
    }
    std::lock_guard lock(mutex_);
    for (auto& client : arrived_) clients_.push_back(std::move(client));
    for (auto& client : clients_) {
      if (!client->open) open(*client);
      client->reply->finish();
    }
    arrived_.clear();
    clients_.clear();
    count_ = 0;
  }

  void wait_for_work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, std::min(clock_interval_, kWatch), [this] { return awake_; });
    awake_ = false;
    for (auto& client : arrived_) clients_.push_back(std::move(client));
    arrived_.clear();
  }

  bool serve_safely(Client& client) {
    try {
      return serve(client);
    } catch (const std::exception& error) {
      log().error("a client of the feed was dropped: {}", error.what());
      return false;
    }
  }

  /// Sends what is due. False: the client is gone.
  bool serve(Client& client) {
    if (client.reply->stop().stop_requested()) return false;
    if (!client.open) open(client);
    if (client.reply->unsent() > 0) return true;  // its turn comes when it has taken that
    std::string out = posts_after(client);
    const auto now = SteadyClock::now();
    if (now >= client.next_clock) {
      out += clock_event(client);
      client.next_clock = now + clock_interval_;
    }
    return out.empty() || client.reply->write(std::move(out));
  }

  void open(Client& client) {
    Response head;
    head.content_type = "text/event-stream";
    head.headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
    head.body = "retry: 2000\n\n";
    client.reply->on_drained([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      std::lock_guard lock(self->mutex_);
      self->wake();
    });
    client.reply->start(std::move(head), "");
    client.open = true;
  }

  std::string posts_after(Client& client) {
    std::string out;
    for (size_t passed = 0; passed < kRoundPosts;) {
      const auto posts = services_.store.tail(client.after, kBatchPosts);
      for (const auto& entry : posts) {
        client.after = entry.sequence;
        if (client.filter.passes(entry.post)) out += post_event(entry);
        if (out.size() >= kBatchBytes) return out;
      }
      passed += posts.size();
      if (!out.empty() || posts.size() < kBatchPosts) return out;
    }
    std::lock_guard lock(mutex_);
    wake();  // more to pass over, after the others' turn
    return out;
  }

  /// Also a sign of life, and the place to resume from when a filter let nothing through.
  std::string clock_event(const Client& client) const {
    const json clock = {{"feed_time", format_time(services_.store.feed_time())},
                        {"now", format_time(services_.clock.now())},
                        {"fiction", services_.fiction_feed}};
    return fmt::format("id: {}\nevent: clock\ndata: {}\n\n", client.after, to_text(clock));
  }

  const Services& services_;
  const size_t max_clients_;
  const milliseconds clock_interval_;

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  bool awake_ = false;
  bool stopping_ = false;
  size_t count_ = 0;
  std::vector<std::unique_ptr<Client>> arrived_;
  std::list<std::unique_ptr<Client>> clients_;  // the pump's alone

  std::mutex settle_mutex_;
  std::condition_variable_any settle_;
  std::jthread watcher_, pump_;
};

Feed::Feed(const Services& services, const ServerLimits& limits)
    : impl_(std::make_shared<Impl>(services, limits)) {
  impl_->start();
}

Feed::~Feed() { stop(); }

bool Feed::add(std::shared_ptr<Reply> reply, uint64_t after, FeedFilter filter) {
  return impl_->add(std::move(reply), after, std::move(filter));
}

size_t Feed::clients() const { return impl_->clients(); }

void Feed::stop() { impl_->stop(); }

namespace {

FeedFilter parse_filter(const Request& request) {
  FeedFilter filter{list_param(request, "source"), list_param(request, "lang"), list_param(request, "from")};
  for (auto& handle : filter.handles) {
    if (handle.front() == '@') handle.erase(0, 1);
    handle = to_lower_ascii(handle);
  }
  return filter;
}

/// Where a stream begins: after the last event that the client has seen, or as the query says, or with what comes next.
uint64_t first_sequence(const Request& request, const live::Store& store) {
  const uint64_t last = last_sequence(store);
  if (const auto* id = request.header("last-event-id"); id != nullptr && !id->empty()) {
    const auto seen = parse_number(*id);
    if (!seen) throw ApiError(400, "Last-Event-ID must be the id of an event of this feed", "invalid_value");
    return std::min(*seen, last);
  }
  if (const auto after = number_param(request, "after", 0, UINT64_MAX)) return std::min(*after, last);
  const auto backlog = number_param(request, "backlog", 0, kMaxBacklog).value_or(0);
  if (backlog == 0) return last;
  const auto newest = store.newest(static_cast<size_t>(backlog));
  return newest.empty() ? 0 : newest.back().sequence - 1;
}

bool wants_json(const Request& request) {
  const auto* accept = request.header("accept");
  if (accept != nullptr && accept->find("text/event-stream") != std::string::npos) return false;
  if (request.param("limit") != nullptr) return true;
  return accept != nullptr && accept->find("application/json") != std::string::npos;
}

Response newest_posts(const Request& request, const Services& services) {
  const auto limit = static_cast<size_t>(number_param(request, "limit", 1, kMaxNewest).value_or(50));
  const FeedFilter filter = parse_filter(request);
  const bool all = filter.sources.empty() && filter.langs.empty() && filter.handles.empty();
  json posts = json::array();
  for (const auto& entry : services.store.newest(all ? limit : kNewestScanned)) {
    if (posts.size() < limit && filter.passes(entry.post)) posts.push_back(sequenced_json(entry));
  }
  return json_response({{"posts", std::move(posts)},
                        {"last_sequence", last_sequence(services.store)},
                        {"feed_time", format_time(services.store.feed_time())},
                        {"now", format_time(services.clock.now())},
                        {"fiction", services.fiction_feed}});
}

}  // namespace

void add_feed_routes(Router& router, const Context& context) {
  const auto handle = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
    if (wants_json(request)) return reply->send(newest_posts(request, context.services));
    const uint64_t after = first_sequence(request, context.services.store);
    if (context.feed.add(reply, after, parse_filter(request))) return;
    ApiError error(429, "too many clients follow the feed; try again later", "too_many_feed_clients");
    error.headers.emplace_back("Retry-After", "5");
    throw error;
  };
  router.add({.method = "GET", .pattern = "/v1/feed", .name = "feed", .handler = handle});
}

}  // namespace fathom::server
