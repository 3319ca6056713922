// StoreCore's part in background work: what came meanwhile, and the moment at which one segment takes the place of others.
#include <algorithm>

#include "base/error.h"
#include "live/codec.h"
#include "live/store_core.h"

namespace fathom::live {

StoreCore::Work::Work(StoreCore& core, const SegmentList& parts) : core_(core), parts_(parts) {
  const std::lock_guard lock(core_.mutex_);
  visible_ = core_.segments_.published();
  counted_ = core_.sequence_;
  for (const Work* other : core_.works_) inherit(*other);
  core_.works_.push_back(this);
}

/// Counts that wait for another work on the same segments wait for this one too.
void StoreCore::Work::inherit(const Work& other) {
  for (const Late& late : other.late_)
    if (late.ended == 0 && covers(late.place.part())) late_.push_back({late.place, 0, late.change, true});
}

StoreCore::Work::~Work() {
  const std::lock_guard lock(core_.mutex_);
  core_.works_.erase(std::find(core_.works_.begin(), core_.works_.end(), this));
  for (const Late& late : late_) {
    const bool other_waits = std::any_of(core_.works_.begin(), core_.works_.end(),
                                         [&](const Work* other) { return other->covers(late.place.part()); });
    if (late.ended == 0 && !other_waits) late.place.add_counts(late.change);
  }
}

bool StoreCore::Work::covers(const void* part) const {
  const auto is_it = [part](const auto& mine) { return mine.get() == part; };
  return std::any_of(parts_.sealed.begin(), parts_.sealed.end(), is_it) ||
         std::any_of(parts_.memory.begin(), parts_.memory.end(), is_it);
}

std::optional<StoreCore::Frozen> StoreCore::await_frozen(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (!frozen_changed_.wait(lock, stop, [this] { return segments_.list().memory.size() > 1; })) return {};
  const auto& memory = segments_.list().memory;
  return Frozen{memory[0], memory[1]->first_sequence() - 1};
}

std::vector<Sealed> StoreCore::sealed() const {
  const std::lock_guard lock(mutex_);
  return sealed_;
}

uint64_t StoreCore::last_sequence() const {
  const std::lock_guard lock(mutex_);
  return sequence_;
}

/// Documents are found again by their sequences; those that were dead before are not there.
void StoreCore::carry(Work& work, Segment& target) {
  for (const Work::Late& late : work.late_) {
    const uint64_t sequence = late.place.sequence();
    const uint32_t number = target.end(sequence) - 1;
    if (number == 0 || target.sequence(number) != sequence) continue;
    if (late.ended != 0)
      target.bury(number, late.ended);
    else
      target.add_counts(number, late.change);
  }
  work.late_.clear();
}

std::pair<uint64_t, bool> StoreCore::carry_over(Work& work, Segment& target) {
  const std::lock_guard lock(mutex_);
  const bool any = !work.late_.empty();
  carry(work, target);
  return {sequence_, any};
}

void StoreCore::replace_frozen(Work& work, const std::shared_ptr<Segment>& segment, uint64_t through) {
  const std::lock_guard lock(mutex_);
  through_ = through;
  if (segment) {
    const bool changed = !work.late_.empty();
    carry(work, *segment);
    sealed_.push_back({segment, work.counted(), {}, changed, false});
  }
  auto memory = segments_.list().memory;
  memory.erase(memory.begin());
  replace_list(std::move(memory));
  frozen_changed_.notify_all();
}

void StoreCore::replace_sealed(Work& work, Sealed merged) {
  const std::lock_guard lock(mutex_);
  merged.changed = !work.late_.empty();
  carry(work, *merged.segment);
  const auto first = std::find_if(sealed_.begin(), sealed_.end(), [&](const Sealed& sealed) {
    return sealed.segment == work.parts_.sealed.front();
  });
  const auto last = first + static_cast<std::ptrdiff_t>(work.parts_.sealed.size());
  const auto at = sealed_.erase(first, last);
  if (merged.segment->documents() > 0) sealed_.insert(at, std::move(merged));
  replace_list(segments_.list().memory);
}

void StoreCore::note_changes(Work& work, const std::vector<std::string>& names) {
  const std::lock_guard lock(mutex_);
  log_again(work);
  const auto& parts = work.parts_.sealed;
  for (Sealed& sealed : sealed_) {
    const auto part = std::find(parts.begin(), parts.end(), sealed.segment);
    if (part == parts.end()) continue;
    sealed.changes = names[static_cast<size_t>(part - parts.begin())];
    sealed.counted = work.counted();
    sealed.changed = std::any_of(work.late_.begin(), work.late_.end(), [&](const Work::Late& late) {
      return late.place.sealed == sealed.segment.get();
    });
  }
}

/// Those of documents that have ended since are left out: their keys may stand for other posts by now.
void StoreCore::log_again(const Work& work) {
  std::vector<CountUpdate> updates;
  for (const Work::Late& late : work.late_) {
    if (!late.inherited || !late.place.lives()) continue;
    if (auto key = damage_.contain(late.place.sequence(), [&] { return late.place.key(); }))
      updates.push_back({std::move(*key), late.change});
  }
  if (updates.empty()) return;
  const std::string payload = encode_counts(updates);
  const LogEntry entry{sequence_ + 1, LogKind::kCount, payload};
  log_->append({&entry, 1});
  ++sequence_;
}

void StoreCore::note_damage(const std::vector<std::shared_ptr<Segment>>& segments) {
  const std::lock_guard lock(mutex_);
  for (Sealed& sealed : sealed_)
    if (std::find(segments.begin(), segments.end(), sealed.segment) != segments.end()) sealed.damaged = true;
}

std::shared_ptr<const RemovedKeys> StoreCore::removed() const {
  const std::lock_guard lock(mutex_);
  return removed_;
}

void StoreCore::forget(const std::vector<std::shared_ptr<Segment>>& segments,
                       std::shared_ptr<const RemovedKeys> removed) {
  const std::lock_guard lock(mutex_);
  removed_ = std::move(removed);
  for (const auto& segment : segments) dropped_.fetch_add(segment->posts(), std::memory_order_relaxed);
  std::erase_if(sealed_, [&](const Sealed& sealed) {
    return std::find(segments.begin(), segments.end(), sealed.segment) != segments.end();
  });
  replace_list(segments_.list().memory);
}

Manifest StoreCore::manifest() const {
  const std::lock_guard lock(mutex_);
  Manifest manifest;
  manifest.through = through_;
  manifest.feed_time = feed_time_.load(std::memory_order_acquire);
  for (const Sealed& sealed : sealed_) manifest.segments.push_back(sealed.entry());
  return manifest;
}

void StoreCore::fail_sealing(bool failed) {
  const std::lock_guard lock(mutex_);
  sealing_fails_ = failed;
  frozen_changed_.notify_all();
}

}  // namespace fathom::live
