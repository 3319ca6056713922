#include "cluster/validate_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "base/error.h"
#include "base/text.h"
#include "model/description.h"

namespace fathom::cluster {
namespace {

constexpr uint64_t kMaxChips = uint64_t{1} << 24;
constexpr uint64_t kMaxWidth = uint64_t{1} << 24;
constexpr uint64_t kMaxTokens = uint64_t{1} << 31;
constexpr uint64_t kMegatronVocabulary = 51200;
constexpr double kGigabit = 1e9 / 8;

enum class TableKind : uint8_t {
  kOther,
  kVtrainSingle,
  kVtrainMulti,
  kMegatron21,
  kMegatron22,
  kFoundry,
  kBridge,
  kServing
};

TableKind kind_of(const MeasuredTable& t) {
  if (t.has(Field::kInputTokens) && t.has(Field::kOutputTokens)) return TableKind::kServing;
  if (t.has(Field::kMixedPrecision) && t.has(Field::kSharding)) return TableKind::kFoundry;
  if (t.has(Field::kRelease) && t.has(Field::kPhase)) return TableKind::kBridge;
  if (t.has(Field::kMarkPeak) || t.has(Field::kMarkDays)) return TableKind::kMegatron21;
  if (t.has(Field::kMarkCalculon)) return TableKind::kMegatron22;
  if (t.has(Field::kStepMilliseconds) && !t.has(Field::kAccelerator))
    return t.has(Field::kParameters) ? TableKind::kVtrainMulti : TableKind::kVtrainSingle;
  return TableKind::kOther;
}

bool is_vtrain(TableKind kind) { return kind == TableKind::kVtrainSingle || kind == TableKind::kVtrainMulti; }
bool is_old_megatron(TableKind kind) {
  return is_vtrain(kind) || kind == TableKind::kMegatron21 || kind == TableKind::kMegatron22;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool is_blackwell(std::string_view accelerator) {
  return accelerator.starts_with("b200") || accelerator.starts_with("b300") || accelerator.starts_with("gb");
}

/// Thrown within this file where a row cannot be replayed; becomes MeasuredRun::skipped.
struct Unreplayable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// ---- what is trained

Precision read_precision(const MeasuredTable::Row& row, Field field, Precision otherwise) {
  const std::string name = model::fold_model_name(row.text(field));
  if (name.empty()) return otherwise;
  if (contains(name, "fp4")) return Precision::kFp4;
  if (contains(name, "fp8") || contains(name, "mx8") || name == "int8") return Precision::kFp8;
  if (contains(name, "bf16") || contains(name, "bfloat16")) return Precision::kBf16;
  if (contains(name, "fp16") || contains(name, "float16") || name == "mixed") return Precision::kFp16;
  if (contains(name, "tf32")) return Precision::kTf32;
  if (contains(name, "fp32") || contains(name, "float32")) return Precision::kFp32;
  row.error(field, fmt::format("'{}' is no precision; write bf16, fp16, fp8, fp4, tf32 or fp32",
                               sanitize_utf8(row.text(field))));
}

/// A GPT of 2020: LayerNorm, biases, learned positions, no gate.
void shape_gpt(model::ModelConfig& c, uint64_t positions) {
  c.architecture = "gpt2";
  c.layer_norm = c.attention_bias = c.attention_output_bias = c.ffn_bias = true;
  c.gated_ffn = false;
  c.learned_positions = positions;
  c.activation = model::Activation::kGelu;
}

void read_experts(const MeasuredTable::Row& row, model::ModelConfig& c) {
  const auto count = row.count(Field::kExperts, 0, 4096);
  if (!count || *count < 2) return;
  c.experts.count = *count;
  c.experts.used = row.count(Field::kExpertsUsed, 1, *count).value_or(std::min<uint64_t>(2, *count));
  c.experts.ffn = row.count(Field::kExpertFfn, 1, kMaxWidth).value_or(c.ffn);
  c.experts.shared = row.count(Field::kSharedExperts, 0, 64).value_or(0);
  c.experts.leading_dense = row.count(Field::kLeadingDense, 0, c.layers - 1).value_or(0);
}

/// From columns of sizes. Errors: Unreplayable where they do not go together.
model::ModelConfig shape_of(const MeasuredTable::Row& row, uint64_t sequence) {
  model::ModelConfig c;
  c.name = std::string(row.text(Field::kModel));
  c.layers = row.count(Field::kLayers, 1, 4096).value_or(0);
  c.d_model = row.count(Field::kHidden, 1, kMaxWidth).value_or(0);
  c.heads = row.count(Field::kHeads, 1, kMaxWidth).value_or(0);
  if (c.heads == 0) throw Unreplayable("the row does not say how many heads the model has");
  c.kv_heads = row.count(Field::kKvHeads, 1, c.heads).value_or(c.heads);
  c.head_dim = row.count(Field::kHeadDim, 1, kMaxWidth).value_or(c.d_model / c.heads);
  c.vocab = row.count(Field::kVocab, 1, kMaxWidth).value_or(kMegatronVocabulary);
  c.context = sequence;
  const std::string architecture = model::fold_model_name(row.text(Field::kArchitecture));
  const bool gpt = architecture.empty() ? c.kv_heads == c.heads
                                        : contains(architecture, "gpt") || contains(architecture, "mpt");
  if (gpt) shape_gpt(c, sequence);
  if (!gpt) c.rope.dims = c.head_dim;
  c.tied_output = row.flag(Field::kTied).value_or(gpt);
  const double ratio = row.number(Field::kExpansion, 0.1, 64).value_or(gpt ? 4 : 3.5);
  c.ffn = row.count(Field::kFfn, 1, kMaxWidth)
              .value_or(static_cast<uint64_t>(std::llround(ratio * static_cast<double>(c.d_model))));
  read_experts(row, c);
  try {
    c.check();
  } catch (const Error& error) {
    throw Unreplayable(error.what());
  }
  return c;
}

model::ModelConfig model_of(const MeasuredTable::Row& row, const ModelLibrary& models, uint64_t sequence) {
  if (!row.text(Field::kLayers).empty() && !row.text(Field::kHidden).empty()) return shape_of(row, sequence);
  const std::string_view name = row.text(Field::kModel);
  const model::ModelConfig* preset = models.find(name);
  if (preset == nullptr)
    throw Unreplayable(
        fmt::format("the sizes of the model '{}' are not in data/models", sanitize_utf8(name)));
  model::ModelConfig c = *preset;
  if (const auto vocab = row.count(Field::kVocab, 1, kMaxWidth)) c.vocab = *vocab;
  if (c.learned_positions != 0) c.learned_positions = sequence;
  return c;
}

// ---- on what

/// What the row says of the program and the method, folded, whichever column it says it in.
std::string program_of(const MeasuredTable& table, const MeasuredTable::Row& row) {
  std::string out = model::fold_model_name(table.set());
  for (const Field field : {Field::kFramework, Field::kScheme, Field::kAccelerator, Field::kNote})
    out += " " + model::fold_model_name(row.text(field));
  return out;
}

/// The number directly before "Gb" of a note: "1600 Gb/s RoCE per node".
double gigabits_in(std::string_view note) {
  const std::string text = to_lower_ascii(note);
  const size_t unit = text.find("gb");
  if (unit == std::string::npos) return 0;
  size_t end = unit;
  while (end > 0 && text[end - 1] == ' ') --end;
  size_t begin = end;
  while (begin > 0 && text[begin - 1] >= '0' && text[begin - 1] <= '9') --begin;
  double value = 0;
  for (size_t i = begin; i < end && i < begin + 9; ++i) value = value * 10 + (text[i] - '0');
  return value;
}

bool names_program(std::string_view text) {
  const std::string folded = model::fold_model_name(text);
  for (const std::string_view program :
       {"megatron", "megascale", "deepspeed", "torchtitan", "nanotron", "maxtext", "nemo"})
    if (contains(folded, program)) return true;
  return false;
}

std::string accelerator_name(const MeasuredTable& table, const MeasuredTable::Row& row) {
  const std::string_view said = row.text(Field::kAccelerator);
  // A column "system" may hold the program instead.
  if (!said.empty() && !names_program(said)) return std::string(said);
  const std::string set = to_lower_ascii(table.set());
  for (const std::string_view family : {"h100", "h200", "h800", "gb200", "b200", "mi300x", "v5p"})
    if (contains(set, family)) return std::string(family);
  return "A100-80GB";
}

void read_machine(const MeasuredTable& table, const MeasuredTable::Row& row, TableKind kind,
                  const Catalogue& catalogue, MeasuredRun& run) {
  const std::string name = accelerator_name(table, row);
  const Accelerator* chip = find_accelerator(catalogue, name);
  if (chip == nullptr)
    throw Unreplayable(fmt::format("the catalogue has no accelerator '{}'", sanitize_utf8(name)));
  run.accelerator = chip->id;
  run.chips_per_node = static_cast<uint32_t>(row.count(Field::kChipsPerNode, 1, 1024).value_or(0));
  const uint64_t per_node = run.chips_per_node != 0 ? run.chips_per_node : 8;
  run.chips = row.count(Field::kChips, 1, kMaxChips).value_or(0);
  if (run.chips == 0) run.chips = row.count(Field::kNodes, 1, kMaxChips / 8).value_or(0) * per_node;
  run.network_bytes_per_s_per_chip = row.number(Field::kNetworkBytes, 1e6, 1e13).value_or(0);
  const double gigabits = gigabits_in(row.text(Field::kInterconnect));
  if (run.network_bytes_per_s_per_chip == 0 && gigabits > 0)
    run.network_bytes_per_s_per_chip =
        gigabits * kGigabit /
        (contains(row.text(Field::kInterconnect), "node") ? static_cast<double>(per_node) : 1);
  if (is_vtrain(kind) && run.network_bytes_per_s_per_chip == 0)
    run.network_bytes_per_s_per_chip = 800 * kGigabit / static_cast<double>(per_node);
}

// ---- how it is spread

/// A degree within words: 8 of "FSDP 8, TP=8" for "tp". A word's letters must be exactly these.
std::optional<uint32_t> degree_in(std::string_view text, std::string_view name) {
  const std::string words = to_lower_ascii(text);
  const auto letter = [&](size_t i) { return i < words.size() && words[i] >= 'a' && words[i] <= 'z'; };
  for (size_t at = words.find(name); at != std::string::npos; at = words.find(name, at + 1)) {
    size_t digit = at + name.size();
    if ((at > 0 && letter(at - 1)) || letter(digit)) continue;
    while (digit < words.size() && (words[digit] == ' ' || words[digit] == '=' || words[digit] == '-'))
      ++digit;
    uint32_t value = 0;
    for (size_t i = digit; i < words.size() && i < digit + 6 && words[i] >= '0' && words[i] <= '9'; ++i)
      value = value * 10 + static_cast<uint32_t>(words[i] - '0');
    if (value != 0) return value;
  }
  return std::nullopt;
}

/// From the field's column, else from a column that says the whole layout in words.
uint32_t degree(const MeasuredTable::Row& row, Field field, bool& said) {
  if (const auto value = row.count(field, 0, 1 << 20)) {  // some tables write 0 for "not used"
    said = true;
    return static_cast<uint32_t>(std::max<uint64_t>(*value, 1));
  }
  const auto value = degree_in(row.text(Field::kScheme), to_string(field));
  said = value.has_value();
  return value.value_or(1);
}

uint8_t zero_of(const MeasuredTable::Row& row, bool old) {
  if (const auto stage = row.count(Field::kZero, 0, 3)) return static_cast<uint8_t>(*stage);
  const std::string sharding = model::fold_model_name(row.text(Field::kSharding));
  if (sharding == "shardgradop") return 2;
  if (sharding == "noshard") return 0;
  if (!sharding.empty()) return 3;
  const std::string scheme = model::fold_model_name(row.text(Field::kScheme));
  for (const auto& [mark, stage] :
       {std::pair{"zero3", 3}, {"fsdp", 3}, {"zero2", 2}, {"zero1", 1}, {"zero0", 0}})
    if (contains(scheme, mark)) return static_cast<uint8_t>(stage);
  const std::string_view fsdp = row.text(Field::kFsdp);
  const bool words = equals_ignore_case(fsdp, "true") || equals_ignore_case(fsdp, "yes");
  const bool none = equals_ignore_case(fsdp, "false") || equals_ignore_case(fsdp, "no");
  if (words || (!fsdp.empty() && !none && row.count(Field::kFsdp, 0, kMaxChips).value_or(0) > 1)) return 3;
  return old ? 0 : 1;
}

/// What is left of the chips after the other degrees. Errors: Unreplayable.
void complete_layout(const MeasuredTable::Row& row, MeasuredRun& run, bool data_said) {
  ParallelPlan& p = run.plan;
  const uint64_t others = uint64_t{p.tensor} * p.pipeline * p.context;
  if (run.chips == 0 && data_said) run.chips = others * p.data;
  if (run.chips == 0) throw Unreplayable("the row does not say how many chips there were");
  if (run.chips % others != 0)
    throw Unreplayable(fmt::format("{} chips are no multiple of tp {} pp {} cp {}", run.chips, p.tensor,
                                   p.pipeline, p.context));
  const uint64_t data = run.chips / others;
  // With FSDP some tables count the shards as dp; with context parallelism others count both.
  if (data_said && p.data != data && p.data != data * p.context)
    row.error(Field::kData, fmt::format("{} copies of tp {} pp {} cp {} are not {} chips", p.data, p.tensor,
                                        p.pipeline, p.context, run.chips));
  p.data = static_cast<uint32_t>(data);
}

void read_layout(const MeasuredTable& table, const MeasuredTable::Row& row, TableKind kind,
                 MeasuredRun& run) {
  const bool other = kind_of(table) == TableKind::kOther;
  ParallelPlan& p = run.plan;
  bool tensor_said = false, pipeline_said = false, data_said = false, said = false;
  p.tensor = degree(row, Field::kTensor, tensor_said);
  p.pipeline = degree(row, Field::kPipeline, pipeline_said);
  p.context = degree(row, Field::kContext, said);
  p.expert = degree(row, Field::kExpertParallel, said);
  p.expert_tensor = degree(row, Field::kExpertTensor, said);
  p.interleave = degree(row, Field::kInterleave, said);
  const bool interleave_said = said;
  p.data = degree(row, Field::kData, data_said);
  p.zero = zero_of(row, is_old_megatron(kind));
  const auto both = row.count(Field::kModelParallel, 1, 1 << 20);
  if (both && !tensor_said && !pipeline_said) {
    p.tensor = static_cast<uint32_t>(std::min<uint64_t>(*both, 8));
    p.pipeline = static_cast<uint32_t>(std::max<uint64_t>(*both / p.tensor, 1));
  }
  run.any_layout = !tensor_said && !pipeline_said && !both && p.zero < 2 && other;
  run.any_interleave = other && !interleave_said &&
                       (!is_old_megatron(kind) || table.has(Field::kInterleave)) && p.pipeline > 1;
  if (p.pipeline == 1) p.interleave = 1;
  if (run.model.dense()) p.expert = p.expert_tensor = 1;
  complete_layout(row, run, data_said && !run.any_layout);
}

Recompute read_recompute(const MeasuredTable::Row& row, TableKind kind, bool& any) {
  const std::string said = model::fold_model_name(row.text(Field::kRecompute));
  any = false;
  if (said == "full" || said == "true" || said == "yes" || said == "1" || said == "block")
    return Recompute::kFull;
  if (contains(said, "selective") || said == "attention" || said == "core") return Recompute::kSelective;
  if (said == "none" || said == "false" || said == "no" || said == "0" || said == "off")
    return Recompute::kNone;
  if (!said.empty())
    row.error(Field::kRecompute, fmt::format("'{}' is neither none nor selective nor full",
                                             sanitize_utf8(row.text(Field::kRecompute))));
  if (kind == TableKind::kVtrainMulti || kind == TableKind::kMegatron21) return Recompute::kFull;
  if (kind == TableKind::kVtrainSingle) return Recompute::kNone;
  any = true;
  return Recompute::kNone;
}

Attention read_attention(const MeasuredTable::Row& row, TableKind kind) {
  const std::string said = model::fold_model_name(row.text(Field::kAttention));
  if (contains(said, "unfused") || said == "standard" || said == "torch" || said == "naive")
    return Attention::kUnfused;
  if (contains(said, "triton") || said == "flash1" || said == "flashattention1") return Attention::kFlash1;
  if (said == "flash2" || said == "flashattention2" || said == "sdpa") return Attention::kFlash2;
  if (contains(said, "flash") || contains(said, "fused") || said == "te" || said == "cudnn")
    return Attention::kFused;
  if (!said.empty())
    row.error(Field::kAttention, fmt::format("'{}' is none of fused, flash2, flash1 and unfused",
                                             sanitize_utf8(row.text(Field::kAttention))));
  if (kind == TableKind::kFoundry) return Attention::kFlash1;
  return is_old_megatron(kind) ? Attention::kUnfused : Attention::kFused;
}

/// How the program of its day computes; what a row may not say.
void read_program(const MeasuredTable& table, const MeasuredTable::Row& row, TableKind kind,
                  MeasuredRun& run) {
  const bool pure = equals_ignore_case(row.text(Field::kMixedPrecision), "pure");
  const std::string framework = program_of(table, row);
  const bool foundry = kind == TableKind::kFoundry || contains(framework, "foundry");
  const bool bridge = kind == TableKind::kBridge || contains(framework, "bridge");
  TrainingJob& job = run.job;
  job.attention = read_attention(row, kind);
  // PyTorch's own attention on chips that came after it.
  const bool eager = contains(framework, "torchtitan") || contains(framework, "nanotron");
  if (eager && row.text(Field::kAttention).empty()) job.attention = Attention::kFlash2;
  job.fused_elementwise = !eager || contains(framework, "compile");
  const bool unfused = job.attention == Attention::kUnfused;
  job.causal_skips = !unfused;
  job.dropout_passes = row.number(Field::kDropout, 0, 100).value_or(unfused ? 3 : 0);
  job.fused_loss = !unfused && !eager;
  // Products that add to the gradients came to Megatron with sequence parallelism (Korthikanti et al.).
  const bool before =
      is_old_megatron(kind) ? kind != TableKind::kMegatron22 : unfused && !run.plan.sequence_parallel;
  job.fused_accumulation = row.flag(Field::kFusedAccumulation).value_or(!before && !foundry && !eager);
  job.recompute_stops_early = foundry;
  job.gradient_bytes = row.number(Field::kGradientBytes, 1, 8).value_or(pure || unfused ? 2 : 4);
  job.optimizer_bytes = row.number(Field::kOptimizerBytes, 0, 32).value_or(pure ? 6 : 12);
  // Megatron-Bridge by release: kernels of dense models from captured graphs on Blackwell; those of mixtures, and their
  // all-to-all behind computation, from 26.06; tokens that cross to each host once from 25.11.
  const std::string_view release = row.text(Field::kRelease);
  const bool late = bridge && !run.model.dense() && release >= "26.06";
  // Its recipes repeat modules, never whole layers.
  if (bridge) run.most_recompute = Recompute::kSelective;
  job.captured_graphs = row.flag(Field::kGraphs)
                            .value_or((bridge && run.model.dense() && is_blackwell(run.accelerator)) || late);
  run.plan.overlap_expert = row.flag(Field::kOverlapExpert).value_or(late);
  job.dispatch_by_domain = !(bridge && !release.empty() && release < "25.11");
  // Scores with learned sinks are not in the chips' own kernels, nor are the clamped gate and the biases of the experts.
  if (job.attention == Attention::kFused &&
      contains(model::fold_model_name(row.text(Field::kModel)), "gptoss")) {
    job.attention = Attention::kFlash2;
    job.fused_elementwise = false;
  }
}

void read_switches(const MeasuredTable& table, const MeasuredTable::Row& row, TableKind kind,
                   MeasuredRun& run) {
  ParallelPlan& p = run.plan;
  const bool old = is_old_megatron(kind);
  p.sequence_parallel = p.tensor > 1 && row.flag(Field::kSequenceParallel).value_or(!old);
  p.recompute = read_recompute(row, kind, run.any_recompute);
  const bool eight_bits =
      contains(program_of(table, row), "fp8") || contains(program_of(table, row), "float8");
  p.precision = read_precision(row, Field::kPrecision,
                               old          ? Precision::kFp16
                               : eight_bits ? Precision::kFp8
                                            : Precision::kBf16);
  p.overlap_data = row.flag(Field::kOverlapData).value_or(!old);
  p.overlap_tensor =
      p.tensor > 1 &&
      row.flag(Field::kOverlapTensor).value_or(kind == TableKind::kBridge && run.model.dense());
  p.overlap_expert = row.flag(Field::kOverlapExpert).value_or(false);
  p.offload_activations = row.flag(Field::kOffload).value_or(false);
  p.overlap_pipeline =
      (p.interleave > 1 || run.any_interleave) && row.flag(Field::kOverlapPipeline).value_or(!old);
  read_program(table, row, kind, run);
}

void read_batch(const MeasuredTable::Row& row, MeasuredRun& run) {
  ParallelPlan& p = run.plan;
  TrainingJob& job = run.job;
  const auto micro = row.count(Field::kMicroBatch, 1, kMaxTokens);
  p.micro_batch = static_cast<uint32_t>(micro.value_or(1));
  run.any_micro_batch = !micro;
  auto batch = row.count(Field::kGlobalBatch, 1, kMaxTokens);
  if (const auto tokens = row.number(Field::kGlobalBatchTokens, 1, 1e15); !batch && tokens)
    batch = static_cast<uint64_t>(std::llround(*tokens / static_cast<double>(job.sequence)));
  const auto steps = row.count(Field::kAccumulation, 1, kMaxTokens);
  if (!batch && micro) batch = *micro * steps.value_or(1) * p.data;
  if (!batch || *batch == 0) throw Unreplayable("the row does not say how large the batch was");
  job.global_batch = *batch;
}

// ---- what was measured

/// One step's operations: forward and backward; with a repeated forward pass of the blocks where `repeated`. Tables count
/// all scores, but those that say "causal" the half that counts.
double counted_flops(const MeasuredRun& run, bool repeated, bool causal) {
  const double tokens = static_cast<double>(run.job.global_batch) * static_cast<double>(run.job.sequence);
  const uint64_t attended = causal ? run.job.sequence / 2 : run.job.sequence;
  const double forward = static_cast<double>(run.model.flops_per_token(attended));
  const double head = 2.0 * static_cast<double>(run.model.vocab) * static_cast<double>(run.model.d_model);
  return tokens * (3 * forward + (repeated ? forward - head : 0));
}

bool counts_causal(const MeasuredTable::Row& row) {
  const std::string_view said = row.text(Field::kCountedScores);
  if (said.empty() || equals_ignore_case(said, "all")) return false;
  if (equals_ignore_case(said, "causal")) return true;
  row.error(Field::kCountedScores, fmt::format("'{}' is neither all nor causal", sanitize_utf8(said)));
}

void read_training_figure(const MeasuredTable::Row& row, TableKind kind, MeasuredRun& run) {
  const double chips = static_cast<double>(run.chips);
  const double tokens = static_cast<double>(run.job.global_batch) * static_cast<double>(run.job.sequence);
  const auto take = [&](Quantity quantity, std::optional<double> value, double factor) {
    if (!value) return false;
    run.quantity = quantity;
    run.measured = *value * factor;
    return true;
  };
  const auto positive = [&](Field field) { return row.number(field, 1e-9, 1e18); };
  if (take(Quantity::kStepSeconds, positive(Field::kStepSeconds), 1)) return;
  if (take(Quantity::kStepSeconds, positive(Field::kStepMilliseconds), 1e-3)) return;
  if (take(Quantity::kTokensPerSPerChip, positive(Field::kTokensPerSPerChip), 1)) return;
  if (take(Quantity::kTokensPerSPerChip, positive(Field::kTokensPerS), 1 / chips)) return;
  if (const auto samples = positive(Field::kSamplesPerS)) {
    take(Quantity::kStepSeconds, tokens / static_cast<double>(run.job.sequence) / *samples, 1);
    return;
  }
  const bool full = !run.any_recompute && run.plan.recompute == Recompute::kFull;
  const bool causal = counts_causal(row);
  const bool says_executed =
      kind == TableKind::kMegatron21 || kind == TableKind::kMegatron22 || kind == TableKind::kOther;
  run.counted_flops = counted_flops(run, full && says_executed, causal);
  if (take(Quantity::kHardwareTflops, positive(Field::kHardwareTflops), 1)) return;
  run.counted_flops = counted_flops(run, false, causal);
  if (take(Quantity::kModelTflops, positive(Field::kModelTflops), 1)) return;
  const auto mfu = row.number(Field::kMfu, 1e-4, 100);
  // Written as a share or in per cent.
  if (take(Quantity::kMfu, mfu, mfu.value_or(0) > 1 ? 0.01 : 1)) return;
  throw Unreplayable("the row has no time, throughput, TFLOP/s or MFU");
}

void read_serving(const MeasuredTable::Row& row, MeasuredRun& run) {
  run.serves = true;
  ServingSpec& s = run.serving;
  s.input_tokens = row.count(Field::kInputTokens, 1, kMaxTokens).value_or(1000);
  s.output_tokens = row.count(Field::kOutputTokens, 1, kMaxTokens).value_or(1000);
  const Field weights =
      row.text(Field::kWeightsPrecision).empty() ? Field::kPrecision : Field::kWeightsPrecision;
  s.weights = read_precision(row, weights, Precision::kFp8);
  s.kv = read_precision(row, Field::kKvPrecision,
                        s.weights == Precision::kBf16 ? Precision::kBf16 : Precision::kFp8);
  bool said = false;
  run.layout.tensor = degree(row, Field::kTensor, said);
  run.layout.pipeline = degree(row, Field::kPipeline, said);
  bool experts_said = false;
  run.layout.expert = degree(row, Field::kExpertParallel, experts_said);
  if (run.model.dense()) run.layout.expert = 1;
  // Tables of throughput name the chips alone; how a mixture lies on them is what tuning found best.
  run.any_layout = !experts_said && !run.model.dense() && run.layout.pipeline == 1;
  s.requests = row.count(Field::kServingRequests, 1, kMaxTokens).value_or(0);
  run.serving_batch = row.count(Field::kServingBatch, 1, kMaxTokens).value_or(0);
  // A replica is what is measured, however many chips the machine has.
  run.chips = std::max(run.chips, run.layout.chips());
  run.quantity = Quantity::kOutputPerSPerChip;
  if (const auto total = row.number(Field::kOutputPerS, 1e-6, 1e12))
    run.measured = *total / static_cast<double>(run.layout.chips());
  else if (const auto per_chip = row.number(Field::kOutputPerSPerChip, 1e-6, 1e12))
    run.measured = *per_chip;
  else
    throw Unreplayable("the row has no tokens a second");
}

/// "8192" or "8K".
uint64_t read_sequence(const MeasuredTable::Row& row) {
  const std::string_view said = row.text(Field::kSequence);
  const bool kilo = said.size() > 1 && said.size() < 8 && (said.ends_with('k') || said.ends_with('K'));
  if (!kilo) return row.count(Field::kSequence, 1, kMaxTokens).value_or(2048);
  uint64_t thousands = 0;
  for (const char digit : said.substr(0, said.size() - 1)) {
    if (digit < '0' || digit > '9') row.error(Field::kSequence, "not a number of tokens, such as 8192 or 8K");
    thousands = thousands * 10 + static_cast<uint64_t>(digit - '0');
  }
  if (thousands == 0) row.error(Field::kSequence, "a sequence has at least one token");
  return std::min(thousands * 1024, kMaxTokens);
}

void refuse_what_is_not_planned(const MeasuredTable::Row& row) {
  const std::string phase = model::fold_model_name(row.text(Field::kPhase));
  if (contains(phase, "lora") || contains(phase, "peft"))
    throw Unreplayable("only adapters are trained (LoRA), which the planner does not plan");
  for (const Field field :
       {Field::kScheme, Field::kFramework, Field::kModel, Field::kPhase, Field::kAccelerator})
    if (contains(model::fold_model_name(row.text(field)), "megascale"))
      throw Unreplayable(
          "MegaScale changes the model (parallel blocks, windows), and its sizes are not published");
}

/// Of a row of another table, by the program that it names: Megatron-LM on A100 was that of 2021 or 2022.
TableKind kind_of_row(const MeasuredTable& table, const MeasuredTable::Row& row, const MeasuredRun& run) {
  const TableKind kind = kind_of(table);
  const std::string program = program_of(table, row);
  if (kind != TableKind::kOther || !run.accelerator.starts_with("a100") || !contains(program, "megatron"))
    return kind;
  const bool full = model::fold_model_name(row.text(Field::kRecompute)) == "full";
  return full && !row.flag(Field::kSequenceParallel).value_or(false) ? TableKind::kMegatron21
                                                                     : TableKind::kMegatron22;
}

void read_row(const MeasuredTable& table, const MeasuredTable::Row& row, const Catalogue& catalogue,
              const ModelLibrary& models, MeasuredRun& run) {
  run.about = sanitize_utf8(row.text(Field::kModel));
  run.note = sanitize_utf8(row.text(Field::kNote));
  refuse_what_is_not_planned(row);
  run.job.sequence = read_sequence(row);
  run.model = model_of(row, models, run.job.sequence);
  if (run.about.empty())
    run.about = fmt::format("{:.3g} B", static_cast<double>(run.model.parameters()) / 1e9);
  read_machine(table, row, kind_of(table), catalogue, run);
  const TableKind kind = kind_of_row(table, row, run);
  if (kind == TableKind::kServing) return read_serving(row, run);
  read_layout(table, row, kind, run);
  read_batch(row, run);
  read_switches(table, row, kind, run);
  read_training_figure(row, kind, run);
}

/// Digits of memory in a name: 40 of "a10040gb"; 0: none.
double gigabytes_in(std::string_view folded) {
  const size_t unit = folded.find("gb");
  if (unit == std::string_view::npos || unit < 2) return 0;
  for (const auto& [digits, value] :
       {std::pair{"40", 40.0}, {"80", 80.0}, {"96", 96.0}, {"141", 141.0}, {"192", 192.0}})
    if (folded.substr(0, unit).ends_with(digits)) return value;
  return 0;
}

/// What an accelerator is called in all spellings: "a100" of "a100-sxm-80", "v5p" of "tpu-v5p".
std::string mark_of(std::string_view id) {
  if (id.starts_with("tpu-")) id.remove_prefix(4);
  return model::fold_model_name(id.substr(0, id.find('-')));
}

}  // namespace

std::string_view to_string(Quantity quantity) {
  constexpr std::array<std::string_view, 6> kNames = {
      "step s", "tokens/s/chip", "TFLOP/s/chip", "model TFLOP/s/chip", "MFU", "output tokens/s/chip"};
  return kNames[static_cast<size_t>(quantity)];
}

ModelLibrary::ModelLibrary(const std::filesystem::path& folder)
    : aliases_(model::description_aliases(folder)) {
  for (const std::string& name : model::description_names(folder))
    models_.emplace(name, model::read_description(folder / (name + ".toml")));
}

const model::ModelConfig* ModelLibrary::find(std::string_view name) const {
  const auto found = aliases_.find(model::fold_model_name(name.substr(0, name.find('('))));
  return found == aliases_.end() ? nullptr : &models_.at(found->second);
}

const Accelerator* find_accelerator(const Catalogue& catalogue, std::string_view name) {
  const std::string wanted = model::fold_model_name(name);
  if (wanted.empty()) return nullptr;
  const double gigabytes = gigabytes_in(wanted);
  const Accelerator* best = nullptr;
  std::array<double, 4> best_rank{};
  for (const auto& [id, chip] : catalogue.accelerators) {
    const std::string own = model::fold_model_name(id), mark = mark_of(id);
    if (own == wanted) return &chip;
    if (!contains(wanted, mark)) continue;
    // "gb200" holds "b200": the longer mark is meant. Then the memory that is said, the card that is said (else the
    // module), and most memory.
    const bool memory = gigabytes == 0 || std::abs(chip.memory_bytes / 1e9 - gigabytes) < 0.12 * gigabytes;
    const bool card = contains(wanted, "pcie") == contains(own, "pcie");
    const std::array<double, 4> rank{static_cast<double>(mark.size()), memory ? 1.0 : 0.0, card ? 1.0 : 0.0,
                                     chip.memory_bytes};
    if (best != nullptr && !(rank > best_rank)) continue;
    best = &chip;
    best_rank = rank;
  }
  return best;
}

std::vector<MeasuredRun> read_runs(const MeasuredTable& table, const Catalogue& catalogue,
                                   const ModelLibrary& models) {
  std::vector<MeasuredRun> runs(table.rows());
  for (size_t i = 0; i < runs.size(); ++i) {
    const MeasuredTable::Row row = table.row(i);
    runs[i].line = row.line();
    try {
      read_row(table, row, catalogue, models, runs[i]);
    } catch (const Unreplayable& reason) {
      runs[i].skipped = reason.what();
    }
  }
  return runs;
}

}  // namespace fathom::cluster
