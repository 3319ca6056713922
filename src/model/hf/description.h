// What a config.json says of a model, in GGUF's terms. Pure functions, thread-safe; nothing in the file is believed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/gguf.h"

namespace fathom::model {

struct HfDescription {
  std::string architecture;  // general.architecture
  std::vector<std::pair<std::string, GgufValue>> keys;
  /// F32 vectors that GGUF keeps as tensors and config.json as numbers.
  std::vector<std::pair<std::string, std::vector<float>>> tables;

  uint64_t heads = 0;
  uint64_t kv_heads = 0;
  uint64_t rows = 0;            // vocab_size
  bool permutes_heads = false;  // rows of q and k: from halves to neighbours
  float norm_shift = 0;         // added to every norm's weight
  bool tied_output = false;     // lm_head, where there is one, is the embedding

  /// Special ids where the tokenizer's own files leave them open.
  std::vector<std::pair<std::string, uint32_t>> special_ids;
};

/// `config`: the text of config.json; `generation`: of generation_config.json, or empty. `name` stands for the folder in
/// errors. Errors: kCorrupt, kUnsupported.
HfDescription describe_hugging_face(std::string_view config, std::string_view generation,
                                    const std::string& name);

/// The pooling of a sentence-transformers folder by its 1_Pooling/config.json: 1 mean, 2 the first token, 3 the last.
/// Errors: kCorrupt, kUnsupported.
uint32_t pooling_type(std::string_view pooling, const std::string& name);

/// chat_template.json: {"chat_template": "..."}. Errors: kCorrupt.
std::string chat_template_of(std::string_view json, const std::string& name);

}  // namespace fathom::model
