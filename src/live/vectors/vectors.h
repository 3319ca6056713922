// Semantic search: posts as vectors of any embedding model, which is injected, so that this floor knows no model.
//
// A thread reads the store by `tail`, the newest posts first, has texts embedded in batches, quantises the vectors to 8 bits a
// dimension (symmetric, scale a vector) and adds them to a graph (HNSW, Malkov and Yashunin 2018: one writer, readers without
// locks). Lexical search does not wait for it: a post is found by meaning some time after it is found by its words.
// Near-duplicates are not embedded again. The newest `most_posts` are kept; vectors and graph are written to the folder now
// and then and at the end, with the model's name: another model starts anew, and so does a damaged file, which is named in
// the log. Posts that were replaced or deleted are never found, and leave the graph within minutes.
//
// The thread leaves the processor to others: its batches are small, it waits while somebody asks, and while `busy` holds it
// works a tenth of the time.
//
// Ownership: store and embedder outlive it. Thread safety: every method may be called from any thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
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
  /// Errors: kCancelled when stopped; whatever the model throws.
  virtual std::vector<float> embed(std::span<const std::string> texts, bool query,
                                   const std::stop_token& stop) = 0;
};

struct VectorOptions {
  std::filesystem::path folder;
  size_t most_posts = 200'000;
  size_t batch = 16;              // texts embedded at a time, by the thread
  size_t links = 16;              // M: neighbours of a node
  size_t build_candidates = 100;  // efConstruction
  size_t search_candidates = 64;  // efSearch, at least
  std::chrono::seconds save_every{300};
  std::function<bool()> busy{};  // others need the processor now; called from the thread
};

struct Neighbour {
  Post post;
  uint64_t sequence = 0;
  double similarity = 0;  // cosine
};

class VectorIndex {
 public:
  /// Reads the folder and starts the thread. Errors: kInvalidArgument (options out of range), kIo (the folder cannot be made).
  VectorIndex(const Store& store, TextEmbedder& embedder, const VectorOptions& options);
  /// Stops the thread (within the time of a batch) and writes what is new to the folder.
  ~VectorIndex();
  VectorIndex(const VectorIndex&) = delete;
  VectorIndex& operator=(const VectorIndex&) = delete;

  /// The nearest posts that are still in the store and pass `filter`: of its text, what filters and excludes is obeyed, and
  /// its words are not looked for. Best first. Errors: as Store::search and TextEmbedder::embed.
  std::vector<Neighbour> nearest(std::string_view text, const Query& filter, size_t count,
                                 const std::stop_token& stop) const;

  struct Status {
    uint64_t posts = 0;    // in the graph
    uint64_t waiting = 0;  // sequences that are still to be read: the lag
    uint64_t copies = 0;   // near-duplicates, not embedded, since the start
    uint64_t failed = 0;   // posts that the embedder failed on, since the start
    uint64_t bytes = 0;
    double per_second = 0;  // posts embedded, over the last seconds
  };
  Status status() const;
  /// Waits until all posts up to `sequence` have been read, for at most `wait`.
  bool wait_for(uint64_t sequence, std::chrono::milliseconds wait) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Both searches fused by reciprocal rank (Cormack et al. 2009): score = sum over the lists of 1 / (60 + rank); the list by
/// meaning is that of search_meaning. Hits found by meaning alone have matched_terms 0. The lexical search where there are no
/// vectors, for a query without words or with require_all, in newest-first order, and when the embedder fails (logged).
SearchResult search_hybrid(const Store& store, const VectorIndex* vectors, const Query& query,
                           const std::stop_token& stop);

/// By meaning alone: the nearest by cosine, score = cosine times what age leaves (search.h). Errors: as VectorIndex::nearest; kInvalidArgument for a query without words.
SearchResult search_meaning(const Store& store, const VectorIndex& vectors, const Query& query,
                            const std::stop_token& stop);

}  // namespace fathom::live
