// Sources of posts and the runner that keeps them going.
//
// A `Source` reads one feed (a file, the Hacker News API, ...) and hands posts to a `Sink`. A `SourceRunner` owns the
// sources, gives each a thread, gathers what they deliver into batches for the store, keeps their cursors, and restarts
// one that fails, later and later.
//
// Invariants:
//  (1) a cursor is kept only after every post delivered before it is durable, so that after a crash nothing is lost; what
//      was delivered after the kept cursor is delivered again, and the store recognises it by its key;
//  (2) a post is in the store at most about 50 ms after its delivery, unless the store itself is slower: then sources wait;
//  (3) `stop` and `remove` make everything delivered durable before they return;
//  (4) a live post from the future (its author's clock is ahead) enters the store with the time of its arrival, so that it
//      cannot stand above all others; late posts are taken as they come.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "live/facts.h"
#include "live/post.h"
#include "live/store.h"

namespace fathom::live {

/// Where a source delivers. Used only on the thread that `Source::run` was called on.
class Sink {
 public:
  virtual ~Sink() = default;

  /// The cursor that the source gave last, in this run of the program or an earlier one; empty at the very first start.
  virtual std::string cursor() const = 0;

  /// Takes one post. Waits while the store is behind. Returns false when the source is to stop (the post is not taken).
  virtual bool deliver(Post post) = 0;

  /// Likes and the like that came after the post of `key` ("source:id") did; those of a key that the store has not are
  /// passed over. Changes of one key are gathered, and stored after the posts delivered before them. Waits like `deliver`.
  virtual void count(std::string_view /*key*/, const CountChange& /*change*/) {}

  /// An author (Post::source, Author::handle) is gone: the posts that the store has of them are removed, as by an order of
  /// that time, after what was delivered before. Waits like `deliver`.
  virtual void remove_author(std::string_view /*source*/, std::string_view /*handle*/, Time /*at*/) {}

  /// What the store has under a key; what was delivered a moment ago may still be on its way there.
  virtual std::optional<Post> find(std::string_view /*key*/) const { return {}; }

  /// Everything delivered so far need not be read again: `cursor` tells a later `run` where to go on.
  virtual void advance(std::string cursor) = 0;

  /// The source is connected and its posts are current: its state becomes kLive.
  virtual void set_live() = 0;

  /// One piece of input was left out; `why` names it (a line number, an id) and what is wrong with it.
  virtual void reject(std::string_view why) = 0;

  /// The source goes on, but something an operator should see happened (a poll that failed, say).
  virtual void warn(std::string_view what) = 0;
};

/// Thrown by `Source::run` where the feed's protocol prescribes when to come back: the runner waits exactly so long (no
/// doubling, no jitter) and tries again whatever the code.
class RetryAfter final : public Error {
 public:
  RetryAfter(ErrorCode code, const std::string& sentence, std::chrono::milliseconds wait)
      : Error(code, sentence), wait_(wait) {}
  std::chrono::milliseconds wait() const { return wait_; }

 private:
  std::chrono::milliseconds wait_;
};

/// One feed. `run` is called on one thread at a time; all else may be called from any thread.
class Source {
 public:
  virtual ~Source() = default;

  /// Unique among the sources of a runner; the key of its cursor and its label in metrics: [a-z0-9_-], 1 to 32 characters.
  virtual std::string_view name() const = 0;

  /// True for recorded posts: the distance from their times to the clock is then not a lag.
  virtual bool replays() const { return false; }

  /// Delivers posts until the feed ends (returns) or `stop` is requested (returns soon). Throws Error when it cannot go on;
  /// the runner calls it again later, unless the code says that trying again cannot help (see SourceRunner).
  virtual void run(Sink& sink, const std::stop_token& stop) = 0;
};

enum class SourceState {
  kConnecting,  // started, nothing current yet
  kLive,        // delivering as things happen
  kWaiting,     // failed, will be tried again in `retry_in`
  kFinished,    // came to its end (a file)
  kFailed,      // failed in a way that trying again cannot help
  kStopped,     // the runner was stopped
};

std::string_view to_string(SourceState state);

struct SourceStatus {
  std::string name;
  SourceState state = SourceState::kConnecting;
  uint64_t posts = 0;       // made durable since the start, duplicates included
  uint64_t duplicates = 0;  // of them, those that the store had already
  uint64_t deleted = 0;     // posts removed
  uint64_t counts = 0;      // later changes of likes and the like
  uint64_t rejected = 0;    // pieces of input left out
  uint64_t skewed = 0;      // posts from the future, whose time was set to that of their arrival
  uint64_t reconnects = 0;  // connections after the first
  std::map<std::string, uint64_t> errors;  // failures by kind: the names of ErrorCode
  double per_second = 0;                   // posts made durable over the last minute
  std::optional<double>
      lag_seconds;  // of the last batch: how long after its creation its newest post was searchable
  std::optional<double> lag_p50,
      lag_p99;             // seconds; of posts of the last five minutes, created while the source was live
  std::string last_error;  // the last failure or warning, empty when there was none
  std::optional<Time> last_post;                      // when a post was last made durable
  std::optional<std::chrono::milliseconds> retry_in;  // with kWaiting
  std::vector<std::string> rejections;                // the first few reasons, for people
};

/// Keeps one cursor a source. Thread-safe.
class CursorStore {
 public:
  virtual ~CursorStore() = default;
  /// Empty when there is none.
  virtual std::string load(std::string_view source) const = 0;
  virtual void save(std::string_view source, std::string_view cursor) = 0;
  /// Makes what was saved durable. Errors: kIo, kResourceExhausted.
  virtual void sync() = 0;
};

/// One JSON file, replaced atomically by `sync`. A file that cannot be read as cursors is set aside under the name
/// `path` + ".corrupt" and logged: the sources then start over, which costs time but loses nothing.
std::unique_ptr<CursorStore> open_cursor_file(const std::filesystem::path& path);

struct RunnerOptions {
  std::chrono::milliseconds flush_interval{50};
  size_t batch_posts = 1000;                        // a batch this large is not waited with
  size_t queue_posts = 8000;                        // of one source; a source that is further ahead waits
  std::chrono::milliseconds cursor_interval{1000};  // between writes of the cursors
  std::chrono::milliseconds retry_first{250};
  std::chrono::milliseconds retry_longest{60000};
  std::chrono::milliseconds healthy_after{
      10000};  // live for so long: the next failure counts as the first again
  std::chrono::milliseconds future_tolerance{60000};  // clocks that are ahead by less are believed
  uint64_t seed = 1;                                  // of the jitter in the waits
};

/// What one source may do.
struct SourceLimits {
  double posts_per_second = 0;  // 0: no limit; a source that is faster waits
};

/// Owns sources and their threads. Store, cursors and clock outlive it. All functions are thread-safe.
///
/// A source that throws is tried again after 250 ms, doubling to 60 s, each wait shortened by up to a quarter at random so
/// that many do not return at once; one that throws RetryAfter, when that says. Codes that trying again cannot help
/// (kInvalidArgument, kNotFound, kCorrupt, kUnsupported, kUnauthenticated, kPermissionDenied) end it as kFailed. A batch that
/// the store cannot take (disk full) is kept and tried again in the same way; a post that the store refuses as invalid is
/// rejected alone.
class SourceRunner {
 public:
  SourceRunner(Store& store, CursorStore& cursors, const Clock& clock, const RunnerOptions& options = {});
  ~SourceRunner();
  SourceRunner(const SourceRunner&) = delete;
  SourceRunner& operator=(const SourceRunner&) = delete;

  /// Starts `source` at once. Errors: kInvalidArgument when its name is taken or ill-formed.
  void add(std::unique_ptr<Source> source, const SourceLimits& limits = {});

  /// Stops one source and forgets it, once what it delivered is durable and its cursor kept: a source of this name that is
  /// added later goes on from there. False when there is none of this name.
  bool remove(std::string_view name);

  /// In the order of `add`.
  std::vector<SourceStatus> status() const;

  /// Waits until every source has finished or failed and what they delivered is durable. False when `stop` came first.
  bool wait_finished(const std::stop_token& stop) const;

  /// Stops all sources, makes durable what they delivered, keeps the cursors. Idempotent; called by the destructor.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fathom::live
