// Texts to vectors: a sentence-embedding model of the BERT family (Devlin et al., 2019; Reimers and Gurevych, 2019).
//
// Ownership: as Engine. Thread safety: every method may be called from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"

namespace fathom::infer {

struct EmbedderInfo {
  std::string name;
  std::string architecture;
  size_t dimensions = 0;
  size_t context = 0;  // tokens of a text; more are cut off
};

struct Embedding {
  std::vector<float> values;  // [dimensions], of length 1
  size_t tokens = 0;          // that were read
};

class Embedder {
 public:
  /// A Hugging Face folder or a GGUF file. Errors: kNotFound, kIo, kCorrupt, kUnsupported.
  static std::unique_ptr<Embedder> load(const std::filesystem::path& path, ThreadPool& pool);
  virtual ~Embedder() = default;

  virtual const EmbedderInfo& info() const = 0;
  virtual std::vector<Embedding> embed(std::span<const std::string> texts) = 0;
};

}  // namespace fathom::infer
