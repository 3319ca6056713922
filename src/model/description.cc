#include "model/description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/file.h"
#include "base/toml.h"
#include "model/config_bounds.h"
#include "model/shown.h"

namespace fathom::model {
namespace {

constexpr auto kMaxWidth = static_cast<int64_t>(bounds::kMaxWidth);
constexpr auto kMaxContext = static_cast<int64_t>(bounds::kMaxContext);

size_t size(const TomlTable& table, std::string_view key, int64_t low, int64_t high) {
  return static_cast<size_t>(table.integer(key, low, high));
}

size_t size_or(const TomlTable& table, std::string_view key, size_t otherwise, int64_t low, int64_t high) {
  return static_cast<size_t>(table.integer_or(key, static_cast<int64_t>(otherwise), low, high));
}

float number_or(const TomlTable& table, std::string_view key, float otherwise, double high) {
  return static_cast<float>(table.number_or(key, static_cast<double>(otherwise), 0, high));
}

void read_sizes(const TomlTable& table, ModelConfig& c) {
  c.layers = size(table, "layers", 1, static_cast<int64_t>(bounds::kMaxLayers));
  c.d_model = size(table, "d_model", 1, kMaxWidth);
  c.heads = size(table, "heads", 1, kMaxWidth);
  c.kv_heads = size_or(table, "kv_heads", c.heads, 1, kMaxWidth);
  c.vocab = size(table, "vocab", 1, static_cast<int64_t>(bounds::kMaxVocab));
  c.context = size(table, "context", 1, kMaxContext);
  c.ffn = size_or(table, "ffn", 0, 0, kMaxWidth);
  c.learned_positions = size_or(table, "learned_positions", 0, 0, kMaxContext);
}

void read_switches(const TomlTable& table, ModelConfig& c) {
  c.activation = static_cast<Activation>(table.choice_or("activation", 0, {"silu", "gelu", "squared-relu"}));
  c.layer_norm = table.choice_or("norm", 0, {"rms", "layer"}) == 1;
  c.gated_ffn = table.flag_or("gated_ffn", true);
  c.qk_norm = table.flag_or("qk_norm", false);
  c.post_norms = table.flag_or("post_norms", false);
  c.tied_output = table.flag_or("tied_output", false);
  c.attention_bias = table.flag_or("attention_bias", false);
  c.attention_output_bias = table.flag_or("attention_output_bias", false);
  c.ffn_bias = table.flag_or("ffn_bias", false);
  c.attention_sinks = table.flag_or("attention_sinks", false);
  c.embedding_scale = number_or(table, "embedding_scale", 1, 1e6);
  c.logit_scale = number_or(table, "logit_scale", 1, 1e6);
  c.attention_scale = number_or(table, "attention_scale", 0, 1e6);
  c.attention_softcap = number_or(table, "attention_softcap", 0, 1e6);
  c.final_softcap = number_or(table, "final_softcap", 0, 1e6);
  c.rms_eps = number_or(table, "norm_epsilon", c.rms_eps, 1);
}

void read_latent(const TomlTable& table, ModelConfig& c) {
  if (!table.has("latent")) return;
  const TomlTable t = table.table("latent");
  t.allow({"kv_rank", "q_rank", "nope_dim", "rope_dim", "value_dim"});
  c.latent.kv_rank = size(t, "kv_rank", 1, kMaxWidth);
  c.latent.q_rank = size_or(t, "q_rank", 0, 0, kMaxWidth);
  c.latent.nope_dim = size(t, "nope_dim", 1, kMaxWidth);
  c.latent.rope_dim = size(t, "rope_dim", 2, kMaxWidth);
  c.latent.value_dim = size(t, "value_dim", 1, kMaxWidth);
  if (table.has("head_dim")) table.error("head_dim", "follows from [latent] and is not given beside it");
  c.head_dim = c.latent.nope_dim + c.latent.rope_dim;
}

void read_head_dim(const TomlTable& table, ModelConfig& c) {
  if (c.head_dim == 0) {
    if (!table.has("head_dim") && c.d_model % c.heads != 0)
      table.error("heads", fmt::format("{} heads do not share a width of {} evenly; give head_dim", c.heads,
                                       c.d_model));
    c.head_dim = size_or(table, "head_dim", c.d_model / c.heads, 1, kMaxWidth);
  }
  const size_t turning = c.latent.kv_rank != 0 ? c.latent.rope_dim : c.head_dim;
  const bool learned = c.learned_positions != 0 && !table.has("rope_dims");
  c.rope.pairing = RopePairing::kHalves;
  c.rope.dims = size_or(table, "rope_dims", learned ? 0 : turning, 0, kMaxWidth);
  c.rope.base = number_or(table, "rope_base", 10000, 1e12);
}

void read_window(const TomlTable& table, ModelConfig& c) {
  c.sliding_window = size_or(table, "sliding_window", 0, 0, kMaxContext);
  if (c.sliding_window == 0) {
    if (table.has("window_period")) table.error("window_period", "needs sliding_window beside it");
    return;
  }
  c.set_window_period(size_or(table, "window_period", 0, 0, static_cast<int64_t>(bounds::kMaxLayers)));
}

void read_experts(const TomlTable& table, ModelConfig& c) {
  if (!table.has("experts")) return;
  const TomlTable t = table.table("experts");
  t.allow({"count", "used", "ffn", "shared", "leading_dense", "period", "beside", "beside_scale", "normalise",
           "weight_scale", "router_softcap", "router_bias", "selection_bias"});
  ExpertsConfig& e = c.experts;
  e.count = size(t, "count", 1, static_cast<int64_t>(bounds::kMaxExperts));
  e.used = size(t, "used", 1, static_cast<int64_t>(e.count));
  e.ffn = size(t, "ffn", 1, kMaxWidth);
  e.shared = size_or(t, "shared", 0, 0, static_cast<int64_t>(bounds::kMaxExperts));
  e.leading_dense = size_or(t, "leading_dense", 0, 0, static_cast<int64_t>(c.layers) - 1);
  e.period = size_or(t, "period", 1, 1, static_cast<int64_t>(c.layers - e.leading_dense));
  e.beside = static_cast<BesideExperts>(t.choice_or("beside", 0, {"nothing", "dense", "gated-dense"}));
  e.beside_scale = number_or(t, "beside_scale", 1, 1e6);
  e.normalise = t.flag_or("normalise", true);
  e.weight_scale = number_or(t, "weight_scale", 1, 1e6);
  e.router_softcap = number_or(t, "router_softcap", 0, 1e6);
  e.router_bias = t.flag_or("router_bias", false);
  e.selection_bias = t.flag_or("selection_bias", false);
}

/// The counts that the file states are a check on its shape.
void check_counts(const TomlTable& table, const ModelConfig& c) {
  const auto require = [&](std::string_view key, uint64_t counted) {
    if (!table.has(key)) return;
    const auto stated = static_cast<uint64_t>(table.integer(key, 1, int64_t{1} << 60));
    if (stated != counted)
      table.error(key, fmt::format("{} are stated, but the shape has {}; one of the sizes is wrong", stated,
                                   counted));
  };
  require("parameters", c.parameters());
  require("active_parameters", c.active_parameters());
}

ModelConfig from_table(const TomlTable& table) {
  table.allow({"name",
               "aliases",
               "architecture",
               "source",
               "layers",
               "d_model",
               "heads",
               "kv_heads",
               "head_dim",
               "ffn",
               "vocab",
               "context",
               "activation",
               "norm",
               "norm_epsilon",
               "gated_ffn",
               "qk_norm",
               "post_norms",
               "tied_output",
               "attention_bias",
               "attention_output_bias",
               "ffn_bias",
               "attention_sinks",
               "embedding_scale",
               "logit_scale",
               "attention_scale",
               "attention_softcap",
               "final_softcap",
               "rope_base",
               "rope_dims",
               "learned_positions",
               "sliding_window",
               "window_period",
               "latent",
               "experts",
               "parameters",
               "active_parameters"});
  ModelConfig c;
  c.name = table.text("name");
  c.architecture = table.text_or("architecture", "described");
  (void)table.text("source");
  read_sizes(table, c);
  read_switches(table, c);
  read_latent(table, c);
  read_head_dim(table, c);
  read_window(table, c);
  read_experts(table, c);
  try {
    c.check();
  } catch (const Error& error) {
    table.error(error.what());
  }
  check_counts(table, c);
  return c;
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char ch) {
           return std::isalnum(ch) != 0 || ch == '-' || ch == '.' || ch == '_';
         });
}

/// Letters and digits alone, lower case: "Llama-3.1 70B" and "LLAMA3.1_70B" are one name.
std::string folded(std::string_view name) {
  std::string out;
  for (const unsigned char ch : name)
    if (std::isalnum(ch) != 0) out.push_back(static_cast<char>(std::tolower(ch)));
  return out;
}

}  // namespace

ModelConfig read_description(const std::filesystem::path& path) { return from_table(TomlTable::read(path)); }

ModelConfig parse_description(std::string_view text, const std::string& name) {
  return from_table(TomlTable::parse(text, name));
}

std::vector<std::string> description_names(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& file : files_of(folder, ".toml")) names.push_back(file.stem().string());
  return names;
}

std::map<std::string, std::string> description_aliases(const std::filesystem::path& folder) {
  std::map<std::string, std::string> out;
  for (const std::string& name : description_names(folder)) {
    const TomlTable table = TomlTable::read(folder / (name + ".toml"));
    std::vector<std::string> names = table.texts("aliases");
    names.push_back(name);
    for (const std::string& alias : names) {
      const auto [at, fresh] = out.emplace(folded(alias), name);
      if (!fresh && at->second != name)
        table.error("aliases", fmt::format("'{}' is a name of '{}' already", shown(alias), at->second));
    }
  }
  return out;
}

std::string fold_model_name(std::string_view name) { return folded(name); }

std::filesystem::path find_description(const std::filesystem::path& folder, std::string_view name) {
  if (!is_name(name))
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is not the name of a model's description, such as llama3-70b", shown(name)));
  const auto path = folder / (std::string(name) + ".toml");
  if (std::filesystem::exists(path)) return path;
  throw Error(ErrorCode::kNotFound,
              fmt::format("there is no description of a model '{}' in '{}'; there are {}", name,
                          folder.string(), fmt::join(description_names(folder), ", ")));
}

}  // namespace fathom::model
