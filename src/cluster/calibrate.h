// This machine as an entry of the catalogue: what products of matrices, memory, kernels, files and collectives between
// processes take here, and the constants that follow.
//
// A "chip" is one rank: its share of the cores and of the memory bandwidth. Collectives come from a program of their own
// (fathom_collectives, over MPI), whose lines are read here. Fits go by relative errors and tell how far they are off. The
// clock is passed in. Not thread-safe while measuring: it is the machine that is measured.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::cluster {

struct GemmSample {
  uint32_t m = 0, n = 0, k = 0;  // tokens, rows of the weights, columns
  double seconds = 0;            // in F32
  double bf16_seconds = 0;       // 0: not measured
};

/// Causal attention of training, all heads of one sequence after another.
struct AttentionSample {
  uint32_t batch = 1, heads = 0, head_dim = 0, length = 0;
  double forward_s = 0, backward_s = 0;
};

enum class CollectiveKind : uint8_t { kAllReduce, kAllGather, kAllToAll };
std::string_view to_string(CollectiveKind kind);  // "all_reduce"
struct CollectiveSample {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  uint32_t ranks = 0;
  double bytes = 0;  // as Network counts them: at the start (all-reduce, all-to-all), at the end (all-gather)
  double seconds = 0;
};

struct Measurements {
  std::string processor, instruction_set, date;
  uint32_t threads = 1, ranks = 1;
  double float_peak = 0;        // operations a second from registers, all threads
  double read_bytes_per_s = 0;  // all threads
  double copy_bytes_per_s = 0;  // read and written together
  double kernel_launch_s = 0;   // an empty loop of the pool
  double fresh_s_per_byte = 0;  // of a rank, to touch again what it gave back to the system
  double memory_bytes = 0;
  double write_bytes_per_s = 0;      // to the folder of checkpoints, synced
  double file_read_bytes_per_s = 0;  // back again, from the system's cache most likely
  std::vector<GemmSample> gemm;      // of training (tensor/gemm.h), all threads together
  std::vector<AttentionSample> attention;
  std::vector<CollectiveSample> collectives;
};

struct MeasureOptions {
  double seconds = 0.1;  // of each measurement
  std::filesystem::path folder;
  size_t file_bytes = size_t{256} << 20;
  uint32_t ranks = 1;
  uint32_t threads = 1;  // of each rank
};

/// All ranks at work side by side, each on a pool of its own, as training runs them; figures are those of all together.
/// `seconds`: a clock that only goes forward, asked from any thread. `progress`: 0..1, called from this thread or, while
/// it waits, from one other. Errors: kIo, kResourceExhausted.
Measurements measure_machine(const MeasureOptions& options, const std::function<double()>& seconds,
                             const std::function<void(double)>& progress);

/// Lines "all_reduce RANKS BYTES SECONDS"; empty lines and those that begin with # are passed over.
/// Errors: kInvalidArgument, naming the line.
std::vector<CollectiveSample> parse_collectives(std::string_view text);

struct AlphaBeta {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  double alpha_s = 0;      // of no bytes
  double bytes_per_s = 0;  // of the bytes that the kind counts; 0: not to be told
  double error = 0;        // mean absolute, relative
};

struct CalibrationFit {
  double gemm_peak_fraction = 0, gemm_k_half = 0, gemm_error = 0;
  double bf16_speed = 0;  // of products, over F32's; 0: not measured
  // Fractions of the peak of BF16 products where they were measured, else of F32's; 0: not measured.
  double attention_forward = 0, attention_backward = 0, attention_sequence_half = 0, attention_error = 0;
  double hop_s = 0, link_bytes_per_s = 0,
         collective_error = 0;  // of rings of all-reduce and all-gather; 0: not measured
  std::vector<AlphaBeta> kinds;
};
/// REQUIRES: at least one product and a float peak.
CalibrationFit fit(const Measurements& measured);

/// The entries [accelerator.ID], [host.ID], [nic.ID] and [storage.ID], as Catalogue::read takes them.
std::string to_toml(const Measurements& measured, const CalibrationFit& fit, const std::string& id);

}  // namespace fathom::cluster
