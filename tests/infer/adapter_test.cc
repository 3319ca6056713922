// Adapters in PEFT's layout give the logits of the model that they were merged into by hand, and hostile ones are refused
// by name.
#include "infer/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/thread_pool.h"
#include "infer/engine.h"
#include "infer/tiny_model.h"
#include "model/hugging_face_folder.h"

namespace fathom::infer {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr uint64_t kRank = 3;
constexpr float kAlpha = 6;

struct Matrix {
  std::string stem;  // Hugging Face's name without ".weight"
  uint64_t out, in;
};

const std::vector<Matrix>& matrices() {
  static const std::vector<Matrix> all = [] {
    std::vector<Matrix> out;
    for (const char* layer : {"0", "1"}) {
      const std::string block = std::string("model.layers.") + layer + ".";
      for (const Matrix& m :
           {Matrix{"self_attn.q_proj", 64, 64}, Matrix{"self_attn.k_proj", 32, 64},
            Matrix{"self_attn.v_proj", 32, 64}, Matrix{"self_attn.o_proj", 64, 64},
            Matrix{"mlp.gate_proj", 96, 64}, Matrix{"mlp.up_proj", 96, 64}, Matrix{"mlp.down_proj", 64, 96}})
        out.push_back({block + m.stem, m.out, m.in});
    }
    return out;
  }();
  return all;
}

std::string part_name(const Matrix& m, char part) {
  return "base_model.model." + m.stem + ".lora_" + part + ".weight";
}

std::vector<float> part(const Matrix& m, char which) {
  const std::vector<uint64_t> shape = which == 'A' ? std::vector{kRank, m.in} : std::vector{m.out, kRank};
  return test::formula_weights(part_name(m, which), shape, false);
}

/// W + (alpha / r) B A, row by row in Hugging Face's order.
std::vector<float> merged(const Matrix& m) {
  std::vector<float> w = test::formula_weights(m.stem + ".weight", {m.out, m.in}, false);
  const std::vector<float> a = part(m, 'A'), b = part(m, 'B');
  for (uint64_t o = 0; o < m.out; ++o)
    for (uint64_t i = 0; i < m.in; ++i)
      for (uint64_t r = 0; r < kRank; ++r)
        w[o * m.in + i] += kAlpha / static_cast<float>(kRank) * b[o * kRank + r] * a[r * m.in + i];
  return w;
}

json good_config() {
  return {{"peft_type", "LORA"},     {"r", kRank},        {"lora_alpha", kAlpha},
          {"bias", "none"},          {"use_dora", false}, {"rank_pattern", json::object()},
          {"task_type", "CAUSAL_LM"}};
}

/// An adapter on disk, of which a test may change anything before it is written.
struct AdapterFolder {
  json config = good_config();
  std::map<std::string, std::pair<std::vector<uint64_t>, std::vector<float>>> tensors;

  AdapterFolder() {
    for (const Matrix& m : matrices()) {
      tensors[part_name(m, 'A')] = {{kRank, m.in}, part(m, 'A')};
      tensors[part_name(m, 'B')] = {{m.out, kRank}, part(m, 'B')};
    }
  }

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    write_file_atomic(folder / "adapter_config.json", config.dump());
    test::SafetensorsWriter writer;
    for (const auto& [name, tensor] : tensors)
      writer.add(name, tensor::DType::kF32, tensor.first, tensor.second);
    write_file_atomic(folder / "adapter_model.safetensors", writer.serialise());
  }
};

std::vector<float> logits_of(const std::filesystem::path& model, const std::filesystem::path& adapter) {
  ThreadPool pool(2);
  EngineOptions options;
  options.adapter = adapter;
  return Engine::load(model, options, pool)->logits({1, 40, 41, 70, 99, 120, 40, 7}, 0);
}

float farthest(const std::vector<float>& a, const std::vector<float>& b) {
  float out = 0;
  for (size_t i = 0; i < a.size(); ++i) out = std::max(out, std::abs(a[i] - b[i]));
  return out;
}

TEST(Adapter, GivesTheLogitsOfTheMergedModel) {
  const TempDir place;
  test::small_llama_folder().write(place.path() / "base");
  AdapterFolder().write(place.path() / "adapter");

  test::HuggingFaceFolder by_hand = test::small_llama_folder();
  by_hand.write(place.path() / "merged");
  test::SafetensorsWriter writer;
  for (const auto& [name, shape] : by_hand.tensors) {
    const auto m = std::ranges::find_if(
        matrices(), [&wanted = name](const Matrix& x) { return x.stem + ".weight" == wanted; });
    writer.add(name, tensor::DType::kF32, shape,
               m != matrices().end() ? merged(*m) : test::formula_weights(name, shape, false));
  }
  write_file_atomic(place.path() / "merged" / "model.safetensors", writer.serialise());

  const auto base = logits_of(place.path() / "base", {});
  const auto adapted = logits_of(place.path() / "base", place.path() / "adapter");
  const auto expected = logits_of(place.path() / "merged", {});
  ASSERT_EQ(adapted.size(), expected.size());
  EXPECT_LT(farthest(adapted, expected), 1e-4F);
  EXPECT_GT(farthest(base, expected), 0.1F);
}

TEST(Adapter, IsToldByTheEngine) {
  const TempDir place;
  test::small_llama_folder().write(place.path() / "base");
  AdapterFolder folder;
  folder.config["fathom_prompt"] = "cited";
  folder.write(place.path() / "grounded");
  ThreadPool pool(1);
  EngineOptions options;
  options.adapter = place.path() / "grounded";
  const auto engine = Engine::load(place.path() / "base", options, pool);
  EXPECT_EQ(engine->info().adapter, "grounded");
  EXPECT_TRUE(engine->info().cites);
  EXPECT_FALSE(Engine::load(place.path() / "base", {}, pool)->info().cites);
}

TEST(Adapter, KeepsTheSumOfABlockFormatInQ8) {
  test::TinyModel spec = test::tiny_model(tensor::DType::kQ4_1);
  const std::string bytes = test::TinyWriter(spec).serialise();
  const TempDir place;
  write_file_atomic(place.path() / "model.gguf", bytes);
  AdapterFolder folder;
  std::erase_if(folder.tensors,
                [](const auto& t) { return t.first.find("layers.1.mlp.down") == std::string::npos; });
  folder.write(place.path() / "adapter");
  ThreadPool pool(1);
  const auto file = model::GgufFile::open(place.path() / "model.gguf");
  const AdaptedTensors adapted(model::ModelConfig::from_gguf(file), file, place.path() / "adapter", pool);
  EXPECT_EQ(adapted.find("blk.0.ffn_down.weight"), nullptr);
  const model::GgufTensor* sum = adapted.find("blk.1.ffn_down.weight");
  ASSERT_NE(sum, nullptr);
  EXPECT_EQ(sum->dtype, tensor::DType::kQ8_0);
  std::vector<float> base(sum->elements), got(sum->elements);
  tensor::dequantize_row(tensor::DType::kQ4_1, file.tensor("blk.1.ffn_down.weight").data.data(), base.data(),
                         base.size());
  tensor::dequantize_row(tensor::DType::kQ8_0, sum->data.data(), got.data(), got.size());
  const Matrix m{"model.layers.1.mlp.down_proj", 64, 96};
  const std::vector<float> a = part(m, 'A'), b = part(m, 'B');
  for (size_t i = 0; i < got.size(); ++i) {
    for (size_t r = 0; r < kRank; ++r)
      base[i] += kAlpha / static_cast<float>(kRank) * b[i / m.in * kRank + r] * a[r * m.in + i % m.in];
    ASSERT_NEAR(got[i], base[i], 0.02F) << i;
  }
}

/// The sentence with which the adapter is refused.
std::string refusal(const AdapterFolder& folder) {
  const TempDir place;
  test::small_llama_folder().write(place.path() / "base");
  folder.write(place.path() / "adapter");
  try {
    logits_of(place.path() / "base", place.path() / "adapter");
  } catch (const Error& error) {
    return error.what();
  }
  return "it was taken";
}

TEST(Adapter, OfAnotherModelIsRefused) {
  AdapterFolder other_width;
  other_width.tensors[part_name(matrices()[1], 'A')] = {{kRank, 32}, std::vector<float>(kRank * 32)};
  EXPECT_THAT(refusal(other_width), HasSubstr("model.layers.0.self_attn.k_proj.lora_A.weight' is [3, 32]"));
  AdapterFolder other_rank;
  other_rank.config["r"] = 4;
  EXPECT_THAT(refusal(other_rank), HasSubstr("calls for [4, "));
  AdapterFolder more_layers;
  for (const char which : {'A', 'B'})
    more_layers
        .tensors["base_model.model.model.layers.7.mlp.up_proj.lora_" + std::string(1, which) + ".weight"] =
        more_layers.tensors[part_name(matrices()[5], which)];
  EXPECT_THAT(refusal(more_layers), HasSubstr("blk.7.ffn_up.weight"));
}

TEST(Adapter, WithDamagedTensorsIsRefused) {
  AdapterFolder half;
  half.tensors.erase(part_name(matrices()[2], 'B'));
  EXPECT_THAT(refusal(half), HasSubstr("one half of the pair for 'blk.0.attn_v.weight'"));
  AdapterFolder nan;
  nan.tensors[part_name(matrices()[0], 'B')].second[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(refusal(nan), HasSubstr("self_attn.q_proj.lora_B.weight' that is not finite"));
  AdapterFolder huge;
  for (const char which : {'A', 'B'})
    for (float& value : huge.tensors[part_name(matrices()[0], which)].second) value = 3e38F;
  EXPECT_THAT(refusal(huge), HasSubstr("not finite"));
  AdapterFolder stray;
  stray.tensors["base_model.model.lm_head.weight"] = {{1, 1}, {0}};
  EXPECT_THAT(refusal(stray), HasSubstr("holds the tensor 'base_model.model.lm_head.weight'"));
  AdapterFolder unknown;
  unknown.tensors["base_model.model.visual.0.lora_A.weight"] = {{kRank, 4}, std::vector<float>(12)};
  EXPECT_THAT(refusal(unknown), HasSubstr("'visual.0'"));
  AdapterFolder nothing;
  nothing.tensors.clear();
  EXPECT_THAT(refusal(nothing), HasSubstr("changes nothing"));
}

TEST(Adapter, WithAConfigThatIsNotObeyedIsRefused) {
  const auto refused = [](const std::string& key, const json& value) {
    json config = good_config();
    config[key] = value;
    try {
      parse_adapter_config(config.dump(), "it");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("taken");
  };
  EXPECT_THAT(refused("init_lora_weights", "pissa_niter_4"), HasSubstr("another base"));
  EXPECT_EQ(refused("init_lora_weights", true), "taken");
  EXPECT_THAT(refused("peft_type", "LOHA"), HasSubstr("another kind than LORA"));
  EXPECT_THAT(refused("use_dora", true), HasSubstr("uses use_dora"));
  EXPECT_THAT(refused("bias", "all"), HasSubstr("uses bias"));
  EXPECT_THAT(refused("modules_to_save", {"lm_head"}), HasSubstr("uses modules_to_save"));
  EXPECT_THAT(refused("rank_pattern", {{"q_proj", 4}}), HasSubstr("uses rank_pattern"));
  EXPECT_THAT(refused("r", 0), HasSubstr("rank \"r\" from 1"));
  EXPECT_THAT(refused("r", -1), HasSubstr("rank \"r\" from 1"));
  EXPECT_THAT(refused("r", 1e18), HasSubstr("rank \"r\" from 1"));
  EXPECT_THAT(refused("lora_alpha", "two"), HasSubstr("lora_alpha"));
  EXPECT_THAT(refused("lora_alpha", 1e300), HasSubstr("lora_alpha"));
  EXPECT_THROW(parse_adapter_config("[1, 2", "it"), Error);
  EXPECT_THROW(parse_adapter_config("[]", "it"), Error);
}

TEST(Adapter, ScalesByTheRankOrItsRoot) {
  json config = good_config();
  config["r"] = 16;
  config["lora_alpha"] = 32;
  EXPECT_FLOAT_EQ(parse_adapter_config(config.dump(), "it").scale(), 2.0F);
  config["use_rslora"] = true;
  EXPECT_FLOAT_EQ(parse_adapter_config(config.dump(), "it").scale(), 8.0F);
}

}  // namespace
}  // namespace fathom::infer
