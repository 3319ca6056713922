#include "model/hf/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace fathom::model {
namespace {

struct Rule {
  std::string_view from;  // without prefix, block and ".weight" or ".bias"
  std::string_view to;
  HfChange change = HfChange::kNone;
};

// What stands outside the blocks.
constexpr Rule kWhole[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm", HfChange::kNorm},
    {"lm_head", "output"},
};

constexpr Rule kBlock[] = {
    {"input_layernorm", "attn_norm", HfChange::kNorm},
    {"self_attn.q_proj", "attn_q", HfChange::kQueryRows},
    {"self_attn.k_proj", "attn_k", HfChange::kKeyRows},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.q_norm", "attn_q_norm", HfChange::kNorm},
    {"self_attn.k_norm", "attn_k_norm", HfChange::kNorm},
    {"post_attention_layernorm", "ffn_norm", HfChange::kNorm},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp", HfChange::kF32},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp", HfChange::kF32},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"block_sparse_moe.gate", "ffn_gate_inp", HfChange::kF32},
};

// Gemma 2 and 3 have norms behind the branches too, and name the one after the attention as others name the one before
// the feed-forward.
constexpr Rule kGemmaBlock[] = {
    {"post_attention_layernorm", "post_attention_norm", HfChange::kNorm},
    {"pre_feedforward_layernorm", "ffn_norm", HfChange::kNorm},
    {"post_feedforward_layernorm", "post_ffw_norm", HfChange::kNorm},
};

constexpr Rule kGrokBlock[] = {
    {"pre_attn_norm", "attn_norm", HfChange::kNorm},
    {"post_attn_norm", "attn_output_norm", HfChange::kNorm},
    {"pre_moe_norm", "ffn_norm", HfChange::kNorm},
    {"post_moe_norm", "post_ffw_norm", HfChange::kNorm},
};

constexpr Rule kBertWhole[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.token_type_embeddings", "token_types", HfChange::kF32},
    {"embeddings.position_embeddings", "position_embd", HfChange::kF32},
    {"embeddings.LayerNorm", "token_embd_norm", HfChange::kNorm},
};

constexpr Rule kBertBlock[] = {
    {"attention.self.query", "attn_q"},
    {"attention.self.key", "attn_k"},
    {"attention.self.value", "attn_v"},
    {"attention.output.dense", "attn_output"},
    {"attention.output.LayerNorm", "attn_output_norm", HfChange::kNorm},
    {"intermediate.dense", "ffn_up"},
    {"output.dense", "ffn_down"},
    {"output.LayerNorm", "layer_output_norm", HfChange::kNorm},
};

// Of one expert: mixtral and grok count, qwen names.
constexpr Rule kExpert[] = {
    {"w1", "ffn_gate"},        {"w2", "ffn_down"},    {"w3", "ffn_up"},
    {"gate_proj", "ffn_gate"}, {"up_proj", "ffn_up"}, {"down_proj", "ffn_down"},
};

// Parts that the text model does without, and tables that follow from the configuration.
constexpr std::string_view kPassedOver[] = {"vision_tower.", "vision_model.", "multi_modal_projector.",
                                            "pooler.",       "cls.",          "embeddings.position_ids"};

const Rule* find_rule(std::span<const Rule> rules, std::string_view from) {
  const auto found =
      std::find_if(rules.begin(), rules.end(), [&](const Rule& rule) { return rule.from == from; });
  return found == rules.end() ? nullptr : &*found;
}

/// The first that leads to this name.
const Rule* find_target(std::span<const Rule> rules, std::string_view to) {
  const auto found =
      std::find_if(rules.begin(), rules.end(), [&](const Rule& rule) { return rule.to == to; });
  return found == rules.end() ? nullptr : &*found;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// A number and the dot behind it, without leading zeros.
bool take_number(std::string_view& text, std::string_view& number) {
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos || dot == 0 || dot > 5) return false;
  number = text.substr(0, dot);
  if (number.find_first_not_of("0123456789") != std::string_view::npos) return false;
  if (number.size() > 1 && number[0] == '0') return false;
  text.remove_prefix(dot + 1);
  return true;
}

/// Off the name: the wrapping classes' prefixes.
void take_wrapping(std::string_view& name, bool bert) {
  if (bert) {
    take_prefix(name, "bert.");
    return;
  }
  take_prefix(name, "model.");
  if (take_prefix(name, "language_model.")) take_prefix(name, "model.");
}

HfName name_of_block(std::string_view architecture, std::string_view stem, std::string_view suffix,
                     std::string_view layer) {
  const auto mapped = [&](std::string_view to, HfChange change) -> HfName {
    return {HfPlace::kMapped, fmt::format("blk.{}.{}.{}", layer, to, suffix), change};
  };
  if (stem.ends_with("rotary_emb") || suffix == "inv_freq")
    return {HfPlace::kPassedOver, "", HfChange::kNone};
  std::string_view expert = stem;
  std::string_view number;
  if ((take_prefix(expert, "block_sparse_moe.experts.") || take_prefix(expert, "mlp.experts.")) &&
      take_number(expert, number)) {
    const Rule* rule = find_rule(kExpert, expert);
    return rule == nullptr ? HfName{} : mapped(fmt::format("{}.{}", rule->to, number), rule->change);
  }
  const Rule* rule = nullptr;
  if (architecture == "bert") {
    rule = find_rule(kBertBlock, stem);
  } else {
    if (architecture == "gemma2" || architecture == "gemma3") rule = find_rule(kGemmaBlock, stem);
    if (architecture == "grok") rule = find_rule(kGrokBlock, stem);
    if (rule == nullptr) rule = find_rule(kBlock, stem);
  }
  return rule == nullptr ? HfName{} : mapped(rule->to, rule->change);
}

}  // namespace

HfName gguf_name(std::string_view architecture, std::string_view name) {
  const bool bert = architecture == "bert";
  take_wrapping(name, bert);
  for (const std::string_view part : kPassedOver)
    if (name.starts_with(part)) return {HfPlace::kPassedOver, "", HfChange::kNone};
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {};
  std::string_view stem = name.substr(0, dot);
  const std::string_view suffix = name.substr(dot + 1);
  std::string_view layer;
  std::string_view rest = name;
  if (take_prefix(rest, bert ? "encoder.layer." : "layers.") && take_number(rest, layer)) {
    const size_t end = rest.rfind('.');
    if (end == std::string_view::npos) return {};
    const HfName found = name_of_block(architecture, rest.substr(0, end), suffix, layer);
    const bool known_suffix = suffix == "weight" || suffix == "bias";
    return known_suffix || found.place == HfPlace::kPassedOver ? found : HfName{};
  }
  if (suffix != "weight" && suffix != "bias") return {};
  const Rule* rule = bert ? find_rule(kBertWhole, stem) : find_rule(kWhole, stem);
  if (rule == nullptr) return {};
  return {HfPlace::kMapped, fmt::format("{}.{}", rule->to, suffix), rule->change};
}

std::string hugging_face_name(std::string_view architecture, std::string_view gguf) {
  const size_t dot = gguf.rfind('.');
  if (dot == std::string_view::npos) return "";
  std::string_view stem = gguf.substr(0, dot);
  const std::string_view suffix = gguf.substr(dot);  // with its dot
  std::string_view layer;
  if (!take_prefix(stem, "blk.")) {
    const Rule* rule = find_target(kWhole, stem);
    if (rule == nullptr) return "";
    const std::string_view prefix = rule->from == "lm_head" ? "" : "model.";
    return fmt::format("{}{}{}", prefix, rule->from, suffix);
  }
  if (!take_number(stem, layer)) return "";
  // Mixtral and grok have their experts under a name of their own, and count what others name.
  const bool counted = architecture == "llama" || architecture == "grok";
  if (const size_t expert = stem.find('.'); expert != std::string_view::npos) {
    const std::span<const Rule> names(kExpert);
    const Rule* rule = find_target(counted ? names.first(3) : names.subspan(3), stem.substr(0, expert));
    if (rule == nullptr) return "";
    return fmt::format("model.layers.{}.{}.experts.{}.{}{}", layer, counted ? "block_sparse_moe" : "mlp",
                       stem.substr(expert + 1), rule->from, suffix);
  }
  if (counted && stem == "ffn_gate_inp")
    return fmt::format("model.layers.{}.block_sparse_moe.gate{}", layer, suffix);
  const Rule* rule = nullptr;
  if (architecture == "gemma2" || architecture == "gemma3") rule = find_target(kGemmaBlock, stem);
  if (architecture == "grok") rule = find_target(kGrokBlock, stem);
  if (rule == nullptr) rule = find_target(kBlock, stem);
  return rule == nullptr ? "" : fmt::format("model.layers.{}.{}{}", layer, rule->from, suffix);
}

}  // namespace fathom::model
