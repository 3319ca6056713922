// Test support: a small random model for each architecture and each of its switches, as the forward pass is held against
// the plain one (reference_model.h) and against llama.cpp (record_architectures.py).
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "infer/tiny_model.h"

namespace fathom::test {

struct NamedModel {
  std::string name;
  TinyModel model;
  bool recorded = true;    // llama.cpp runs it, and in this way
  size_t run_context = 0;  // that it is run with; 0: its own
};

/// What tests are named by.
inline void PrintTo(const NamedModel& model, std::ostream* out) { *out << model.name; }

namespace detail {

inline TinyModel base(const std::string& architecture, uint64_t seed) {
  TinyModel m;
  m.architecture = architecture;
  m.seed = seed;
  return m;
}

inline void add_llamas(std::vector<NamedModel>& out) {
  out.push_back({"llama", base("llama", 1)});
  TinyModel biases = base("llama", 2);
  biases.biases = true;
  biases.tied = false;
  biases.kv_heads = 1;
  out.push_back({"llama_biases", biases});
  TinyModel llama3 = base("llama", 3);
  llama3.rope_factors = true;
  llama3.keys["rope.freq_base"] = 500000.0f;
  out.push_back({"llama3", llama3});
  TinyModel linear = base("llama", 4);
  linear.keys["rope.scaling.type"] = "linear";
  linear.keys["rope.scaling.factor"] = 4.0f;
  out.push_back({"llama_linear", linear});
  TinyModel yarn = base("llama", 5);
  yarn.qk_gain = 2;
  yarn.keys["rope.scaling.type"] = "yarn";
  yarn.keys["rope.scaling.factor"] = 4.0f;
  yarn.keys["rope.scaling.original_context_length"] = uint32_t{32};
  out.push_back({"llama_yarn", yarn});
  TinyModel mistral = base("llama", 6);
  mistral.keys["attention.sliding_window"] = uint32_t{8};
  out.push_back({"mistral", mistral, false});  // llama.cpp passes the window over
}

inline void add_qwens(std::vector<NamedModel>& out) {
  TinyModel qwen2 = base("qwen2", 10);
  qwen2.qkv_biases = true;
  qwen2.tied = false;
  out.push_back({"qwen2", qwen2});
  TinyModel qwen3 = base("qwen3", 11);
  qwen3.qk_norm = true;
  qwen3.head_dim = 24;
  out.push_back({"qwen3", qwen3});
  TinyModel qwen2moe = base("qwen2moe", 12);
  qwen2moe.qkv_biases = true;
  qwen2moe.tied = false;
  qwen2moe.experts = 6;
  qwen2moe.gated_beside = true;
  qwen2moe.keys["expert_shared_feed_forward_length"] = uint32_t{96};
  out.push_back({"qwen2moe", qwen2moe});
  TinyModel qwen3moe = base("qwen3moe", 13);
  qwen3moe.qk_norm = true;
  qwen3moe.experts = 8;
  qwen3moe.experts_used = 3;
  qwen3moe.expert_ffn = 32;
  out.push_back({"qwen3moe", qwen3moe});
}

inline TinyModel gemma(const std::string& architecture, uint64_t seed) {
  TinyModel m = base(architecture, seed);
  m.attention_post_norm = "post_attention_norm";
  m.ffn_post_norm = "post_ffw_norm";
  m.qk_gain = 2;
  return m;
}

inline void add_gemmas(std::vector<NamedModel>& out) {
  TinyModel first = base("gemma", 20);
  first.kv_heads = 1;
  out.push_back({"gemma", first});
  TinyModel gemma2 = gemma("gemma2", 21);
  gemma2.layers = 3;
  gemma2.keys["attention.sliding_window"] = uint32_t{8};
  gemma2.keys["attn_logit_softcapping"] = 2.0f;
  gemma2.keys["final_logit_softcapping"] = 1.5f;
  out.push_back({"gemma2", gemma2});
  TinyModel defaults = gemma("gemma2", 22);
  defaults.qk_gain = 6;
  defaults.logits = 8;
  out.push_back({"gemma2_defaults", defaults});
  TinyModel gemma3 = gemma("gemma3", 23);
  gemma3.layers = 7;
  gemma3.qk_norm = true;
  gemma3.keys["attention.sliding_window"] = uint32_t{8};
  gemma3.keys["rope.freq_base"] = 1000000.0f;
  gemma3.keys["rope.scaling.type"] = "linear";
  gemma3.keys["rope.scaling.factor"] = 2.0f;
  out.push_back({"gemma3", gemma3});
  TinyModel global = gemma("gemma3", 24);
  global.qk_norm = true;
  global.tied = false;
  global.keys["final_logit_softcapping"] = 2.0f;
  out.push_back({"gemma3_global", global});
}

inline void add_phis(std::vector<NamedModel>& out) {
  TinyModel phi3 = base("phi3", 30);
  phi3.fused = true;
  phi3.tied = false;
  phi3.keys["rope.dimension_count"] = uint32_t{8};
  out.push_back({"phi3", phi3});
  TinyModel longrope = phi3;
  longrope.long_rope_factors = true;
  longrope.context = 2048;
  longrope.keys["rope.scaling.original_context_length"] = uint32_t{512};
  longrope.keys["rope.scaling.attn_factor"] = 1.19f;
  out.push_back({"phi3_within", longrope, true, 256});
  out.push_back({"phi3_beyond", longrope, true, 1024});
}

inline TinyModel grok(uint64_t seed) {
  TinyModel m = base("grok", seed);
  m.attention_post_norm = "attn_output_norm";
  m.ffn_post_norm = "layer_output_norm";
  m.experts = 8;
  m.qk_gain = 5;
  return m;
}

inline void add_groks(std::vector<NamedModel>& out) {
  TinyModel mixtral = base("llama", 40);
  mixtral.experts = 4;
  mixtral.expert_ffn = mixtral.ffn;
  mixtral.tied = false;
  out.push_back({"mixtral", mixtral});
  mixtral.single_experts = true;
  out.push_back({"mixtral_2023", mixtral, false});  // llama.cpp no longer reads such files
  TinyModel grok1 = grok(41);
  grok1.expert_ffn = 96;
  out.push_back({"grok1", grok1});
  TinyModel grok2 = grok(42);
  grok2.dense_beside = true;
  grok2.tied = false;
  grok2.ffn_post_norm = "post_ffw_norm";
  grok2.keys = {{"embedding_scale", 9.0f},
                {"logit_scale", 0.5f},
                {"attention.output_scale", 0.25f},
                {"attn_logit_softcapping", 3.0f},
                {"final_logit_softcapping", 1.5f},
                {"router_logit_softcapping", 1e6f},  // llama.cpp reads it and does nothing with it
                {"rope.scaling.type", "yarn"},
                {"rope.scaling.factor", 16.0f},
                {"rope.scaling.original_context_length", uint32_t{32}},
                {"rope.scaling.yarn_ext_factor", 1.0f},
                {"rope.scaling.yarn_beta_fast", 8.0f},
                {"rope.scaling.yarn_beta_slow", 1.0f}};
  out.push_back({"grok2", grok2});
  grok2.keys["router_logit_softcapping"] = 0.7f;
  grok2.keys["attention.temperature_length"] = uint32_t{10};
  out.push_back({"grok2_routing", grok2, false});  // both of which llama.cpp leaves out
}

}  // namespace detail

inline std::vector<NamedModel> architectures() {
  std::vector<NamedModel> out;
  detail::add_llamas(out);
  detail::add_qwens(out);
  detail::add_gemmas(out);
  detail::add_phis(out);
  detail::add_groks(out);
  return out;
}

}  // namespace fathom::test
