#include "infer/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace fathom::infer {
namespace {

using Clock = std::chrono::steady_clock;

/// What a step may take for prompts while others are being answered.
constexpr double kPromptSeconds = 0.15;
/// The least that prompts get then: less would not use the weights that are read anyway.
constexpr size_t kLeastPromptRoom = 32;
/// The prompt that came first gets this part of what prompts get, however long it is.
constexpr size_t kFirstsShare = 4;
/// Rows of logits beyond one for each generation, for guesses.
constexpr size_t kGuessRows = 16;

}  // namespace

Scheduler::Scheduler(Transformer& transformer, KvPool& pages, ThreadPool& pool, size_t vocabulary,
                     const Limits& limits)
    : transformer_(transformer),
      pages_(pages),
      pool_(pool),
      vocabulary_(vocabulary),
      limits_{std::clamp<size_t>(limits.sequences, 1, Transformer::kChunk / 2), limits.waiting,
              limits.choice},
      most_rows_(limits_.sequences + kGuessRows),
      logits_(most_rows_ * vocabulary * sizeof(float)) {
  running_.reserve(limits_.sequences);
  parts_.resize(limits_.sequences);
  chunks_.reserve(limits_.sequences);
  thread_ = std::thread([this] { work(); });
}

Scheduler::~Scheduler() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
  std::unique_lock lock(mutex_);
  left_.wait(lock, [this] { return callers_ == 0; });
}

// ------------------------------------------------------------------ the callers' side

void Scheduler::submit(const Shared& generation) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= limits_.waiting)
      throw Error(ErrorCode::kResourceExhausted,
                  fmt::format("{} requests wait already and no more are taken; come again in a moment",
                              waiting_.size()));
    if (stopping_) return generation->close();
    waiting_.push_back({generation, arrivals_++});
    waiting_count_.store(waiting_.size(), std::memory_order_relaxed);
    woken_ = true;
  }
  changed_.notify_one();
}

void Scheduler::wake() {
  {
    std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_one();
}

GenerateResult Scheduler::run(const Shared& generation, const GenerateRequest& request, const TextSink& sink,
                              const std::stop_token& stop) {
  Outbox& outbox = generation->outbox();
  struct Visit {  // the caller's, from the queue to the end
    Scheduler& scheduler;
    Outbox& outbox;
    bool closed = false;
    Visit(Scheduler& s, Outbox& o) : scheduler(s), outbox(o) {
      std::lock_guard lock(scheduler.mutex_);
      ++scheduler.callers_;
    }
    ~Visit() {
      outbox.abandon();
      if (!closed) scheduler.wake();
      std::lock_guard lock(scheduler.mutex_);
      if (--scheduler.callers_ == 0) scheduler.left_.notify_all();
    }
  } visit(*this, outbox);

  std::string text;
  size_t tokens = 0;
  const auto give = [&](std::string piece) {
    if (piece.empty()) return true;
    text += piece;
    return !sink || sink(piece);
  };
  const auto leave = [&](FinishReason reason) {
    GenerateResult result = outbox.result();
    result.text = std::move(text);
    result.finish = reason;
    result.completion_tokens = tokens;
    return result;
  };
  const auto too_late = [] {
    return Error(ErrorCode::kDeadlineExceeded,
                 "the time allowed was over before the first token; allow more, or come when less is asked");
  };
  if (stop.stop_requested()) return leave(FinishReason::kCancelled);
  if (request.deadline && std::chrono::steady_clock::now() >= *request.deadline) throw too_late();
  submit(generation);
  for (;;) {
    auto batch = outbox.take(stop, request.deadline);
    if (batch.was_full) wake();
    for (Delivery& delivery : batch.deliveries) {
      if (batch.state == Outbox::State::kStopped) break;
      ++tokens;
      if (delivery.choice && request.on_token) request.on_token(*delivery.choice);
      if (!give(std::move(delivery.text))) return leave(FinishReason::kCancelled);
      if (stop.stop_requested()) return leave(FinishReason::kCancelled);
    }
    switch (batch.state) {
      case Outbox::State::kOpen: break;
      case Outbox::State::kStopped: return leave(FinishReason::kCancelled);
      case Outbox::State::kLate:
        if (tokens > 0) return leave(FinishReason::kLength);
        throw too_late();
      case Outbox::State::kClosed: {
        visit.closed = true;
        GenerateResult result = outbox.result();
        if (result.finish == FinishReason::kCancelled) return leave(FinishReason::kCancelled);
        const bool wanted = give(std::exchange(result.text, {}));
        result.text = std::move(text);
        if (!wanted) result.finish = FinishReason::kCancelled;
        return result;
      }
    }
  }
}

void Scheduler::exclusively(const std::function<void()>& job) {
  // Shared, for the scheduler's thread is still in the task when the future is ready.
  const auto task = std::make_shared<std::packaged_task<void()>>(job);
  auto done = task->get_future();
  {
    std::lock_guard lock(mutex_);
    if (stopping_) throw Error(ErrorCode::kCancelled, "the engine is being shut down");
    jobs_.push_back([task] { (*task)(); });
    woken_ = true;
    changed_.notify_one();  // once the lock is free the scheduler may end
  }
  done.get();
}

EngineStatus Scheduler::status() const {
  EngineStatus out;
  out.running = running_count_.load(std::memory_order_relaxed);
  out.waiting = waiting_count_.load(std::memory_order_relaxed);
  out.cache_pages = pages_.pages();
  out.cache_pages_used = pages_.used();
  out.prompt_tokens = prompt_tokens_.load(std::memory_order_relaxed);
  out.cached_tokens = cached_tokens_.load(std::memory_order_relaxed);
  out.completion_tokens = completion_tokens_.load(std::memory_order_relaxed);
  out.guessed_tokens = guessed_tokens_.load(std::memory_order_relaxed);
  return out;
}

// ------------------------------------------------------------------ the scheduler's thread

void Scheduler::work() {
  for (;;) {
    std::deque<std::function<void()>> jobs;
    {
      std::lock_guard lock(mutex_);
      woken_ = false;  // what happens from here on is seen by the next round
      jobs.swap(jobs_);
      if (stopping_ && jobs.empty()) break;
    }
    for (const auto& job : jobs) job();
    try {
      if (step() || !jobs.empty()) continue;
    } catch (...) {
      fail_all(std::current_exception());
      continue;  // others may wait for the places that are free now
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return woken_ || stopping_; });
  }
  end_all();
}

/// One step of the model; false when there is nothing to compute.
bool Scheduler::step() {
  drop_abandoned();
  admit();
  part_count_ = step_tokens_ = step_rows_ = 0;
  find_choosing();
  add_answers();
  add_prompts();
  if (part_count_ == 0 && choosing_.empty()) return false;
  if (part_count_ > 0) compute();
  choose_tokens();
  remove_finished();
  return true;
}

/// A step could not be made (memory is short): nobody's keys and values are sure.
void Scheduler::fail_all(const std::exception_ptr& error) {
  for (const Entry& e : running_) e.generation->fail(error);
  running_.clear();
  running_count_.store(0, std::memory_order_relaxed);
}

void Scheduler::end_all() {
  std::deque<Entry> waiting;
  {
    std::lock_guard lock(mutex_);
    waiting.swap(waiting_);
  }
  for (const Entry& e : running_) e.generation->close();
  for (const Entry& e : waiting) e.generation->close();
  running_.clear();
  waiting_count_.store(0, std::memory_order_relaxed);
  running_count_.store(0, std::memory_order_relaxed);
}

void Scheduler::drop_abandoned() {
  const auto gone = [](const Entry& e) { return e.generation->outbox().abandoned(); };
  std::vector<Entry> left;
  left.reserve(running_.size());
  for (Entry& e : running_)
    if (gone(e)) left.push_back(std::move(e));
  std::erase_if(running_, [](const Entry& e) { return e.generation == nullptr; });
  end(left);
  std::deque<Entry> dropped;  // destroyed outside the lock
  std::lock_guard lock(mutex_);
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (gone(*it)) {
      dropped.push_back(std::move(*it));
      it = waiting_.erase(it);
    } else {
      ++it;
    }
  }
}

/// Pages that those running still need for what they hold, and one each to go on.
size_t Scheduler::pages_promised() const {
  size_t pages = 0;
  for (const Entry& e : running_) {
    const size_t wanted = KvPool::pages_of(e.generation->history().size() + 1) + 1;
    const size_t has = e.generation->kv().capacity() / KvPool::kPositions;
    pages += wanted - std::min(wanted, has);
  }
  return pages;
}

void Scheduler::admit() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto next = std::find_if(waiting_.begin(), waiting_.end(),
                                   [](const Entry& e) { return !e.generation->outbox().full(); });
    if (next == waiting_.end()) break;
    const size_t wanted = KvPool::pages_of(next->generation->history().size() + 1) + 1;
    const bool pages = running_.empty() || pages_.available() >= pages_promised() + wanted;
    if (running_.size() >= limits_.sequences || !pages) {
      lock.unlock();
      const bool room = set_slow_reader_aside();
      lock.lock();
      if (!room) break;
      continue;
    }
    Entry entry = std::move(*next);
    waiting_.erase(next);
    lock.unlock();
    const Shared generation = entry.generation;
    const auto at = std::find_if(running_.begin(), running_.end(),
                                 [&](const Entry& e) { return e.arrival > entry.arrival; });
    running_.insert(at, std::move(entry));
    generation->begin();  // if it fails, it is among those who are told
    lock.lock();
  }
  waiting_count_.store(waiting_.size(), std::memory_order_relaxed);
  running_count_.store(running_.size(), std::memory_order_relaxed);
}

/// The last of those who wait for their reader gives its place up: it is let in again when the reader has caught up. False:
/// there is none.
bool Scheduler::set_slow_reader_aside() {
  for (size_t i = running_.size(); i-- > 0;) {
    const Generation& g = *running_[i].generation;
    if (g.over() || !running_[i].generation->outbox().full()) continue;
    preempt(i);
    return true;
  }
  return false;
}

void Scheduler::find_choosing() {
  choosing_.clear();
  for (const Entry& e : running_)
    if (e.generation->choosing()) choosing_.push_back(e.generation.get());
}

bool Scheduler::in_step(const Generation& generation) const {
  return std::any_of(parts_.begin(), parts_.begin() + static_cast<ptrdiff_t>(part_count_),
                     [&](const Part& p) { return p.generation == &generation; });
}

/// Whom generation `index` may take pages from: one whose reader lags, else the one that came last, if after it; running_'s
/// size for nobody.
size_t Scheduler::victim(size_t index) const {
  size_t out = running_.size();
  for (size_t i = 0; i < running_.size(); ++i) {
    const Generation& g = *running_[i].generation;
    if (i == index || g.kv().capacity() == 0 || in_step(g)) continue;
    if (g.over() || g.choosing()) continue;
    if (running_[i].generation->outbox().full()) return i;
    if (i > index) out = i;
  }
  return out;
}

void Scheduler::preempt(size_t index) {
  const Entry entry = running_[index];
  entry.generation->preempt();
  {
    std::lock_guard lock(mutex_);
    const auto at = std::find_if(waiting_.begin(), waiting_.end(),
                                 [&](const Entry& e) { return e.arrival > entry.arrival; });
    waiting_.insert(at, entry);
  }
  running_.erase(running_.begin() + static_cast<ptrdiff_t>(index));
}

/// Pages for `tokens` more tokens of generation `index`, if need be from others; its index may become another.
bool Scheduler::make_room(size_t& index, size_t tokens) {
  for (;;) {
    KvSequence& kv = running_[index].generation->kv();
    if (kv.reserve(kv.tokens().size() + tokens)) return true;
    const size_t other = victim(index);
    if (other == running_.size()) return false;
    preempt(other);
    if (other < index) --index;
  }
}

void Scheduler::add(Generation& generation, size_t pending, std::span<const int32_t> guesses) {
  Part& part = parts_[part_count_++];
  part.generation = &generation;
  part.logits_at = step_rows_;
  part.rows = pending == generation.pending() ? 1 + guesses.size() : 0;
  const auto rest = generation.history().subspan(generation.kv().tokens().size(), pending);
  part.tokens.assign(rest.begin(), rest.end());
  part.tokens.insert(part.tokens.end(), guesses.begin(), guesses.end());
  step_tokens_ += part.tokens.size();
  step_rows_ += part.rows;
}

/// The next token of all that are being answered, with guesses where there is room for their logits.
void Scheduler::add_answers() {
  size_t spare = kGuessRows;
  for (size_t i = 0; i < running_.size(); ++i) {
    const Shared generation = running_[i].generation;
    if (generation->choosing() || generation->pending() != 1 || generation->outbox().full()) continue;
    auto guesses = generation->guess(spare);
    if (!guesses.empty() && !generation->kv().reserve(generation->kv().tokens().size() + 1 + guesses.size()))
      guesses = generation->guess(0);
    if (!make_room(i, 1 + guesses.size())) continue;
    spare -= guesses.size();
    add(*generation, 1, guesses);
  }
}

/// Tokens of prompts in this step.
size_t Scheduler::prompt_room() const {
  const size_t left = Transformer::kChunk - step_tokens_;
  if (part_count_ == 0 || tokens_per_second_ == 0) return left;
  return std::clamp(static_cast<size_t>(tokens_per_second_ * kPromptSeconds),
                    std::min(kLeastPromptRoom, left), left);
}

/// Those with more than one token to compute. One whose next page another of them computes waits for that.
std::vector<Scheduler::Shared> Scheduler::prompts_to_read() {
  std::vector<Shared> out;
  for (const Entry& e : running_) {
    Generation& g = *e.generation;
    if (g.choosing() || g.pending() == 1 || g.outbox().full()) continue;
    g.adopt();
    const auto rest = [](const Generation& of) { return of.history().subspan(of.kv().tokens().size()); };
    const bool again =
        g.pending() > KvPool::kPositions && std::any_of(out.begin(), out.end(), [&](const Shared& other) {
          const auto page = rest(g).first(KvPool::kPositions);
          return other->pending() >= page.size() && other->kv().same_place(g.kv()) &&
                 std::equal(page.begin(), page.end(), rest(*other).begin());
        });
    if (!again) out.push_back(e.generation);
  }
  return out;
}

/// Shares `room` tokens out among prompts of these lengths, by arrival: the shortest first, so that as many as can be are
/// answered soon, but the one that came first is never left out.
void Scheduler::share_room(std::span<const size_t> prompts, size_t room, std::vector<size_t>& tokens) {
  tokens.assign(prompts.size(), 0);
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return prompts[a] < prompts[b]; });
  const auto give = [&](size_t i, size_t most) {
    const size_t share = std::min({most, prompts[i] - tokens[i], room});
    tokens[i] += share;
    room -= share;
  };
  give(0, std::max<size_t>(1, room / kFirstsShare));
  for (const size_t i : order) give(i, room);
}

void Scheduler::add_prompts() {
  const std::vector<Shared> prompts = prompts_to_read();
  if (prompts.empty()) return;
  std::vector<size_t> lengths, tokens;
  for (const Shared& g : prompts) lengths.push_back(g->pending());
  share_room(lengths, prompt_room(), tokens);
  for (size_t p = 0; p < prompts.size(); ++p) {
    const auto at = std::find_if(running_.begin(), running_.end(),
                                 [&](const Entry& e) { return e.generation == prompts[p]; });
    if (at == running_.end()) continue;  // it has just lost its pages
    auto index = static_cast<size_t>(at - running_.begin());
    // As much as there are pages for, if not all.
    while (tokens[p] > 0 && !make_room(index, tokens[p])) tokens[p] /= 2;
    if (tokens[p] > 0) add(*prompts[p], tokens[p], {});
  }
}

void Scheduler::compute() {
  chunks_.clear();
  size_t prompt_tokens = 0;
  for (size_t i = 0; i < part_count_; ++i) {
    const Part& part = parts_[i];
    const bool all = part.rows == part.tokens.size();
    chunks_.push_back({&part.generation->kv(), part.tokens,
                       all             ? SequenceChunk::Logits::kAll
                       : part.rows > 0 ? SequenceChunk::Logits::kLast
                                       : SequenceChunk::Logits::kNone});
    if (!all) prompt_tokens += part.tokens.size();
  }
  const auto start = Clock::now();
  transformer_.forward(chunks_, std::span(logits_.as<float>(), step_rows_ * vocabulary_));
  if (prompt_tokens < kLeastPromptRoom) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const double rate = static_cast<double>(step_tokens_) / std::max(seconds, 1e-6);
  tokens_per_second_ = tokens_per_second_ == 0 ? rate : 0.7 * tokens_per_second_ + 0.3 * rate;
}

/// Item i: those who have been choosing, then the parts of the step.
void Scheduler::choose(size_t item) {
  const auto until = Clock::now() + limits_.choice;
  if (item < choosing_.size()) return choosing_[item]->go_on(vocabulary_, until);
  const Part& part = parts_[item - choosing_.size()];
  if (part.rows == 0) return;
  part.generation->advance(
      std::span(logits_.as<float>() + part.logits_at * vocabulary_, part.rows * vocabulary_), vocabulary_,
      until);
}

void Scheduler::choose_tokens() {
  const size_t items = choosing_.size() + part_count_;
  if (items == 1) return choose(0);
  std::atomic<size_t> next{0};
  pool_.run([&](size_t) {
    for (size_t i = next.fetch_add(1); i < items; i = next.fetch_add(1)) choose(i);
  });
}

void Scheduler::remove_finished() {
  // What was guessed wrongly is gone by now; what is left may be found.
  for (size_t i = 0; i < part_count_; ++i)
    if (!parts_[i].generation->failed()) parts_[i].generation->kv().publish();
  std::vector<Entry> over;
  over.reserve(running_.size());
  for (Entry& e : running_)
    if (e.generation->over()) over.push_back(std::move(e));
  std::erase_if(running_, [](const Entry& e) { return e.generation == nullptr; });
  end(over);
}

/// Counts them out, then tells their readers.
void Scheduler::end(std::span<const Entry> entries) {
  running_count_.store(running_.size(), std::memory_order_relaxed);
  for (const Entry& e : entries) {
    count(e.generation->result());
    e.generation->close();
  }
}

void Scheduler::count(const GenerateResult& result) {
  prompt_tokens_.fetch_add(result.prompt_tokens, std::memory_order_relaxed);
  cached_tokens_.fetch_add(result.cached_tokens, std::memory_order_relaxed);
  completion_tokens_.fetch_add(result.completion_tokens, std::memory_order_relaxed);
  guessed_tokens_.fetch_add(result.guessed_tokens, std::memory_order_relaxed);
}

}  // namespace fathom::infer
