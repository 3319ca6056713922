#include "cluster/validate_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "model/description.h"

namespace fathom::cluster {
namespace {

constexpr size_t kMaxBytes = size_t{64} << 20;
constexpr size_t kMaxColumns = 256;
constexpr size_t kMaxRows = 1'000'000;
constexpr size_t kMaxCell = 4096;

struct FieldNames {
  Field field;
  std::string_view name;
  std::string_view aliases;  // folded, between spaces
};

// In the order of Field; the documented name's folded form need not be repeated.
constexpr FieldNames kNames[] = {
    {Field::kModel, "model", "modelname modeltype benchmark"},
    {Field::kArchitecture, "architecture", "arch family"},
    {Field::kLayers, "layers", "nlayers numlayers numberoflayers layer nlayer"},
    {Field::kHidden, "hidden", "hiddensize dmodel hiddendim embeddim nembd modeldim width"},
    {Field::kHeads, "heads", "nheads attentionheads numheads numattentionheads nhead"},
    {Field::kKvHeads, "kv_heads", "nkvheads numkvheads numkeyvalueheads querygroups numquerygroups"},
    {Field::kHeadDim, "head_dim", "kvchannels headsize"},
    {Field::kFfn, "ffn", "ffnhidden ffnhiddensize intermediatesize ffndim feedforward dff"},
    {Field::kExpansion, "expansion_ratio", "ffnratio mlpratio"},
    {Field::kVocab, "vocab", "vocabsize vocabulary"},
    {Field::kTied, "tied_output", "tied tiedembeddings"},
    {Field::kExperts, "experts", "numexperts nexperts moeexperts nummoeexperts"},
    {Field::kExpertsUsed, "experts_used", "topk moetopk routertopk expertspertoken numexpertspertoken"},
    {Field::kExpertFfn, "expert_ffn", "moeffn moeffnhiddensize moeintermediatesize"},
    {Field::kSharedExperts, "shared_experts", "nsharedexperts numsharedexperts"},
    {Field::kLeadingDense, "leading_dense", "denselayers firstkdense firstkdensereplace"},
    {Field::kParameters, "parameters",
     "params paramsb parametersbillion nparams modelsize size modelsizeb paramsbillion"},
    {Field::kAccelerator, "accelerator",
     "gpu chip system hardware gputype device devicetype gpumodel acceleratortype platform"},
    {Field::kChips, "chips",
     "gpus ngpus numgpus gpucount worldsize nchips devices numdevices accelerators numaccelerators "
     "acceleratorstotal"},
    {Field::kNodes, "nodes", "nnodes numnodes hosts"},
    {Field::kChipsPerNode, "chips_per_node", "gpuspernode ngpuspernode gpusnode acceleratorspernode"},
    {Field::kNetworkBytes, "network_bytes_per_s_per_chip", "networkbytespersecond networkbytesperschip"},
    {Field::kInterconnect, "interconnect", "interconnectnote network interconnection"},
    {Field::kTensor, "tp",
     "tensorparallelism tensorparallel tensor tensormodelparallelsize tensorparallelsize tpsize"},
    {Field::kPipeline, "pp",
     "pipelineparallelism pipelineparallel pipeline pipelinemodelparallelsize pipelineparallelsize ppsize"},
    {Field::kModelParallel, "model_parallel", "mpsize mp mpsizereadme modelparallelsize modelparallelism"},
    {Field::kContext, "cp", "contextparallelism contextparallel contextparallelsize cpsize"},
    {Field::kExpertParallel, "ep", "expertparallelism expertparallel expertmodelparallelsize epsize"},
    {Field::kExpertTensor, "etp", "experttensorparallel experttensorparallelsize"},
    {Field::kInterleave, "vp",
     "interleave vpp virtualpipeline virtualstages virtualpipelineparallelsize chunks vpsize"},
    {Field::kData, "dp", "dataparallelism dataparallel data dataparallelsize dpsize"},
    {Field::kZero, "zero", "zerostage"},
    {Field::kFsdp, "fsdp", "fsdpsize dpshard"},
    {Field::kSharding, "sharding", "fsdpsharding shardingstrategy"},
    {Field::kScheme, "scheme", "method parallelism"},
    {Field::kSequenceParallel, "sequence_parallel", "seqparallel sp"},
    {Field::kOverlapData, "overlap_data", "overlapgradreduce"},
    {Field::kOverlapTensor, "overlap_tensor", "tpcommoverlap asynctp"},
    {Field::kOverlapExpert, "overlap_expert", "overlapa2a overlapmoe"},
    {Field::kOverlapPipeline, "overlap_pipeline", "overlapp2p overlapp2pcomm"},
    {Field::kOffload, "offload_activations", "actcpuoffload activationoffload"},
    {Field::kMicroBatch, "micro_batch",
     "mbs microbatch microbatchsize localbatchsize perdevicebatch microbs lbs"},
    {Field::kGlobalBatch, "global_batch",
     "gbs globalbatchsize globalbatchseqs batch batchsize globalbs batchseqs"},
    {Field::kGlobalBatchTokens, "global_batch_tokens", "batchtokens tokensperstep tokensperbatch"},
    {Field::kAccumulation, "accumulation",
     "gradaccum gradientaccumulation ga gradientaccumulationsteps gradacc"},
    {Field::kSequence, "sequence", "seq seqlen sequencelength seqlength contextlength maxseqlen"},
    {Field::kPrecision, "precision", "dtype datatype numerics mixedprecision compute"},
    {Field::kMixedPrecision, "mixed_precision_mode", "mpmode"},
    {Field::kRecompute, "recompute",
     "actckpt activationcheckpointing recomputation activationrecompute activationcheckpoint ac remat "
     "checkpointing"},
    {Field::kAttention, "attention", "attentionkind attnimpl attentionimpl"},
    {Field::kDropout, "dropout_passes", ""},
    {Field::kGradientBytes, "gradient_bytes", ""},
    {Field::kOptimizerBytes, "optimizer_bytes", ""},
    {Field::kFusedAccumulation, "fused_accumulation", "gradientaccumulationfusion"},
    {Field::kGraphs, "captured_graphs", "cudagraphs"},
    {Field::kStepSeconds, "step_s",
     "itertimes iters steptimes iterationtimes iterationtimesec steptime iterationtime secondsperstep "
     "timeperstep timeperiteration timeperiters iters steps timeseconds secperstep secsperstep sperstep "
     "siter"},
    {Field::kStepMilliseconds, "step_ms", "iterationtimems itertimems steptimems mssteps msperstep timems"},
    {Field::kTokensPerS, "tokens_per_s",
     "tokpers tokenspersec tokenspersecond throughputtokens toks tokenss throughputtokspers "
     "throughputtokenspers"},
    {Field::kTokensPerSPerChip, "tokens_per_s_per_chip",
     "tokperspergpu tokenspersecpergpu tokenspersecondpergpu tokensperspergpu tpspergpu wps tokensgpus "
     "toksgpu tokenssgpu tokenspergpupers tokenspersecgpu tokensperdevicepers tokenspersperdevice "
     "tokenssdevice tokssgpu tokpersperdevice tpsgpu tps"},
    {Field::kSamplesPerS, "samples_per_s", "samplespersec sequencespers samplespersecond"},
    {Field::kHardwareTflops, "tflops_per_chip",
     "tflopspergpu tflopsgpu tflops achievedtflops hardwaretflops tflopsperdevice throughputpergputflops "
     "tflopssgpu tflopspersgpu achievedtflopspergpu"},
    {Field::kModelTflops, "model_tflops_per_chip",
     "modeltflopspergpu modeltflops modeltflopsgpu modeltflopssgpu modeltflopsperdevice"},
    {Field::kMfu, "mfu", "mfupct mfupercent modelflopsutilization modelflopsutilisation"},
    {Field::kHfu, "hfu", "hfupct hfupercent"},
    {Field::kMemoryGib, "memory_gib", "peakmemorygib memorygib peakmemgib maxmemorygib"},
    {Field::kCountedScores, "counted_scores", ""},
    {Field::kInputTokens, "input_tokens", "isl inputlen inputlength"},
    {Field::kOutputTokens, "output_tokens", "osl outputlen outputlength"},
    {Field::kOutputPerS, "output_tokens_per_s",
     "totaloutputtokpers totaloutputtokenspers outputtokpers outputthroughput outputtokenspersec "
     "outputthroughputtoks"},
    {Field::kOutputPerSPerChip, "output_tokens_per_s_per_chip", "outputtokperspergpu outputtokensperspergpu"},
    {Field::kWeightsPrecision, "weights_precision", "weightprecision quantization"},
    {Field::kKvPrecision, "kv_precision", "kvcacheprecision kvdtype"},
    {Field::kServingBatch, "serving_batch", "concurrency maxbatchsize"},
    {Field::kServingRequests, "n_requests", "requests numrequests numprompts"},
    {Field::kFramework, "framework", "library software codebase stack"},
    {Field::kPhase, "phase", "task"},
    {Field::kRelease, "release", "version container"},
    {Field::kNote, "note", "notes comment comments remarks techniques technique"},
    {Field::kSource, "source", "section reference url"},
    {Field::kMarkPeak, "pct_peak_312", "percentofpeak pctpeak percentageoftheoreticalpeakflops"},
    {Field::kMarkCalculon, "calculon_pred_s", "calculonerrpct"},
    {Field::kMarkDays, "days_300B_tok", "days"},
};
static_assert(std::size(kNames) == static_cast<size_t>(Field::kCount));

bool names(const FieldNames& entry, const std::string& folded) {
  if (model::fold_model_name(entry.name) == folded) return true;
  for (const std::string_view alias : split(entry.aliases, ' '))
    if (!alias.empty() && alias == folded) return true;
  return false;
}

const FieldNames* find_field(const std::string& folded) {
  for (const FieldNames& entry : kNames)
    if (names(entry, folded)) return &entry;
  return nullptr;
}

bool is_nothing(std::string_view cell) {
  for (const std::string_view word :
       {"", "-", "--", "n/a", "na", "nan", "none given", "null", "?", "unknown", "tbd"})
    if (equals_ignore_case(cell, word)) return true;
  return false;
}

/// Splits text into records (RFC 4180, either kind of line end).
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& file) : text_(text), file_(file) {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
  }

  /// False at the end. Lines with nothing on them, and lines that begin with '#' before the header, are passed over.
  bool next(std::vector<std::string>& cells, size_t& line) {
    while (at_ < text_.size()) {
      line = line_;
      cells.clear();
      read_record(cells);
      const bool empty = cells.size() == 1 && trim(cells[0]).empty();
      const bool comment = cells[0].starts_with('#') && !quoted_first_;
      if (!empty && !(comment && cells[0].starts_with("# ") && cells.size() == 1)) return true;
    }
    return false;
  }

 private:
  [[noreturn]] void error(size_t line, std::string_view what) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", file_, line, what));
  }

  void read_record(std::vector<std::string>& cells) {
    quoted_first_ = at_ < text_.size() && text_[at_] == '"';
    while (true) {
      cells.emplace_back();
      read_cell(cells.back());
      if (cells.size() > kMaxColumns) error(line_, fmt::format("a row has over {} columns", kMaxColumns));
      if (at_ >= text_.size()) return;
      const char end = text_[at_++];
      if (end == ',') continue;
      if (end == '\r' && at_ < text_.size() && text_[at_] == '\n') ++at_;
      ++line_;
      return;
    }
  }

  void read_cell(std::string& cell) {
    if (at_ < text_.size() && text_[at_] == '"') return read_quoted(cell);
    const size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
    if (end - at_ > kMaxCell) error(line_, "a cell is too long to be true");
    cell = text_.substr(at_, end - at_);
    at_ = end;
  }

  void read_quoted(std::string& cell) {
    const size_t begun = line_;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\n') ++line_;
      if (text_[at_] == '"') {
        if (at_ + 1 >= text_.size() || text_[at_ + 1] != '"') break;
        ++at_;
      }
      cell.push_back(text_[at_]);
      if (cell.size() > kMaxCell) error(begun, "a quotation is too long to be true, or does not end");
    }
    if (at_ >= text_.size()) error(begun, "a quotation does not end");
    ++at_;
    if (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\r' && text_[at_] != '\n')
      error(line_, "something follows a quotation within its cell");
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
  size_t line_ = 1;
  bool quoted_first_ = false;
};

}  // namespace

std::string_view to_string(Field field) { return kNames[static_cast<size_t>(field)].name; }

void MeasuredTable::read_header(std::vector<std::string> found) {
  header_ = std::move(found);
  columns_.fill(-1);
  for (const std::string& name : header_) folded_.push_back(model::fold_model_name(name));
  std::vector<bool> taken(header_.size(), false);
  const auto take = [&](size_t i, const FieldNames* entry) {
    if (entry == nullptr || taken[i] || columns_[static_cast<size_t>(entry->field)] >= 0) return;
    columns_[static_cast<size_t>(entry->field)] = static_cast<int>(i);
    taken[i] = true;
  };
  // A column that has a field's own name goes before those that have other names of it.
  for (size_t i = 0; i < header_.size(); ++i)
    for (const FieldNames& entry : kNames)
      if (model::fold_model_name(entry.name) == folded_[i]) take(i, &entry);
  for (size_t i = 0; i < header_.size(); ++i) take(i, find_field(folded_[i]));
  size_t known = 0;
  for (size_t i = 0; i < header_.size(); ++i) {
    if (taken[i]) ++known;
    if (!taken[i]) ignored_.push_back(header_[i]);
  }
  if (known < 3)
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "{}:1: the first line names {} columns that are known; a table of runs begins with names such "
            "as model, accelerator, chips, global_batch, step_s (data/validation/README.md)",
            file_, known));
}

MeasuredTable MeasuredTable::parse(std::string_view text, const std::filesystem::path& file) {
  MeasuredTable table;
  table.file_ = file.string();
  table.set_ = file.stem().string();
  if (text.size() > kMaxBytes)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: a table of over 64 MiB is not read", table.file_));
  CsvReader reader(text, table.file_);
  std::vector<std::string> cells;
  size_t line = 0;
  if (!reader.next(cells, line))
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: the table is empty", table.file_));
  table.read_header(cells);
  while (reader.next(cells, line)) {
    if (cells.size() != table.header_.size())
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}:{}: {} columns, but the first line names {}", table.file_, line,
                              cells.size(), table.header_.size()));
    if (table.lines_.size() >= kMaxRows)
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}:{}: a table of over {} rows is not read", table.file_, line, kMaxRows));
    table.lines_.push_back(line);
    for (std::string& cell : cells) table.cells_.push_back(std::move(cell));
  }
  return table;
}

MeasuredTable MeasuredTable::read(const std::filesystem::path& file) {
  return parse(read_file(file, kMaxBytes + 1), file);
}

bool MeasuredTable::has_header(std::string_view folded) const {
  return std::find(folded_.begin(), folded_.end(), folded) != folded_.end();
}

std::string_view MeasuredTable::Row::text(Field field) const {
  const int column = table_.columns_[static_cast<size_t>(field)];
  if (column < 0) return {};
  const std::string_view cell =
      trim(table_.cells_[at_ * table_.header_.size() + static_cast<size_t>(column)]);
  return is_nothing(cell) ? std::string_view{} : cell;
}

void MeasuredTable::Row::error(Field field, std::string_view what) const {
  const int column = table_.columns_[static_cast<size_t>(field)];
  const std::string name =
      column < 0 ? std::string(to_string(field)) : table_.header_[static_cast<size_t>(column)];
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("{}:{}: column '{}': {}", table_.file_, line_, sanitize_utf8(name), what));
}

std::optional<double> MeasuredTable::Row::number(Field field, double low, double high) const {
  std::string_view cell = text(field);
  if (cell.empty()) return std::nullopt;
  std::string digits;  // "1,234" as spreadsheets write it, and "41.2 %"
  if (cell.ends_with('%')) cell = trim(cell.substr(0, cell.size() - 1));
  for (const char ch : cell)
    if (ch != ',') digits.push_back(ch);
  double value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || !std::isfinite(value))
    error(field, fmt::format("'{}' is not a number", sanitize_utf8(cell)));
  if (value < low || value > high) error(field, fmt::format("{} is not within {} to {}", value, low, high));
  return value;
}

std::optional<uint64_t> MeasuredTable::Row::count(Field field, uint64_t low, uint64_t high) const {
  const auto value = number(field, static_cast<double>(low), static_cast<double>(high));
  if (!value) return std::nullopt;
  if (*value != std::floor(*value)) error(field, fmt::format("{} is not a whole number", *value));
  return static_cast<uint64_t>(*value);
}

std::optional<bool> MeasuredTable::Row::flag(Field field) const {
  const std::string_view cell = text(field);
  if (cell.empty()) return std::nullopt;
  for (const std::string_view word : {"1", "true", "yes", "on"})
    if (equals_ignore_case(cell, word)) return true;
  for (const std::string_view word : {"0", "false", "no", "off", "none"})
    if (equals_ignore_case(cell, word)) return false;
  error(field, fmt::format("'{}' is neither yes nor no", sanitize_utf8(cell)));
}

}  // namespace fathom::cluster
