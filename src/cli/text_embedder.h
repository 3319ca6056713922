// infer's embedding model as live's TextEmbedder: texts in small batches, so that nobody waits for long ones, cut where the model
// cannot read them anyway, with the prefixes that the makers of a model ask for.
//
// Ownership: the model outlives it. Thread safety: every method may be called from any thread.
#pragma once

#include <memory>
#include <string_view>

#include "infer/embedder.h"
#include "live/vectors/vectors.h"

namespace fathom::cli {

/// What stands before a text, by the model's name: "query: " and "passage: " for E5 (Wang et al. 2022), an instruction before
/// queries for the English BGE models (Xiao et al. 2023) and those trained after them.
struct EmbeddingPrefixes {
  std::string_view query, passage;
};
EmbeddingPrefixes embedding_prefixes(std::string_view model_name);

std::unique_ptr<live::TextEmbedder> make_text_embedder(infer::Embedder& model);

}  // namespace fathom::cli
