// The log's tail put back into memory: posts are prepared on all cores and added in order.
#include <algorithm>
#include <atomic>
#include <exception>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "live/codec.h"
#include "live/store_recover.h"

namespace fathom::live {
namespace {

constexpr size_t kBatchEntries = 16'384, kBatchBytes = size_t{16} << 20;
constexpr size_t kPieceEntries = 1'024;

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

/// Entries of the log and what was prepared of them, a piece at a time. Used again.
struct Batch {
  struct Item {
    uint64_t sequence;
    LogKind kind;
    size_t begin, size;  // of its payload in `bytes`
  };
  struct Piece {
    PreparedBatch posts;
    std::vector<uint64_t> sequences;
    uint64_t broken = 0;
  };

  size_t pieces() const { return (items.size() + kPieceEntries - 1) / kPieceEntries; }

  void clear() {
    items.clear();
    bytes.clear();
    next_piece = 0;
  }

  std::vector<Item> items;
  std::string bytes;
  std::vector<Piece> prepared = std::vector<Piece>((kBatchEntries + kPieceEntries - 1) / kPieceEntries);
  std::atomic<size_t> next_piece{0};  // not taken by a thread yet
};

/// While one batch is prepared by all threads, the first of them adds the batch before it.
class Replay {
 public:
  explicit Replay(StoreCore& core)
      : core_(core),
        progress_("reading the feed", core.log().bytes(), "B"),
        pool_(std::max(1u, std::thread::hardware_concurrency())) {}

  void take(const LogEntry& entry) {
    read_ += entry.payload.size();
    progress_.update(read_);
    if (entry.kind == LogKind::kCount) {
      finish();
      restore_counts(entry);
      return;
    }
    Batch& batch = *reading_;
    batch.items.push_back({entry.sequence, entry.kind, batch.bytes.size(), entry.payload.size()});
    batch.bytes += entry.payload;
    if (batch.items.size() >= kBatchEntries || batch.bytes.size() >= kBatchBytes) advance();
  }

  /// Adds all that was taken.
  void finish() {
    while (!reading_->items.empty() || !ready_->items.empty()) advance();
  }

  uint64_t broken() const { return broken_; }

 private:
  void advance() {
    std::exception_ptr error;
    pool_.run([&](size_t thread) {
      if (thread == 0) error = add_ready();
      prepare_pieces();
    });
    if (error) std::rethrow_exception(error);
    ready_->clear();
    std::swap(reading_, ready_);
  }

  void prepare_pieces() {
    Batch& batch = *reading_;
    for (size_t i = batch.next_piece++; i < batch.pieces(); i = batch.next_piece++) prepare(batch, i);
  }

  static void prepare(Batch& batch, size_t number) {
    Batch::Piece& piece = batch.prepared[number];
    piece.posts.clear();
    piece.sequences.clear();
    piece.broken = 0;
    const size_t end = std::min(batch.items.size(), (number + 1) * kPieceEntries);
    for (size_t i = number * kPieceEntries; i < end; ++i) {
      const Batch::Item& item = batch.items[i];
      try {
        piece.posts.add(post_of(item.kind, std::string_view(batch.bytes).substr(item.begin, item.size)));
        piece.sequences.push_back(item.sequence);
      } catch (const Error&) {
        ++piece.broken;
      }
    }
  }

  std::exception_ptr add_ready() {
    try {
      for (size_t i = 0; i < ready_->pieces(); ++i) add(ready_->prepared[i]);
      return nullptr;
    } catch (...) {
      return std::current_exception();
    }
  }

  /// In runs whose sequences rise by one.
  void add(const Batch::Piece& piece) {
    broken_ += piece.broken;
    run_.clear();
    for (size_t i = 0; i < piece.posts.size(); ++i) {
      run_.push_back(&piece.posts[i]);
      const bool goes_on = i + 1 < piece.posts.size() && piece.sequences[i + 1] == piece.sequences[i] + 1;
      if (goes_on) continue;
      core_.restore(run_, piece.sequences[i] + 1 - run_.size());
      run_.clear();
    }
  }

  void restore_counts(const LogEntry& entry) {
    try {
      core_.restore(decode_counts(entry.payload), entry.sequence);
    } catch (const Error&) {
      ++broken_;
    }
  }

  StoreCore& core_;
  Progress progress_;
  ThreadPool pool_;
  Batch batches_[2];
  Batch* reading_ = &batches_[0];
  Batch* ready_ = &batches_[1];  // prepared, to be added
  std::vector<const PreparedPost*> run_;
  uint64_t read_ = 0, broken_ = 0;
};

}  // namespace

void replay_log(StoreCore& core, uint64_t through) {
  Replay replay(core);
  const size_t damaged = core.log().replay(through, [&](const LogEntry& entry) { replay.take(entry); });
  replay.finish();
  core.finish_restore(core.log().last());
  if (replay.broken() + damaged > 0)
    log().error("{} entries and {} stretches of the log in '{}' could not be read and were left out",
                replay.broken(), damaged, core.options().folder.string());
}

}  // namespace fathom::live
