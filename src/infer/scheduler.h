// Continuous batching: generations that run at the same time share each step of the model.
//
// A thread of the scheduler's own makes steps as long as there is something to compute, and sleeps otherwise. A step takes
// the next token of every generation that is answering, and with what room is left pieces of prompts: the shortest first, so
// that a short one is not held up behind a long one, and a part for the one that came first; while somebody is being answered prompts get only
// as much as keeps a step short. Steps are as large as the model takes, so that prompts that come together are read
// together.
//
// Generations are let in in the order in which they came. When pages run out, the one that came last gives up its own and
// is let in again later; what it says is the same. One whose reader lags behind is passed over until the reader has caught
// up, and makes room for others that wait. One whose grammar is slow chooses its token over several steps. Prompts that begin with the same tokens are computed once (infer/kv_cache.h).
//
// Thread-safe. The transformer and the pages belong to the scheduler's thread from construction to destruction, and so does
// the thread pool while a step is made.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/thread_pool.h"
#include "infer/engine.h"
#include "infer/generation.h"
#include "infer/kv_cache.h"
#include "infer/transformer.h"
#include "tensor/buffer.h"

namespace fathom::infer {

class Scheduler {
 public:
  struct Limits {
    size_t sequences = 16;  // that share a step
    size_t waiting = 256;   // more are refused
    std::chrono::microseconds choice{
        4000};  // of a step for one token; what is left of it waits for the next step
  };

  /// All are the caller's and outlive the scheduler. REQUIRES: pages for one sequence of the transformer's context, and one
  /// more.
  Scheduler(Transformer& transformer, KvPool& pages, ThreadPool& pool, size_t vocabulary,
            const Limits& limits);
  /// Ends what is running (kCancelled) and waits until every caller has left.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Runs a generation to its end; the sink and `request.on_token` are called on this thread. Errors: kResourceExhausted
  /// when too many wait; kDeadlineExceeded before the first token; those of the sink.
  GenerateResult run(const std::shared_ptr<Generation>& generation, const GenerateRequest& request,
                     const TextSink& sink, const std::stop_token& stop);

  /// Calls `job` on the scheduler's thread, between two steps, and returns when it is done. Errors: the job's own.
  void exclusively(const std::function<void()>& job);

  EngineStatus status() const;

 private:
  using Shared = std::shared_ptr<Generation>;

  /// A generation in the scheduler's hands.
  struct Entry {
    Shared generation;
    uint64_t arrival = 0;
  };
  /// A generation's part of a step.
  struct Part {
    Generation* generation;
    std::vector<int32_t> tokens;
    size_t logits_at = 0;  // the first of its rows of logits
    size_t rows = 0;       // of logits: none, or from the last pending token on
  };

  void submit(const Shared& generation);
  void wake();
  void work();
  bool step();
  void end_all();

  void drop_abandoned();
  void end(std::span<const Entry> entries);
  void admit();
  bool set_slow_reader_aside();
  void find_choosing();
  size_t pages_promised() const;
  void add_answers();
  void add_prompts();
  static void share_room(std::span<const size_t> prompts, size_t room, std::vector<size_t>& tokens);
  size_t prompt_room() const;
  std::vector<Shared> prompts_to_read();
  bool make_room(size_t& index, size_t tokens);
  size_t victim(size_t index) const;
  void preempt(size_t index);
  bool in_step(const Generation& generation) const;
  void add(Generation& generation, size_t pending, std::span<const int32_t> guesses);
  void compute();
  void choose(size_t item);
  void choose_tokens();
  void fail_all(const std::exception_ptr& error);
  void remove_finished();
  void count(const GenerateResult& result);

  Transformer& transformer_;
  KvPool& pages_;
  ThreadPool& pool_;
  const size_t vocabulary_;
  const Limits limits_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  bool stopping_ = false;
  std::deque<Entry> waiting_;  // by arrival
  std::deque<std::function<void()>> jobs_;
  uint64_t arrivals_ = 0;
  size_t callers_ = 0;
  std::condition_variable left_;

  // The scheduler's thread's own.
  std::vector<Entry> running_;  // by arrival
  std::vector<Part> parts_;     // of the step, the first `part_count_`
  size_t part_count_ = 0;
  std::vector<Generation*> choosing_;  // since an earlier step
  size_t step_tokens_ = 0;
  size_t step_rows_ = 0;  // of logits
  size_t most_rows_;
  double tokens_per_second_ = 0;  // of prompts lately
  tensor::Buffer logits_;         // [most_rows_, vocabulary_]
  std::vector<SequenceChunk> chunks_;

  std::atomic<size_t> running_count_{0}, waiting_count_{0};
  std::atomic<uint64_t> prompt_tokens_{0}, cached_tokens_{0}, completion_tokens_{0}, guessed_tokens_{0};
  std::thread thread_;
};

}  // namespace fathom::infer
