#include "live/sources/rss.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "live/sources/config.h"
#include "live/sources/post_fields.h"
#include "live/sources/rss_feed.h"

namespace fathom::live {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr size_t kMaxFeeds = 5000;

[[noreturn]] void throw_stopped() { throw Error(ErrorCode::kCancelled, "the source was stopped"); }

/// One run of the source.
class Session {
 public:
  Session(const RssOptions& options, Transport& transport, const Clock& clock, Sink& sink,
          const std::stop_token& stop)
      : options_(options), transport_(transport), clock_(clock), sink_(sink), stop_(stop) {
    const json cursor = json::parse(sink.cursor(), nullptr, false);
    for (const std::string& address : options.feeds) {
      feeds_.emplace_back(address, options_);
      feeds_.back().restore(member(member(cursor, "feeds"), address.c_str()));
    }
  }

  void run() {
    for (;;) {
      const std::vector<RssFeed*> due = due_feeds();
      if (!due.empty()) {
        poll(due);
      } else if (!clock_.sleep(until_next(), stop_)) {
        return keep_cursor();
      }
      if (clock_.now() >= kept_ + options_.keep) keep_cursor();
    }
  }

 private:
  /// Up to `parallel` of those whose time has come, longest waiting first.
  std::vector<RssFeed*> due_feeds() {
    std::vector<RssFeed*> due;
    for (RssFeed& feed : feeds_)
      if (!feed.gone() && feed.due() <= clock_.now()) due.push_back(&feed);
    std::stable_sort(due.begin(), due.end(),
                     [](const RssFeed* a, const RssFeed* b) { return a->due() < b->due(); });
    due.resize(std::min(due.size(), std::max<size_t>(options_.parallel, 1)));
    return due;
  }

  Micros until_next() const {
    Time next = clock_.now() + std::chrono::hours(1);
    for (const RssFeed& feed : feeds_)
      if (!feed.gone()) next = std::min(next, feed.due());
    if (dirty_) next = std::min(next, kept_ + options_.keep);
    return std::max(next - clock_.now(), Micros(1000));
  }

  void poll(const std::vector<RssFeed*>& due) {
    std::vector<RssFeed::Fetched> fetched(due.size());
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next.fetch_add(1); i < due.size() && !stop_.stop_requested(); i = next.fetch_add(1)) {
        try {
          fetched[i] = due[i]->fetch(transport_, clock_, stop_);
        } catch (const Error& error) {
          fetched[i].error = error;  // stopped
        }
      }
    };
    {
      std::vector<std::jthread> helpers;
      for (size_t i = 1; i < due.size(); ++i) helpers.emplace_back(work);
      work();
    }
    if (stop_.stop_requested()) {
      keep_cursor();
      throw_stopped();
    }
    for (size_t i = 0; i < due.size(); ++i) take(*due[i], fetched[i]);
  }

  void take(RssFeed& feed, const RssFeed::Fetched& fetched) {
    dirty_ = true;
    for (const std::string& remark : fetched.remarks) sink_.warn(remark);
    if (fetched.document && !fetched.document->problem.empty())
      sink_.reject(fmt::format("the end of {}: {}", feed.address(), fetched.document->problem));
    for (Post& post : feed.take(fetched, clock_.now()))
      if (!sink_.deliver(std::move(post))) throw_stopped();
    if (!fetched.error) {
      if (!std::exchange(live_, true)) sink_.set_live();
      return;
    }
    const std::string what =
        fetched.gone ? fmt::format("{} is gone for good", feed.address()) : fetched.error->what();
    if (!live_ && ++failed_ >= feeds_.size()) {
      keep_cursor();
      throw feeds_.size() == 1
          ? *fetched.error
          : Error(ErrorCode::kNetwork, fmt::format("none of {} feeds can be read; {}", feeds_.size(), what));
    }
    sink_.warn(what);
  }

  void keep_cursor() {
    kept_ = clock_.now();
    if (!std::exchange(dirty_, false)) return;
    json feeds = json::object();
    for (const RssFeed& feed : feeds_) feeds[feed.configured()] = feed.to_json();
    sink_.advance(json{{"feeds", std::move(feeds)}}.dump(-1, ' ', false, json::error_handler_t::replace));
  }

  const RssOptions& options_;
  Transport& transport_;
  const Clock& clock_;
  Sink& sink_;
  const std::stop_token stop_;
  std::vector<RssFeed> feeds_;
  Time kept_{};
  bool dirty_ = false, live_ = false;
  size_t failed_ = 0;  // feeds, before any could be read
};

class RssSource final : public Source {
 public:
  RssSource(RssOptions options, Transport& transport, const Clock& clock)
      : options_(std::move(options)), transport_(transport), clock_(clock) {}

  std::string_view name() const override { return options_.name; }

  void run(Sink& sink, const std::stop_token& stop) override {
    Session(options_, transport_, clock_, sink, stop).run();
  }

 private:
  const RssOptions options_;
  Transport& transport_;
  const Clock& clock_;
};

std::unique_ptr<Source> make_from_spec(const SourceSpec& spec, const SourceContext& context) {
  RssOptions options;
  options.name = spec.name;
  options.feeds = spec.list("feeds");
  const auto interval = [&](std::string_view key, milliseconds otherwise) {
    const double seconds = spec.number(key, static_cast<double>(otherwise.count()) / 1000, 1, 86400);
    return milliseconds(static_cast<int64_t>(seconds * 1000));
  };
  options.shortest = interval("shortest", options.shortest);
  options.longest = std::max(options.shortest, interval("longest", options.longest));
  options.first_interval = std::clamp(options.first_interval, options.shortest, options.longest);
  return make_rss_source(options, context.transport, context.clock);
}

}  // namespace

std::unique_ptr<Source> make_rss_source(const RssOptions& options, Transport& transport, const Clock& clock) {
  RssOptions checked = options;
  std::sort(checked.feeds.begin(), checked.feeds.end());
  checked.feeds.erase(std::unique(checked.feeds.begin(), checked.feeds.end()), checked.feeds.end());
  if (checked.feeds.empty() || checked.feeds.size() > kMaxFeeds)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("a source of feeds reads 1 to {} of them", kMaxFeeds));
  for (const std::string& feed : checked.feeds) RssFeed(feed, checked);
  return std::make_unique<RssSource>(std::move(checked), transport, clock);
}

std::vector<SourceKind> rss_kinds() {
  return {{.name = "rss",
           .summary = "News feeds: RSS, Atom or JSON Feed, or pages that name one",
           .options = {{.name = "feeds",
                        .help = "Addresses",
                        .required = true,
                        .list = true,
                        .example = "https://example.org/feed.xml"},
                       {.name = "shortest",
                        .help = "Seconds between two requests for a feed at least; default 60",
                        .example = "300"},
                       {.name = "longest",
                        .help = "And at most, when the feed asks for no more; default 3600",
                        .example = "7200"}},
           .make = make_from_spec}};
}

}  // namespace fathom::live
