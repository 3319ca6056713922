#include "train/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "tensor/cpu_ops.h"
#include "train/parameter_layout.h"

namespace fathom::train {
namespace {

using model::ModelConfig;

ModelConfig mixture() {
  ModelConfig c;
  c.architecture = "grok";
  c.layers = 4;
  c.d_model = 16;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = c.rope.dims = 8;
  c.ffn = 24;
  c.vocab = 37;
  c.context = 32;
  c.tied_output = c.attention_bias = true;
  c.experts.count = 4;
  c.experts.used = 2;
  c.experts.ffn = 12;
  c.experts.beside = model::BesideExperts::kDense;
  return c;
}

struct Fixture {
  ThreadPool pool{1};
  std::unique_ptr<tensor::DeviceOps> ops = tensor::make_cpu_ops(pool);
  ModelConfig config = mixture();
  Layout layout;
  LoraSpec lora;

  Parameters make(const Place& place = {}) { return Parameters(config, layout, place, lora, *ops); }
};

std::span<const float> values(const Parameters& parameters, const Parameter& p) {
  return {parameters.value(p), p.elements()};
}

/// A box as a run of the whole tensor's elements.
std::vector<float> whole_of(const Parameter& p, std::span<const float> part, std::vector<float> whole) {
  copy_overlap(p.box, 0, part, {{0, 0, 0}, p.shape}, 0, whole);
  return whole;
}

TEST(Parameters, AreTheModelsTensorsOneAfterAnother) {
  Fixture f;
  const Parameters parameters = f.make();
  const auto specs = model::required_tensors(f.config);
  ASSERT_EQ(parameters.all().size(), specs.size());
  for (const auto& spec : specs) {
    const Parameter& p = parameters.at(spec.name);
    EXPECT_EQ(p.elements(),
              std::accumulate(spec.shape.begin(), spec.shape.end(), size_t{1}, std::multiplies<>()));
    EXPECT_EQ(p.arena == Arena::kExpert, spec.routed);
    EXPECT_EQ(p.decay, spec.shape.size() > 1);
  }
  std::array<size_t, kArenas> ends{};
  for (const Parameter& p : parameters.all()) {
    size_t& end = ends[static_cast<size_t>(p.arena)];
    EXPECT_GE(p.offset, end);
    EXPECT_EQ(p.offset % 16, 0u);
    end = p.offset + p.elements();
  }
  // What meets the same rows is one matrix.
  EXPECT_EQ(parameters.value(parameters.at("blk.1.attn_k.weight")),
            parameters.value(parameters.at("blk.1.attn_q.weight")) +
                parameters.at("blk.1.attn_q.weight").elements());
  EXPECT_EQ(parameters.find("output.weight"), nullptr);
}

TEST(Parameters, OfAllRanksAreTheWholeModelWhateverTheLayout) {
  Fixture f;
  Parameters alone = f.make();
  alone.initialise(7, 0.02f);
  for (const char* line :
       {"tensor=2 pipeline=2", "data=4 expert=4", "data=2 expert=2 tensor=2 pipeline=2 chunks=2"}) {
    SCOPED_TRACE(line);
    f.layout = Layout::parse(line);
    std::map<std::string, std::vector<float>> found;
    for (size_t rank = 0; rank < f.layout.ranks(); ++rank) {
      Parameters part = f.make(Place::of(f.layout, rank));
      part.initialise(7, 0.02f);
      for (const Parameter& p : part.all()) {
        auto& whole = found[p.name];
        whole.resize(p.shape[0] * p.shape[1] * p.shape[2], NAN);
        whole = whole_of(p, values(part, p), whole);
      }
    }
    ASSERT_EQ(found.size(), alone.all().size());
    for (const Parameter& p : alone.all())
      EXPECT_THAT(found[p.name], testing::ElementsAreArray(values(alone, p))) << p.name;
  }
}

TEST(Parameters, BeginNormalWithTheDeviationAsked) {
  Fixture f;
  f.config.vocab = 4000;
  Parameters parameters = f.make();
  parameters.initialise(1, 0.02f);
  const auto deviation = [&](const char* name) {
    double sum = 0;
    const auto v = values(parameters, parameters.at(name));
    for (const float x : v) sum += static_cast<double>(x) * static_cast<double>(x);
    return std::sqrt(sum / static_cast<double>(v.size()));
  };
  EXPECT_NEAR(deviation("token_embd.weight"), 0.02, 0.0004);
  EXPECT_NEAR(deviation("blk.0.ffn_down_exps.weight"), 0.02 / std::sqrt(8.0), 0.0008);
  EXPECT_EQ(deviation("blk.0.attn_norm.weight"), 1);
  EXPECT_EQ(deviation("blk.0.attn_q.bias"), 0);
  Parameters other = f.make();
  other.initialise(2, 0.02f);
  EXPECT_NE(values(other, other.at("token_embd.weight"))[0],
            values(parameters, parameters.at("token_embd.weight"))[0]);
}

TEST(Parameters, OfAnAdapterStandBesideFrozenOnes) {
  Fixture f;
  f.lora.rank = 2;
  f.lora.matrices = {"attn_q", "attn_output"};
  f.layout = Layout::parse("tensor=2");
  const Parameters parameters = f.make(Place::of(f.layout, 1));
  EXPECT_EQ(parameters.at("blk.0.attn_q.weight").arena, Arena::kFrozen);
  EXPECT_EQ(parameters.gradient(parameters.at("blk.0.attn_q.weight")), nullptr);
  const Parameter& a = parameters.at("blk.0.attn_q.weight.lora_a");
  EXPECT_EQ(a.elements(), 2u * 16);
  EXPECT_TRUE(a.tensor_shared);
  const Parameter& b = parameters.at("blk.0.attn_q.weight.lora_b");
  EXPECT_EQ(b.box.begin[1], 16u);
  EXPECT_EQ(b.elements(), 16u * 2);
  EXPECT_FALSE(b.tensor_shared);
  EXPECT_FALSE(parameters.at("blk.0.attn_output.weight.lora_a").tensor_shared);
  EXPECT_EQ(parameters.arena_size(Arena::kDense) % 16, 0u);
  f.lora.matrices = {"ffn_gate", "banana"};
  try {
    f.make();
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("banana"));
  }
}

TEST(Parameters, RefuseALayoutThatCutsAHeadInTwo) {
  Fixture f;
  f.layout = Layout::parse("tensor=4");  // two key heads
  EXPECT_THROW(f.make(), Error);
}

/// A file of `config` in its own layout, with numbers by name and place; matrices in `dtype`.
std::string file_of(const ModelConfig& config, tensor::DType dtype) {
  model::GgufWriter writer;
  writer.set("general.architecture", std::string("test"));
  std::vector<std::vector<std::byte>> kept;
  for (const auto& spec : model::required_tensors(config)) {
    const size_t elements =
        std::accumulate(spec.shape.begin(), spec.shape.end(), size_t{1}, std::multiplies<>());
    std::vector<float> numbers(elements);
    Random random(std::hash<std::string>()(spec.name));
    for (float& x : numbers) x = static_cast<float>(random.uniform());
    const tensor::DType stored = spec.shape.size() == 1 ? tensor::DType::kF32 : dtype;
    kept.emplace_back(tensor::row_bytes(stored, elements));
    tensor::quantize_row(stored, numbers.data(), kept.back().data(), elements);
    writer.add_tensor(spec.name, stored, spec.shape, kept.back());
  }
  return writer.serialise();
}

void load(Parameters& parameters, const std::string& bytes) {
  parameters.load(model::GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf"));
}

TEST(Parameters, LoadWhatAFileHasWhateverItGroups) {
  Fixture f;
  f.config.d_model = 32;
  f.config.experts = {};
  f.config.layout.fused_qkv = f.config.layout.fused_gate_up = true;
  const std::string bytes = file_of(f.config, tensor::DType::kF16);
  const auto file = model::GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf");
  const auto rows_of = [&](const char* name, size_t first, size_t count) {
    const model::GgufTensor& t = file.tensor(name);
    std::vector<float> all(t.elements);
    tensor::dequantize_row(*t.dtype, t.data.data(), all.data(), all.size());
    const size_t width = t.shape.size() == 1 ? 1 : t.shape[0];
    return std::vector<float>(all.begin() + static_cast<ptrdiff_t>(first * width),
                              all.begin() + static_cast<ptrdiff_t>((first + count) * width));
  };
  Parameters parameters = f.make();
  load(parameters, bytes);
  const auto expect = [&](const char* name, const std::vector<float>& expected) {
    EXPECT_THAT(values(parameters, parameters.at(name)), testing::ElementsAreArray(expected)) << name;
  };
  expect("blk.2.attn_q.weight", rows_of("blk.2.attn_qkv.weight", 0, 32));
  expect("blk.2.attn_v.weight", rows_of("blk.2.attn_qkv.weight", 48, 16));
  expect("blk.2.attn_k.bias", rows_of("blk.2.attn_qkv.bias", 32, 16));
  expect("blk.2.ffn_gate.weight", rows_of("blk.2.ffn_up.weight", 0, 24));
  expect("blk.2.ffn_up.weight", rows_of("blk.2.ffn_up.weight", 24, 24));
  expect("token_embd.weight", rows_of("token_embd.weight", 0, 37));

  // Part of it, of quantised blocks: columns of the down matrix.
  f.layout = Layout::parse("tensor=2");
  Parameters part = f.make(Place::of(f.layout, 1));
  load(part, bytes);
  const Parameter& output = part.at("blk.1.attn_output.weight");
  EXPECT_EQ(values(part, output)[0], rows_of("blk.1.attn_output.weight", 0, 1)[16]);
}

TEST(Parameters, LoadSingleExpertsAndNameWhatIsAmiss) {
  Fixture f;
  f.config.d_model = f.config.ffn = f.config.experts.ffn = 32;
  f.config.layout.single_experts = true;
  const std::string bytes = file_of(f.config, tensor::DType::kQ8_0);
  f.layout = Layout::parse("data=2 expert=2");
  Parameters parameters = f.make(Place::of(f.layout, 1));
  load(parameters, bytes);
  const auto file = model::GgufFile::parse(std::as_bytes(std::span(bytes)), "test.gguf");
  const model::GgufTensor& t = file.tensor("blk.3.ffn_up.2.weight");
  std::vector<float> expected(t.elements);
  tensor::dequantize_row(*t.dtype, t.data.data(), expected.data(), expected.size());
  const auto got = values(parameters, parameters.at("blk.3.ffn_up_exps.weight"));
  EXPECT_THAT(got.first(expected.size()), testing::ElementsAreArray(expected));

  f.config.vocab = 38;
  f.layout = {};
  Parameters other = f.make();
  try {
    load(other, bytes);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_THAT(error.what(), testing::HasSubstr("token_embd.weight"));
  }
}

TEST(CopyOverlap, MovesWhatBothHave) {
  Random random(5);
  const std::array<size_t, 3> shape{3, 5, 7};
  std::vector<float> whole(3 * 5 * 7);
  std::iota(whole.begin(), whole.end(), 1.0f);
  const auto random_box = [&] {
    Box box;
    for (size_t d = 0; d < 3; ++d) {
      box.begin[d] = random.below(shape[d]);
      box.size[d] = 1 + random.below(shape[d] - box.begin[d]);
    }
    return box;
  };
  const auto number_at = [&](const Box& box, size_t i) {
    const size_t column = box.begin[2] + i % box.size[2];
    const size_t row = box.begin[1] + i / box.size[2] % box.size[1];
    const size_t plane = box.begin[0] + i / box.size[2] / box.size[1];
    return whole[(plane * 5 + row) * 7 + column];
  };
  for (int round = 0; round < 500; ++round) {
    const Box source = random_box(), target = random_box();
    const size_t source_begin = random.below(source.elements());
    const size_t target_begin = random.below(target.elements());
    std::vector<float> from(1 + random.below(source.elements() - source_begin));
    std::vector<float> to(1 + random.below(target.elements() - target_begin), 0.0f);
    for (size_t i = 0; i < from.size(); ++i) from[i] = number_at(source, source_begin + i);
    copy_overlap(source, source_begin, from, target, target_begin, to);
    for (size_t i = 0; i < to.size(); ++i) {
      const float wanted = number_at(target, target_begin + i);
      const bool there = std::find(from.begin(), from.end(), wanted) != from.end();
      ASSERT_EQ(to[i], there ? wanted : 0.0f) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace fathom::train
