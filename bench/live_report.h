// What the live benchmark measures with and what it tells: wall and CPU time, rates, latencies; ours and, beside them, peers'.
#pragma once

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace fathom::live {

using Seconds = std::chrono::duration<double>;
using SteadyTime = std::chrono::steady_clock::time_point;

inline double cpu_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Spent {
  double wall = 0, cpu = 0;
};

template <class Work>
Spent measure(Work&& work) {
  const double cpu = cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  work();
  return {Seconds(std::chrono::steady_clock::now() - start).count(), cpu_seconds() - cpu};
}

class Report {
 public:
  void title(const std::string& text) { std::printf("\n%s\n", text.c_str()); }

  void rate(const std::string& name, size_t count, Spent spent) {
    const auto n = static_cast<double>(count);
    tell(name, {{"posts_per_s", n / spent.wall}, {"posts_per_cpu_s", n / spent.cpu}, {"wall_s", spent.wall}});
  }

  void latency(const std::string& name, std::vector<double> millis) {
    if (millis.empty()) return;
    std::sort(millis.begin(), millis.end());
    const auto at = [&](double share) {
      return millis[static_cast<size_t>(share * static_cast<double>(millis.size() - 1))];
    };
    tell(name, {{"p50_ms", at(0.5)}, {"p99_ms", at(0.99)}, {"max_ms", millis.back()}});
  }

  void value(const std::string& name, double value, const std::string& unit) { tell(name, {{unit, value}}); }

  /// One line: a name and its figures.
  void tell(const std::string& name, const nlohmann::json& figures) {
    std::string line = fmt::format("{:<58}", name);
    for (const auto& [unit, figure] : figures.items())
      if (figure.is_number())
        line += fmt::format(" {:>12.{}f} {}", figure.get<double>(), digits(figure), unit);
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
    json_[name] = figures;
  }

  const nlohmann::json& json() const { return json_; }

 private:
  static int digits(double figure) { return figure < 10 ? 4 : figure < 1000 ? 1 : 0; }

  nlohmann::json json_ = nlohmann::json::object();
};

}  // namespace fathom::live
