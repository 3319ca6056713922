// Keeps a store's folder in order, in the background: seals full indexes to files, merges small segments, lets old ones go.
//
// Merging is tiered: four neighbours of about one size become one, so that a post is rewritten a few times in its life and there
// are few segments to look into. Retention lets whole segments go, oldest first, once all their posts are older than
// StoreOptions::keep_for, or the files take more than keep_bytes. The orders to delete in them are kept apart (removed_keys.h).
//
// Every change of the folder is a commit: files first, then the log synced, then MANIFEST replaced, then what it no longer names
// removed. So nothing on disk is ever ahead of the log, and a crash between any two steps leaves a folder that opens. A failure
// (a full disk) is named in the program's log and tried again; ingest and search go on meanwhile.
//
// The segments that the folder had when it was opened are read once in the background, so that damage is named early.
//
// Three threads: one seals, one merges and lets go, one, of low priority, reads what was opened. The core must outlive it.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "live/store_core.h"

namespace fathom::live {

class StoreKeeper {
 public:
  /// `repaired`: the folder's manifest is to be written anew at once.
  StoreKeeper(StoreCore& core, bool repaired);
  ~StoreKeeper();

 private:
  void run(const std::stop_token& stop, std::string_view what, const std::function<bool()>& step);
  bool verify_opened(const std::stop_token& stop);
  bool seal_next(const std::stop_token& stop);
  bool merge_next(const std::stop_token& stop);
  bool merge_run(std::span<const Sealed> run, const std::stop_token& stop);
  bool forget_old();
  std::shared_ptr<const RemovedKeys> keep_orders(std::span<const Sealed> old) const;
  void record_repair();
  std::vector<std::string> write_changes();
  void commit();
  void remove(const std::vector<std::string>& files) const;
  void wake_merger();

  StoreCore& core_;
  bool repaired_;  // of the merging thread
  std::mutex commit_mutex_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  uint64_t changes_ = 0;  // of the list of sealed segments
  std::jthread sealer_, merger_, verifier_;
};

/// The neighbours that are to be merged next: the oldest four of one tier, or none. `sealed` is oldest first.
std::span<const Sealed> choose_merge(std::span<const Sealed> sealed, const StoreOptions& options);

}  // namespace fathom::live
