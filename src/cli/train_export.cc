// fathom train export: a checkpoint as a GGUF file, a Hugging Face folder, or an adapter.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/train_commands.h"
#include "model/gguf.h"
#include "model/quantize.h"
#include "train/checkpoint.h"
#include "train/export.h"
#include "train/tokenizer_file.h"
#include "train/trainer.h"

namespace fathom::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  fs::path folder, out, checkpoint;
  std::string dtype = "F16";
  bool average = false;
  bool adapter = false;
};

fs::path chosen_checkpoint(const Options& options) {
  if (!options.checkpoint.empty()) return options.checkpoint;
  const auto whole = train::list_checkpoints(options.folder / train::kCheckpointsFolder);
  if (whole.empty())
    throw Error(ErrorCode::kNotFound, fmt::format("'{}' has no checkpoint yet", options.folder.string()));
  return whole.back();
}

/// A folder is made where none is; a file in its place is somebody's.
void check_out(const Options& options) {
  const bool folder = options.adapter || options.out.extension() != ".gguf";
  if (folder && fs::exists(options.out) && !fs::is_directory(options.out))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--out '{}' is a file; name a folder{}", options.out.string(),
                            options.adapter ? "" : ", or a file that ends in .gguf"));
  if (!folder && fs::is_directory(options.out))
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--out '{}' is a folder; name a file", options.out.string()));
}

tensor::DType plain_format(const std::string& name) {
  const auto format = model::parse_format(name);
  if (tensor::block_size(format) != 1)
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("models are exported as F32, F16 or BF16, not {}; 'fathom quantize' makes smaller files "
                    "of them",
                    name));
  return format;
}

/// Tensors of a checkpoint; under an adapter the base model's, with what the adapter adds.
class Tensors {
 public:
  Tensors(const train::RunConfig& run, const fs::path& checkpoint, bool average)
      : run_(run), reader_(checkpoint), average_(average) {
    if (!run.model_file.empty()) base_.emplace(model::GgufFile::open(run.model_file));
  }

  std::vector<float> read(const std::string& name) const {
    if (reader_.tensors().contains(name)) return reader_.read(name, average_);
    std::vector<float> out = read_base(name);
    if (reader_.tensors().contains(name + ".lora_a")) add_adapter(name, out);
    return out;
  }

 private:
  /// What is frozen, and tables that are not trained.
  std::vector<float> read_base(const std::string& name) const {
    if (!base_) throw Error(ErrorCode::kCorrupt, fmt::format("the checkpoint has no tensor '{}'", name));
    const model::GgufTensor& tensor = base_->tensor(name);
    std::vector<float> out(tensor.elements);
    tensor::dequantize_row(*tensor.dtype, tensor.data.data(), out.data(), out.size());
    return out;
  }

  /// W += alpha / rank * B A.
  void add_adapter(const std::string& name, std::vector<float>& w) const {
    const auto a = reader_.read(name + ".lora_a", average_), b = reader_.read(name + ".lora_b", average_);
    const size_t rank = run_.lora.rank;
    if (rank == 0 || a.size() % rank != 0 || b.size() % rank != 0 ||
        a.size() / rank * (b.size() / rank) != w.size())
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("the adapter of '{}' is not of the rank that the run's record says", name));
    const size_t in = a.size() / rank, rows = b.size() / rank;
    const float scale = run_.lora.alpha / static_cast<float>(rank);
    for (size_t row = 0; row < rows; ++row)
      for (size_t r = 0; r < rank; ++r) {
        const float factor = scale * b[row * rank + r];
        for (size_t i = 0; i < in; ++i) w[row * in + i] += factor * a[r * in + i];
      }
  }

  const train::RunConfig& run_;
  train::CheckpointReader reader_;
  bool average_;
  std::optional<model::GgufFile> base_;
};

int export_run(const Options& options) {
  const auto run = read_run_folder(options.folder);
  const auto checkpoint = chosen_checkpoint(options);
  check_out(options);
  const Tensors tensors(run, checkpoint, options.average);
  const train::TensorSource source = [&](const std::string& name) { return tensors.read(name); };
  if (options.adapter) {
    if (run.lora.rank == 0)
      throw Error(ErrorCode::kInvalidArgument,
                  "the run trained all weights and has no adapter; leave out --adapter");
    train::export_adapter(run.model, run.lora, source, plain_format(options.dtype), run.model_file.string(),
                          options.out, run.adapter_prompt);
  } else {
    if (run.tokenizer.empty())
      throw Error(
          ErrorCode::kInvalidArgument,
          "the run names no tokenizer, without which a model is of no use; name it in [data] tokenizer");
    const auto tokenizer = train::open_tokenizer(run.tokenizer);
    const auto format = plain_format(options.dtype);
    if (options.out.extension() == ".gguf")
      train::export_gguf(run.model, tokenizer.file, source, format, options.out);
    else
      train::export_hugging_face(run.model, tokenizer.file, source, format, options.out);
  }
  std::cout << fmt::format("{} from {}\n", options.out.string(), checkpoint.filename().string());
  return 0;
}

}  // namespace

void add_train_export(CLI::App& train, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = train.add_subcommand("export", "A trained model as a file that is served");
  command->footer(
      "Examples:\n"
      "  fathom train export starter/ --out starter.gguf            a GGUF file: fathom serve --model "
      "starter.gguf\n"
      "  fathom train export starter/ --out starter-hf --dtype bf16 a Hugging Face folder\n"
      "  fathom train export tuned/ --out adapter --adapter         a LoRA adapter as PEFT has it\n");
  command->add_option("folder", options->folder, "The run's folder")->required()->type_name("RUN_FOLDER");
  command->add_option("--out", options->out, "A name that ends in .gguf, or a folder")
      ->required()
      ->type_name("OUT");
  command->add_option("--dtype", options->dtype, "Format of the matrices: F32, F16, BF16")
      ->capture_default_str()
      ->type_name("FORMAT");
  command->add_option("--checkpoint", options->checkpoint, "Another checkpoint than the newest")
      ->type_name("FOLDER");
  command->add_flag("--average", options->average, "The average of the weights in place of the newest");
  command->add_flag("--adapter", options->adapter, "The adapter alone");
  command->callback([options, &run] { run = [options] { return export_run(*options); }; });
}

}  // namespace fathom::cli
