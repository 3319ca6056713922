// The inside of a store: its segments, its log, and the one lock under which they change.
//
// A group of posts is planned, logged, indexed and published under the lock; reads take none. Background work (sealing, merging,
// writing changes) reads segments without the lock while the writer goes on ending documents in them; a Work notes what came
// meanwhile, to be carried over to the segment that takes their place. Deaths are applied at once as well (twice does no harm),
// counts wait until no work reads their segment.
//
// Sequences: what is on disk in segments and changes is never ahead of the synced log, see StoreKeeper.
// Ownership: owns all of it. Thread safety: every method may be called from any thread; `restore` only before the others.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "live/damage.h"
#include "live/index_supply.h"
#include "live/log.h"
#include "live/manifest.h"
#include "live/prepare.h"
#include "live/removed_keys.h"
#include "live/snapshot.h"
#include "live/store.h"
#include "live/store_planner.h"

namespace fathom::live {

/// A sealed segment and what the folder's files hold of it.
struct Sealed {
  std::shared_ptr<Segment> segment;
  uint64_t counted = 0;  // counts up to this sequence are in its files
  std::string changes;   // file, empty: none
  bool changed = false;  // since the files were written
  bool damaged = false;  // a merge could not read it

  ManifestSegment entry() const { return {segment->path().filename().string(), counted, changes}; }
};

/// What the folder held when the store was opened.
struct StoreContent {
  std::vector<Sealed> sealed;  // oldest first
  uint64_t through = 0;        // sealed segments hold everything up to this
  int64_t feed_time = 0;
  RemovedKeys removed;
  bool repaired = false;  // something was damaged or lost: the manifest does not tell what is here
};

/// One call of `ingest`.
struct IngestCall {
  PreparedBatch posts;
  IngestResult result;
};

class StoreCore {
 public:
  StoreCore(const StoreOptions& options, const Clock& clock, std::unique_ptr<Log> log, StoreContent content);

  const StoreOptions& options() const { return options_; }
  Log& log() { return *log_; }

  // Writing

  /// Plans, logs and indexes the calls of a group and makes them visible. Returns the sequence to sync before they are
  /// acknowledged. All or nothing. Errors: kResourceExhausted, kIo.
  uint64_t write(std::span<IngestCall* const> calls);
  /// The same for counts; 0 when no key is known.
  uint64_t count(const std::vector<CountUpdate>& updates);

  /// Puts back what the log holds above `through`, in order of sequence: posts and orders with sequences from `first` on.
  void restore(std::span<const PreparedPost* const> posts, uint64_t first);
  void restore(std::span<const CountUpdate> updates, uint64_t sequence);
  /// After the last of it: makes all visible; the next sequence is above `last`.
  void finish_restore(uint64_t last);

  // Reading

  Snapshot snapshot() const { return segments_.snapshot(); }
  Time feed_time() const { return Time(Micros(feed_time_.load(std::memory_order_acquire))); }
  uint64_t last_visible() const { return last_visible_.load(std::memory_order_acquire); }
  bool wait_for(uint64_t after, std::chrono::milliseconds wait, const std::stop_token& stop) const;
  uint64_t ingested() const { return ingested_.load(std::memory_order_relaxed); }
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  DamageLog& damage() const { return damage_; }

  // Background work

  /// What happened to segments since the work on them began.
  class Work {
   public:
    Work(StoreCore& core, const SegmentList& parts);
    /// Applies the counts that waited, unless the segments were replaced.
    ~Work();
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

    uint64_t visible() const { return visible_; }  // published when it began
    uint64_t counted() const { return counted_; }  // the last sequence when it began

   private:
    friend class StoreCore;
    struct Late {
      Place place;
      uint64_t ended = 0;  // 0: counts
      CountChange change;
      bool inherited = false;  // counts that came before this work, and waited for another one
    };
    void inherit(const Work& other);
    bool covers(const void* part) const;

    StoreCore& core_;
    SegmentList parts_;
    uint64_t visible_ = 0, counted_ = 0;
    std::vector<Late> late_;
  };

  /// An index that is to be sealed and the last sequence that belongs to it.
  struct Frozen {
    std::shared_ptr<Index> index;
    uint64_t through = 0;
  };
  /// Waits for one, until `stop` is requested (empty).
  std::optional<Frozen> await_frozen(const std::stop_token& stop);
  std::vector<Sealed> sealed() const;
  uint64_t last_sequence() const;

  /// Does to `target` what came late for its documents; returns the last sequence, and whether there was anything.
  std::pair<uint64_t, bool> carry_over(Work& work, Segment& target);
  /// The sealed segment takes the place of the oldest frozen index (empty: it held nothing that lives).
  void replace_frozen(Work& work, const std::shared_ptr<Segment>& segment, uint64_t through);
  /// `merged` takes the place of the segments of `work`.
  void replace_sealed(Work& work, Sealed merged);
  /// The files `names`, one a segment of `work`, hold what came to these segments up to the work's beginning. Counts that have
  /// waited for an earlier work are not in them and are logged anew. Errors: as Log::append.
  void note_changes(Work& work, const std::vector<std::string>& names);
  void note_damage(const std::vector<std::shared_ptr<Segment>>& segments);
  /// Orders to delete whose segments were let go of.
  std::shared_ptr<const RemovedKeys> removed() const;
  /// Lets go of the segments given; `removed` has their orders.
  void forget(const std::vector<std::shared_ptr<Segment>>& segments,
              std::shared_ptr<const RemovedKeys> removed);
  Manifest manifest() const;
  void reclaim() { segments_.reclaim(); }
  void fail_sealing(bool failed);

 private:
  void make_room(std::unique_lock<std::mutex>& lock, size_t posts);
  bool is_due(size_t posts) const;
  void attend_memory();
  void rotate();
  void log_posts();
  void apply_posts();
  void end(const Place& place, uint64_t sequence);
  void add_counts(const Place& place, const CountChange& change);
  void mark_changed(const Place& place);
  void log_again(const Work& work);
  void carry(Work& work, Segment& target);
  void replace_list(std::vector<std::shared_ptr<Index>> memory);
  void advance(Time created, bool fiction);
  void announce(uint64_t sequence);
  Index& active() const { return *segments_.list().memory.back(); }

  const StoreOptions options_;
  const Clock& clock_;
  std::unique_ptr<Log> log_;
  Segments segments_;

  mutable std::mutex mutex_;  // of all that follows, down to the next gap
  std::condition_variable_any frozen_changed_;
  uint64_t sequence_ = 0;  // the last one given
  uint64_t through_ = 0;
  std::vector<Sealed> sealed_;  // as in the list
  std::vector<Work*> works_;
  std::shared_ptr<const RemovedKeys> removed_;
  bool sealing_fails_ = false;
  Planner planner_;
  uint64_t attended_ = 0;  // the sequence at the last call of attend_memory
  std::vector<LogEntry> entries_;
  std::vector<std::string> orders_;

  mutable DamageLog damage_;
  std::atomic<int64_t> feed_time_{0};
  std::atomic<uint64_t> ingested_{0}, dropped_{0};
  mutable std::mutex wait_mutex_;
  mutable std::condition_variable_any visible_changed_;
  std::atomic<uint64_t> last_visible_{0};
  IndexSupply supply_;
};

}  // namespace fathom::live
