#include "cli/eval_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/error.h"

namespace fathom::cli {
namespace {

using nlohmann::json;
using Steady = std::chrono::steady_clock;

constexpr size_t kMostUsers = 256;
constexpr auto kPatience = std::chrono::seconds(10);  // for one change to show

double since(Steady::time_point start) {
  return std::chrono::duration<double, std::milli>(Steady::now() - start).count();
}

struct Timed {
  std::string text;
  double first = 0, full = 0;  // milliseconds
};

Timed ask(Client& client, const std::string& model, const std::string& question) {
  const json body = {
      {"model", model}, {"stream", true}, {"messages", {{{"role", "user"}, {"content", question}}}}};
  Timed out;
  const auto start = Steady::now();
  client.stream("/v1/chat/completions", body.dump(),
                [&](const json& chunk) {
                  if (!chunk.contains("choices") || chunk["choices"].empty()) return;
                  const json delta = chunk["choices"][0].value("delta", json::object());
                  if (!delta.contains("content") || !delta["content"].is_string()) return;
                  const std::string piece = delta["content"].get<std::string>();
                  if (out.text.empty() && !piece.empty()) out.first = since(start);
                  out.text += piece;
                },
                {});
  out.full = since(start);
  return out;
}

json to_json(const Quantiles& q) {
  return {{"count", q.count}, {"p50", q.p50}, {"p99", q.p99}, {"max", q.max}};
}

/// One number of users: each takes the next question until all are asked. The first error ends them all.
json measure_one(Client& client, const SpeedOptions& options, const std::vector<std::string>& questions,
                 size_t users) {
  const size_t asks = std::max(options.asks, users);
  std::atomic<size_t> next{0};
  std::mutex lock;
  std::vector<double> first, full;
  std::exception_ptr failed;
  const auto user = [&] {
    for (size_t i = next++; i < asks; i = next++) {
      try {
        const Timed timed = ask(client, options.model, questions[i % questions.size()]);
        const std::lock_guard<std::mutex> guard(lock);
        first.push_back(timed.first);
        full.push_back(timed.full);
      } catch (const std::exception&) {
        const std::lock_guard<std::mutex> guard(lock);
        if (!failed) failed = std::current_exception();
        next = asks;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < users; ++i) threads.emplace_back(user);
  }
  if (failed) std::rethrow_exception(failed);
  return {{"users", users},
          {"asks", asks},
          {"first_ms", to_json(quantiles_of(first))},
          {"full_ms", to_json(quantiles_of(full))}};
}

/// Sets the figure by a post of now, and waits until an answer has it.
std::optional<double> change_figure(Client& client, const SpeedOptions& options, size_t change,
                                    const std::string& name) {
  const std::string figure = std::to_string(1201 + 7 * change);
  const SystemClock clock;
  const json post = {{"id", fmt::format("{}-{}", name, change)},
                     {"source", "eval"},
                     {"author", {{"handle", "eval_gauge"}, {"name", "Gauge " + name}}},
                     {"text", fmt::format("The {} gauge counts {} barges now.", name, figure)},
                     {"created_at", format_time(clock.now())}};
  const auto start = Steady::now();
  client.post("/v1/posts", post.dump(), "application/json");
  while (Steady::now() - start < kPatience) {
    const Timed told =
        ask(client, options.model, fmt::format("How many barges does the {} gauge count now?", name));
    // The newest figure stands first; the one before it may be told behind it.
    const size_t at = told.text.find(figure);
    const size_t before = told.text.find(std::to_string(1201 + 7 * (change - 1)));
    if (at != std::string::npos && (change == 0 || before == std::string::npos || at < before))
      return since(start);
  }
  return std::nullopt;
}

}  // namespace

Quantiles quantiles_of(std::vector<double> milliseconds) {
  if (milliseconds.empty()) return {};
  std::ranges::sort(milliseconds);
  const auto rank = [&](double share) {
    const auto at = static_cast<size_t>(std::ceil(share * static_cast<double>(milliseconds.size())));
    return milliseconds[std::max<size_t>(at, 1) - 1];
  };
  return {milliseconds.size(), rank(0.5), rank(0.99), milliseconds.back()};
}

json measure_users(Client& client, const SpeedOptions& options, const std::vector<std::string>& questions) {
  if (questions.empty()) throw Error(ErrorCode::kInvalidArgument, "there is no question to ask");
  json out = json::array();
  for (const size_t users : options.users) {
    if (users < 1 || users > kMostUsers)
      throw Error(ErrorCode::kInvalidArgument, fmt::format("--users takes 1 to 256, not {}", users));
    ask(client, options.model, questions.front());  // pages and prefix are warm for all alike
    out.push_back(measure_one(client, options, questions, users));
  }
  return {{"users", out}};
}

json measure_freshness(Client& client, const SpeedOptions& options) {
  const SystemClock clock;
  // A name that no earlier run has used.
  const auto seconds = std::chrono::floor<std::chrono::seconds>(clock.now()).time_since_epoch().count();
  const std::string name = fmt::format("Quorvell{}", seconds);
  std::vector<double> waits;
  size_t never = 0;
  for (size_t change = 0; change < options.changes; ++change) {
    if (const auto wait = change_figure(client, options, change, name)) {
      waits.push_back(*wait);
    } else {
      ++never;
    }
  }
  return {{"freshness_ms", to_json(quantiles_of(std::move(waits)))}, {"never", never}};
}

std::string speed_table(const json& measured) {
  std::string out;
  const auto line = [&](std::string_view what, const json& q) {
    out += fmt::format("{:<32} {:>6} {:>9.1f} {:>9.1f} {:>9.1f}\n", what, q.value("count", size_t{0}),
                       q.value("p50", 0.0), q.value("p99", 0.0), q.value("max", 0.0));
  };
  out += fmt::format("{:<32} {:>6} {:>9} {:>9} {:>9}\n", "milliseconds", "asked", "p50", "p99", "max");
  if (measured.contains("users")) {
    for (const json& one : measured["users"]) {
      const std::string who = fmt::format("{} at once", one.value("users", size_t{0}));
      line(who + ", first words", one.at("first_ms"));
      line(who + ", whole answer", one.at("full_ms"));
    }
  }
  if (measured.contains("freshness_ms")) {
    line("a changed figure in an answer", measured["freshness_ms"]);
    if (const size_t never = measured.value("never", size_t{0}); never > 0)
      out += fmt::format("{} changes were not told within ten seconds\n", never);
  }
  return out;
}

}  // namespace fathom::cli
