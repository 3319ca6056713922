#include "live/sources/mastodon.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "base/url.h"
#include "live/source_sse.h"
#include "live/sources/config.h"
#include "live/sources/feed_http.h"
#include "live/sources/mastodon_status.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr size_t kPage = 40;  // the API's most
constexpr size_t kMaxMessageBytes = size_t{4} << 20;
constexpr size_t kMostTaken = 400;  // statuses that are remembered, to see which have gone
constexpr size_t kMostAsked = 20;   // of those that are missing, after each connection

[[noreturn]] void throw_stopped() { throw Error(ErrorCode::kCancelled, "the source was stopped"); }

/// One stream, as the three places of the API call it.
struct Stream {
  json subscription;     // over a WebSocket
  std::string path;      // over server-sent events, below /api/v1/streaming
  std::string timeline;  // what came before, below /api/v1/timelines, with a query
};

Stream parse_stream(const std::string& text) {
  const auto subscribe = [](const std::string& stream) {
    return json{{"type", "subscribe"}, {"stream", stream}};
  };
  if (text == "public") return {subscribe(text), "/public", "public?"};
  if (text == "public:local") return {subscribe(text), "/public/local", "public?local=true&"};
  if (text == "public:remote") return {subscribe(text), "/public/remote", "public?remote=true&"};
  const bool local = text.starts_with("hashtag:local:");
  if (text.starts_with("hashtag:")) {
    std::string_view tag = std::string_view(text).substr(local ? 14 : 8);
    if (tag.starts_with('#')) tag.remove_prefix(1);
    json subscription = subscribe(local ? "hashtag:local" : "hashtag");
    subscription["tag"] = tag;
    const std::string name = percent_encode(tag);
    if (!tag.empty())
      return {std::move(subscription), fmt::format("/hashtag{}?tag={}", local ? "/local" : "", name),
              fmt::format("tag/{}?{}", name, local ? "local=true&" : "")};
  }
  if (text.starts_with("list:") && text.size() > 5) {
    json subscription = subscribe("list");
    subscription["list"] = text.substr(5);
    const std::string id = percent_encode(text.substr(5));
    return {std::move(subscription), "/list?list=" + id, fmt::format("list/{}?", id)};
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("'{}' is no stream of Mastodon: use public, public:local, public:remote, hashtag:TAG, "
                  "hashtag:local:TAG or list:ID",
                  text));
}

/// "https://example.social" of a host or an address.
std::string base_address(const std::string& host) {
  std::string address = host.find("://") == std::string::npos ? "https://" + host : host;
  while (address.ends_with('/')) address.pop_back();
  return address;
}

/// The same place by another scheme: "wss://h" and "https://h" stand for each other.
std::string with_scheme(std::string_view address, bool web_socket) {
  const size_t colon = address.find("://");
  const std::string_view scheme = address.substr(0, colon);
  const bool encrypted = scheme == "https" || scheme == "wss";
  std::string out = web_socket ? (encrypted ? "wss" : "ws") : (encrypted ? "https" : "http");
  out += address.substr(colon);
  while (out.ends_with('/')) out.pop_back();
  return out;
}

struct EarlierStatus {
  bool operator()(const std::string& a, const std::string& b) const { return mastodon_id_before(a, b); }
};
using StatusIds = std::set<std::string, EarlierStatus>;

/// One run of the source.
class Session {
 public:
  Session(const MastodonOptions& options, const std::vector<Stream>& streams, Transport& transport,
          WebSockets& web_sockets, const Clock& clock, Sink& sink, StatusIds& taken,
          const std::stop_token& stop)
      : options_(options),
        streams_(streams),
        transport_(transport),
        web_sockets_(web_sockets),
        clock_(clock),
        sink_(sink),
        taken_(taken),
        stop_(stop),
        base_(base_address(options.host)),
        host_(parse_url(base_).authority()) {
    read_cursor();
  }

  void run() {
    const std::string streaming = streaming_address();
    if (options_.web_socket) {
      follow_web_socket(with_scheme(streaming, true));
    } else {
      follow_events(with_scheme(streaming, false));
    }
  }

 private:
  // --- requests

  std::map<std::string, std::string> headers() const {
    if (options_.token.empty()) return {};
    return {{"Authorization", "Bearer " + options_.token}};
  }

  HttpRequest request(const std::string& path) const {
    HttpRequest request;
    request.url = base_ + path;
    request.headers = headers();
    request.timeout = options_.timeout;
    request.max_bytes = kMaxMessageBytes;
    return request;
  }

  std::string get(const std::string& path) const {
    const HttpResponse response = transport_.fetch(request(path), stop_);
    check_status(response, host_, clock_.now());
    return response.body;
  }

  /// The server may keep its streams at another place; the token goes there, so that it must be as well encrypted.
  std::string streaming_address() const {
    for (const char* path : {"/api/v2/instance", "/api/v1/instance"}) {
      const HttpResponse response = transport_.fetch(request(path), stop_);
      if (response.status == 429 || response.status >= 500) check_status(response, host_, clock_.now());
      const std::string url = mastodon_streaming_url(response.body);
      if (response.status != 200 || url.find("://") == std::string::npos) continue;
      const std::string plain = with_scheme(url, false);
      parse_url(plain);
      if (base_.starts_with("https://") && !plain.starts_with("https://"))
        throw Error(ErrorCode::kPermissionDenied,
                    fmt::format("{} keeps its streams at {}, without encryption, which is not followed",
                                host_, url.substr(0, 200)));
      return plain;
    }
    return base_;
  }

  // --- what came before

  void catch_up() {
    const std::string since = newest_.empty() ? "" : mastodon_id_earlier(newest_, options_.overlap);
    if (!newest_.empty()) look_back();
    for (const Stream& stream : streams_) catch_up(stream, since);
    keep_cursor();
  }

  /// Statuses from before the break may have been edited or deleted during it.
  void look_back() {
    const std::string newest = newest_;
    StatusIds there;
    std::string reached;  // all streams were read down to here
    for (const Stream& stream : streams_) {
      const std::string lowest = look_back(stream, newest, there);
      if (reached.empty() || mastodon_id_before(reached, lowest)) reached = lowest;
    }
    std::vector<std::string> missing;
    for (const std::string& id : taken_)
      if (mastodon_id_before(reached, id) && mastodon_id_before(id, newest) && !there.contains(id))
        missing.push_back(id);
    if (missing.size() > kMostAsked)
      missing.erase(missing.begin(), missing.end() - static_cast<std::ptrdiff_t>(kMostAsked));
    for (const std::string& id : missing) ask_for(id);
  }

  /// Takes the pages below `newest` again; returns the lowest id that was read.
  std::string look_back(const Stream& stream, const std::string& newest, StatusIds& there) {
    std::string lowest = newest;
    for (size_t page = 0; page < options_.look_back_pages; ++page) {
      const MastodonPage found = read_page(stream, fmt::format("limit={}&max_id={}", kPage, lowest));
      deliver_page(found);
      const std::string before = lowest;
      for (const MastodonStatus& status : found.statuses) {
        there.insert(status.id);
        if (mastodon_id_before(status.id, lowest)) lowest = status.id;
      }
      if (lowest == before) break;
    }
    return lowest;
  }

  /// A status that is no longer on its timeline: only the server's word that it is gone removes it.
  void ask_for(const std::string& id) {
    const HttpResponse response = transport_.fetch(request("/api/v1/statuses/" + percent_encode(id)), stop_);
    if (response.status == 404 || response.status == 410) remove(id);
  }

  void remove(std::string_view id) {
    taken_.erase(std::string(id));
    deliver(mastodon_removal(id, host_, clock_.now()));
  }

  /// From `since` on, oldest page first; without it the newest posts alone.
  void catch_up(const Stream& stream, std::string since) {
    if (since.empty()) {
      if (options_.first_posts > 0)
        deliver_page(read_page(stream, fmt::format("limit={}", std::min(options_.first_posts, kPage))));
      return;
    }
    for (size_t page = 0; page < options_.catch_up_pages; ++page) {
      const MastodonPage found = read_page(stream, fmt::format("limit={}&min_id={}", kPage, since));
      deliver_page(found);
      std::string newest = since;
      for (const MastodonStatus& status : found.statuses)
        if (mastodon_id_before(newest, status.id)) newest = status.id;
      if (newest == since) return;
      since = std::move(newest);
    }
    sink_.warn(fmt::format("{}: more than {} statuses came while it was not connected; the rest is left out",
                           stream.timeline.substr(0, stream.timeline.find('?')),
                           options_.catch_up_pages * kPage));
  }

  MastodonPage read_page(const Stream& stream, const std::string& query) const {
    return parse_mastodon_page(get(fmt::format("/api/v1/timelines/{}{}", stream.timeline, query)), host_,
                               clock_.now());
  }

  void deliver_page(const MastodonPage& page) {
    if (page.bad > 0) sink_.reject(fmt::format("{} entries of a timeline that are no status", page.bad));
    for (auto status = page.statuses.rbegin(); status != page.statuses.rend(); ++status) take(*status);
  }

  // --- what comes now

  void follow_web_socket(const std::string& address) {
    WebSocketRequest request;
    request.url = address + "/api/v1/streaming";
    request.headers = headers();
    request.connect_timeout = options_.timeout;
    request.silence = options_.silence;
    request.max_message_bytes = kMaxMessageBytes;
    const auto socket = web_sockets_.connect(request, stop_);
    for (const Stream& stream : streams_) socket->send(stream.subscription.dump(), stop_);
    catch_up();  // once connected, so that nothing falls between
    sink_.set_live();
    while (const auto message = socket->receive(stop_)) handle_message(message->data);
    throw Error(ErrorCode::kNetwork, fmt::format("{} closed the stream: {}", host_, socket->close_reason()));
  }

  void handle_message(std::string_view text) {
    try {
      const MastodonMessage message = parse_mastodon_message(text);
      if (!message.error.empty())
        throw Error(ErrorCode::kInvalidArgument,
                    fmt::format("{} refuses the stream: {}", host_, one_line(message.error, 200)));
      handle(message.event, message.payload);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorrupt) throw;
      sink_.reject(error.what());
    }
  }

  void follow_events(const std::string& address) {
    HttpRequest events;
    events.url = fmt::format("{}/api/v1/streaming{}", address, streams_.front().path);
    events.headers = headers();
    events.headers["Accept"] = "text/event-stream";
    events.timeout = options_.silence;
    events.max_bytes = kMaxMessageBytes;
    events.on_head = [this](const HttpResponse& head) {
      if (head.status != 200) return true;
      catch_up();
      sink_.set_live();
      return true;
    };
    SseParser parser(kMaxMessageBytes);
    const auto on_event = [this](const SseEvent& event) { handle_event(event); };
    const HttpResponse end = transport_.stream(
        events,
        [&](std::string_view piece) {
          parser.feed(piece, on_event);
          return !stop_.stop_requested();
        },
        stop_);
    check_status(end, host_, clock_.now());
    throw Error(ErrorCode::kNetwork, fmt::format("{} ended the stream", host_));
  }

  void handle_event(const SseEvent& event) {
    try {
      handle(event.type, event.data);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorrupt) throw;
      sink_.reject(error.what());
    }
  }

  void handle(std::string_view event, std::string_view payload) {
    if (event == "update" || event == "status.update") {
      take(parse_mastodon_status(payload, host_, clock_.now()));
    } else if (event == "delete") {
      remove(trim(payload));
    }  // filters, notifications and announcements are no posts
    keep_cursor();
  }

  void take(const MastodonStatus& status) {
    for (const Post& post : status.posts) deliver(post);
    if (!status.posts.empty()) taken_.insert(status.id);
    if (taken_.size() > kMostTaken) taken_.erase(taken_.begin());
    if (newest_.empty() || mastodon_id_before(newest_, status.id)) newest_ = status.id;
  }

  void deliver(Post post) {
    if (!sink_.deliver(std::move(post))) throw_stopped();
  }

  // --- the cursor

  json place() const { return {{"host", host_}, {"streams", options_.streams}}; }

  void read_cursor() {
    const json cursor = json::parse(sink_.cursor(), nullptr, false);
    if (member(cursor, "place") == place()) newest_ = kept_ = text_of(cursor, "id");
  }

  void keep_cursor() {
    if (newest_ == kept_) return;
    kept_ = newest_;
    sink_.advance(
        json{{"place", place()}, {"id", newest_}}.dump(-1, ' ', false, json::error_handler_t::replace));
  }

  const MastodonOptions& options_;
  const std::vector<Stream>& streams_;
  Transport& transport_;
  WebSockets& web_sockets_;
  const Clock& clock_;
  Sink& sink_;
  StatusIds& taken_;
  const std::stop_token stop_;
  const std::string base_, host_;
  std::string newest_, kept_;  // ids of statuses
};

class MastodonSource final : public Source {
 public:
  MastodonSource(MastodonOptions options, std::vector<Stream> streams, Transport& transport,
                 WebSockets& web_sockets, const Clock& clock)
      : options_(std::move(options)),
        streams_(std::move(streams)),
        transport_(transport),
        web_sockets_(web_sockets),
        clock_(clock) {}

  std::string_view name() const override { return options_.name; }

  void run(Sink& sink, const std::stop_token& stop) override {
    Session(options_, streams_, transport_, web_sockets_, clock_, sink, taken_, stop).run();
  }

 private:
  const MastodonOptions options_;
  const std::vector<Stream> streams_;
  Transport& transport_;
  WebSockets& web_sockets_;
  const Clock& clock_;
  StatusIds taken_;  // the newest statuses that were delivered
};

std::unique_ptr<Source> make_from_spec(const SourceSpec& spec, const SourceContext& context) {
  MastodonOptions options;
  options.name = spec.name;
  options.host = spec.option("host");
  options.streams = spec.list("streams");
  for (const std::string& tag : spec.list("hashtags")) options.streams.push_back("hashtag:" + tag);
  if (const auto token = spec.option("token"); !token.empty()) options.token = read_secret(token);
  const auto protocol = spec.option("protocol");
  if (!protocol.empty() && protocol != "websocket" && protocol != "sse")
    throw Error(ErrorCode::kInvalidArgument, "the option 'protocol' must be websocket or sse");
  options.web_socket = protocol != "sse";
  options.first_posts = static_cast<size_t>(spec.number("first", 40, 0, 40));
  return make_mastodon_source(options, context.transport, context.web_sockets, context.clock);
}

}  // namespace

std::unique_ptr<Source> make_mastodon_source(const MastodonOptions& options, Transport& transport,
                                             WebSockets& web_sockets, const Clock& clock) {
  parse_url(base_address(options.host));  // a wrong address is told here, not by a source that never comes up
  MastodonOptions checked = options;
  if (checked.streams.empty()) checked.streams = {"public"};
  std::vector<Stream> streams;
  for (const std::string& stream : checked.streams) streams.push_back(parse_stream(stream));
  if (!checked.web_socket && streams.size() > 1)
    throw Error(ErrorCode::kInvalidArgument,
                "server-sent events carry one stream: give protocol=websocket, or one source a stream");
  return std::make_unique<MastodonSource>(std::move(checked), std::move(streams), transport, web_sockets,
                                          clock);
}

std::vector<SourceKind> mastodon_kinds() {
  return {{.name = "mastodon",
           .summary = "Public statuses of a Mastodon server, as they are posted",
           .options =
               {{.name = "host", .help = "The server", .required = true, .example = "mastodon.social"},
                {.name = "token",
                 .help = "Access token of a user; most servers ask for one",
                 .secret = true,
                 .example = "$MASTODON_TOKEN"},
                {.name = "streams",
                 .help = "public (the default), public:local, public:remote, hashtag:TAG, list:ID",
                 .list = true,
                 .example = "public:local"},
                {.name = "hashtags", .help = "Short for streams hashtag:TAG", .list = true, .example = "cpp"},
                {.name = "protocol", .help = "websocket (the default) or sse", .example = "sse"},
                {.name = "first", .help = "Posts to begin with, 0 to 40; default 40", .example = "0"}},
           .make = make_from_spec}};
}

}  // namespace fathom::live
