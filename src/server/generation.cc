#include "server/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "base/error.h"
#include "server/api_error.h"

namespace fathom::server {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr size_t kThreads = 8;  // a request's share of the engine at most

double seconds_between(SteadyClock::time_point from, SteadyClock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

class Batch {
 public:
  Batch(const Context& context, std::vector<infer::GenerateRequest> jobs, size_t group,
        const GenerationEvents& events)
      : context_(context),
        engine_(*context.services.engine),
        requests_(std::move(jobs)),
        group_(group),
        events_(events),
        states_(requests_.size()),
        results_(requests_.size()) {}

  std::vector<infer::GenerateResult> run(const std::stop_token& stop) {
    // Nothing here may wait for `mutex_`: a client that leaves is noticed by the thread that would write to it.
    const std::stop_callback forward(stop, [this] { stop_.request_stop(); });
    {
      std::vector<std::jthread> others;  // joined at the end of this block
      const size_t threads = std::min(requests_.size(), kThreads);
      for (size_t i = 1; i < threads; ++i) others.emplace_back([this] { work(); });
      work();
    }
    if (error_) std::rethrow_exception(error_);
    if (stop_.stop_requested()) throw ApiError(503, "the answer was stopped before its end", "cancelled");
    return std::move(results_);
  }

 private:
  struct State {
    bool started = false;
    bool has_text = false;                   // or ended: its prompt is in the cache
    std::vector<infer::TokenChoice> tokens;  // not handed on yet; of the thread that runs the job
    SteadyClock::time_point last_text = SteadyClock::now();
  };

  void work() {
    while (const auto job = next()) run_one(*job);
  }

  /// A job that may start; waits for the leader of its group. Empty: there is none any more.
  std::optional<size_t> next() {
    std::unique_lock lock(mutex_);
    std::optional<size_t> found;
    changed_.wait(lock, stop_.get_token(), [&] {
      found = startable();
      return found || all_started();
    });
    if (stop_.stop_requested() || !found) return std::nullopt;
    states_[*found].started = true;
    return found;
  }

  std::optional<size_t> startable() const {
    for (size_t i = 0; i < states_.size(); ++i) {
      const size_t leader = i - i % group_;
      if (!states_[i].started && (leader == i || states_[leader].has_text)) return i;
    }
    return std::nullopt;
  }

  bool all_started() const {
    return std::all_of(states_.begin(), states_.end(), [](const State& state) { return state.started; });
  }

  void run_one(size_t job) {
    infer::GenerateRequest& request = requests_[job];
    State& state = states_[job];
    if (request.logprobs)
      request.on_token = [&state](const infer::TokenChoice& token) { state.tokens.push_back(token); };
    state.last_text = SteadyClock::now();
    try {
      auto result = engine_.generate(
          request, [&](std::string_view text) { return go_on(job, text); }, stop_.get_token());
      end(job, std::move(result));
    } catch (...) {
      fail(std::current_exception());
    }
  }

  /// As the engine asks it: throws nothing through it.
  bool go_on(size_t job, std::string_view text) {
    try {
      if (hand_on(job, text)) return true;
      stop_.request_stop();
    } catch (...) {
      fail(std::current_exception());
    }
    return false;
  }

  bool hand_on(size_t job, std::string_view text) {
    std::lock_guard lock(mutex_);
    State& state = states_[job];
    const auto now = SteadyClock::now();
    const double waited = seconds_between(std::exchange(state.last_text, now), now);
    if (state.has_text) {
      context_.metrics.next_text(waited);
    } else {
      context_.metrics.first_text(waited);
      state.has_text = true;
      changed_.notify_all();
    }
    const bool more = !stop_.stop_requested() && events_.on_text(job, text, state.tokens);
    state.tokens.clear();
    return more;
  }

  void end(size_t job, infer::GenerateResult result) {
    std::lock_guard lock(mutex_);
    State& state = states_[job];
    state.has_text = true;
    changed_.notify_all();
    // The tokens of a stop string are not part of the answer.
    if (!result.stop_string.empty()) state.tokens.clear();
    if (!stop_.stop_requested() && !state.tokens.empty()) events_.on_text(job, "", state.tokens);
    if (!stop_.stop_requested()) events_.on_end(job, result);
    results_[job] = std::move(result);
  }

  void fail(std::exception_ptr error) {
    {
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::move(error);
    }
    stop_.request_stop();
  }

  const Context& context_;
  infer::Engine& engine_;
  std::vector<infer::GenerateRequest> requests_;
  const size_t group_;
  const GenerationEvents& events_;
  std::stop_source stop_;
  std::mutex mutex_;  // guards what follows, and the events
  std::condition_variable_any changed_;
  std::vector<State> states_;
  std::vector<infer::GenerateResult> results_;
  std::exception_ptr error_;
};

}  // namespace

std::vector<infer::GenerateResult> generate_all(const Context& context,
                                                std::vector<infer::GenerateRequest> jobs, size_t group,
                                                const GenerationEvents& events, const std::stop_token& stop) {
  const auto limit = context.options.limits.answer_time;
  if (limit.count() > 0) {
    for (auto& job : jobs) job.deadline = SteadyClock::now() + limit;
  }
  try {
    return Batch(context, std::move(jobs), group, events).run(stop);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kResourceExhausted) throw engine_is_full();
    throw;
  }
}

size_t require_room(const infer::Engine& engine, size_t prompt_tokens, const std::string& param,
                    std::string_view what) {
  const size_t context = engine.info().context;
  if (prompt_tokens < context) return context - prompt_tokens;
  throw ApiError(400,
                 fmt::format("{} has {} tokens; the model takes {} with its answer: shorten it", what,
                             prompt_tokens, context),
                 "context_length_exceeded", param);
}

Slots::Hold take_slots(const Context& context, size_t jobs) {
  auto hold = context.generations.take(std::min(jobs, kThreads));
  if (!hold) throw engine_is_full();
  return std::move(*hold);
}

ApiError engine_is_full() {
  ApiError error(429, "the model has too many requests waiting; try again in a moment",
                 "rate_limit_exceeded");
  error.headers.emplace_back("Retry-After", "2");
  return error;
}

uint64_t fresh_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

uint64_t choice_seed(uint64_t seed, size_t index) {
  return seed + index * 0x9E3779B97F4A7C15u;  // far apart (the golden ratio, as SplitMix64 steps)
}

}  // namespace fathom::server
