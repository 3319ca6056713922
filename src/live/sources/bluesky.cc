#include "live/sources/bluesky.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/url.h"
#include "live/sources/bluesky_authors.h"
#include "live/sources/bluesky_event.h"
#include "live/sources/recent_map.h"
#include "live/sources/scoped_cursor.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxDids = 10000;
constexpr size_t kMaxDidsInAddress = 50;  // more are sent in a message
constexpr size_t kMostLikes = 250'000;    // that can be counted back
constexpr auto kCurrent = std::chrono::seconds(60);

/// Codes that say no: trying the same host again cannot help.
bool is_refusal(ErrorCode code) {
  return code == ErrorCode::kInvalidArgument || code == ErrorCode::kUnauthenticated ||
         code == ErrorCode::kPermissionDenied || code == ErrorCode::kNotFound;
}

int64_t parse_place(std::string_view text) {
  int64_t place = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), place);
  return ec == std::errc{} && end == text.data() + text.size() ? std::max<int64_t>(place, 0) : 0;
}

class Bluesky final : public Source {
 public:
  Bluesky(const BlueskyOptions& options, WebSockets& sockets, Transport& transport, const Clock& clock)
      : options_(options),
        sockets_(sockets),
        clock_(clock),
        scope_(fmt::format("bluesky {}", options.version)),
        collections_{"app.bsky.feed.post"},
        authors_(options.app_view, &transport, clock),
        likes_(kMostLikes) {
    if (options.counts)
      collections_.insert(collections_.end(), {"app.bsky.feed.like", "app.bsky.feed.repost"});
  }

  std::string_view name() const override { return options_.name; }

  void run(Sink& sink, const std::stop_token& stop) override {
    if (!std::exchange(resumed_, true))
      place_ = counted_ = parse_place(place_of_cursor(sink.cursor(), scope_));
    const auto& host = options_.hosts[next_host_++ % options_.hosts.size()];
    const auto socket = open(host, stop);
    refusals_ = 0;
    if (says_hello()) socket->send(hello(), stop);
    live_ = place_ == 0;
    if (live_) sink.set_live();
    while (const auto message = socket->receive(stop))
      if (!take(message->data, sink)) return;
    throw Error(ErrorCode::kNetwork, fmt::format("{} ended the stream: {}", host, socket->close_reason()));
  }

 private:
  // --- the request

  bool is_version2() const { return options_.version == 2; }
  bool says_hello() const { return !is_version2() && options_.dids.size() > kMaxDidsInAddress; }

  std::string address(std::string_view host) const {
    std::string url(host);
    url += is_version2() ? "/xrpc/network.bsky.jetstream.subscribeEvents?" : "/subscribe?";
    const auto add = [&](std::string_view key, std::string_view value) {
      url += fmt::format("{}{}={}", url.back() == '?' ? "" : "&", key, percent_encode(value));
    };
    for (const auto& collection : collections_)
      add(is_version2() ? "collections" : "wantedCollections", collection);
    if (is_version2())
      for (const char* kind : {"commit", "account", "identity"}) add("kinds", kind);
    if (says_hello())
      add("requireHello", "true");
    else
      for (const auto& did : options_.dids) add(is_version2() ? "dids" : "wantedDids", did);
    if (place_ > 0) add("cursor", std::to_string(place_to_ask()));
    return url;
  }

  /// A time is rewound, since no two hosts have the same; a number is exact.
  int64_t place_to_ask() const {
    return is_version2() ? place_ : std::max<int64_t>(place_ - Micros(options_.rewind).count(), 1);
  }

  std::string hello() const {
    return nlohmann::json{
        {"type", "options_update"},
        {"payload",
         {{"wantedCollections", collections_}, {"wantedDids", options_.dids}, {"maxMessageSizeBytes", 0}}}}
        .dump();
  }

  /// A refusal counts only once every host has refused: one may be broken or behind a wall.
  std::unique_ptr<WebSocket> open(const std::string& host, const std::stop_token& stop) {
    WebSocketRequest request;
    request.url = address(host);
    request.silence = options_.silence;
    if (is_version2()) request.protocol = "xrpc.v1.json";
    try {
      return sockets_.connect(request, stop);
    } catch (const Error& error) {
      if (!is_refusal(error.code())) throw;
      if (is_version2() && place_ > 0 && error.code() == ErrorCode::kInvalidArgument) {
        place_ = 0;  // too old to be taken up
        throw Error(ErrorCode::kNetwork, fmt::format("{}; going on with the present", error.what()));
      }
      if (++refusals_ >= options_.hosts.size()) throw;
      throw Error(ErrorCode::kNetwork, error.what());
    }
  }

  // --- the events

  /// Returns false when the source is to stop.
  bool take(std::string_view text, Sink& sink) {
    BlueskyEvent event;
    try {
      event = parse_bluesky_event(text, clock_.now());
    } catch (const Error& error) {
      sink.reject(error.what());
      return true;
    }
    const int64_t place =
        is_version2() ? static_cast<int64_t>(event.sequence) : event.time.time_since_epoch().count();
    if (!event.renamed.empty()) authors_.set_handle(event.renamed, event.handle);
    if (event.post && !deliver(std::move(*event.post), sink)) return false;
    if (!event.gone.empty()) sink.remove_author("bluesky", event.gone, event.time);
    if (place > counted_) count(event, sink);
    counted_ = std::max(counted_, place);
    move_on(place, event.time, sink);
    return true;
  }

  bool deliver(Post post, Sink& sink) {
    if (!post.deleted) post.author = authors_.find(post.author.handle);
    return sink.deliver(std::move(post));
  }

  void count(const BlueskyEvent& event, Sink& sink) {
    std::string counted = event.counted;
    const bool withdrawn = counted.empty() && !event.counting.empty();
    if (withdrawn) {
      const std::string* liked = likes_.find(event.counting);
      if (liked != nullptr) counted = *liked;
      likes_.erase(event.counting);
    } else if (!event.counting.empty() && !counted.empty()) {
      likes_.set(event.counting, counted);
    }
    if (!counted.empty()) sink.count("bluesky:" + counted, event.count);
  }

  void move_on(int64_t place, Time time, Sink& sink) {
    const Time now = clock_.now();
    if (!live_ && time > now - kCurrent) {
      live_ = true;
      sink.set_live();
    }
    if (place <= place_ || time > now + kCurrent) return;  // a host whose clock is ahead would leave a gap
    place_ = place;
    sink.advance(scoped_cursor(scope_, std::to_string(place_)));
  }

  const BlueskyOptions options_;
  WebSockets& sockets_;
  const Clock& clock_;
  const std::string scope_;
  std::vector<std::string> collections_;
  BlueskyAuthors authors_;
  RecentMap<std::string, std::string> likes_;  // "did/rkey" of a like or repost -> the post's id
  size_t next_host_ = 0, refusals_ = 0;
  bool resumed_ = false, live_ = false;
  int64_t place_ = 0;    // of the last event: microseconds, or its number in version 2; 0: none
  int64_t counted_ = 0;  // events up to here were counted
};

}  // namespace

std::unique_ptr<Source> make_bluesky_source(const BlueskyOptions& options, WebSockets& sockets,
                                            Transport& transport, const Clock& clock) {
  if (options.hosts.empty()) throw Error(ErrorCode::kInvalidArgument, "a Bluesky source needs a host");
  for (const auto& host : options.hosts) parse_web_socket_url(host);
  if (!options.app_view.empty()) parse_url(options.app_view);
  if (options.dids.size() > kMaxDids)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} accounts are more than the {} that Jetstream filters by", options.dids.size(),
                            kMaxDids));
  for (const auto& did : options.dids)
    if (bluesky_post_id("at://" + did + "/app.bsky.feed.post/x").empty())
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("'{}' is no account of Bluesky: give DIDs, such as did:plc:ewvi7nxzyoun6zhxrhs64oiz",
                      did));
  if (options.version != 1 && options.version != 2)
    throw Error(ErrorCode::kInvalidArgument, "Jetstream has the versions 1 and 2");
  return std::make_unique<Bluesky>(options, sockets, transport, clock);
}

}  // namespace fathom::live
