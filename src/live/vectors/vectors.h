// Semantic search: posts as vectors of any embedding model, which is injected, so that this floor knows no model.
//
// A thread reads the store by `tail`, has texts embedded in batches, quantises the vectors to 8 bits a dimension (symmetric,
// scale a vector) and adds them to a graph (HNSW, Malkov and Yashunin 2018: one writer, readers without locks). Lexical search
// does not wait for it: a post is found by meaning some time after it is found by its words (`lag`). Near-duplicates are
// not embedded again. The newest `most_posts` are kept; vectors and graph are written to the folder now and then and at the
// end, with the model's name: another model starts anew.
//
// Ownership: store and embedder outlive it. Thread safety: every method may be called from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "live/store.h"

namespace fathom::live {

/// Texts to unit vectors. Thread-safe; blocking.
class TextEmbedder {
 public:
  virtual ~TextEmbedder() = default;
  virtual std::string_view name() const = 0;
  virtual size_t dimensions() const = 0;
  /// One vector a text, dimensions() values each, in one run. `query`: what is looked for, not what is kept.
  virtual std::vector<float> embed(std::span<const std::string> texts, bool query,
                                   const std::stop_token& stop) = 0;
};

struct VectorOptions {
  std::filesystem::path folder;
  size_t most_posts = 200'000;
  size_t batch = 32;
  size_t links = 16;              // M: neighbours of a node
  size_t build_candidates = 100;  // efConstruction
  size_t search_candidates = 64;  // efSearch, at least
};

struct Neighbour {
  std::string key;
  double similarity = 0;  // cosine
};

class VectorIndex {
 public:
  VectorIndex(const Store& store, TextEmbedder& embedder, const VectorOptions& options);
  ~VectorIndex();
  VectorIndex(const VectorIndex&) = delete;
  VectorIndex& operator=(const VectorIndex&) = delete;

  /// The nearest posts that are still in the store and pass `filter` (its words are ignored, its filters obeyed).
  std::vector<Neighbour> nearest(std::string_view text, const Query& filter, size_t count,
                                 const std::stop_token& stop) const;

  struct Status {
    uint64_t posts = 0, waiting = 0, bytes = 0;
    double per_second = 0;
  };
  Status status() const;
  bool wait_for(uint64_t sequence, std::chrono::milliseconds wait) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Both searches fused by reciprocal rank (Cormack et al. 2009): score = sum over the lists of 1 / (60 + rank). Hits found by
/// meaning alone have matched_terms 0. Without vectors: the lexical search.
SearchResult search_hybrid(const Store& store, const VectorIndex* vectors, const Query& query,
                           const std::stop_token& stop);

}  // namespace fathom::live
