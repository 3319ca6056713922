#include "cluster/layer_cost_kernels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace fathom::cluster {
namespace {

constexpr double kScoreBlock =
    128;  // positions: blocks of a fused kernel that causality cuts across are computed whole
constexpr double kUsualHead = 128;
constexpr std::array<double, 5> kSplits{1, 2, 4, 8, 16};
constexpr double kLeastSplit = 512;  // of the inner dimension that is left for each part

double ceil_div(double a, double b) { return std::ceil(a / b); }

}  // namespace

ChipConstants ChipConstants::of(const ChipEfficiency& efficiency) {
  ChipConstants constants;
  const std::array<std::pair<const char*, double*>, 18> named{{
      {"gemm_tile_reuse", &constants.gemm_tile_reuse},
      {"gemm_low_precision", &constants.gemm_low_precision},
      {"gemm_lowest_precision", &constants.gemm_lowest_precision},
      {"attention_sequence_half", &constants.attention_sequence_half},
      {"attention_flash_1", &constants.attention_flash_1},
      {"attention_flash_2", &constants.attention_flash_2},
      {"attention_head_extra", &constants.attention_head_extra},
      {"host_kernel_s", &constants.host_kernel_s},
      {"host_backward_share", &constants.host_backward_share},
      {"score_pass_share", &constants.score_pass_share},
      {"host_collective_s", &constants.host_collective_s},
      {"host_micro_batch_s", &constants.host_micro_batch_s},
      {"host_step_s", &constants.host_step_s},
      {"overlap_slowdown", &constants.overlap_slowdown},
      {"overlap_share", &constants.overlap_share},
      {"fresh_memory_s_per_byte", &constants.fresh_memory_s_per_byte},
      {"layer_jitter", &constants.layer_jitter},
      {"jitter", &constants.jitter},
  }};
  for (const auto& [name, value] : named)
    if (const auto found = efficiency.more.find(name); found != efficiency.more.end()) *value = found->second;
  return constants;
}

KernelModel::KernelModel(const Accelerator& chip, bool captured)
    : chip_(chip),
      constants_(ChipConstants::of(chip.efficiency)),
      memory_rate_(chip.memory_bytes_per_s * chip.efficiency.memory_fraction),
      // A captured graph starts the next kernel from the chip itself, in about a microsecond.
      launch_s_(captured ? std::min(chip.efficiency.kernel_launch_s, 1e-6)
                         : chip.efficiency.kernel_launch_s) {}

double KernelModel::pass(double bytes) const { return bytes > 0 ? bytes / memory_rate_ + launch_s_ : 0; }

double KernelModel::gemm(const GemmShape& shape, Precision precision, double output_bytes,
                         bool accumulate) const {
  if (shape.m <= 0 || shape.n <= 0 || shape.k <= 0 || shape.count <= 0) return 0;
  const ChipEfficiency& efficiency = chip_.efficiency;
  double fraction = efficiency.gemm_peak_fraction;
  if (precision == Precision::kFp8) fraction *= constants_.gemm_low_precision;
  if (precision == Precision::kFp4) fraction *= constants_.gemm_lowest_precision;
  const double unit_rate = chip_.peak(precision) * fraction / efficiency.units;
  const double big_m = efficiency.gemm_tile_m;
  const double big_n = efficiency.gemm_tile_n;
  const double most_reuse = big_m * big_n / (big_m + big_n);
  const std::array<std::pair<double, double>, 5> tiles{
      {{big_m, big_n}, {big_n, big_m}, {big_m, big_n / 2}, {big_m / 2, big_n / 2}, {big_m / 2, big_n / 4}}};
  const double element = bytes_of(precision);
  const double output = shape.m * shape.n * shape.count;
  double arithmetic = 0;
  bool first = true;
  for (const auto& [tile_m, tile_n] : tiles) {
    const double reuse = tile_m * tile_n / (tile_m + tile_n);
    const double rate = unit_rate * (reuse / (reuse + constants_.gemm_tile_reuse)) *
                        ((most_reuse + constants_.gemm_tile_reuse) / most_reuse);
    // Of tokens dealt by chance the last tile of a product is half full on average.
    const double rows = shape.ragged ? shape.m / tile_m + 0.5 : ceil_div(shape.m, tile_m);
    const double count = rows * ceil_div(shape.n, tile_n) * shape.count;
    for (const double split : kSplits) {
      if (split > 1 && (shape.k / split < kLeastSplit || count >= efficiency.units)) break;
      const double waves = ceil_div(count * split, efficiency.units);
      double seconds = waves * 2 * tile_m * tile_n * (shape.k / split + efficiency.gemm_k_half) / rate;
      if (split > 1) seconds += (split + 1) * output * 4 / memory_rate_ + launch_s_;
      if (first || seconds < arithmetic) arithmetic = seconds;
      first = false;
    }
  }
  const double bytes = (shape.m * shape.k + shape.k * shape.n) * shape.count * element +
                       output * output_bytes * (accumulate ? 2 : 1);
  return std::max(arithmetic, bytes / memory_rate_) + launch_s_;
}

double KernelModel::fused_rate(const AttentionShape& shape, double fraction) const {
  const double head = (shape.head_dim + shape.value_dim) / 2;
  // The softmax of a score costs the same whatever the head's size.
  const double head_share = (head / (head + constants_.attention_head_extra)) *
                            ((kUsualHead + constants_.attention_head_extra) / kUsualHead);
  const double length_share = shape.keys / (shape.keys + constants_.attention_sequence_half);
  return chip_.peak(Precision::kBf16) * fraction * shape.generation * std::min(1.0, head_share) *
         length_share;
}

double KernelModel::filled_units(const AttentionShape& shape, double positions) const {
  // Blocks of positions of all heads are dealt to the units.
  const double blocks = shape.batch * shape.heads * ceil_div(positions, kScoreBlock);
  return std::min(1.0, blocks / chip_.efficiency.units);
}

double KernelModel::attention_forward(const AttentionShape& shape) const {
  const double all = shape.queries * shape.keys;
  const double pairs = shape.skips ? std::min(all, shape.pairs + shape.queries * kScoreBlock / 2) : all;
  const double flops = 2 * shape.batch * shape.heads * pairs * (shape.head_dim + shape.value_dim);
  const double rate = fused_rate(shape, chip_.efficiency.attention_forward_fraction);
  const double bytes = 2 * shape.batch *
                       (shape.heads * shape.queries * (shape.head_dim + shape.value_dim) +
                        shape.kv_heads * shape.keys * (shape.head_dim + shape.value_dim));
  return std::max(flops / (rate * filled_units(shape, shape.queries)), bytes / memory_rate_) + launch_s_;
}

double KernelModel::attention_backward(const AttentionShape& shape) const {
  const double all = shape.queries * shape.keys;
  const double pairs = shape.skips ? std::min(all, shape.pairs + shape.queries * kScoreBlock / 2) : all;
  // Five products: the scores once more, and the gradients of q, k, v and of the probabilities.
  const double flops = 2 * shape.batch * shape.heads * pairs * (3 * shape.head_dim + 2 * shape.value_dim);
  const double rate = fused_rate(shape, chip_.efficiency.attention_backward_fraction);
  const double bytes = 2 * shape.batch *
                       (3 * shape.heads * shape.queries * (shape.head_dim + shape.value_dim) +
                        2 * shape.kv_heads * shape.keys * (shape.head_dim + shape.value_dim));
  return std::max(flops / (rate * filled_units(shape, shape.keys)), bytes / memory_rate_) +
         3 * launch_s_ +  // the products of output and its gradient beforehand, dq's conversion afterwards
         4 * shape.batch * shape.heads * shape.queries * shape.head_dim * 2 / memory_rate_;
}

}  // namespace fathom::cluster
