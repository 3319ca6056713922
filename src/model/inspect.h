// What is in a model file or folder, whether or not it can be served. Reads headers only, no weights: takes milliseconds.
//
// Pure functions of the files, thread-safe; the result is a plain value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fathom::model {

struct FormatShare {
  uint64_t tensors = 0, elements = 0, bytes = 0;
};

struct InspectedTensor {
  std::string name;
  std::vector<uint64_t> shape;  // the contiguous dimension first
  std::string format;
  uint64_t bytes = 0;  // 0 where the size of the format's blocks is not known
};

struct InspectedKey {
  std::string key, type, value;  // the value for people, cut
};

struct Inspection {
  std::filesystem::path path;
  std::string container;  // "GGUF 3", "GGUF 3 in 3 parts", "Hugging Face folder", "safetensors"
  std::string name, architecture;
  std::string quantisation;  // the format that most weights have
  uint64_t file_bytes = 0;
  uint64_t parameters = 0;  // elements of all tensors but tables of positions
  std::map<std::string, FormatShare> formats;

  std::string tokenizer;  // "gpt2 (smollm)"; empty: there is none
  uint64_t vocabulary = 0;
  bool chat_template = false;
  uint64_t context = 0;
  /// Sizes by their names in GGUF ("block_count"), as far as the file has them.
  std::vector<std::pair<std::string, uint64_t>> sizes;

  /// Of a model that generates: bytes of weights that one token reads, and of keys and values in F16 that it leaves.
  std::optional<uint64_t> bytes_per_token, kv_bytes_per_token;
  uint64_t active_parameters = 0;

  std::string serves;   // "text", "embeddings", or empty
  std::string problem;  // why it is not served; empty otherwise

  std::vector<InspectedKey> metadata;
  std::vector<InspectedTensor> tensors;  // in the file's order
};

/// Errors: kNotFound, kIo, kCorrupt (no model file at all, or a damaged one: the sentence says which), kUnsupported (a GGUF
/// version that this build does not read).
Inspection inspect(const std::filesystem::path& path);

/// A file of this name stands in a folder whose model is still being fetched.
inline constexpr const char* kUnfinished = ".unfinished";

/// Models in a folder, newest first: GGUF files (of one in parts the first) and Hugging Face folders. Left out is what has
/// not come whole: a file of which a part is missing, a folder that `pull` has not finished.
std::vector<std::filesystem::path> find_model_files(const std::filesystem::path& folder);

}  // namespace fathom::model
