// The log's tail put back into memory: posts are prepared on all cores and added in order.
#include <algorithm>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "live/codec.h"
#include "live/store_recover.h"

namespace fathom::live {
namespace {

constexpr size_t kBatchEntries = 16'384, kBatchBytes = size_t{16} << 20;
constexpr size_t kRunEntries = 4'096;

/// The post that an entry stands for.
Post post_of(LogKind kind, std::string_view payload) {
  if (kind == LogKind::kPost) return decode_record(payload);
  const Order order = decode_order(payload);
  Post post;
  const size_t colon = order.key.find(':');
  post.source = order.key.substr(0, colon);
  post.id = order.key.substr(colon + 1);
  post.deleted = true;
  post.created_at = post.received_at = order.time;
  return post;
}

class Replay {
 public:
  explicit Replay(StoreCore& core)
      : core_(core),
        progress_("reading the feed", core.log().bytes(), "B"),
        pool_(std::max(1u, std::thread::hardware_concurrency())),
        lanes_(pool_.size()) {}

  void take(const LogEntry& entry) {
    read_ += entry.payload.size();
    progress_.update(read_);
    if (entry.kind == LogKind::kCount) {
      flush();
      restore_counts(entry);
      return;
    }
    items_.push_back({entry.sequence, entry.kind, bytes_.size(), entry.payload.size()});
    bytes_ += entry.payload;
    if (items_.size() >= kBatchEntries || bytes_.size() >= kBatchBytes) flush();
  }

  void flush() {
    if (items_.empty()) return;
    pool_.run([this](size_t thread) { prepare(thread); });
    for (Lane& lane : lanes_) add(lane);
    items_.clear();
    bytes_.clear();
  }

  uint64_t broken() const {
    uint64_t sum = broken_counts_;
    for (const Lane& lane : lanes_) sum += lane.broken;
    return sum;
  }

 private:
  struct Item {
    uint64_t sequence;
    LogKind kind;
    size_t begin, size;  // of its payload in bytes_
  };
  struct Lane {
    PreparedBatch posts;
    std::vector<uint64_t> sequences;
    uint64_t broken = 0;
  };

  void prepare(size_t thread) {
    Lane& lane = lanes_[thread];
    lane.posts.clear();
    lane.sequences.clear();
    const size_t end = items_.size() * (thread + 1) / lanes_.size();
    for (size_t i = items_.size() * thread / lanes_.size(); i < end; ++i) {
      const Item& item = items_[i];
      try {
        lane.posts.add(post_of(item.kind, std::string_view(bytes_).substr(item.begin, item.size)));
        lane.sequences.push_back(item.sequence);
      } catch (const Error&) {
        ++lane.broken;
      }
    }
  }

  /// In runs whose sequences rise by one.
  void add(const Lane& lane) {
    std::vector<const PreparedPost*> run;
    for (size_t i = 0; i < lane.posts.size(); ++i) {
      run.push_back(&lane.posts[i]);
      const bool goes_on = i + 1 < lane.posts.size() && lane.sequences[i + 1] == lane.sequences[i] + 1;
      if (goes_on && run.size() < kRunEntries) continue;
      core_.restore(run, lane.sequences[i] + 1 - run.size());
      run.clear();
    }
  }

  void restore_counts(const LogEntry& entry) {
    try {
      core_.restore(decode_counts(entry.payload), entry.sequence);
    } catch (const Error&) {
      ++broken_counts_;
    }
  }

  StoreCore& core_;
  Progress progress_;
  ThreadPool pool_;
  std::vector<Lane> lanes_;
  std::vector<Item> items_;
  std::string bytes_;
  uint64_t read_ = 0, broken_counts_ = 0;
};

}  // namespace

void replay_log(StoreCore& core, uint64_t through) {
  Replay replay(core);
  const size_t damaged = core.log().replay(through, [&](const LogEntry& entry) { replay.take(entry); });
  replay.flush();
  core.finish_restore(core.log().last());
  if (replay.broken() + damaged > 0)
    log().error("{} entries and {} stretches of the log in '{}' could not be read and were left out",
                replay.broken(), damaged, core.options().folder.string());
}

}  // namespace fathom::live
