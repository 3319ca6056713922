// Models with random weights: what is written loads, is of the shape asked for, and is the same again for the same seed.
#include "model/random_model.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace fathom::model {
namespace {

const ModelShape kDense{"dense", 2, 64, 4, 2, 16, 96, 300, 0, 0, 128};
const ModelShape kMixture{"mixture", 1, 64, 4, 2, 16, 96, 300, 4, 2, 128};

class RandomModel : public testing::Test {
 protected:
  std::filesystem::path write(const ModelShape& shape, tensor::DType dtype, uint64_t seed) {
    const auto path =
        std::filesystem::path(testing::TempDir()) / (shape.name + std::to_string(seed) + ".gguf");
    write_random_model(shape, dtype, seed, path);
    return path;
  }
};

TEST_F(RandomModel, IsOfTheShapeAskedFor) {
  for (const auto dtype : {tensor::DType::kQ4_0, tensor::DType::kF16, tensor::DType::kQ8_0}) {
    const auto file = GgufFile::open(write(kDense, dtype, 1));
    const auto config = ModelConfig::from_gguf(file);
    EXPECT_EQ(config.architecture, "llama");
    EXPECT_EQ(config.layers, 2u);
    EXPECT_EQ(config.d_model, 64u);
    EXPECT_EQ(config.kv_heads, 2u);
    EXPECT_EQ(config.ffn, 96u);
    EXPECT_EQ(config.vocab, 300u);
    EXPECT_TRUE(config.tied_output);
    EXPECT_EQ(file.tensor("blk.1.ffn_up.weight").dtype, dtype);
    EXPECT_EQ(Tokenizer::from_gguf(file).size(), 300u);
  }
  const auto file = GgufFile::open(write(kDense, tensor::DType::kQ4_0, 1));
  EXPECT_EQ(file.tensor("token_embd.weight").dtype, tensor::DType::kQ8_0);
}

TEST_F(RandomModel, WithExpertsIsGrok) {
  const auto config = ModelConfig::from_gguf(GgufFile::open(write(kMixture, tensor::DType::kQ8_0, 1)));
  EXPECT_EQ(config.architecture, "grok");
  EXPECT_EQ(config.experts.count, 4u);
  EXPECT_EQ(config.experts.used, 2u);
}

TEST_F(RandomModel, DependsOnTheSeedAlone) {
  const auto bytes = [&](uint64_t seed) {
    const auto path = write(kDense, tensor::DType::kQ4_0, seed);
    return read_file(path.string(), size_t{1} << 24);
  };
  const std::string once = bytes(1);
  EXPECT_EQ(bytes(1), once);
  EXPECT_NE(bytes(2), once);
}

TEST_F(RandomModel, RefusesSizesThatDoNotGoTogether) {
  ModelShape shape = kDense;
  shape.kv_heads = 3;
  EXPECT_THROW(write(shape, tensor::DType::kQ4_0, 1), Error);
  shape = kDense;
  shape.experts_used = 1;
  EXPECT_THROW(write(shape, tensor::DType::kQ4_0, 1), Error);
}

TEST_F(RandomModel, NamesOfShapesAndFormats) {
  const auto [shape, dtype] = parse_random_model("llama1b:Q8_0");
  EXPECT_EQ(shape.vocab, 128256u);
  EXPECT_EQ(dtype, tensor::DType::kQ8_0);
  EXPECT_EQ(parse_random_model("smol135").second, tensor::DType::kQ4_0);
  EXPECT_THROW(parse_random_model("llama1b:Q9"), Error);
  EXPECT_THROW(parse_random_model("llama2b:Q4_0"), Error);
}

}  // namespace
}  // namespace fathom::model
