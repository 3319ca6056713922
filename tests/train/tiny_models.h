// Models so small that a whole training run takes a moment, with all that distinguishes their kinds.
#pragma once

#include <string>

#include "model/config.h"
#include "model/description.h"

namespace fathom::train {

/// Llama-shaped: grouped queries, biases, four layers; `more` is added to the description.
inline model::ModelConfig tiny_dense(const std::string& more = "tied_output = true\n") {
  return model::parse_description(R"(
name = "tiny dense"
source = "made up"
architecture = "llama"
layers = 4
d_model = 32
heads = 8
kv_heads = 4
head_dim = 4
ffn = 48
vocab = 61
context = 16
attention_bias = true
)" + more,
                                  "tiny dense");
}

/// Grok-shaped: top 2 of 8 experts, caps, post norms.
inline model::ModelConfig tiny_mixture(const std::string& more = "tied_output = true\n") {
  return model::parse_description(R"(
name = "tiny mixture"
source = "made up"
architecture = "grok"
layers = 4
d_model = 32
heads = 8
kv_heads = 4
head_dim = 4
vocab = 61
context = 16
activation = "gelu"
post_norms = true
embedding_scale = 5.6
logit_scale = 0.7
attention_softcap = 30
final_softcap = 50
)" + more + R"(
[experts]
count = 8
used = 2
ffn = 16
router_softcap = 30
)",
                                  "tiny mixture");
}

}  // namespace fathom::train
