// What is trained is what is served: the loss that `train` computes against the one from the logits of `infer`, on models of
// every kind, from the same weights. The two share nothing but ModelConfig and the GGUF file between them.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "infer/engine.h"
#include "model/description.h"
#include "model/random_model.h"
#include "train/decoder_support.h"
#include "train/export.h"

namespace fathom::train {
namespace {

constexpr size_t kVocabulary = 300, kTokens = 24;

model::ModelConfig describe(const std::string& architecture, const std::string& more) {
  model::ModelConfig config =
      model::parse_description("name = \"small\"\nsource = \"made up\"\narchitecture = \"" + architecture +
                                   "\"\nlayers = 2\nd_model = 32\nheads = 4\nkv_heads = 2\nhead_dim = 8\n"
                                   "vocab = 300\ncontext = 64\nnorm_epsilon = 1e-6\nrope_base = 5000\n" +
                                   more,
                               "small");
  // As a run has it, and GGUF.
  if (architecture == "llama") config.rope.pairing = model::RopePairing::kNeighbours;
  if (architecture == "grok") config.layout.attention_post_norm = "attn_output_norm";
  return config;
}

struct Kind {
  const char* name;
  const char* architecture;
  const char* more;
};

const Kind kKinds[] = {
    {"llama", "llama", "ffn = 48\n"},
    {"llama with biases, tied", "llama", "ffn = 48\ntied_output = true\nattention_bias = true\n"},
    {"mixtral", "llama", "[experts]\ncount = 4\nused = 2\nffn = 24\n"},
    {"qwen2", "qwen2", "ffn = 48\nattention_bias = true\n"},
    {"qwen3", "qwen3", "ffn = 48\nqk_norm = true\ntied_output = true\n"},
    {"qwen3moe", "qwen3moe", "qk_norm = true\n[experts]\ncount = 4\nused = 2\nffn = 24\n"},
    {"grok", "grok",
     "tied_output = true\nactivation = \"gelu\"\npost_norms = true\nembedding_scale = 5.5\nlogit_scale = "
     "0.7\n"
     "attention_scale = 0.3\nattention_softcap = 30\nfinal_softcap = 50\n[experts]\ncount = 4\nused = 2\nffn "
     "= 24\n"
     "router_softcap = 25\n"},
};

/// The sum of the losses of tokens[1..], from logits.
double loss_of(const std::vector<float>& logits, const std::vector<int32_t>& tokens) {
  double loss = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const float* row = logits.data() + i * kVocabulary;
    double sum = 0;
    for (size_t v = 0; v < kVocabulary; ++v) sum += std::exp(static_cast<double>(row[v]));
    loss += std::log(sum) - static_cast<double>(row[tokens[i + 1]]);
  }
  return loss;
}

TEST(SameModel, TrainAndInferComputeTheSameLoss) {
  const TempDir folder;
  model::write_random_model({"t", 1, 32, 1, 1, 32, 32, kVocabulary, 0, 0, 64}, tensor::DType::kF32, 1,
                            folder.path() / "tokenizer.gguf");
  const auto tokenizer = model::GgufFile::open(folder.path() / "tokenizer.gguf");
  ThreadPool pool(1);
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    DecoderOptions options;
    options.sequences = 1;
    options.length = kTokens - 1;
    TestDecoder trained(describe(kind.architecture, kind.more), options);
    disturb(trained, 5);

    Random random(9);
    std::vector<int32_t> tokens(kTokens);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random.below(kVocabulary));
    const std::vector<int32_t> starts(kTokens - 1, 0);
    const std::span<const int32_t> all(tokens);
    const MicroBatch batch{1, kTokens - 1, all.first(kTokens - 1), all.last(kTokens - 1), starts};
    const double loss = trained.decoder->evaluate(0, batch, {}, {}).loss;

    const auto source = [&](const std::string& name) {
      for (const Parameter& p : trained.parameters.all())
        if (p.name == name) return std::vector<float>(trained.values(p).begin(), trained.values(p).end());
      throw Error(ErrorCode::kNotFound, name);
    };
    const auto file = folder.path() / "model.gguf";
    export_gguf(trained.config, tokenizer, source, tensor::DType::kF32, file);
    const auto engine = infer::Engine::load(file, {}, pool);
    const double served = loss_of(engine->logits(tokens, 0), tokens);
    EXPECT_NEAR(served, loss, 2e-3 * loss);
    EXPECT_GT(std::abs(loss - (kTokens - 1) * std::log(kVocabulary)), 0.05) << "the model says nothing";
  }
}

}  // namespace
}  // namespace fathom::train
