// A Hugging Face folder (config.json, *.safetensors, tokenizer.json and what belongs to them), read as the GGUF file that
// llama.cpp's converter makes of it: the same metadata keys, tensor names, orders of rows and offsets of norms. What can
// stay where it lies is not copied: matrices are views into the mapped safetensors; copies are the rows of q and k of the
// llama family (GGUF turns neighbours, Hugging Face halves) and vectors, which become F32.
//
// Differences from the converter's output, none of which changes what is computed:
//   - experts that the folder holds one by one stay so ("blk.0.ffn_gate.3.weight"); `fathom quantize` stacks them,
//   - matrices keep their format (F32, F16 or BF16),
//   - sliding windows that the converter leaves out are written (Mistral 7B v0.1).
// Read: config.json, generation_config.json, tokenizer.json or tokenizer.model, tokenizer_config.json, chat_template.jinja
// or chat_template.json, 1_Pooling/config.json of embedding models, and the safetensors.
//
// Architectures: LlamaForCausalLM, MistralForCausalLM, MixtralForCausalLM, Qwen2-, Qwen3-, Qwen2Moe-, Qwen3MoeForCausalLM,
// Gemma-, Gemma2-, Gemma3ForCausalLM, Gemma3ForConditionalGeneration (its text part), Phi3ForCausalLM, GrokForCausalLM and
// Grok1ForCausalLM with the tensor names of Grok-2 (whole, not the parts of tensor parallelism), BertModel.
#pragma once

#include <filesystem>

#include "model/gguf.h"

namespace fathom::model {

/// Whether there is a config.json and a safetensors file or index in it.
bool is_hugging_face_folder(const std::filesystem::path& path);

/// The GgufFile owns all that its views need. Errors: kNotFound (a file is missing: named), kIo, kCorrupt, kUnsupported
/// (another architecture, activation or scaling of positions; weights quantised in a way of their own; a tensor without a
/// place in GGUF).
GgufFile open_hugging_face(const std::filesystem::path& folder, GgufContents contents);

}  // namespace fathom::model
