#include "model/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "model/config.h"
#include "model/hugging_face_folder.h"
#include "model/inspect.h"

namespace fathom::model {
namespace {

using tensor::DType;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A file of matrices of `columns` by 4 in F32, and a norm.
std::string matrices(const std::vector<std::string>& names, uint64_t columns, uint64_t experts = 0) {
  GgufWriter writer;
  writer.set("general.architecture", "llama");
  writer.set("general.file_type", uint32_t{0});
  writer.set("split.count", uint16_t{1});
  if (experts != 0) writer.set("llama.expert_count", static_cast<uint32_t>(experts));
  std::vector<std::vector<float>> kept;
  for (const auto& name : names) {
    const bool norm = name.find("norm") != std::string::npos;
    const std::vector<uint64_t> shape =
        norm ? std::vector<uint64_t>{columns} : std::vector<uint64_t>{columns, 4};
    kept.push_back(test::formula_weights(name, norm ? shape : std::vector<uint64_t>{4, columns}, false));
    writer.add_tensor(name, DType::kF32, shape, std::as_bytes(std::span(kept.back())));
  }
  return writer.serialise();
}

std::map<std::string, DType> planned(const std::string& bytes, DType format, bool pure = false) {
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "in");
  std::map<std::string, DType> out;
  for (const auto& tensor : plan_quantization(file, {format, pure})) out[tensor.name] = tensor.dtype;
  return out;
}

std::vector<std::string> sixteen_layers() {
  std::vector<std::string> names = {"token_embd.weight", "output.weight", "output_norm.weight"};
  for (int layer = 0; layer < 16; ++layer)
    for (const char* part : {"attn_q", "attn_k", "attn_v", "ffn_down", "attn_norm"})
      names.push_back("blk." + std::to_string(layer) + "." + part + ".weight");
  return names;
}

TEST(Quantize, MixesFormatsAsUsersKnowThem) {
  const auto plan = planned(matrices(sixteen_layers(), 256), DType::kQ4_K);
  EXPECT_EQ(plan.at("output.weight"), DType::kQ6_K);
  EXPECT_EQ(plan.at("token_embd.weight"), DType::kQ4_K);
  EXPECT_EQ(plan.at("output_norm.weight"), DType::kF32);
  EXPECT_EQ(plan.at("blk.3.attn_norm.weight"), DType::kF32);
  EXPECT_EQ(plan.at("blk.0.attn_q.weight"), DType::kQ4_K);
  std::vector<int> more;
  for (int layer = 0; layer < 16; ++layer)
    if (plan.at("blk." + std::to_string(layer) + ".ffn_down.weight") == DType::kQ6_K) more.push_back(layer);
  EXPECT_THAT(more, ElementsAre(0, 1, 4, 7, 10, 13, 14, 15));
}

TEST(Quantize, ATiedEmbeddingIsTheOutput) {
  EXPECT_EQ(planned(matrices({"token_embd.weight"}, 256), DType::kQ4_0).at("token_embd.weight"),
            DType::kQ6_K);
  EXPECT_EQ(planned(matrices({"token_embd.weight"}, 256), DType::kQ4_0, true).at("token_embd.weight"),
            DType::kQ4_0);
  EXPECT_EQ(planned(matrices({"token_embd.weight"}, 256), DType::kQ8_0).at("token_embd.weight"),
            DType::kQ8_0);
}

TEST(Quantize, RowsThatDoNotDivideFallBack) {
  const auto plan =
      planned(matrices({"token_embd.weight", "output.weight", "blk.0.attn_q.weight"}, 96), DType::kQ4_K);
  EXPECT_EQ(plan.at("blk.0.attn_q.weight"), DType::kQ5_0);
  EXPECT_EQ(plan.at("output.weight"), DType::kQ8_0);
  EXPECT_EQ(planned(matrices({"blk.0.attn_q.weight"}, 40), DType::kQ8_0).at("blk.0.attn_q.weight"),
            DType::kF16);
}

TEST(Quantize, ExpertsBecomeOneTensor) {
  std::vector<std::string> names;
  for (int e = 0; e < 12; ++e) names.push_back("blk.0.ffn_gate." + std::to_string(e) + ".weight");
  const std::string bytes = matrices(names, 64, 12);
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "in");
  const auto plan = plan_quantization(file, {DType::kF32, false});
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].name, "blk.0.ffn_gate_exps.weight");
  EXPECT_THAT(plan[0].shape, ElementsAre(64, 4, 12));
  const TempDir folder;
  ThreadPool pool(2);
  write_quantized(file, plan, {DType::kF32, false}, folder.path() / "out.gguf", pool, {}, {});
  const auto out = GgufFile::open(folder.path() / "out.gguf");
  const auto& stacked = out.tensor("blk.0.ffn_gate_exps.weight");
  const auto& eleventh = file.tensor("blk.0.ffn_gate.11.weight");
  EXPECT_TRUE(std::equal(eleventh.data.begin(), eleventh.data.end(), stacked.data.end() - 64 * 4 * 4));
  names.erase(names.begin() + 5);
  const std::string gap = matrices(names, 64, 12);
  EXPECT_THROW(planned(gap, DType::kF32), Error);
  EXPECT_THROW(planned(matrices({"blk.0.ffn_up.0.weight", "blk.0.ffn_up.00.weight"}, 64, 2), DType::kF32),
               Error);
  EXPECT_THROW(
      planned(matrices({"blk.0.ffn_up.0.weight", "blk.0.ffn_up.4000000000.weight"}, 64, 2), DType::kF32),
      Error);
}

TEST(Quantize, WritesWhatTheReferenceConversionGives) {
  const std::string bytes = matrices(sixteen_layers(), 256);
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "in");
  const TempDir folder;
  ThreadPool pool(3);
  for (const auto format :
       {DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K}) {
    const QuantizeOptions options{format, false};
    const auto plan = plan_quantization(file, options);
    uint64_t told = 0, bytes_planned = 0;
    for (const auto& tensor : plan) bytes_planned += tensor.bytes;
    write_quantized(file, plan, options, folder.path() / "out.gguf", pool,
                    [&](uint64_t done) { told = done; }, {});
    EXPECT_EQ(told, bytes_planned);
    const auto out = GgufFile::open(folder.path() / "out.gguf");
    EXPECT_FALSE(out.has("split.count"));
    EXPECT_EQ(out.metadata().size(), 3u);
    for (const auto& tensor : plan) {
      const auto& from = file.tensor(tensor.name);
      std::vector<float> values(from.elements);
      tensor::dequantize_row(DType::kF32, from.data.data(), values.data(), values.size());
      std::vector<std::byte> expected(tensor.bytes);
      const size_t rows = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
      for (size_t r = 0; r < rows; ++r)
        tensor::quantize_row(tensor.dtype, values.data() + r * 256, expected.data() + r * tensor.bytes / rows,
                             256);
      const auto& written = out.tensor(tensor.name);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), written.data.begin(), written.data.end()))
          << tensor.name << " in " << tensor::name(format);
    }
  }
}

TEST(Quantize, AFolderBecomesTheSameModel) {
  const TempDir folder;
  test::small_llama_folder().write(folder.path() / "hf");
  const auto from = GgufFile::open(folder.path() / "hf");
  const QuantizeOptions options{DType::kF32, false};
  ThreadPool pool(1);
  write_quantized(from, plan_quantization(from, options), options, folder.path() / "m.gguf", pool, {}, {});
  const auto to = GgufFile::open(folder.path() / "m.gguf");
  EXPECT_EQ(ModelConfig::from_gguf(to).parameters(), ModelConfig::from_gguf(from).parameters());
  for (const auto& tensor : from.tensors()) {
    const auto& written = to.tensor(tensor.name);
    EXPECT_TRUE(std::equal(tensor.data.begin(), tensor.data.end(), written.data.begin(), written.data.end()));
  }
}

TEST(Quantize, ANumberThatIsNotFiniteIsNamed) {
  GgufWriter writer;
  std::vector<float> values(64, 1.0f);
  values[40] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<uint64_t> shape = {32, 2};
  writer.add_tensor("blk.0.attn_q.weight", DType::kF32, shape, std::as_bytes(std::span(values)));
  const std::string bytes = writer.serialise();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "in");
  const TempDir folder;
  ThreadPool pool(2);
  const QuantizeOptions options{DType::kQ8_0, false};
  try {
    write_quantized(file, plan_quantization(file, options), options, folder.path() / "out.gguf", pool, {},
                    {});
    ADD_FAILURE() << "was written";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr("blk.0.attn_q.weight"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Quantize, ANumberThatAFormatCannotHoldIsRefused) {
  GgufWriter writer;
  std::vector<float> values(64, 1.0f);
  values[40] = 1e6f;
  const std::vector<uint64_t> shape = {32, 2};
  writer.add_tensor("blk.0.attn_q.weight", DType::kF32, shape, std::as_bytes(std::span(values)));
  const std::string bytes = writer.serialise();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "in");
  const TempDir folder;
  ThreadPool pool(2);
  const auto write = [&](DType format) {
    const QuantizeOptions options{format, false};
    write_quantized(file, plan_quantization(file, options), options, folder.path() / "out.gguf", pool, {},
                    {});
  };
  EXPECT_THROW(write(DType::kF16), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_NO_THROW(write(DType::kBF16));
}

TEST(Quantize, KnowsFormatsByTheirNames) {
  EXPECT_EQ(parse_format("Q4_K"), DType::kQ4_K);
  EXPECT_EQ(parse_format("q4_k_m"), DType::kQ4_K);
  EXPECT_EQ(parse_format("bf16"), DType::kBF16);
  EXPECT_THROW(parse_format("Q9"), Error);
}

TEST(Inspect, SaysWhatIsInAFileAndWhetherItServes) {
  const TempDir folder;
  const auto place = folder.path() / "tiny";
  auto small = test::small_llama_folder();
  small.dtype = DType::kBF16;
  small.write(place);
  const auto found = inspect(place);
  EXPECT_EQ(found.container, "Hugging Face folder");
  EXPECT_EQ(found.serves, "text") << found.problem;
  EXPECT_EQ(found.quantisation, "BF16");
  EXPECT_EQ(found.context, 128u);
  EXPECT_TRUE(found.chat_template);
  EXPECT_EQ(found.parameters, ModelConfig::from_gguf(GgufFile::open(place)).parameters());
  // Every matrix but one row of the embedding, in two bytes a weight, and the norms in four.
  const uint64_t blocks = 2 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 96 * 64);
  EXPECT_EQ(found.bytes_per_token, 2 * (blocks + 300 * 64 + 64) + 4 * 5 * 64);
}

TEST(Inspect, WorksOnWhatCannotBeServed) {
  const TempDir folder;
  const auto place = folder.path() / "tiny";
  auto small = test::small_llama_folder();
  small.config["architectures"] = {"MambaForCausalLM"};
  small.write(place);
  const auto found = inspect(place);
  EXPECT_EQ(found.serves, "");
  EXPECT_EQ(found.architecture, "MambaForCausalLM");
  EXPECT_THAT(found.problem, HasSubstr("MambaForCausalLM"));
  EXPECT_EQ(found.tensors.size(), small.tensors.size());

  const std::string other = matrices({"token_embd.weight"}, 32);
  write_file_atomic(folder.path() / "other.gguf", other);
  const auto bare = inspect(folder.path() / "other.gguf");
  EXPECT_EQ(bare.container, "GGUF 3");
  EXPECT_EQ(bare.architecture, "llama");
  EXPECT_THAT(bare.problem, HasSubstr("llama.block_count"));
  EXPECT_EQ(bare.formats.at("F32").bytes, 512u);

  const auto single = inspect(place / "model.safetensors");
  EXPECT_EQ(single.container, "safetensors");
  EXPECT_EQ(single.serves, "");
  write_file_atomic(folder.path() / "junk.gguf", "junk");
  EXPECT_THROW(inspect(folder.path() / "junk.gguf"), Error);
}

TEST(Inspect, ListsModelsOfAFolderOnce) {
  const TempDir folder;
  test::small_llama_folder().write(folder.path() / "hf");
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "single.gguf", "notes.txt"})
    write_file_atomic(folder.path() / name, "x");
  std::filesystem::create_directories(folder.path() / "empty");
  std::vector<std::string> names;
  for (const auto& path : find_model_files(folder.path())) names.push_back(path.filename().string());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("hf", "m-00001-of-00002.gguf", "single.gguf"));
  EXPECT_TRUE(find_model_files(folder.path() / "nowhere").empty());
}

TEST(Inspect, ListsOnlyWhatHasComeWhole) {
  const TempDir folder;
  test::small_llama_folder().write(folder.path() / "fetched");
  write_file_atomic(folder.path() / "fetched" / kUnfinished, "");
  for (const char* name : {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf", "x-00001-of-0000y.gguf"})
    write_file_atomic(folder.path() / name, "x");
  const auto found = find_model_files(folder.path());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.front().filename(), "x-00001-of-0000y.gguf");  // no number of parts: its name means nothing
  write_file_atomic(folder.path() / "m-00002-of-00003.gguf", "x");
  std::filesystem::remove(folder.path() / "fetched" / kUnfinished);
  EXPECT_EQ(find_model_files(folder.path()).size(), 3u);
}

}  // namespace
}  // namespace fathom::model
