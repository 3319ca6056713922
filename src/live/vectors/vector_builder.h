// Keeps the graph of vectors abreast of the store: reads, embeds, adds, lets go, writes the file. What the thread of a
// VectorIndex does.
//
// Thread safety: `run` and `save` for one thread; `graph`, `status`, `wait_for` and `ask` for any.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <queue>
#include <stop_token>
#include <vector>

#include "live/vectors/backlog.h"
#include "live/vectors/copies.h"
#include "live/vectors/hnsw.h"
#include "live/vectors/vectors.h"

namespace fathom::live {

/// The post of this sequence, if it is still there.
std::optional<Post> find_post(const Store& store, uint64_t sequence);

class VectorBuilder {
 public:
  /// Reads the file.
  VectorBuilder(const Store& store, TextEmbedder& embedder, const VectorOptions& options);

  /// Until stopped.
  void run(const std::stop_token& stop);
  /// Writes the file, if there is something new; a failure is logged.
  void save();

  const Hnsw& graph() const { return *graph_; }
  VectorIndex::Status status() const;
  bool wait_for(uint64_t sequence, std::chrono::milliseconds wait) const;

  /// While it lives, the thread embeds nothing.
  class Asking {
   public:
    explicit Asking(const VectorBuilder& builder) : count_(builder.asking_) { ++count_; }
    ~Asking() { --count_; }
    Asking(const Asking&) = delete;
    Asking& operator=(const Asking&) = delete;

   private:
    std::atomic<uint32_t>& count_;
  };
  Asking ask() const { return Asking(*this); }

 private:
  using SteadyTime = std::chrono::steady_clock::time_point;
  struct Fresh {  // to be embedded
    VectorFacts facts;
    std::string text;
  };
  struct Older {
    bool operator()(const std::pair<uint64_t, uint32_t>& a, const std::pair<uint64_t, uint32_t>& b) const {
      return a.first > b.first;
    }
  };

  void load();
  void step(const std::stop_token& stop);
  std::vector<Fresh> read(const Backlog::Range& range);
  bool embed(std::vector<Fresh>& fresh, const std::stop_token& stop);
  bool failed(size_t posts, std::string_view why, const std::stop_token& stop);
  void add(std::span<const float> vector, const VectorFacts& facts);
  void drop_gone();
  uint64_t floor();
  bool make_room(const std::stop_token& stop);
  void sweep(size_t nodes);
  void give_way(std::chrono::nanoseconds worked, const std::stop_token& stop) const;
  void tell();
  void count_rate(size_t posts);

  const Store& store_;
  TextEmbedder& embedder_;
  const VectorOptions options_;
  const std::filesystem::path path_;
  std::unique_ptr<Hnsw> graph_;
  Backlog backlog_;
  Copies copies_;
  std::priority_queue<std::pair<uint64_t, uint32_t>, std::vector<std::pair<uint64_t, uint32_t>>, Older>
      oldest_;                 // sequence and node; those that are gone are passed over
  uint32_t sweep_at_ = 1;      // the next node to look after
  uint64_t swept_change_ = 0;  // the store's state at the start of the sweep, and of the last complete one
  uint64_t sweeping_change_ = 0;
  size_t failures_ = 0;  // in a row
  bool changed_ = false;
  SteadyTime saved_{}, rate_since_{};
  size_t rate_posts_ = 0;

  mutable std::atomic<uint32_t> asking_{0};
  mutable std::mutex mutex_;
  mutable std::condition_variable told_;
  uint64_t read_through_ = 0;  // with mutex_, as the next
  VectorIndex::Status status_;
};

}  // namespace fathom::live
