// Gradients summed and weights gathered over a group of ranks, bucket by bucket, by a thread that works while others compute.
//
// A `SharedArena` is one arena as its group shares it: cut into buckets, of each of which every rank has a part. The
// `Reducer` does in order what is posted; all ranks of a group post the same. From `reduce` on a bucket's gradients are the
// reducer's until `wait` returns; so are, from `gather` on, its weights.
//
// Owned by one rank. One thread posts and waits; `reduced` may be asked by any. Nothing is allocated after construction.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "train/communicator.h"
#include "train/parameters.h"

namespace fathom::train {

struct SharedArena {
  struct Range {
    size_t begin = 0;
    size_t end = 0;
    size_t size() const { return end - begin; }
  };

  Arena arena = Arena::kDense;
  std::span<float> values, gradients;
  std::unique_ptr<Communicator> group;
  size_t zero = 0;  // 0 where the group is one rank
  size_t bucket_size = 1;
  /// With zero 2, of all parts of this rank one after another: what the buckets add up to. Else empty.
  std::span<float> sums;

  /// Takes values and gradients of `arena`. REQUIRES: its size is a multiple of the group's.
  SharedArena(Parameters& parameters, Arena arena, std::unique_ptr<Communicator> group, size_t zero,
              size_t bucket_floats);

  size_t buckets() const { return (values.size() + bucket_size - 1) / bucket_size; }
  Range bucket(size_t index) const;
  /// What of a bucket rank `group->rank()` answers for.
  Range part(size_t index) const;
  /// What of a bucket this rank updates: its part where the arena is sharded, else all.
  Range owned(size_t index) const { return zero == 0 ? bucket(index) : part(index); }
  /// Floats of all parts before that of bucket `index`.
  size_t parts_before(size_t index) const { return bucket(index).begin / group->size(); }
  /// The reduced gradients of this rank's part.
  float* reduced(size_t index) const {
    return sums.empty() ? gradients.data() + part(index).begin : sums.data() + parts_before(index);
  }
};

class Reducer {
 public:
  /// The arenas outlive it.
  explicit Reducer(std::span<SharedArena> arenas);
  /// Cancels what is under way.
  ~Reducer();
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;

  /// The bucket's gradients become their sum over the group: all of them with zero 0, this rank's part with 1; with 2 the
  /// part is added to `sums` and the bucket emptied.
  void reduce(SharedArena& arena, size_t bucket) { post({&arena, bucket, true}); }
  /// Every rank's part of the bucket's weights reaches all ranks.
  void gather(SharedArena& arena, size_t bucket) { post({&arena, bucket, false}); }
  /// Returns when all that was posted is done. Errors: the communicator's.
  void wait();

  /// Buckets reduced since `begin_count`.
  size_t reduced() const { return reduced_; }
  void begin_count() { reduced_ = 0; }
  size_t bytes() const { return scratch_.size() * sizeof(float); }

 private:
  struct Job {
    SharedArena* arena = nullptr;
    size_t bucket = 0;
    bool reduce = true;
  };

  void post(const Job& job);
  void work();
  void reduce_now(const Job& job);
  static void gather_now(const Job& job);

  std::span<SharedArena> arenas_;
  std::vector<float> scratch_;  // a rank's part of a bucket
  std::atomic<size_t> reduced_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Job> jobs_;  // since all were done last
  size_t done_ = 0;        // of jobs_
  bool stopping_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // only where there is another rank
};

}  // namespace fathom::train
