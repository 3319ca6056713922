#include "live/trends/trends.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.h"
#include "live/trends/engine.h"
#include "live/trends/headline.h"

namespace fathom::live {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kBatch = 512;
constexpr std::chrono::hours kAhead{24};
constexpr milliseconds kWatch{500};
constexpr milliseconds kStarting{10'000};
constexpr milliseconds kBetween{1000};  // pictures, while posts trickle in

bool contains(const std::vector<std::string>& list, std::string_view value) {
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

/// What of the shares passes.
std::vector<Share> passing(const std::vector<Share>& shares, const TrendFilter& filter) {
  std::vector<Share> out;
  for (const Share& share : shares)
    if (contains(filter.sources, share.source) && contains(filter.langs, share.lang)) out.push_back(share);
  return out;
}

/// The share that passes of what was counted; 0: too little for anything.
template <class Counted>
double apply(const TrendFilter& filter, std::vector<Share>& shares, Counted& counted) {
  if (filter.sources.empty() && filter.langs.empty()) return 1;
  const uint64_t all = posts_of(shares);
  shares = passing(shares, filter);
  counted.posts = posts_of(shares);
  counted.authors = authors_of(shares);
  if (counted.authors < 2 || all == 0) return 0;
  const double share = static_cast<double>(counted.posts) / static_cast<double>(all);
  counted.score *= share;
  return share;
}

std::vector<std::pair<std::string, uint64_t>> totals(const std::vector<Share>& shares,
                                                     std::string Share::*of) {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (const Share& share : shares) {
    if ((share.*of).empty()) continue;
    const auto found =
        std::find_if(out.begin(), out.end(), [&](const auto& total) { return total.first == share.*of; });
    if (found == out.end()) {
      out.emplace_back(share.*of, share.posts);
    } else {
      found->second += share.posts;
    }
  }
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

}  // namespace

struct Trends::Impl {
  Impl(const Store& a_store, const TrendOptions& a_options)
      : store(a_store), options(a_options), engine(a_options), picture(std::make_shared<TrendPicture>()) {
    thread = std::jthread([this](const std::stop_token& stop) { run_safely(stop); });
  }

  void run_safely(const std::stop_token& stop) {
    try {
      run(stop);
    } catch (const std::exception& error) {
      log().error("trends stand still from now on: {}", error.what());
    }
  }

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto began = SteadyClock::now();
      const std::vector<Sequenced> batch = store.tail(at, kBatch);
      for (const Sequenced& entry : batch) count(entry);
      if (batch.size() == kBatch) {
        skip_if_behind();
        if (caught_up) pause(began, stop);
        continue;
      }
      caught_up = true;
      if (batch.empty()) rest(stop);
      if (due()) publish();
    }
  }

  /// Leaves the processor to others for as long as the share that may be taken asks for.
  void pause(SteadyClock::time_point began, const std::stop_token& stop) const {
    const double rest = 1 / std::clamp(options.most_share, 0.01, 1.0) - 1;
    const auto worked = SteadyClock::now() - began;
    std::mutex none;
    std::unique_lock lock(none);
    std::condition_variable_any never;
    never.wait_for(lock, stop, std::chrono::duration_cast<SteadyClock::duration>(worked * rest),
                   [] { return false; });
  }

  void count(const Sequenced& entry) {
    at = entry.sequence;
    // A time far ahead of the post's arrival is not to be believed: it would end the present.
    const Post& post = entry.post;
    if (!post.fiction && post.created_at > post.received_at + kAhead && post.received_at > Time{}) return;
    engine.add(entry, std::exchange(skipped, 0));
    ++counted;
    if (engine.due()) publish();
  }

  /// So many blocks are passed over that what is left to count is a queue's worth.
  void skip_if_behind() {
    const auto newest = store.newest(1);
    if (newest.empty() || newest.front().sequence < at + options.queue_posts) return;
    const uint64_t behind = newest.front().sequence - at;
    const uint64_t pass = std::min<uint64_t>(behind, behind / options.queue_posts * kBatch);
    skipped += pass;
    at += pass;
  }

  /// Waits for posts, or for somebody who wants a picture of what was counted.
  void rest(const std::stop_token& stop) const {
    const bool behind = counted > 0;
    store.wait_for(at, behind ? kBetween / 10 : kWatch, stop);
  }

  bool due() const {
    if (counted == 0 && at == shown) return false;
    return wanted > shown ||
           SteadyClock::now() - published >= std::max<SteadyClock::duration>(kBetween, 10 * drawing);
  }

  void publish() {
    const auto began = SteadyClock::now();
    auto next = std::make_shared<TrendPicture>(*engine.evaluate());
    drawing = SteadyClock::now() - began;
    // While the past is counted its stories are followed, but are not the present.
    if (!caught_up) return;
    next->sequence = at;
    published = SteadyClock::now();
    counted = 0;
    shown = at;
    {
      std::lock_guard lock(mutex);
      picture = std::move(next);
    }
    changed.notify_all();
  }

  /// What was counted last; at the start the first picture of what the store holds.
  std::shared_ptr<const TrendPicture> current() const {
    std::unique_lock lock(mutex);
    if (picture->sequence == 0 && store.stats().last_sequence > 0)
      changed.wait_for(lock, kStarting, [this] { return picture->sequence > 0; });
    return picture;
  }

  /// The story as the store has its posts now. False when none of them is left.
  bool complete(Story& story) const {
    for (auto key = story.keys.begin(); key != story.keys.end(); key = story.keys.erase(key)) {
      auto post = store.find(*key);
      if (!post) continue;
      story.headline = headline_text(post->text);
      story.post = std::move(*post);
      return true;
    }
    return false;
  }

  const Store& store;
  const TrendOptions options;
  TrendEngine engine;  // all of these: the thread's alone
  uint64_t at = 0;
  uint64_t skipped = 0, counted = 0;
  bool caught_up = false;
  SteadyClock::time_point published{};
  SteadyClock::duration drawing{};  // what the last picture took
  std::atomic<uint64_t> shown{0};

  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  std::shared_ptr<const TrendPicture> picture;
  mutable std::atomic<uint64_t> wanted{0};
  std::jthread thread;  // last: ends before what it uses
};

Trends::Trends(const Store& store, const TrendOptions& options)
    : impl_(std::make_unique<Impl>(store, options)) {}

Trends::~Trends() = default;

std::vector<Trend> Trends::trends(const TrendFilter& filter, TrendResult* about) const {
  const auto picture = impl_->current();
  if (about != nullptr) *about = picture->about;
  std::vector<Trend> out;
  for (CountedTrend counted : picture->trends) {
    if (apply(filter, counted.shares, counted.trend) > 0) out.push_back(std::move(counted.trend));
  }
  std::stable_sort(out.begin(), out.end(), [](const Trend& a, const Trend& b) { return a.score > b.score; });
  if (out.size() > filter.limit) out.resize(filter.limit);
  return out;
}

std::vector<Story> Trends::stories(const TrendFilter& filter, TrendResult* about) const {
  const auto picture = impl_->current();
  if (about != nullptr) *about = picture->about;
  std::vector<Story> passed;
  for (CountedStory counted : picture->stories) {
    if (apply(filter, counted.shares, counted.story) == 0) continue;
    counted.story.sources = totals(counted.shares, &Share::source);
    counted.story.languages = totals(counted.shares, &Share::lang);
    passed.push_back(std::move(counted.story));
  }
  std::stable_sort(passed.begin(), passed.end(),
                   [](const Story& a, const Story& b) { return a.score > b.score; });
  std::vector<Story> out;
  for (Story& story : passed) {
    if (out.size() == filter.limit) break;
    if (impl_->complete(story)) out.push_back(std::move(story));
  }
  return out;
}

std::optional<Story> Trends::story(std::string_view id) const {
  const auto picture = impl_->current();
  const auto found = picture->by_id.find(std::string(id));
  if (found == picture->by_id.end()) return std::nullopt;
  Story story = found->second.story;
  story.sources = totals(found->second.shares, &Share::source);
  story.languages = totals(found->second.shares, &Share::lang);
  if (!impl_->complete(story)) return std::nullopt;
  return story;
}

bool Trends::wait_for(uint64_t sequence, std::chrono::milliseconds wait) const {
  uint64_t before = impl_->wanted.load();
  while (before < sequence && !impl_->wanted.compare_exchange_weak(before, sequence)) continue;
  std::unique_lock lock(impl_->mutex);
  return impl_->changed.wait_for(lock, wait, [&] { return impl_->picture->sequence >= sequence; });
}

}  // namespace fathom::live
