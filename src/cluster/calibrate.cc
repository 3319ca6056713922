#include "cluster/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "cluster/catalogue.h"
#include "cluster/layer_cost_kernels.h"

namespace fathom::cluster {
namespace {

constexpr uint32_t kTile = 16;  // rows of a packed group, and tokens of a tile
constexpr std::array<CollectiveKind, 3> kKinds{CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                               CollectiveKind::kAllToAll};

/// The chip that the constants describe, all threads together.
Accelerator chip_of(const Measurements& measured, double fraction, double k_half) {
  Accelerator chip;
  chip.peak_flops[static_cast<size_t>(Precision::kFp32)] = measured.float_peak;
  chip.memory_bytes_per_s = measured.read_bytes_per_s;
  ChipEfficiency& efficiency = chip.efficiency;
  efficiency.gemm_peak_fraction = fraction;
  efficiency.gemm_k_half = k_half;
  efficiency.gemm_tile_m = efficiency.gemm_tile_n = kTile;
  efficiency.units = measured.threads;
  efficiency.memory_fraction = 1;
  efficiency.kernel_launch_s = measured.kernel_launch_s;
  efficiency.more["gemm_tile_reuse"] = 0;
  return chip;
}

struct GemmError {
  double logarithmic = 0, absolute = 0;  // not squared: one measurement that was disturbed must not decide
};
GemmError gemm_error(const Measurements& measured, double fraction, double k_half) {
  const Accelerator chip = chip_of(measured, fraction, k_half);
  const KernelModel kernels(chip, false);
  GemmError error;
  for (const GemmSample& sample : measured.gemm) {
    const double predicted = kernels.gemm({.m = static_cast<double>(sample.m),
                                           .n = static_cast<double>(sample.n),
                                           .k = static_cast<double>(sample.k)},
                                          Precision::kFp32, 4);
    const double off = std::log(predicted / sample.seconds);
    error.logarithmic += std::abs(off);
    error.absolute += std::abs(predicted / sample.seconds - 1);
  }
  error.absolute /= static_cast<double>(measured.gemm.size());
  return error;
}

void fit_gemm(const Measurements& measured, CalibrationFit& out) {
  double best = HUGE_VAL;
  for (double k_half = 0; k_half <= 1024; k_half = k_half == 0 ? 4 : k_half * std::sqrt(2.0))
    for (double fraction = 0.02; fraction <= 1.0; fraction *= 1.01) {
      const GemmError error = gemm_error(measured, fraction, k_half);
      if (error.logarithmic >= best) continue;
      best = error.logarithmic;
      out.gemm_peak_fraction = fraction;
      out.gemm_k_half = k_half;
      out.gemm_error = error.absolute;
    }
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void fit_bf16(const Measurements& measured, CalibrationFit& out) {
  std::vector<double> speeds;
  for (const GemmSample& sample : measured.gemm)
    if (sample.bf16_seconds > 0) speeds.push_back(sample.seconds / sample.bf16_seconds);
  if (!speeds.empty()) out.bf16_speed = median(speeds);
}

double attention_peak(const Measurements& measured, const CalibrationFit& fit) {
  return measured.float_peak * (fit.bf16_speed > 0 ? fit.bf16_speed : 1);
}

/// Fractions of the peak that KernelModel takes for attention, and the length at which they are half reached.
void fit_attention(const Measurements& measured, CalibrationFit& out) {
  if (measured.attention.empty()) return;
  double best = HUGE_VAL;
  for (double half = 0; half <= 2048; half = half == 0 ? 16 : half * std::sqrt(2.0)) {
    Accelerator chip = chip_of(measured, 1, 0);
    chip.peak_flops[static_cast<size_t>(Precision::kBf16)] = attention_peak(measured, out);
    chip.efficiency.attention_forward_fraction = chip.efficiency.attention_backward_fraction = 1;
    chip.efficiency.more["attention_sequence_half"] = half;
    chip.efficiency.more["attention_head_extra"] = 0;
    chip.memory_bytes_per_s = HUGE_VAL;  // arithmetic alone
    const KernelModel kernels(chip, false);
    std::vector<double> forward, backward;
    for (const AttentionSample& s : measured.attention) {
      const double length = s.length, pairs = length * (length + 1) / 2;
      const AttentionShape shape{.batch = static_cast<double>(s.batch),
                                 .heads = static_cast<double>(s.heads),
                                 .kv_heads = static_cast<double>(s.heads),
                                 .queries = length,
                                 .keys = length,
                                 .pairs = pairs,
                                 .head_dim = static_cast<double>(s.head_dim),
                                 .value_dim = static_cast<double>(s.head_dim)};
      forward.push_back(kernels.attention_forward(shape) / s.forward_s);
      backward.push_back(kernels.attention_backward(shape) / s.backward_s);
    }
    const double of_forward = median(forward), of_backward = median(backward);
    double error = 0;
    for (const double f : forward) error += std::abs(of_forward / f - 1);
    for (const double b : backward) error += std::abs(of_backward / b - 1);
    error /= 2 * static_cast<double>(forward.size());
    if (error >= best) continue;
    best = out.attention_error = error;
    out.attention_sequence_half = half;
    out.attention_forward = of_forward;
    out.attention_backward = of_backward;
  }
}

struct Line {
  double x = 0, y = 0, seconds = 0;  // seconds = a x + b y
};
struct LineFit {
  double a = 0, b = 0, error = 0;
};

/// a, b >= 0 of the least sum of squared relative errors.
LineFit fit_line(const std::vector<Line>& lines) {
  double xx = 0, xy = 0, yy = 0, x = 0, y = 0;
  for (const Line& line : lines) {
    const double u = line.x / line.seconds, v = line.y / line.seconds;
    xx += u * u;
    xy += u * v;
    yy += v * v;
    x += u;
    y += v;
  }
  LineFit out;
  const double determinant = xx * yy - xy * xy;
  if (determinant > 1e-12 * xx * yy) {
    out.a = (x * yy - y * xy) / determinant;
    out.b = (y * xx - x * xy) / determinant;
  }
  if (out.a < 0 || out.b <= 0) {  // one of the two explains all
    out.a = out.a < 0 || xx <= 0 ? 0 : x / xx;
    out.b = out.a > 0 || yy <= 0 ? 0 : y / yy;
  }
  for (const Line& line : lines)
    out.error +=
        std::abs((out.a * line.x + out.b * line.y) / line.seconds - 1) / static_cast<double>(lines.size());
  return out;
}

/// Bytes that each link of a ring carries, and messages one after the other.
struct RingWork {
  double bytes = 0, hops = 0;
};
RingWork ring_work(const CollectiveSample& sample) {
  const double ranks = sample.ranks;
  const double passes = sample.kind == CollectiveKind::kAllReduce ? 2 : 1;
  return {passes * (ranks - 1) / ranks * sample.bytes, passes * (ranks - 1)};
}

void fit_collectives(const Measurements& measured, CalibrationFit& out) {
  std::vector<Line> rings;
  for (const CollectiveKind kind : kKinds) {
    std::vector<Line> lines;
    for (const CollectiveSample& sample : measured.collectives) {
      if (sample.kind != kind || sample.ranks < 2) continue;
      lines.push_back({1, sample.bytes, sample.seconds});
      const RingWork work = ring_work(sample);
      if (kind != CollectiveKind::kAllToAll) rings.push_back({work.hops, work.bytes, sample.seconds});
    }
    if (lines.empty()) continue;
    const LineFit line = fit_line(lines);
    out.kinds.push_back({kind, line.a, line.b > 0 ? 1 / line.b : 0, line.error});
  }
  if (rings.empty()) return;
  const LineFit ring = fit_line(rings);
  out.hop_s = ring.a;
  out.link_bytes_per_s = ring.b > 0 ? 1 / ring.b : 0;
  out.collective_error = ring.error;
}

double number_of(std::string_view word, std::string_view line) {
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || !std::isfinite(value) || value <= 0)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the measurement '{}' has no number where '{}' stands",
                            sanitize_utf8(line.substr(0, 80)), sanitize_utf8(word.substr(0, 40))));
  return value;
}

/// For a TOML string: printable ASCII without quotes and backslashes.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 120)) out += c < 0x20 || c > 0x7e || c == '"' || c == '\\' ? ' ' : c;
  return std::string(trim(out));
}

}  // namespace

std::string_view to_string(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce: return "all_reduce";
    case CollectiveKind::kAllGather: return "all_gather";
    case CollectiveKind::kAllToAll: return "all_to_all";
  }
  return "";
}

std::vector<CollectiveSample> parse_collectives(std::string_view text) {
  std::vector<CollectiveSample> samples;
  for (const std::string_view whole : split(text, '\n')) {
    const std::string_view line = trim(whole);
    if (line.empty() || line.front() == '#') continue;
    const auto words = split(line, ' ');
    const auto kind = std::find_if(kKinds.begin(), kKinds.end(),
                                   [&](CollectiveKind k) { return to_string(k) == words.front(); });
    if (words.size() != 4 || kind == kKinds.end())
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("the line '{}' is no measurement of a collective (all_reduce RANKS BYTES SECONDS)",
                      sanitize_utf8(line.substr(0, 80))));
    CollectiveSample sample{*kind, 0, number_of(words[2], line), number_of(words[3], line)};
    sample.ranks = static_cast<uint32_t>(std::min(number_of(words[1], line), 1e6));
    samples.push_back(sample);
  }
  return samples;
}

CalibrationFit fit(const Measurements& measured) {
  FATHOM_CHECK(!measured.gemm.empty() && measured.float_peak > 0);
  CalibrationFit out;
  fit_gemm(measured, out);
  fit_bf16(measured, out);
  fit_attention(measured, out);
  fit_collectives(measured, out);
  return out;
}

std::string to_toml(const Measurements& measured, const CalibrationFit& fit, const std::string& id) {
  const double ranks = std::max(1u, measured.ranks);
  const std::string name = plain(measured.processor);
  const std::string source = fmt::format("measured by fathom calibrate on {}, {}", measured.date, name);
  const bool narrow = fit.bf16_speed > 0;
  const bool attended = fit.attention_forward > 0;
  const bool connected = fit.link_bytes_per_s > 0;
  const double link = connected ? fit.link_bytes_per_s : measured.copy_bytes_per_s / 2 / ranks;
  const double memory_share =
      std::clamp(measured.copy_bytes_per_s / std::max(1.0, measured.read_bytes_per_s), 1e-3, 1.0);
  std::string out =
      fmt::format("# Written by fathom calibrate: {} rank{} of {} thread{} each.\n\n", measured.ranks,
                  measured.ranks == 1 ? "" : "s", std::max(1u, measured.threads / measured.ranks),
                  measured.threads / measured.ranks > 1 ? "s" : "");
  out += fmt::format(
      "[accelerator.{0}]\nname = \"{1}, one of {2} ranks\"\nfp32_tflops = {3:.6g}\n{13}memory_gib = {4:.6g}\n"
      "memory_gb_per_s = {5:.6g}\nscale_up_gb_per_s = {6:.6g}\nscale_up_latency_us = "
      "{7:.6g}\nscale_up_fraction = 1.0\n"
      "scale_up_chips = {2}\npower_w = {8:.6g}\nidle_power_w = {9:.6g}\nyear = "
      "{10}\n[accelerator.{0}.sources]\n"
      "\"fp32_tflops, {14}memory_gib, memory_gb_per_s, scale_up_chips, year\" = \"{11}\"\n"
      "\"scale_up_gb_per_s, scale_up_latency_us, scale_up_fraction\" = \"{12}\"\n"
      "\"power_w, idle_power_w\" = \"assumed: 10 W a thread, 3 W idle\"\n\n",
      id, name, measured.ranks, measured.float_peak / ranks / 1e12, measured.memory_bytes / ranks / (1 << 30),
      measured.read_bytes_per_s / ranks / 1e9, link / 1e9, std::min(fit.hop_s * 1e6, 1e4),
      10.0 * measured.threads / ranks, 3.0 * measured.threads / ranks, measured.date.substr(0, 4), source,
      connected ? source + fmt::format(": rings of all-reduce and all-gather, mean error {:.0f} %",
                                       100 * fit.collective_error)
                : "assumed: half of the copying rate; collectives were not measured",
      narrow ? fmt::format("bf16_tflops = {:.6g}\n", attention_peak(measured, fit) / ranks / 1e12) : "",
      narrow ? "bf16_tflops, " : "");
  out += fmt::format(
      "[accelerator.{0}.efficiency]\nsource = \"{1}; {2} products, mean error {3:.1f} %; {10}\"\n"
      "gemm_peak_fraction = {4:.6g}\ngemm_k_half = {5:.6g}\ngemm_tile_m = {6}\ngemm_tile_n = "
      "{6}\ngemm_tile_reuse = 0.0\n"
      "units = {7}\nattention_forward_fraction = {11:.6g}\nattention_backward_fraction = {12:.6g}\n"
      "attention_sequence_half = {13:.6g}\nattention_head_extra = 0.0\n"
      "memory_fraction = {8:.6g}\nkernel_launch_us = {9:.6g}\n"
      "host_kernel_s = 0.0\nhost_collective_s = 0.0\nhost_micro_batch_s = 0.0\nhost_step_s = "
      "0.0\noverlap_share = 0.0\nfresh_memory_s_per_byte = {14:.6g}\n\n",
      id, source, measured.gemm.size(), 100 * fit.gemm_error, std::clamp(fit.gemm_peak_fraction, 1e-3, 1.0),
      fit.gemm_k_half, kTile, std::max(1.0, std::floor(measured.threads / ranks)), memory_share,
      std::min(measured.kernel_launch_s * 1e6, 1e4),
      attended ? fmt::format("attention, mean error {:.1f} %", 100 * fit.attention_error)
               : "attention assumed as products",
      std::clamp(attended ? fit.attention_forward : fit.gemm_peak_fraction, 1e-3, 1.0),
      std::clamp(attended ? fit.attention_backward : fit.gemm_peak_fraction, 1e-3, 1.0),
      fit.attention_sequence_half, measured.fresh_s_per_byte);
  out += fmt::format(
      "[host.{0}]\nname = \"{1}\"\naccelerator = \"{0}\"\nchips = {2}\npower_w = 100\nprice_usd = 0\nnics = "
      "1\nnic = \"{0}\"\n"
      "host_link_gb_per_s = {3:.6g}\nhost_memory_gb = {4:.6g}\nrack_units = 1\n[host.{0}.sources]\n"
      "\"chips, host_link_gb_per_s, host_memory_gb\" = \"{5}\"\n"
      "\"power_w, price_usd, nics, rack_units\" = \"assumed: not measured\"\n\n",
      id, name, measured.ranks, measured.copy_bytes_per_s / 2 / ranks / 1e9, measured.memory_bytes / 1e9,
      source);
  out += fmt::format(
      "[nic.{0}]\nname = \"Network card of {1}\"\ngbit_per_s = 10\nlatency_us = 20\npower_w = 5\nprice_usd = "
      "0\n"
      "[nic.{0}.sources]\n\"gbit_per_s, latency_us, power_w, price_usd\" = \"assumed: not measured, one "
      "machine\"\n\n",
      id, name);
  out += fmt::format(
      "[storage.{0}]\nname = \"Files of {1}\"\npetabytes = 0.001\nwrite_gb_per_s = {2:.6g}\nread_gb_per_s = "
      "{3:.6g}\n"
      "power_w = 0\nprice_usd = 0\n[storage.{0}.sources]\n\"write_gb_per_s, read_gb_per_s\" = \"{4}\"\n"
      "\"petabytes, power_w, price_usd\" = \"assumed: not measured\"\n",
      id, name, std::max(measured.write_bytes_per_s / 1e9, 1e-6),
      std::max(measured.file_read_bytes_per_s / 1e9, 1e-6), source);
  return out;
}

}  // namespace fathom::cluster
