#include "live/store_keeper.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"

namespace fathom::live {
namespace {

constexpr size_t kMergeWidth = 4;
constexpr size_t kHighestTier = 3;  // segments of 64 times StoreOptions::segment_posts are left as they are
constexpr size_t kKeptInParts =
    8;  // what is kept is at least so many segments, so that it goes little by little
constexpr int kLowPriority = 10;  // of `nice`
constexpr auto kRetry = std::chrono::seconds(2);
constexpr auto kLook = std::chrono::seconds(30);

/// 0 for about `unit` posts, one more for each four times as many.
size_t tier_of(uint64_t posts, size_t unit) {
  size_t tier = 0;
  for (uint64_t limit = 2 * uint64_t{unit}; posts > limit && tier <= kHighestTier; limit *= kMergeWidth)
    ++tier;
  return tier;
}

uint64_t sum_of_bytes(std::span<const Sealed> sealed) {
  uint64_t sum = 0;
  for (const Sealed& one : sealed) sum += one.segment->bytes();
  return sum;
}

/// Whether one segment of all these would be too coarse for what is to be kept.
bool too_coarse(std::span<const Sealed> run, const StoreOptions& options) {
  if (options.keep_bytes && sum_of_bytes(run) > *options.keep_bytes / kKeptInParts) return true;
  if (!options.keep_for) return false;
  int64_t oldest = run.front().segment->oldest(), newest = run.front().segment->newest();
  for (const Sealed& one : run) {
    oldest = std::min(oldest, one.segment->oldest());
    newest = std::max(newest, one.segment->newest());
  }
  const auto longest = std::chrono::duration_cast<Micros>(*options.keep_for).count() / int64_t{kKeptInParts};
  return newest - oldest > longest;
}

std::vector<std::shared_ptr<Segment>> segments_of(std::span<const Sealed> sealed) {
  std::vector<std::shared_ptr<Segment>> segments;
  for (const Sealed& one : sealed) segments.push_back(one.segment);
  return segments;
}

void add_files(std::vector<std::string>& files, const Sealed& sealed) {
  const ManifestSegment entry = sealed.entry();
  files.push_back(entry.file);
  if (!entry.changes.empty()) files.push_back(entry.changes);
}

void add_orders(const Segment& segment, DamageLog& damage, RemovedKeys& keys) {
  for (uint32_t number = 1; number <= segment.documents(); ++number) {
    const DocumentFacts facts = segment.facts(number);
    if ((facts.flags & DocumentFacts::kTombstone) == 0) continue;
    const auto key = damage.contain(segment.sequence(number), [&] { return segment.key(number); });
    if (key) keys.add(key_hash(*key), Time(Micros(facts.created)));
  }
}

/// The files of those of `sealed` that are among `segments`.
std::vector<std::string> files_of_segments(const std::vector<Sealed>& sealed,
                                           const std::vector<std::shared_ptr<Segment>>& segments) {
  std::vector<std::string> files;
  for (const Sealed& one : sealed)
    if (std::find(segments.begin(), segments.end(), one.segment) != segments.end()) add_files(files, one);
  return files;
}

}  // namespace

std::span<const Sealed> choose_merge(std::span<const Sealed> sealed, const StoreOptions& options) {
  for (size_t first = 0; first + kMergeWidth <= sealed.size(); ++first) {
    const auto run = sealed.subspan(first, kMergeWidth);
    const size_t tier = tier_of(run.front().segment->posts(), options.segment_posts);
    const bool alike = std::all_of(run.begin(), run.end(), [&](const Sealed& one) {
      return !one.damaged && tier_of(one.segment->posts(), options.segment_posts) == tier;
    });
    if (alike && tier < kHighestTier && !too_coarse(run, options)) return run;
  }
  return {};
}

StoreKeeper::StoreKeeper(StoreCore& core, bool repaired) : core_(core), repaired_(repaired) {
  sealer_ = std::jthread(
      [this](const std::stop_token& stop) { run(stop, "seal a segment", [&] { return seal_next(stop); }); });
  merger_ = std::jthread(
      [this](const std::stop_token& stop) { run(stop, "merge segments", [&] { return merge_next(stop); }); });
  verifier_ = std::jthread([this](const std::stop_token& stop) {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowPriority);  // failing changes speed alone
    run(stop, "verify segments", [&] { return verify_opened(stop); });
  });
}

StoreKeeper::~StoreKeeper() {
  for (auto* thread : {&sealer_, &merger_, &verifier_}) thread->request_stop();
}

/// Steps until `step` says that it was stopped; after an error, again a little later.
void StoreKeeper::run(const std::stop_token& stop, std::string_view what, const std::function<bool()>& step) {
  while (!stop.stop_requested()) {
    try {
      if (!step()) return;
      continue;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) return;
      log().error("cannot {}: {}; it is tried again", what, error.what());
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, kRetry, [] { return false; });
  }
}

/// Always false: there is no next step.
bool StoreKeeper::verify_opened(const std::stop_token& stop) {
  for (const Sealed& sealed : core_.sealed()) {
    if (stop.stop_requested()) break;
    try {
      sealed.segment->verify();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorrupt) throw;
      log().error("a segment is left as it is and not merged: {}", error.what());
      core_.note_damage({sealed.segment});
    }
  }
  return false;
}

bool StoreKeeper::seal_next(const std::stop_token& stop) {
  const auto frozen = core_.await_frozen(stop);
  if (!frozen) return false;
  SegmentList parts;
  parts.memory.push_back(frozen->index);
  const auto path = core_.options().folder / segment_file({frozen->index->first_sequence(), frozen->through});
  try {
    StoreCore::Work work(core_, parts);
    seal(*frozen->index, work.visible(), path, stop);
    auto segment = Segment::open(path);
    if (segment->documents() == 0) segment.reset();
    const std::lock_guard lock(commit_mutex_);
    const auto outdated = write_changes();
    core_.replace_frozen(work, segment, frozen->through);
    commit();
    remove(outdated);
    if (!segment) remove({path.filename().string()});
    core_.log().drop_through(frozen->through);
  } catch (const Error&) {
    core_.fail_sealing(true);
    throw;
  }
  core_.fail_sealing(false);
  core_.reclaim();
  wake_merger();
  return true;
}

/// Writes what came to sealed segments since their files were written, so that the log is not needed for it. Returns the files
/// that these take the place of. The caller holds commit_mutex_.
std::vector<std::string> StoreKeeper::write_changes() {
  SegmentList parts;
  std::vector<std::string> outdated, names;
  for (const Sealed& sealed : core_.sealed()) {
    if (!sealed.changed) continue;
    parts.sealed.push_back(sealed.segment);
    outdated.push_back(sealed.changes);
  }
  if (parts.sealed.empty()) return {};
  StoreCore::Work work(core_, parts);
  try {
    for (size_t i = 0; i < parts.sealed.size(); ++i) {
      const auto range = segment_range(parts.sealed[i]->path().filename().string());
      FATHOM_CHECK(range.has_value());
      names.push_back(changes_file(*range, work.counted()));
      if (outdated[i] == names.back()) outdated[i].clear();
      parts.sealed[i]->write_changes(core_.options().folder / names.back());
    }
    core_.note_changes(work, names);
  } catch (const Error&) {
    remove(names);
    throw;
  }
  return outdated;
}

void StoreKeeper::commit() {
  if (core_.options().sync) core_.log().sync(core_.log().last());
  write_manifest(core_.options().folder, core_.manifest());
}

void StoreKeeper::remove(const std::vector<std::string>& files) const {
  for (const auto& file : files) {
    std::error_code error;
    if (!file.empty()) std::filesystem::remove(core_.options().folder / file, error);
    if (error)
      log().warn("cannot remove '{}': {}", (core_.options().folder / file).string(), error.message());
  }
}

void StoreKeeper::wake_merger() {
  const std::lock_guard lock(mutex_);
  ++changes_;
  changed_.notify_all();
}

/// What was found anew when the folder was opened is written down, so that it need not be found again.
void StoreKeeper::record_repair() {
  const std::lock_guard lock(commit_mutex_);
  const auto outdated = write_changes();
  commit();
  remove(outdated);
  repaired_ = false;
}

bool StoreKeeper::merge_next(const std::stop_token& stop) {
  if (repaired_) record_repair();
  uint64_t seen = 0;
  {
    const std::lock_guard lock(mutex_);
    seen = changes_;
  }
  const auto sealed = core_.sealed();
  if (forget_old()) return true;
  if (const auto run = choose_merge(sealed, core_.options()); !run.empty()) return merge_run(run, stop);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, kLook, [&] { return changes_ != seen; });
  return !stop.stop_requested();
}

bool StoreKeeper::merge_run(std::span<const Sealed> run, const std::stop_token& stop) {
  SegmentList parts;
  parts.sealed = segments_of(run);
  const SegmentRange range{segment_range(run.front().entry().file)->first,
                           segment_range(run.back().entry().file)->last};
  const auto folder = core_.options().folder;
  StoreCore::Work work(core_, parts);
  try {
    merge(parts.sealed, work.visible(), Time::min(), folder / segment_file(range), stop);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorrupt) throw;
    log().error("segments are left as they are: {}", error.what());
    core_.note_damage(parts.sealed);
    return true;
  }
  Sealed merged;
  merged.segment = Segment::open(folder / segment_file(range));
  std::vector<std::string> outdated;
  {
    const std::lock_guard lock(commit_mutex_);
    const auto [counted, any] = core_.carry_over(work, *merged.segment);
    merged.counted = counted;
    if (any) merged.changes = changes_file(range, counted);
    if (any) merged.segment->write_changes(folder / merged.changes);
    outdated = files_of_segments(core_.sealed(), parts.sealed);
    if (merged.segment->documents() == 0) add_files(outdated, merged);
    core_.replace_sealed(work, std::move(merged));
    commit();
    remove(outdated);
  }
  core_.reclaim();
  return true;
}

/// The orders to delete in `old`, beside those kept from earlier ones; durable when it returns.
std::shared_ptr<const RemovedKeys> StoreKeeper::keep_orders(std::span<const Sealed> old) const {
  const auto before = core_.removed();
  RemovedKeys keys = *before;
  for (const Sealed& one : old) add_orders(*one.segment, core_.damage(), keys);
  keys.forget(core_.feed_time() - core_.options().keep_orders);
  if (keys.size() == 0 && before->size() == 0) return before;
  write_removed_keys(core_.options().folder, keys);
  return std::make_shared<const RemovedKeys>(std::move(keys));
}

/// Lets go of what is too old, or too much. Returns whether there was anything.
bool StoreKeeper::forget_old() {
  const auto sealed = core_.sealed();
  const StoreOptions& options = core_.options();
  std::vector<Sealed> old;
  uint64_t bytes = sum_of_bytes(sealed);
  for (const Sealed& one : sealed) {
    const bool too_much = options.keep_bytes && bytes > *options.keep_bytes;
    const bool too_old =
        options.keep_for && Time(Micros(one.segment->newest())) < core_.feed_time() - *options.keep_for;
    if (!too_much && !too_old) continue;
    bytes -= one.segment->bytes();
    old.push_back(one);
  }
  if (old.empty()) return false;
  {
    const std::lock_guard lock(commit_mutex_);
    const auto outdated = files_of_segments(core_.sealed(), segments_of(old));
    core_.forget(segments_of(old), keep_orders(old));
    commit();
    remove(outdated);
  }
  core_.reclaim();
  return true;
}

}  // namespace fathom::live
