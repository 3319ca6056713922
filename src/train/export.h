// A trained model as files that others read: GGUF and a Hugging Face folder (model.safetensors, config.json,
// tokenizer.json), and adapters in PEFT's layout (adapter_model.safetensors, adapter_config.json).
//
// Tensors come one at a time from a source, so that no more than one is in memory. Functions are thread-safe.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/gguf.h"
#include "train/parameters.h"

namespace fathom::train {

/// Gives a whole tensor by its GGUF name, in GGUF's order of rows.
using TensorSource = std::function<std::vector<float>(const std::string& name)>;

/// Whether the architecture's GGUF keys say all that this model is, so that what is trained can be read back. Errors:
/// kUnsupported, naming what cannot be said; the sentence says which architectures there are.
void check_exportable(const model::ModelConfig& config);

/// `tokenizer`: GGUF metadata of it (keys tokenizer.*), as another file or `fathom tokenizer train` has them. Written in
/// `dtype` (F32, F16 or BF16; norms F32). Errors: check_exportable's, kIo, kResourceExhausted, those of the source.
void export_gguf(const model::ModelConfig& config, const model::GgufFile& tokenizer,
                 const TensorSource& source, tensor::DType dtype, const std::filesystem::path& out);

/// llama, mistral, qwen2, qwen3, mixtral and grok (names of model/hf/names.h); tokenizer.json is made from the GGUF where
/// its tokenizer can be written so.
/// Errors: kUnsupported (an architecture without a Hugging Face layout here), kIo, kResourceExhausted.
void export_hugging_face(const model::ModelConfig& config, const model::GgufFile& tokenizer,
                         const TensorSource& source, tensor::DType dtype,
                         const std::filesystem::path& folder);

/// `prompt`: how the model is to be asked ("cited": infer/adapter.h), where the adapter was trained on that; else empty.
/// Errors: kIo, kResourceExhausted.
void export_adapter(const model::ModelConfig& config, const LoraSpec& lora, const TensorSource& source,
                    tensor::DType dtype, const std::string& base_model, const std::filesystem::path& folder,
                    const std::string& prompt = "");

}  // namespace fathom::train
