#include "live/sources/hackernews.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "live/source_sse.h"
#include "live/sources/hackernews_item.h"

namespace fathom::live {
namespace {

using SteadyClock = std::chrono::steady_clock;
using SteadyTime = SteadyClock::time_point;
using std::chrono::milliseconds;
using Ids = std::vector<int64_t>;

constexpr size_t kChunkRounds = 4;       // items fetched before they are delivered, in rounds of `parallel`
constexpr size_t kMaxKnown = 100000;     // items remembered
constexpr int kMaxThreadDepth = 64;      // levels of a thread that are followed to its story
constexpr int64_t kRecentItems = 50000;  // changes of older items are passed over
constexpr size_t kFailuresInRow = 8;     // then the source gives up until the runner tries again
constexpr int kLateTries = 4;
constexpr milliseconds kStreamRetryFirst{1000};
constexpr milliseconds kStreamRetryLongest{60000};
constexpr size_t kMaxAnswerBytes = size_t{4} << 20;

[[noreturn]] void throw_stopped() { throw Error(ErrorCode::kCancelled, "the source was stopped"); }

/// The API's answers. Thread-safe.
class Api {
 public:
  Api(const HackerNewsOptions& options, Transport& transport, const std::stop_token& stop)
      : options_(options), transport_(transport), stop_(stop) {}

  HttpRequest request(std::string_view path) const {
    HttpRequest request;
    request.url = fmt::format("{}/{}.json", options_.api_url, path);
    request.timeout = options_.timeout;
    request.max_bytes = kMaxAnswerBytes;
    return request;
  }

  /// Errors: kResourceExhausted when asked to slow down, kNetwork for any other answer than 200, and the transport's.
  std::string get(std::string_view path) const {
    const HttpResponse response = transport_.fetch(request(path), stop_);
    if (response.status == 200) return response.body;
    if (response.status == 429 || response.status == 503)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("Hacker News asks to slow down (status {} for '{}')", response.status, path));
    throw Error(ErrorCode::kNetwork,
                fmt::format("Hacker News answered '{}' with status {}", path, response.status));
  }

  int64_t newest_id() const { return parse_hackernews_number(get("maxitem")); }
  Ids ids(std::string_view list) const { return parse_hackernews_ids(get(list)); }

 private:
  const HackerNewsOptions& options_;
  Transport& transport_;
  const std::stop_token stop_;
};

/// What came of asking for one item.
struct Fetched {
  int64_t id = 0;
  std::optional<HackerNewsItem> item;  // empty: null, or failed
  std::optional<Error> error;
};

/// Asks for many items, up to `parallel` at a time; the answers stand in the order of `ids`.
std::vector<Fetched> fetch_items(const Api& api, const Ids& ids, size_t parallel) {
  std::vector<Fetched> results(ids.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next.fetch_add(1); i < ids.size(); i = next.fetch_add(1)) {
      results[i].id = ids[i];
      try {
        results[i].item = parse_hackernews_item(api.get(fmt::format("item/{}", ids[i])));
      } catch (const Error& error) {
        results[i].error = error;
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < std::min(parallel, ids.size()); ++i) helpers.emplace_back(work);
    work();
  }
  return results;
}

/// What the event streams told and the main loop has not dealt with yet. Thread-safe.
class Mailbox {
 public:
  void newest(int64_t id, milliseconds alive_for) {
    tell([&] {
      newest_ = std::max(newest_, id);
      newest_alive_ = SteadyClock::now() + alive_for;
    });
  }
  void changed(const Ids& ids, milliseconds alive_for) {
    tell([&] {
      changed_.insert(ids.begin(), ids.end());
      changed_alive_ = SteadyClock::now() + alive_for;
    });
  }
  void newest_lost() {
    tell([&] { newest_alive_ = {}; });
  }
  void changed_lost() {
    tell([&] { changed_alive_ = {}; });
  }

  struct Letters {
    int64_t newest = 0;
    std::set<int64_t> changed;
  };
  Letters take() {
    const std::lock_guard lock(mutex_);
    news_ = false;
    return {newest_, std::exchange(changed_, {})};
  }
  bool newest_is_alive() const {
    const std::lock_guard lock(mutex_);
    return SteadyClock::now() < newest_alive_;
  }
  bool changed_is_alive() const {
    const std::lock_guard lock(mutex_);
    return SteadyClock::now() < changed_alive_;
  }
  /// Until there is news, `until`, or a stop.
  void wait(SteadyTime until, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    wake_.wait_until(lock, stop, until, [this] { return news_; });
  }

 private:
  template <class Change>
  void tell(Change change) {
    {
      const std::lock_guard lock(mutex_);
      change();
      news_ = true;
    }
    wake_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  int64_t newest_ = 0;
  std::set<int64_t> changed_;
  SteadyTime newest_alive_{}, changed_alive_{};  // until when the stream counts as working
  bool news_ = false;
};

/// Follows one event stream on its own thread for as long as the source runs.
class Listener {
 public:
  using OnIds = std::function<void(const Ids&)>;

  Listener(const Api& api, Transport& transport, const HackerNewsOptions& options, std::string path,
           OnIds on_ids, std::function<void()> on_lost)
      : transport_(transport),
        on_ids_(std::move(on_ids)),
        on_lost_(std::move(on_lost)),
        path_(std::move(path)) {
    request_ = api.request(path_);
    request_.headers["Accept"] = "text/event-stream";
    request_.timeout = options.stream_silence;
    thread_ = std::jthread([this](const std::stop_token& stop) { listen(stop); });
  }

 private:
  void listen(const std::stop_token& stop) {
    const SystemClock clock;  // for waiting alone
    milliseconds wait = kStreamRetryFirst;
    while (!stop.stop_requested()) {
      if (follow(stop)) wait = kStreamRetryFirst;
      on_lost_();
      if (!clock.sleep(wait, stop)) return;
      wait = std::min(wait * 2, kStreamRetryLongest);
    }
  }

  /// Returns whether the stream ever said anything.
  bool follow(const std::stop_token& stop) {
    bool any = false;
    try {
      SseParser parser(kMaxAnswerBytes);
      bool ended = false;
      const auto on_event = [&](const SseEvent& event) {
        any = true;
        ended = ended || event.type == "cancel" || event.type == "auth_revoked";
        on_ids_(event.type == "put" || event.type == "patch" ? parse_hackernews_ids(event.data) : Ids());
      };
      const auto response = transport_.stream(
          request_,
          [&](std::string_view piece) {
            parser.feed(piece, on_event);
            return !ended;
          },
          stop);
      log().debug("hackernews: the event stream '{}' ended with status {}", path_, response.status);
    } catch (const Error& error) {
      if (!stop.stop_requested())
        log().debug("hackernews: the event stream '{}' broke: {}", path_, error.what());
    }
    return any;
  }

  Transport& transport_;
  OnIds on_ids_;
  std::function<void()> on_lost_;
  std::string path_;
  HttpRequest request_;
  std::jthread thread_;  // last: stops and ends before what it uses
};

/// What is remembered of an item.
struct Known {
  int64_t parent = 0;  // 0: a root
  bool delivered = false;
  uint64_t content = 0;    // hash of what was delivered, without its counts
  int64_t engagement = 0;  // likes and replies when delivered
};

/// An item that was announced but is not there yet, or that could not be read.
struct Late {
  int tries = 0;
  SteadyTime due{};
};

/// One run of the source.
class Session {
 public:
  Session(const HackerNewsOptions& options, Transport& transport, const Clock& clock, Sink& sink,
          const std::stop_token& stop)
      : options_(options),
        transport_(transport),
        clock_(clock),
        sink_(sink),
        stop_(stop),
        api_(options, transport, stop) {}

  void run() {
    const int64_t newest = api_.newest_id();
    sink_.set_live();
    const int64_t cursor = parse_cursor(sink_.cursor());
    const bool resumable =
        cursor > 0 && cursor <= newest && newest - cursor <= static_cast<int64_t>(options_.catch_up_items);
    if (resumable) {
      last_ = cursor;
    } else {
      backfill(newest);
    }
    std::vector<std::unique_ptr<Listener>> listeners;
    if (options_.stream) listen(listeners);
    follow(newest);
  }

 private:
  static int64_t parse_cursor(std::string_view text) {
    int64_t id = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), id);
    return ec == std::errc{} && end == text.data() + text.size() ? id : 0;
  }

  void check_stop() const {
    if (stop_.stop_requested()) throw_stopped();
  }

  /// The front page and the newest stories, then the latest items of any kind.
  void backfill(int64_t newest) {
    std::set<int64_t> stories;
    const auto add = [&](const Ids& ids, size_t most) {
      stories.insert(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(std::min(most, ids.size())));
    };
    add(api_.ids("topstories"), options_.front_page);
    add(api_.ids("newstories"), options_.backfill_stories);
    read({stories.begin(), stories.end()});
    const int64_t count = std::min<int64_t>(newest, static_cast<int64_t>(options_.backfill_items));
    Ids items;
    for (int64_t id = newest - count + 1; id <= newest; ++id)
      if (!stories.contains(id)) items.push_back(id);
    read(items);
    next_refresh_ = SteadyClock::now() + options_.refresh;
    last_ = newest;
    keep_cursor();
  }

  void listen(std::vector<std::unique_ptr<Listener>>& listeners) {
    const auto alive = options_.stream_silence;
    listeners.push_back(std::make_unique<Listener>(
        api_, transport_, options_, "maxitem",
        [this, alive](const Ids& ids) {
          mailbox_.newest(ids.empty() ? 0 : *std::max_element(ids.begin(), ids.end()), alive);
        },
        [this] { mailbox_.newest_lost(); }));
    listeners.push_back(std::make_unique<Listener>(
        api_, transport_, options_, "updates",
        [this, alive](const Ids& ids) { mailbox_.changed(ids, alive); },
        [this] { mailbox_.changed_lost(); }));
  }

  void follow(int64_t newest) {
    polled_ = SteadyClock::now();
    next_poll_ = polled_ + poll_interval();
    next_changes_ = SteadyClock::now() + options_.changes;
    for (;;) {
      check_stop();
      const auto letters = mailbox_.take();
      newest = std::max({newest, letters.newest, poll()});
      walk_to(newest);
      read_changed(letters.changed);
      read_late();
      refresh_front_page();
      keep_cursor();
      mailbox_.wait(next_wake(), stop_);
    }
  }

  milliseconds poll_interval() const { return mailbox_.newest_is_alive() ? options_.check : options_.poll; }

  /// When nothing is told, until when there is nothing to do.
  SteadyTime next_wake() const {
    // A stream that has fallen silent since the last poll shortens the wait: look again after one poll interval.
    SteadyTime wake =
        std::min({next_poll_, next_changes_, next_refresh_, SteadyClock::now() + poll_interval()});
    for (const auto& [id, late] : late_) wake = std::min(wake, late.due);
    return wake;
  }

  /// Asks for the newest item when it is time to, else returns 0.
  int64_t poll() {
    const auto now = SteadyClock::now();
    const bool due = now >= next_poll_ || (!mailbox_.newest_is_alive() && now >= polled_ + options_.poll);
    if (!due) return 0;
    const int64_t newest = api_.newest_id();
    polled_ = SteadyClock::now();
    next_poll_ = polled_ + poll_interval();
    return newest;
  }

  void walk_to(int64_t newest) {
    newest = std::min(newest, last_ + static_cast<int64_t>(std::max<size_t>(options_.catch_up_items, 1)));
    while (last_ < newest) {
      Ids ids;
      for (int64_t id = last_ + 1; id <= newest && ids.size() < chunk(); ++id) ids.push_back(id);
      read(ids);
      last_ = ids.back();
      keep_cursor();
    }
  }

  void read_changed(std::set<int64_t> changed) {
    if (!mailbox_.changed_is_alive() && SteadyClock::now() >= next_changes_) {
      const Ids polled = api_.ids("updates");
      changed.insert(polled.begin(), polled.end());
      next_changes_ = SteadyClock::now() + options_.changes;
    } else if (mailbox_.changed_is_alive()) {
      next_changes_ = SteadyClock::now() + options_.changes;
    }
    Ids ids;
    for (const int64_t id : changed)
      if (id <= last_ && id > last_ - kRecentItems && !late_.contains(id)) ids.push_back(id);
    read(ids);
  }

  void read_late() {
    Ids due;
    for (const auto& [id, late] : late_)
      if (late.due <= SteadyClock::now()) due.push_back(id);
    read(due);
  }

  void refresh_front_page() {
    if (SteadyClock::now() < next_refresh_) return;
    Ids ids = api_.ids("topstories");
    ids.resize(std::min(ids.size(), options_.front_page));
    std::sort(ids.begin(), ids.end());
    read(ids);
    next_refresh_ = SteadyClock::now() + options_.refresh;
  }

  void keep_cursor() {
    int64_t done = last_;
    if (!late_.empty()) done = std::min(done, late_.begin()->first - 1);
    if (done <= 0 || done == kept_) return;
    kept_ = done;
    sink_.advance(std::to_string(done));
  }

  size_t chunk() const { return std::max<size_t>(options_.parallel, 1) * kChunkRounds; }

  /// Fetches and delivers items, chunk by chunk.
  void read(const Ids& ids) {
    for (size_t begin = 0; begin < ids.size(); begin += chunk()) {
      const size_t end = std::min(begin + chunk(), ids.size());
      read_chunk(
          {ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.begin() + static_cast<std::ptrdiff_t>(end)});
    }
  }

  void read_chunk(const Ids& ids) {
    std::map<int64_t, HackerNewsItem> items;  // in order of their numbers: parents before replies
    fetch(ids, items);
    for (int level = 0; level < kMaxThreadDepth; ++level) {
      const Ids missing = missing_parents(items);
      if (missing.empty()) break;
      fetch(missing, items);
    }
    for (const auto& [id, item] : items) deliver(item);
    forget_old();
  }

  void fetch(const Ids& ids, std::map<int64_t, HackerNewsItem>& items) {
    for (Fetched& fetched : fetch_items(api_, ids, std::max<size_t>(options_.parallel, 1))) {
      check_stop();
      if (fetched.error) {
        failed(fetched);
      } else if (!fetched.item) {
        failures_ = 0;
        put_off(fetched.id);
      } else if (fetched.item->id != fetched.id) {
        sink_.reject(fmt::format("item {}: the answer is about item {}", fetched.id, fetched.item->id));
        late_.erase(fetched.id);
      } else {
        failures_ = 0;
        late_.erase(fetched.id);
        known_[fetched.id].parent = fetched.item->parent;
        items.insert_or_assign(fetched.id, std::move(*fetched.item));
      }
    }
  }

  void failed(const Fetched& fetched) {
    if (fetched.error->code() == ErrorCode::kCorrupt) {  // reading it again would give the same
      sink_.reject(fmt::format("item {}: {}", fetched.id, fetched.error->what()));
      late_.erase(fetched.id);
      return;
    }
    if (fetched.error->code() == ErrorCode::kResourceExhausted || ++failures_ >= kFailuresInRow)
      throw *fetched.error;
    sink_.warn(fmt::format("item {}: {}", fetched.id, fetched.error->what()));
    put_off(fetched.id);
  }

  /// Items appear a little after their number does; some never do.
  void put_off(int64_t id) {
    Late& late = late_[id];
    if (late.tries == kLateTries) {
      late_.erase(id);
      known_.try_emplace(id);  // counts as a root, so that its replies do not ask for it again
      return;
    }
    late.due = SteadyClock::now() + options_.late_retry * (int64_t{1} << (2 * late.tries));
    ++late.tries;
  }

  /// Parents of the items at hand that nothing is known of: followed until the story of each comment is known.
  Ids missing_parents(const std::map<int64_t, HackerNewsItem>& items) const {
    std::set<int64_t> missing;
    for (const auto& [id, item] : items)
      if (item.parent != 0 && !known_.contains(item.parent) && !late_.contains(item.parent))
        missing.insert(item.parent);
    return {missing.begin(), missing.end()};
  }

  /// The item at the root of a thread, 0 when a link to it is missing.
  int64_t story_of(int64_t id) const {
    for (int level = 0; level < kMaxThreadDepth; ++level) {
      const auto found = known_.find(id);
      if (found == known_.end()) return 0;
      if (found->second.parent == 0) return id;
      id = found->second.parent;
    }
    return 0;
  }

  void deliver(const HackerNewsItem& item) {
    auto post =
        hackernews_post(item, story_of(item.id), options_.post_source, options_.site_url, clock_.now());
    if (!post) return;
    Known& known = known_[item.id];
    const uint64_t content = std::hash<std::string>{}(post->text + '\0' + post->author.handle + '\0' +
                                                      (post->links.empty() ? "" : post->links.front())) ^
                             uint64_t { post->deleted };
    const int64_t engagement = post->metrics.likes.value_or(0) + post->metrics.replies.value_or(0);
    // Counts move all the time; a replacement for each step would fill the log with old posts.
    const bool moved = std::abs(engagement - known.engagement) >= std::max<int64_t>(3, known.engagement / 10);
    if (known.delivered && known.content == content && !moved) return;
    known.delivered = true;
    known.content = content;
    known.engagement = engagement;
    if (!sink_.deliver(std::move(*post))) throw_stopped();
  }

  void forget_old() {
    while (known_.size() > kMaxKnown) known_.erase(known_.begin());
  }

  const HackerNewsOptions& options_;
  Transport& transport_;
  const Clock& clock_;
  Sink& sink_;
  const std::stop_token stop_;
  const Api api_;
  Mailbox mailbox_;
  std::map<int64_t, Known> known_;
  std::map<int64_t, Late> late_;
  int64_t last_ = 0;  // every item up to it was read or is in late_
  int64_t kept_ = 0;  // the cursor given last
  size_t failures_ = 0;
  SteadyTime next_poll_{}, next_changes_{}, next_refresh_{}, polled_{};
};

class HackerNewsSource final : public Source {
 public:
  HackerNewsSource(HackerNewsOptions options, Transport& transport, const Clock& clock)
      : options_(std::move(options)), transport_(transport), clock_(clock) {}

  std::string_view name() const override { return options_.name; }

  void run(Sink& sink, const std::stop_token& stop) override {
    Session(options_, transport_, clock_, sink, stop).run();
  }

 private:
  const HackerNewsOptions options_;
  Transport& transport_;
  const Clock& clock_;
};

}  // namespace

std::unique_ptr<Source> make_hackernews_source(const HackerNewsOptions& options, Transport& transport,
                                               const Clock& clock) {
  parse_url(options.api_url);  // a wrong address is told here, not by a source that never comes up
  return std::make_unique<HackerNewsSource>(options, transport, clock);
}

bool hackernews_reachable(const HackerNewsOptions& options, Transport& transport, milliseconds timeout,
                          const std::stop_token& stop) {
  try {
    HackerNewsOptions quick = options;
    quick.timeout = timeout;
    return Api(quick, transport, stop).newest_id() > 0;
  } catch (const Error& error) {
    log().debug("hackernews: not reachable: {}", error.what());
    return false;
  }
}

}  // namespace fathom::live
