#include "cluster/format.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

namespace fathom::cluster {
namespace {

/// Three significant figures, never in scientific form: 4.61, 46.1, 461.
std::string three_figures(double value) {
  const double size = std::abs(value);
  const int decimals = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}", value, decimals);
}

struct Scaled {
  double value;
  std::string_view prefix;
};

Scaled scaled(double value) {
  static constexpr std::array<std::string_view, 7> kPrefixes = {"", "k", "M", "G", "T", "P", "E"};
  size_t at = 0;
  while (std::abs(value) >= 999.5 && at + 1 < kPrefixes.size()) {
    value /= 1000;
    ++at;
  }
  return {value, kPrefixes[at]};
}

/// Of money and counts, where a thousand million is a billion.
std::string scale_of(std::string_view prefix) {
  if (prefix.empty()) return "";
  return " " + std::string(prefix == "G" ? "B" : prefix);
}

std::string with_prefix(double value, std::string_view unit) {
  if (!std::isfinite(value)) return "unknown";
  const auto [size, prefix] = scaled(value);
  return fmt::format("{} {}{}", three_figures(size), prefix, unit);
}

}  // namespace

std::string format_count(double count) {
  if (!std::isfinite(count)) return "unknown";
  const auto [size, prefix] = scaled(count);
  return three_figures(size) + scale_of(prefix);
}

std::string format_usd(double usd) {
  if (!std::isfinite(usd)) return "unknown";
  const auto [size, prefix] = scaled(std::abs(usd));
  return fmt::format("{}${}{}", usd < 0 ? "-" : "", three_figures(size), scale_of(prefix));
}

std::string format_watts(double watts) { return with_prefix(watts, "W"); }

std::string format_seconds(double seconds) {
  if (!std::isfinite(seconds)) return "unknown";
  if (std::abs(seconds) < 1e-6) return three_figures(seconds * 1e9) + " ns";
  if (std::abs(seconds) < 1e-3) return three_figures(seconds * 1e6) + " us";
  if (std::abs(seconds) < 1) return three_figures(seconds * 1e3) + " ms";
  if (std::abs(seconds) < 120) return three_figures(seconds) + " s";
  if (std::abs(seconds) < 120 * 60) return three_figures(seconds / 60) + " min";
  if (std::abs(seconds) < 72 * 3600) return three_figures(seconds / 3600) + " h";
  return three_figures(seconds / 86'400) + " days";
}

std::string format_bytes(double bytes) { return with_prefix(bytes, "B"); }

std::string format_rate(double per_second, const char* unit) {
  if (!std::isfinite(per_second)) return "unknown";
  const auto [size, prefix] = scaled(per_second);
  return fmt::format("{} {}{}{}/s", three_figures(size), prefix, prefix.empty() ? "" : " ", unit);
}

std::string format_share(double share) {
  if (!std::isfinite(share)) return "unknown";
  const double percent = share * 100;
  return fmt::format("{:.{}f} %", percent, std::abs(percent) >= 99.95 || percent == 0 ? 0 : 1);
}

std::string format_number(double value) {
  if (!std::isfinite(value)) return "unknown";
  if (std::abs(value) < 100 && value != std::floor(value)) return three_figures(value);
  std::string digits = fmt::format("{:.0f}", value);
  const size_t first = digits.front() == '-' ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

}  // namespace fathom::cluster
