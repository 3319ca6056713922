// One row of a table of measured runs, made into what the planner takes: model, machine, job, plan and the figure that was
// measured. What a row does not say is filled in by the rules of its table's kind, the same for all rows:
//
//   kind          told by                               what its rows do not say
//   vTrain        step_ms, no accelerator               A100 80 GB, 800 Gb/s a node; GPT with 51,200 tokens; several
//                                                       nodes (with a column of parameters): full recomputation, one
//                                                       node: none
//   Megatron      per cent of 312, days of 300 B        A100 80 GB; full recomputation, whose forward pass is in the
//   2021          tokens                                TFLOP/s; optimiser not sharded, gradients reduced at the end
//   Megatron      calculon_pred_s                       A100 80 GB; optimiser not sharded, gradients reduced at the end
//   2022
//   llm-foundry   mp_mode and fsdp_sharding             GPT shapes; FlashAttention; 25 GB/s a chip where the note says so
//   Bridge        release and phase                     collectives behind products, gradients in bf16, ZeRO-1 or FSDP
//   serving       isl and osl                           keys and values in 8 bits, batch as large as memory allows
//   other                                               the columns that data/validation/README.md documents
//
// All training tables: where recomputation is not said, the least that fits; where the micro-batch, the layout or the
// interleaving is not, the fastest that fits; interleaving of A100's Megatron only in a table that has a column for it. Values; thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/catalogue.h"
#include "cluster/serving.h"
#include "cluster/step_cost.h"
#include "cluster/validate_table.h"
#include "model/config.h"

namespace fathom::cluster {

/// The presets of a folder by all their names.
class ModelLibrary {
 public:
  /// Errors: as model::description_aliases and read_description.
  explicit ModelLibrary(const std::filesystem::path& folder);
  /// Also for "DeepSeekV3 (w/ MTP)": what stands in brackets is no part of a name. Null where there is none.
  const model::ModelConfig* find(std::string_view name) const;

 private:
  std::map<std::string, std::string> aliases_;
  std::map<std::string, model::ModelConfig> models_;
};

enum class Quantity : uint8_t {
  kStepSeconds,
  kTokensPerSPerChip,
  kHardwareTflops,
  kModelTflops,
  kMfu,
  kOutputPerSPerChip
};
std::string_view to_string(Quantity quantity);  // "step s"
/// Whether more of it is less time.
constexpr bool is_rate(Quantity quantity) { return quantity != Quantity::kStepSeconds; }

struct MeasuredRun {
  size_t line = 0;
  std::string about;  // the model and what the row says of itself, for people
  std::string accelerator, note;
  uint64_t chips = 0;
  uint32_t chips_per_node = 0;              // 0: as the host has
  double network_bytes_per_s_per_chip = 0;  // 0: as the host has
  model::ModelConfig model;
  TrainingJob job;
  ParallelPlan plan;
  bool any_recompute = false, any_micro_batch = false, any_layout = false,
       any_interleave = false;                  // to be found by rule
  Recompute most_recompute = Recompute::kFull;  // of any_recompute
  bool serves = false;
  ServingSpec serving;
  ServingLayout layout;
  uint64_t serving_batch = 0;
  Quantity quantity = Quantity::kStepSeconds;
  double measured = 0;
  double counted_flops = 0;  // of a step on all chips, as the table's TFLOP/s or MFU count them
  std::string skipped;       // why it cannot be replayed; the rest may then be missing
};

/// Errors: kInvalidArgument with file, line and column for a value that is none; what a row leaves open or what the
/// catalogue and the presets do not have only makes it skipped.
std::vector<MeasuredRun> read_runs(const MeasuredTable& table, const Catalogue& catalogue,
                                   const ModelLibrary& models);

/// The accelerator of the catalogue that "DGX-H100", "a100_80gb" or "A100-SXM4-80GB" means. Null where there is none.
const Accelerator* find_accelerator(const Catalogue& catalogue, std::string_view name);

}  // namespace fathom::cluster
