#include "live/trends/standing.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "live/query.h"
#include "live/trends/standing_file.h"
#include "live/trends/term_map.h"
#include "live/trends/webhook.h"

namespace fathom::live {
namespace {

using std::chrono::milliseconds;

constexpr size_t kBatch = 1000;      // posts looked at together
constexpr uint64_t kStep = 1000;     // sequences that one search goes over
constexpr milliseconds kWatch{500};  // between two looks at whether to stop
constexpr milliseconds kSettle{20};  // posts that arrive together are matched together
constexpr milliseconds kSaveEvery{1000};
constexpr int64_t kSaveShare = 20;  // at most one part in so many of the time goes into saving
constexpr size_t kSenders = 4;
constexpr const char* kStopped = "stopped";  // no fault of the webhook's
constexpr size_t kMaxName = 200;

[[noreturn]] void refuse(const std::string& sentence) { throw Error(ErrorCode::kInvalidArgument, sentence); }

std::string new_id() {
  std::random_device random;
  return fmt::format("sq_{:08x}{:08x}", random(), random());
}

/// What `query` matches in (after, through], oldest first, at most `most`; `sequence` is the end of what was looked at.
StandingMatch find_matches(const Store& store, const StandingQuery& standing, uint64_t after,
                           uint64_t through, size_t most) {
  StandingMatch out;
  out.query_id = standing.id;
  out.sequence = after;
  Query query = standing.query;
  query.order = Query::Order::kNewest;
  query.fold = false;
  query.limit = kStep;
  while (out.sequence < through && out.hits.empty()) {
    query.after = out.sequence;
    out.sequence = std::min(through, out.sequence + kStep);
    query.through = out.sequence;
    for (Hit& hit : store.search(query).hits)
      if (hit.sequence > *query.after && hit.sequence <= out.sequence) out.hits.push_back(std::move(hit));
  }
  std::sort(out.hits.begin(), out.hits.end(),
            [](const Hit& a, const Hit& b) { return a.sequence < b.sequence; });
  if (out.hits.size() > most) {
    out.hits.resize(most);
    out.sequence = out.hits.back().sequence;
  }
  return out;
}

int64_t steady_milliseconds() {
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

uint64_t last_sequence(const Store& store) { return store.stats().last_sequence; }

}  // namespace

struct StandingQueries::Impl {
  struct Listener {
    std::string query_id;
    std::function<void(const StandingMatch&)> on_match;
    std::mutex mutex;  // held while it is called, so that none is called after its handle has gone
    bool gone = false;
  };

  Impl(Store& a_store, Transport& a_transport, const Clock& a_clock, const Options& an_options)
      : store(a_store),
        transport(a_transport),
        clock(a_clock),
        options(an_options),
        opened(last_sequence(a_store)),
        looked(opened),
        settled(opened) {
    for (KeptQuery& kept : read_standing(options.file)) {
      const std::string id = kept.query.id;
      terms.add(id, parse_query(kept.query.query));
      kept.place = std::min(kept.place, looked);        // of a store that lost its end
      if (!kept.query.webhook.empty()) due.insert(id);  // what came while nobody looked
      queries.emplace(id, std::move(kept));
    }
    matcher = std::jthread([this](const std::stop_token& stop) { match_all(stop); });
    for (size_t i = 0; i < kSenders; ++i)
      senders.emplace_back([this](const std::stop_token& stop) { send_all(stop); });
  }

  ~Impl() {
    matcher.request_stop();
    for (auto& sender : senders) sender.request_stop();
    if (matcher.joinable()) matcher.join();
    for (auto& sender : senders) sender.join();
    save_safely();
  }

  // --- matching ---

  void match_all(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      try {
        if (store.wait_for(looked, kWatch, stop)) match_new(stop);
        if (changed && steady_milliseconds() >= save_at) save_safely();
      } catch (const std::exception& error) {
        log().error("standing queries could not be matched: {}", error.what());
        clock.sleep(std::chrono::seconds(1), stop);
      }
    }
  }

  void match_new(const std::stop_token& stop) {
    settle(stop);
    const uint64_t from = looked;
    const uint64_t last = last_sequence(store);  // before the posts are read: none below it is missed
    const std::vector<Sequenced> posts = store.tail(from, kBatch);
    uint64_t end = posts.empty() ? from : posts.back().sequence;
    if (posts.size() < kBatch) end = std::max(end, last);
    batch.clear();
    for (const Sequenced& entry : posts) batch.add(entry.post);
    std::vector<TermMap::Candidate> candidates;
    {
      const std::lock_guard lock(mutex);
      looked = end;
      candidates = terms.candidates(batch);
    }
    for (const TermMap::Candidate& one : candidates)
      match_one(one.id, std::max(from, posts[one.first].sequence - 1), posts[one.last].sequence);
    const std::lock_guard lock(mutex);
    settled = end;
  }

  void match_one(const std::string& id, uint64_t after, uint64_t through) {
    StandingQuery query;
    {
      const std::lock_guard lock(mutex);
      const auto found = queries.find(id);
      if (found == queries.end()) return;
      query = found->second.query;
      after = std::max(after, found->second.since);
    }
    while (after < through) {
      const StandingMatch match = find_matches(store, query, after, through, kMostMatches);
      after = match.sequence;
      if (match.hits.empty()) continue;
      {
        const std::lock_guard lock(mutex);
        const auto found = queries.find(id);
        if (found == queries.end()) return;
        found->second.query.matched += match.hits.size();
        if (!query.webhook.empty()) {
          due.insert(id);
          news.insert(id);
        }
        changed = true;
      }
      work.notify_all();
      tell(match);
    }
  }

  void tell(const StandingMatch& match) {
    std::vector<std::shared_ptr<Listener>> told;
    {
      const std::lock_guard lock(mutex);
      const auto [first, last] = listeners.equal_range(match.query_id);
      for (auto at = first; at != last;) {
        if (auto listener = at->second.lock()) {
          told.push_back(std::move(listener));
          ++at;
        } else {
          at = listeners.erase(at);
        }
      }
    }
    for (const auto& listener : told) {
      const std::lock_guard lock(listener->mutex);
      if (!listener->gone) listener->on_match(match);
    }
  }

  void settle(const std::stop_token& stop) const {
    std::mutex none;
    std::unique_lock lock(none);
    std::condition_variable_any never;
    never.wait_for(lock, stop, kSettle, [] { return false; });
  }

  // --- webhooks ---

  void send_all(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::optional<KeptQuery> job = take_job(stop);
      if (!job) continue;
      StandingMatch match;
      std::string error;
      try {
        match = find_matches(store, job->query, job->place, job->through, kMostMatches);
        if (!match.hits.empty())
          error = deliver(transport, job->query, job->place, match, options.allow_private, stop);
      } catch (const std::exception& thrown) {
        error = thrown.what();
      }
      finish(*job, match, stop.stop_requested() ? kStopped : error);
    }
  }

  /// The next webhook that is due, marked as taken. Empty when there was none for a while.
  std::optional<KeptQuery> take_job(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    const auto ready = [this]() -> KeptQuery* {
      const Time now = clock.now();
      for (const std::string& id : due) {
        KeptQuery& kept = queries.find(id)->second;
        if (!sending.contains(id) && kept.next_attempt <= now) return &kept;
      }
      return nullptr;
    };
    KeptQuery* found = ready();
    if (found == nullptr) {
      work.wait_for(lock, stop, kWatch, [&] { return (found = ready()) != nullptr; });
      if (found == nullptr || stop.stop_requested()) return std::nullopt;
    }
    const std::string& id = found->query.id;
    sending.insert(id);
    due.erase(id);
    if (found->through == 0) {  // else the same again
      found->through = looked;
      news.erase(id);
    }
    return *found;
  }

  /// Moves the query's place on, or settles when to try again.
  void finish(const KeptQuery& job, const StandingMatch& match, const std::string& error) {
    const std::lock_guard lock(mutex);
    sending.erase(job.query.id);
    const auto found = queries.find(job.query.id);
    if (found == queries.end()) return;
    KeptQuery& kept = found->second;
    changed = true;
    if (!error.empty() && (error == kStopped || try_again(kept, error))) {
      due.insert(job.query.id);
      return;
    }
    (error.empty() ? kept.query.delivered : kept.query.failed) += match.hits.size();
    if (error.empty() && !match.hits.empty()) kept.query.last_error.clear();
    kept.place = match.sequence > kept.place ? match.sequence : kept.through;
    kept.attempts = 0;
    kept.next_attempt = {};
    const bool more = kept.place < kept.through;
    if (!more) kept.through = 0;
    if (more || news.contains(job.query.id) || kept.place < opened) {
      due.insert(job.query.id);
      work.notify_one();
    }
  }

  bool try_again(KeptQuery& kept, const std::string& error) const {
    const Time now = clock.now();
    if (kept.attempts++ == 0) kept.first_attempt = now;
    kept.query.last_error = error;
    if (now - kept.first_attempt >= options.give_up) return false;
    const auto doublings = std::min<size_t>(kept.attempts - 1, 20);
    kept.next_attempt = now + std::min<std::chrono::seconds>(options.longest_retry,
                                                             options.first_retry * (int64_t{1} << doublings));
    return true;
  }

  // --- keeping ---

  void refuse_more() const {
    const std::lock_guard lock(mutex);
    if (queries.size() >= options.most)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("there are {} standing queries already: remove one first", queries.size()));
  }

  /// False when there is none of this id.
  bool forget(const std::string& id) {
    const std::lock_guard filing(file_mutex);
    {
      const std::lock_guard lock(mutex);
      if (!queries.contains(id)) return false;
    }
    append_removed(options.file, id);
    const std::lock_guard lock(mutex);
    terms.remove(id);
    due.erase(id);
    news.erase(id);
    queries.erase(id);
    changed = true;
    return true;
  }

  std::vector<KeptQuery> all() const {
    const std::lock_guard lock(mutex);
    std::vector<KeptQuery> out;
    for (const auto& [id, kept] : queries) {
      out.push_back(kept);
      // What holds no match needs no second look.
      if (!due.contains(id) && !sending.contains(id) && kept.through == 0) out.back().place = settled;
    }
    return out;
  }

  void save() {
    const std::lock_guard lock(file_mutex);
    changed = false;
    const int64_t began = steady_milliseconds();
    write_standing(options.file, all());
    const int64_t took = steady_milliseconds() - began;
    save_at = began + std::max<int64_t>(kSaveEvery.count(), kSaveShare * took);
  }

  void save_safely() {
    try {
      save();
    } catch (const std::exception& error) {
      log().error("standing queries are not saved: {}", error.what());
    }
  }

  Store& store;
  Transport& transport;
  const Clock& clock;
  const Options options;

  mutable std::mutex mutex;  // of all that follows, but for what is the matcher's
  std::condition_variable_any work;
  std::map<std::string, KeptQuery, std::less<>> queries;
  TermMap terms;
  // Ids of queries with a webhook: something is to be sent (again); being sent; matched since its last delivery began.
  std::unordered_set<std::string> due, sending, news;
  std::unordered_multimap<std::string, std::weak_ptr<Listener>> listeners;  // by query
  const uint64_t opened;  // the store's end at the start: what a webhook missed before is up to here
  uint64_t looked = 0;    // posts up to here are being matched; written by the matcher, with the lock
  uint64_t settled = 0;   // and up to here they have been

  std::mutex file_mutex;  // of the file and its journal; before `mutex`
  std::atomic<bool> changed{false};
  std::atomic<int64_t> save_at{0};  // not before: milliseconds of the steady clock

  PreparedBatch batch;  // the matcher's
  std::jthread matcher;
  std::vector<std::jthread> senders;
};

StandingQueries::StandingQueries(Store& store, Transport& transport, const Clock& clock,
                                 const Options& options)
    : impl_(std::make_unique<Impl>(store, transport, clock, options)) {}

StandingQueries::~StandingQueries() = default;

StandingQuery StandingQueries::add(StandingQuery query) {
  if (query.name.size() > kMaxName || !is_valid_utf8(query.name))
    refuse("the name must be UTF-8 of at most 200 bytes");
  check_webhook(query, impl_->options.allow_private);
  const ParsedQuery parsed = parse_query(query.query);
  if (parsed.never) refuse("the query can never match: its since is not before its until");
  query.id = new_id();
  query.created = impl_->clock.now();
  query.matched = query.delivered = query.failed = 0;
  query.last_error.clear();
  query.query.after.reset();
  query.query.through.reset();
  const std::lock_guard filing(impl_->file_mutex);
  impl_->refuse_more();
  KeptQuery kept;
  kept.query = query;
  kept.since = kept.place = last_sequence(impl_->store);
  append_added(impl_->options.file, kept);
  const std::lock_guard lock(impl_->mutex);
  impl_->terms.add(query.id, parsed);
  impl_->queries.emplace(query.id, std::move(kept));
  impl_->changed = true;
  return query;
}

bool StandingQueries::remove(std::string_view id) {
  if (!impl_->forget(std::string(id))) return false;
  StandingMatch end;
  end.query_id = id;
  impl_->tell(end);
  return true;
}

std::vector<StandingQuery> StandingQueries::list() const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<StandingQuery> out;
  for (const auto& [id, kept] : impl_->queries) out.push_back(kept.query);
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.created < b.created; });
  return out;
}

std::optional<StandingQuery> StandingQueries::find(std::string_view id) const {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->queries.find(id);
  return found == impl_->queries.end() ? std::nullopt : std::optional(found->second.query);
}

std::optional<StandingMatch> StandingQueries::matches(std::string_view id, uint64_t after) const {
  StandingQuery query;
  uint64_t through = 0;
  {
    const std::lock_guard lock(impl_->mutex);
    const auto found = impl_->queries.find(id);
    if (found == impl_->queries.end()) return std::nullopt;
    query = found->second.query;
    through = impl_->looked;
  }
  return find_matches(impl_->store, query, after, through, kMostMatches);
}

uint64_t StandingQueries::sequence() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->looked;
}

StandingQueries::Handle StandingQueries::listen(std::string_view id,
                                                std::function<void(const StandingMatch&)> on_match) {
  auto listener = std::make_shared<Impl::Listener>();
  listener->query_id = id;
  listener->on_match = std::move(on_match);
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->listeners.emplace(listener->query_id, listener);
  }
  return Handle(listener.get(), [listener](void*) {
    const std::lock_guard lock(listener->mutex);
    listener->gone = true;
  });
}

}  // namespace fathom::live
