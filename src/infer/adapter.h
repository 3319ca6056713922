// Low-rank adapters (LoRA: Hu et al., 2021) in PEFT's layout, added to a model's matrices as it is loaded.
//
// A folder holds adapter_config.json ("r", "lora_alpha", ...) and adapter_model.safetensors with, for each matrix W
// [out, in] that it changes, base_model.model.NAME.lora_A.weight [r, in] and base_model.model.NAME.lora_B.weight [out, r],
// NAME as Hugging Face calls the matrix. What is computed with is W + (alpha / r) B A, so that decoding costs nothing more.
// The sum of a block format is kept in Q8_0, which loses little of what was added; other formats stay. Rows of q and k are brought into GGUF's order as conversion does.
//
// Of the config's keys beside those: use_rslora is obeyed; use_dora, bias, modules_to_save, fan_in_fan_out and patterns of
// ranks or alphas are refused where they are used, as are starts that change the base (PiSSA and its kin). "fathom_prompt": "cited" marks an adapter that was trained by
// recipes/grounded on the prompt of answer/generate.h.
//
// Ownership: the tensors own their numbers; names are views into the model file's. Immutable, so thread-safe. Nothing in
// the files is believed. Errors: kNotFound, kIo, kCorrupt and kUnsupported, naming folder, tensor and what is wrong.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "model/config.h"
#include "model/gguf.h"

namespace fathom::infer {

struct AdapterConfig {
  size_t rank = 0;
  double alpha = 0;
  bool root_scale = false;  // alpha / sqrt(r) (use_rslora)
  bool cites = false;

  float scale() const;
};

/// `name` stands for the path in errors. Errors: kCorrupt, kUnsupported.
AdapterConfig parse_adapter_config(std::string_view json, const std::string& name);

/// The matrices of a model file that an adapter changes.
class AdaptedTensors {
 public:
  /// None.
  AdaptedTensors() = default;
  /// Reads the adapter in `folder` and adds it to the matrices of `file`, on all threads of `pool`.
  AdaptedTensors(const model::ModelConfig& config, const model::GgufFile& file,
                 const std::filesystem::path& folder, ThreadPool& pool);
  AdaptedTensors(AdaptedTensors&&) = default;
  AdaptedTensors& operator=(AdaptedTensors&&) = default;

  /// Null for a tensor that is as the file has it.
  const model::GgufTensor* find(std::string_view name) const;
  bool empty() const { return tensors_.empty(); }
  const std::string& name() const { return name_; }  // of the folder
  bool cites() const { return config_.cites; }

 private:
  struct Tensor {
    model::GgufTensor tensor;
    std::vector<std::byte> bytes;
  };

  std::string name_;
  AdapterConfig config_;
  std::map<std::string_view, Tensor> tensors_;
};

}  // namespace fathom::infer
