#include "train/export.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "model/description.h"
#include "model/hugging_face.h"
#include "model/random_model.h"
#include "model/safetensors.h"
#include "model/tokenizer.h"
#include "train/run_support.h"

namespace fathom::train {
namespace {

namespace fs = std::filesystem;
using model::GgufFile;
using model::ModelConfig;
using tensor::DType;

/// A description as a run reads it.
ModelConfig describe(const std::string& text) {
  const TempDir folder;
  test::write_tokens(folder.path() / "train", 1, 4, 64);
  write_file_atomic(folder.path() / "model.toml", text);
  write_file_atomic(
      folder.path() / "run.toml",
      "[model]\ndescription = \"model.toml\"\n[data]\ntrain = \"train\"\n[batch]\nsequences = 1\n"
      "[schedule]\nsteps = 1\n");
  return read_run(folder.path() / "run.toml", {}, folder.path()).model;
}

std::string text_of(const std::string& architecture, const std::string& more) {
  return fmt::format(R"(
name = "small"
source = "made up"
architecture = "{}"
layers = 2
d_model = 32
heads = 4
kv_heads = 2
head_dim = 8
vocab = 300
context = 64
norm_epsilon = 1e-6
rope_base = 5000
{})",
                     architecture, more);
}

const std::string kGrok = R"(
tied_output = true
activation = "gelu"
post_norms = true
embedding_scale = 5.5
logit_scale = 0.7
attention_scale = 0.3
attention_softcap = 30
final_softcap = 50
[experts]
count = 4
used = 2
ffn = 24
router_softcap = 25
)";

std::vector<std::pair<std::string, ModelConfig>> models() {
  return {{"llama", describe(text_of("llama", "ffn = 48\n"))},
          {"llama, tied, biases",
           describe(text_of("llama", "ffn = 48\ntied_output = true\nattention_bias = true\n"))},
          {"mixtral", describe(text_of("llama", "[experts]\ncount = 4\nused = 2\nffn = 24\n"))},
          {"qwen2", describe(text_of("qwen2", "ffn = 48\nattention_bias = true\n"))},
          {"qwen3", describe(text_of("qwen3", "ffn = 48\nqk_norm = true\ntied_output = true\n"))},
          {"qwen3moe",
           describe(text_of("qwen3moe", "qk_norm = true\n[experts]\ncount = 4\nused = 2\nffn = 24\n"))},
          {"grok", describe(text_of("grok", kGrok))}};
}

/// Numbers that a half holds exactly, so that nothing is lost on the way.
std::vector<float> numbers(const ModelConfig& config, const std::string& name) {
  for (const auto& spec : model::required_tensors(config)) {
    if (spec.name != name) continue;
    size_t count = 1;
    for (const uint64_t extent : spec.shape) count *= extent;
    Random random(std::hash<std::string>()(name));
    std::vector<float> out(count);
    for (float& v : out) v = static_cast<float>(random.below(2048)) / 1024.0f - 1.0f;
    return out;
  }
  throw Error(ErrorCode::kNotFound, name);
}

TensorSource source_of(const ModelConfig& config) {
  return [&config](const std::string& name) { return numbers(config, name); };
}

std::vector<float> read(const GgufFile& file, const std::string& name) {
  const auto& tensor = file.tensor(name);
  std::vector<float> out(tensor.elements);
  tensor::dequantize_row(*tensor.dtype, tensor.data.data(), out.data(), out.size());
  return out;
}

/// Of a stack of experts, from wherever the file has them.
std::vector<float> read_stack(const GgufFile& file, const std::string& name, size_t experts) {
  if (file.find_tensor(name) != nullptr) return read(file, name);
  std::vector<float> out;
  const std::string stem = name.substr(0, name.size() - std::string_view("_exps.weight").size());
  for (size_t e = 0; e < experts; ++e) {
    const auto one = read(file, fmt::format("{}.{}.weight", stem, e));
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

void expect_same_model(const ModelConfig& a, const ModelConfig& b, const std::string& what) {
  const auto close = [&](float x, float y, const char* field) {
    EXPECT_FLOAT_EQ(x, y) << what << ": " << field;
  };
  EXPECT_EQ(a.architecture, b.architecture) << what;
  EXPECT_EQ(a.layers, b.layers) << what;
  EXPECT_EQ(a.d_model, b.d_model) << what;
  EXPECT_EQ(a.heads, b.heads) << what;
  EXPECT_EQ(a.kv_heads, b.kv_heads) << what;
  EXPECT_EQ(a.head_dim, b.head_dim) << what;
  EXPECT_EQ(a.ffn, b.ffn) << what;
  EXPECT_EQ(a.vocab, b.vocab) << what;
  EXPECT_EQ(a.context, b.context) << what;
  EXPECT_EQ(a.activation, b.activation) << what;
  EXPECT_EQ(a.rope.pairing, b.rope.pairing) << what;
  EXPECT_EQ(a.rope.dims, b.rope.dims) << what;
  EXPECT_EQ(a.qk_norm, b.qk_norm) << what;
  EXPECT_EQ(a.post_norms, b.post_norms) << what;
  EXPECT_EQ(a.tied_output, b.tied_output) << what;
  EXPECT_EQ(a.attention_bias, b.attention_bias) << what;
  EXPECT_EQ(a.experts.count, b.experts.count) << what;
  EXPECT_EQ(a.experts.used, b.experts.used) << what;
  EXPECT_EQ(a.experts.ffn, b.experts.ffn) << what;
  EXPECT_EQ(a.experts.normalise, b.experts.normalise) << what;
  EXPECT_EQ(a.experts.beside, b.experts.beside) << what;
  close(a.rms_eps, b.rms_eps, "rms_eps");
  close(a.rope.base, b.rope.base, "rope.base");
  close(a.embedding_scale, b.embedding_scale, "embedding_scale");
  close(a.logit_scale, b.logit_scale, "logit_scale");
  close(a.score_scale(), b.score_scale(), "score_scale");
  close(a.attention_softcap, b.attention_softcap, "attention_softcap");
  close(a.final_softcap, b.final_softcap, "final_softcap");
  close(a.experts.router_softcap, b.experts.router_softcap, "router_softcap");
}

/// A file with a tokenizer of 300 tokens: SentencePiece's kind.
struct TokenizerSource {
  TokenizerSource() : path(folder.path() / "tokenizer.gguf") {
    model::ModelShape shape{"t", 1, 32, 1, 1, 32, 32, 300, 0, 0, 64};
    model::write_random_model(shape, DType::kF32, 1, path);
    file.emplace(GgufFile::open(path));
  }
  TempDir folder;
  fs::path path;
  std::optional<GgufFile> file;
};

TEST(Export, GgufIsReadBackAsTheSameModel) {
  const TokenizerSource tokenizer;
  const TempDir folder;
  for (const auto& [what, config] : models())
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      const fs::path out = folder.path() / "model.gguf";
      export_gguf(config, *tokenizer.file, source_of(config), dtype, out);
      const GgufFile file = GgufFile::open(out);
      expect_same_model(config, ModelConfig::from_gguf(file), what);
      EXPECT_EQ(model::Tokenizer::from_gguf(file).size(), 300u);
      for (const auto& spec : model::required_tensors(config)) {
        const auto wanted = numbers(config, spec.name), found = read(file, spec.name);
        const bool f32 = spec.shape.size() == 1 || spec.name.find("ffn_gate_inp") != std::string::npos;
        EXPECT_EQ(file.tensor(spec.name).dtype, f32 ? DType::kF32 : dtype) << what << " " << spec.name;
        if (dtype == DType::kBF16 && !f32)
          for (size_t i = 0; i < wanted.size(); ++i)
            ASSERT_NEAR(wanted[i], found[i], 0.004) << what << spec.name;
        else
          EXPECT_EQ(wanted, found) << what << " " << spec.name;
      }
    }
}

TEST(Export, AHuggingFaceFolderIsReadBackAsTheSameModel) {
  const TokenizerSource tokenizer;
  for (const auto& [what, config] : models()) {
    const TempDir folder;
    export_hugging_face(config, *tokenizer.file, source_of(config), DType::kF16, folder.path());
    const GgufFile file = GgufFile::open(folder.path());
    expect_same_model(config, ModelConfig::from_gguf(file), what);
    for (const auto& spec : model::required_tensors(config)) {
      std::string name = spec.name;
      EXPECT_EQ(numbers(config, name), read_stack(file, name, config.experts.count)) << what << " " << name;
    }
  }
}

TEST(Export, RowsOfQueriesLieAsHuggingFaceHasThem) {
  const TokenizerSource tokenizer;
  const auto config = models()[0].second;
  const TempDir folder;
  export_hugging_face(config, *tokenizer.file, source_of(config), DType::kF32, folder.path());
  const auto file = model::SafetensorsFile::open_folder(folder.path());
  const auto there = file.floats("model.layers.0.self_attn.q_proj.weight");
  const auto here = numbers(config, "blk.0.attn_q.weight");
  // Row 1 of GGUF's first head is the partner of row 0: the first of the second half.
  const size_t row = config.d_model, half = config.head_dim / 2;
  EXPECT_TRUE(std::equal(here.begin() + static_cast<std::ptrdiff_t>(row),
                         here.begin() + static_cast<std::ptrdiff_t>(2 * row),
                         there.begin() + static_cast<std::ptrdiff_t>(half * row)));
  EXPECT_EQ(file.tensor("model.layers.0.self_attn.k_proj.weight").shape, (std::vector<uint64_t>{16, 32}));
}

TEST(Export, AnAdapterAsPeftHasIt) {
  const auto config = models()[0].second;
  const LoraSpec lora{4, 8.0f, {"attn_q", "ffn_down"}};
  const TensorSource source = [&](const std::string& name) {
    const bool a = name.ends_with(".lora_a");
    const bool down = name.find("ffn_down") != std::string::npos;
    std::vector<float> out(4 * (a ? (down ? 48 : 32) : 32));
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(i);
    return out;
  };
  const TempDir folder;
  export_adapter(config, lora, source, tensor::DType::kF32, "base.gguf", folder.path(), "cited");
  const auto file = model::SafetensorsFile::open(folder.path() / "adapter_model.safetensors");
  EXPECT_EQ(file.tensors().size(), 8u);
  const std::string q = "base_model.model.model.layers.1.self_attn.q_proj.";
  EXPECT_EQ(file.tensor(q + "lora_A.weight").shape, (std::vector<uint64_t>{4, 32}));
  EXPECT_EQ(file.tensor(q + "lora_B.weight").shape, (std::vector<uint64_t>{32, 4}));
  EXPECT_EQ(file.floats(q + "lora_B.weight")[4 * 4], 4.0f);  // row 1 has moved to the second half
  EXPECT_EQ(file.floats("base_model.model.model.layers.0.mlp.down_proj.lora_B.weight")[4], 4.0f);
  const auto said = nlohmann::json::parse(read_file(folder.path() / "adapter_config.json"));
  EXPECT_EQ(said["r"], 4);
  EXPECT_EQ(said["lora_alpha"], 8);
  EXPECT_EQ(said["fathom_prompt"], "cited");
  EXPECT_EQ(said["target_modules"], (nlohmann::json{"q_proj", "down_proj"}));
}

TEST(Export, WhatNoFileCanSayIsRefused) {
  const auto refused = [](const std::string& text) -> std::string {
    try {
      check_exportable(describe(text));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refused(text_of("llama", "ffn = 48\n")), "");
  EXPECT_NE(refused(text_of("llama", "ffn = 48\nqk_norm = true\n")).find("norms of queries"),
            std::string::npos);
  EXPECT_NE(refused(text_of("llama", "ffn = 48\nfinal_softcap = 30\n")).find("soft cap"), std::string::npos);
  EXPECT_NE(refused(text_of("grok", "ffn = 48\n")).find("gelu"), std::string::npos);
  EXPECT_NE(refused(text_of("described", "ffn = 48\n")).find("no architecture"), std::string::npos);
}

TEST(Export, AFailureLeavesNoFile) {
  const TokenizerSource tokenizer;
  const auto config = models()[0].second;
  const TempDir folder;
  const TensorSource broken = [](const std::string& name) -> std::vector<float> {
    throw Error(ErrorCode::kCorrupt, name);
  };
  EXPECT_THROW(export_gguf(config, *tokenizer.file, broken, DType::kF16, folder.path() / "m.gguf"), Error);
  EXPECT_THROW(export_hugging_face(config, *tokenizer.file, broken, DType::kF16, folder.path() / "hf"),
               Error);
  EXPECT_FALSE(fs::exists(folder.path() / "m.gguf"));
  EXPECT_FALSE(model::is_hugging_face_folder(folder.path() / "hf"));
}

}  // namespace
}  // namespace fathom::train
