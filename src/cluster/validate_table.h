// Tables of measured runs: comma-separated values whose columns go by many names.
//
// Every table has one header line; each of its names is folded (letters and digits, lower case) and looked up among the
// names of a Field. Columns that are none are passed over and reported. Values are strict: a cell that is not what its
// field calls for is an error with file, line and column; an empty cell, "n/a", "-" and the like are no value.
// Values; thread-safe for reading.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::cluster {

enum class Field : uint8_t {
  // What is trained or served.
  kModel,
  kArchitecture,
  kLayers,
  kHidden,
  kHeads,
  kKvHeads,
  kHeadDim,
  kFfn,
  kExpansion,
  kVocab,
  kTied,
  kExperts,
  kExpertsUsed,
  kExpertFfn,
  kSharedExperts,
  kLeadingDense,
  kParameters,
  // On what.
  kAccelerator,
  kChips,
  kNodes,
  kChipsPerNode,
  kNetworkBytes,
  kInterconnect,
  // How it is spread.
  kTensor,
  kPipeline,
  kModelParallel,
  kContext,
  kExpertParallel,
  kExpertTensor,
  kInterleave,
  kData,
  kZero,
  kFsdp,
  kSharding,
  kScheme,
  kSequenceParallel,
  kOverlapData,
  kOverlapTensor,
  kOverlapExpert,
  kOverlapPipeline,
  kOffload,
  // One step.
  kMicroBatch,
  kGlobalBatch,
  kGlobalBatchTokens,
  kAccumulation,
  kSequence,
  kPrecision,
  kMixedPrecision,
  kRecompute,
  kAttention,
  kDropout,
  kGradientBytes,
  kOptimizerBytes,
  kFusedAccumulation,
  kGraphs,
  // What was measured.
  kStepSeconds,
  kStepMilliseconds,
  kTokensPerS,
  kTokensPerSPerChip,
  kSamplesPerS,
  kHardwareTflops,
  kModelTflops,
  kMfu,
  kHfu,
  kMemoryGib,
  kCountedScores,
  // Serving.
  kInputTokens,
  kOutputTokens,
  kOutputPerS,
  kOutputPerSPerChip,
  kWeightsPrecision,
  kKvPrecision,
  kServingBatch,
  kServingRequests,
  // About the row.
  kFramework,
  kPhase,
  kRelease,
  kNote,
  kSource,
  // Known only as marks of a table's kind.
  kMarkPeak,
  kMarkCalculon,
  kMarkDays,
  kCount
};

/// The name in documentation and errors: "micro_batch".
std::string_view to_string(Field field);

class MeasuredTable {
 public:
  class Row {
   public:
    size_t line() const { return line_; }
    /// The cell without white space around; empty where there is no such column or no value.
    std::string_view text(Field field) const;
    /// Errors of all: kInvalidArgument "FILE:LINE: column 'x': ..." for a value of another kind or out of bounds.
    std::optional<double> number(Field field, double low, double high) const;
    std::optional<uint64_t> count(Field field, uint64_t low, uint64_t high) const;
    std::optional<bool> flag(Field field) const;
    [[noreturn]] void error(Field field, std::string_view what) const;

   private:
    friend class MeasuredTable;
    Row(const MeasuredTable& table, size_t at) : table_(table), line_(table.lines_[at]), at_(at) {}
    const MeasuredTable& table_;
    size_t line_;
    size_t at_;
  };

  /// `file` is how errors call the table; its stem is the set's name. Errors: kInvalidArgument for text that is no table
  /// (over 64 MiB, 256 columns or 1,000,000 rows; rows of another length than the header; a quotation that does not end;
  /// no column that is known).
  static MeasuredTable parse(std::string_view text, const std::filesystem::path& file);
  /// Errors: kNotFound, kIo too.
  static MeasuredTable read(const std::filesystem::path& file);

  const std::string& file() const { return file_; }
  const std::string& set() const { return set_; }
  bool has(Field field) const { return columns_[static_cast<size_t>(field)] >= 0; }
  /// Whether the header has this very name, folded.
  bool has_header(std::string_view folded) const;
  size_t rows() const { return lines_.size(); }
  Row row(size_t at) const { return {*this, at}; }  // REQUIRES: at < rows(); points into the table
  /// Names of columns that no field has, as they stand in the header.
  const std::vector<std::string>& ignored() const { return ignored_; }

 private:
  void read_header(std::vector<std::string> names);

  std::string file_, set_;
  std::vector<std::string> header_, folded_, ignored_;
  std::array<int, static_cast<size_t>(Field::kCount)> columns_{};
  std::vector<std::string> cells_;  // row by row
  std::vector<size_t> lines_;
};

}  // namespace fathom::cluster
