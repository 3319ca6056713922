#include "infer/embedder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "infer/encoder.h"
#include "model/gguf.h"
#include "tensor/encoder_ops.h"

namespace fathom::infer {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

double cosine_distance(std::span<const float> a, std::span<const float> b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    aa += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    bb += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return 1 - ab / std::sqrt(aa * bb);
}

double length(std::span<const float> a) {
  double square = 0;
  for (const float x : a) square += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(square);
}

/// A small model of the architecture: a file is written from it, and a plain reference computes with its numbers.
struct TinyBert {
  static constexpr size_t kD = 32, kHeads = 2, kFfn = 64, kLayers = 2, kContext = 12;
  std::vector<std::string> tokens{"[PAD]",
                                  "[UNK]",
                                  "[CLS]",
                                  "[SEP]",
                                  "\xE2\x96\x81hello",
                                  "\xE2\x96\x81world",
                                  "ing",
                                  "\xE2\x96\x81go",
                                  "\xE2\x96\x81,",
                                  "\xE2\x96\x81"
                                  "1"};
  std::map<std::string, std::vector<float>> tensors;
  std::map<std::string, std::vector<uint64_t>> shapes;
  std::vector<std::pair<std::string, model::GgufValue>> metadata;

  TinyBert() {
    metadata = {{"general.architecture", std::string("bert")},
                {"general.name", std::string("tiny")},
                {"bert.block_count", uint32_t{kLayers}},
                {"bert.embedding_length", uint32_t{kD}},
                {"bert.attention.head_count", uint32_t{kHeads}},
                {"bert.feed_forward_length", uint32_t{kFfn}},
                {"bert.context_length", uint32_t{kContext}},
                {"bert.attention.layer_norm_epsilon", 1e-6f},
                {"bert.pooling_type", uint32_t{1}},
                {"tokenizer.ggml.model", std::string("bert")},
                {"tokenizer.ggml.tokens", tokens},
                {"tokenizer.ggml.token_type", std::vector<int32_t>{3, 2, 3, 3, 1, 1, 1, 1, 1, 1}},
                {"tokenizer.ggml.unknown_token_id", uint32_t{1}},
                {"tokenizer.ggml.cls_token_id", uint32_t{2}},
                {"tokenizer.ggml.seperator_token_id", uint32_t{3}}};
    Random random(11);
    const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
      size_t n = 1;
      for (const uint64_t s : shape) n *= s;
      std::vector<float> values(n);
      for (float& v : values) v = static_cast<float>(random.below(2001)) / 1000 - 1;
      tensors[name] = std::move(values);
      shapes[name] = std::move(shape);
    };
    add("token_embd.weight", {kD, tokens.size()});
    add("position_embd.weight", {kD, kContext});
    add("token_types.weight", {kD, 2});
    for (const char* part : {".weight", ".bias"}) add(std::string("token_embd_norm") + part, {kD});
    for (size_t l = 0; l < kLayers; ++l) {
      const std::string block = "blk." + std::to_string(l) + ".";
      const std::tuple<const char*, size_t, size_t> linears[] = {
          {"attn_q", kD, kD},      {"attn_k", kD, kD},   {"attn_v", kD, kD},
          {"attn_output", kD, kD}, {"ffn_up", kD, kFfn}, {"ffn_down", kFfn, kD}};
      for (const auto& [name, in, out] : linears) {
        add(block + name + ".weight", {in, out});
        add(block + name + ".bias", {out});
      }
      for (const char* name : {"attn_output_norm", "layer_output_norm"})
        for (const char* part : {".weight", ".bias"}) add(block + name + part, {kD});
    }
  }

  void set(const std::string& key, model::GgufValue value) {
    for (auto& [known, old] : metadata)
      if (known == key) old = value;
  }

  std::string bytes() const {
    model::GgufWriter writer;
    for (const auto& [key, value] : metadata) writer.set(key, value);
    for (const auto& [name, values] : tensors)
      writer.add_tensor(name, tensor::DType::kF32, shapes.at(name), std::as_bytes(std::span(values)));
    return writer.serialise();
  }

  fs::path write(const TempDir& folder) const {
    const fs::path path = folder.path() / "tiny.gguf";
    write_file_atomic(path, bytes());
    return path;
  }

  using Rows = std::vector<std::vector<double>>;

  Rows linear(const Rows& x, const std::string& name, size_t out) const {
    const auto& w = tensors.at(name + ".weight");
    const auto& b = tensors.at(name + ".bias");
    Rows y(x.size(), std::vector<double>(out));
    for (size_t t = 0; t < x.size(); ++t)
      for (size_t r = 0; r < out; ++r) {
        y[t][r] = static_cast<double>(b[r]);
        for (size_t c = 0; c < x[t].size(); ++c)
          y[t][r] += static_cast<double>(w[r * x[t].size() + c]) * x[t][c];
      }
    return y;
  }

  void norm(Rows& x, const std::string& name) const {
    for (auto& row : x) {
      double mean = 0, spread = 0;
      for (const double v : row) mean += v / kD;
      for (const double v : row) spread += (v - mean) * (v - mean) / kD;
      for (size_t i = 0; i < kD; ++i)
        row[i] = (row[i] - mean) / std::sqrt(spread + 1e-6) *
                     static_cast<double>(tensors.at(name + ".weight")[i]) +
                 static_cast<double>(tensors.at(name + ".bias")[i]);
    }
  }

  Rows attend(const Rows& q, const Rows& k, const Rows& v) const {
    Rows out(q.size(), std::vector<double>(kD, 0));
    constexpr size_t kHead = kD / kHeads;
    for (size_t h = 0; h < kHeads; ++h)
      for (size_t t = 0; t < q.size(); ++t) {
        std::vector<double> weight(q.size());
        double total = 0;
        for (size_t s = 0; s < q.size(); ++s) {
          double dot = 0;
          for (size_t i = h * kHead; i < (h + 1) * kHead; ++i) dot += q[t][i] * k[s][i];
          total += weight[s] = std::exp(dot / std::sqrt(static_cast<double>(kHead)));
        }
        for (size_t s = 0; s < q.size(); ++s)
          for (size_t i = h * kHead; i < (h + 1) * kHead; ++i) out[t][i] += weight[s] / total * v[s][i];
      }
    return out;
  }

  /// The vectors of all tokens after the last block.
  Rows forward(const std::vector<int32_t>& ids) const {
    Rows x(ids.size(), std::vector<double>(kD));
    for (size_t t = 0; t < ids.size(); ++t)
      for (size_t i = 0; i < kD; ++i)
        x[t][i] = static_cast<double>(tensors.at("token_embd.weight")[static_cast<size_t>(ids[t]) * kD + i]) +
                  static_cast<double>(tensors.at("position_embd.weight")[t * kD + i]) +
                  static_cast<double>(tensors.at("token_types.weight")[i]);
    norm(x, "token_embd_norm");
    const auto add = [](Rows& to, const Rows& what) {
      for (size_t t = 0; t < to.size(); ++t)
        for (size_t i = 0; i < kD; ++i) to[t][i] += what[t][i];
    };
    for (size_t l = 0; l < kLayers; ++l) {
      const std::string block = "blk." + std::to_string(l) + ".";
      add(x, linear(attend(linear(x, block + "attn_q", kD), linear(x, block + "attn_k", kD),
                           linear(x, block + "attn_v", kD)),
                    block + "attn_output", kD));
      norm(x, block + "attn_output_norm");
      Rows h = linear(x, block + "ffn_up", kFfn);
      for (auto& row : h)
        for (double& v : row) v = v / 2 * (1 + std::erf(v / std::sqrt(2.0)));
      add(x, linear(h, block + "ffn_down", kD));
      norm(x, block + "layer_output_norm");
    }
    return x;
  }

  std::vector<float> pooled(const std::vector<int32_t>& ids, Pooling pooling) const {
    const Rows x = forward(ids);
    std::vector<float> out(kD, 0.0f);
    for (size_t i = 0; i < kD; ++i) {
      double mean = 0;
      for (const auto& row : x) mean += row[i] / static_cast<double>(x.size());
      const double value = pooling == Pooling::kMean    ? mean
                           : pooling == Pooling::kFirst ? x[0][i]
                                                        : x.back()[i];
      out[i] = static_cast<float>(value);
    }
    return out;
  }
};

void expect_refused(const fs::path& path, ErrorCode code, const std::string& what) {
  ThreadPool pool(1);
  try {
    Embedder::load(path, pool);
    ADD_FAILURE() << "loaded where '" << what << "' was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(what));
  }
}

TEST(EncoderOps, GeluIsThatOfErf) {
  std::vector<float> x;
  for (int i = -1200; i <= 1200; ++i) x.push_back(static_cast<float>(i) / 100);
  x.insert(x.end(), {0.0f, -0.0f, 1e-30f, 100.0f, -100.0f, 1e6f, -1e6f});
  std::vector<float> y = x;
  tensor::gelu_erf(y.data(), y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected =
        static_cast<double>(x[i]) / 2 * std::erfc(-static_cast<double>(x[i]) / std::sqrt(2.0));
    EXPECT_NEAR(y[i], expected, 2e-6 + std::abs(expected) * 1e-6) << x[i];
  }
}

TEST(EncoderOps, NormsOfEveryWidth) {
  Random random(3);
  for (size_t n = 1; n < 70; ++n) {
    std::vector<float> x(n), weight(n), bias(n), out(n);
    for (auto* values : {&x, &weight, &bias})
      for (float& v : *values) v = static_cast<float>(random.below(2001)) / 500 - 2;
    tensor::layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, out.data(), n);
    double mean = 0, spread = 0;
    for (const float v : x) mean += static_cast<double>(v) / static_cast<double>(n);
    for (const float v : x) spread += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
    for (size_t i = 0; i < n; ++i) {
      const double even =
          (static_cast<double>(x[i]) - mean) / std::sqrt(spread / static_cast<double>(n) + 1e-5);
      EXPECT_NEAR(out[i], even * static_cast<double>(weight[i]) + static_cast<double>(bias[i]), 2e-4) << n;
    }
  }
}

TEST(Encoder, IsThePlainReferenceForEveryPooling) {
  const std::vector<std::vector<int32_t>> texts{
      {2, 4, 5, 3}, {2}, {2, 4, 6, 7, 8, 9, 1, 0, 4, 5, 6, 3}, {7, 7, 7}};
  for (const auto& [type, pooling] :
       {std::pair{1u, Pooling::kMean}, {2u, Pooling::kFirst}, {3u, Pooling::kLast}}) {
    TinyBert tiny;
    tiny.set("bert.pooling_type", uint32_t{type});
    const std::string bytes = tiny.bytes();
    const auto file = model::GgufFile::parse(std::as_bytes(std::span(bytes)), "tiny");
    for (const size_t threads : {1u, 3u}) {
      ThreadPool pool(threads);
      Encoder encoder(EncoderConfig::from_gguf(file), file, pool);
      std::vector<float> out(texts.size() * TinyBert::kD);
      encoder.run(texts, out.data());
      for (size_t i = 0; i < texts.size(); ++i) {
        const auto expected = tiny.pooled(texts[i], pooling);
        for (size_t c = 0; c < TinyBert::kD; ++c) EXPECT_NEAR(out[i * TinyBert::kD + c], expected[c], 2e-4);
      }
    }
  }
}

TEST(Encoder, ReadsQKVTogetherAsApart) {
  TinyBert apart, together;
  for (size_t l = 0; l < TinyBert::kLayers; ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    for (const std::string part : {".weight", ".bias"}) {
      std::vector<float> all;
      for (const char* name : {"attn_q", "attn_k", "attn_v"}) {
        const auto& values = together.tensors[block + name + part];
        all.insert(all.end(), values.begin(), values.end());
        together.tensors.erase(block + name + part);
      }
      together.tensors[block + "attn_qkv" + part] = all;
      together.shapes[block + "attn_qkv" + part] =
          part == ".bias" ? std::vector<uint64_t>{3 * TinyBert::kD}
                          : std::vector<uint64_t>{TinyBert::kD, 3 * TinyBert::kD};
    }
  }
  TempDir one, two;
  ThreadPool pool(1);
  const std::vector<std::string> texts{"hello world", "going, going"};
  const auto a = Embedder::load(apart.write(one), pool)->embed(texts);
  const auto b = Embedder::load(together.write(two), pool)->embed(texts);
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(a[i].values, b[i].values);
}

TEST(Embedder, TextsAreCutSurroundedAndScaled) {
  TinyBert tiny;
  TempDir folder;
  ThreadPool pool(2);
  const auto embedder = Embedder::load(tiny.write(folder), pool);
  EXPECT_EQ(embedder->info().dimensions, TinyBert::kD);
  EXPECT_EQ(embedder->info().context, TinyBert::kContext);
  EXPECT_EQ(embedder->info().name, "tiny");
  std::string longest;
  for (int i = 0; i < 50; ++i) longest += "hello ";
  const std::vector<std::string> texts{"", "Going, h\xC3\xA9llo!", longest,
                                       std::string("\x01\x02\x03\x00", 4), "\xFF\xFE"};
  const auto out = embedder->embed(texts);
  ASSERT_EQ(out.size(), texts.size());
  const std::vector<std::vector<int32_t>> ids{
      {2, 3}, {2, 7, 6, 8, 4, 1, 3}, {2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3}, {2, 3}, {2, 3}};
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(out[i].tokens, ids[i].size());
    EXPECT_NEAR(length(out[i].values), 1, 1e-5);
    EXPECT_LT(cosine_distance(out[i].values, tiny.pooled(ids[i], Pooling::kMean)), 1e-5) << i;
  }
  EXPECT_TRUE(embedder->embed({}).empty());
}

TEST(Embedder, ATextDoesNotDependOnItsBatch) {
  TempDir folder;
  ThreadPool pool(3);
  const auto embedder = Embedder::load(TinyBert().write(folder), pool);
  std::vector<std::string> texts;
  for (size_t i = 0; i < 2048; ++i) {
    texts.emplace_back();
    for (size_t j = 0; j < i % 13; ++j) texts.back() += (i * 7 + j) % 3 == 0 ? "hello " : "going , ";
  }
  const auto together = embedder->embed(texts);
  ASSERT_EQ(together.size(), texts.size());
  for (size_t i = 0; i < texts.size(); i += 97)
    EXPECT_EQ(embedder->embed(std::span(texts).subspan(i, 1))[0].values, together[i].values) << i;
}

TEST(Embedder, ThreadsMayShareIt) {
  TempDir folder;
  ThreadPool pool(2);
  const auto embedder = Embedder::load(TinyBert().write(folder), pool);
  const std::vector<std::string> texts{"hello", "world world", "going"};
  const auto expected = embedder->embed(texts);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        const auto out = embedder->embed(texts);
        for (size_t i = 0; i < texts.size(); ++i) wrong += out[i].values != expected[i].values ? 1 : 0;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Embedder, AMegabyteIsCutLikeAnyText) {
  TempDir folder;
  ThreadPool pool(1);
  const auto embedder = Embedder::load(TinyBert().write(folder), pool);
  std::vector<std::string> texts{std::string(1 << 20, 'x'), std::string(1 << 20, ' ')};
  for (size_t i = 0; i < (1 << 20) / 6; ++i) texts[1].replace(i * 6, 6, "hello ");
  const auto out = embedder->embed(texts);
  EXPECT_EQ(out[0].tokens, 3u);  // one unknown word
  EXPECT_EQ(out[1].tokens, TinyBert::kContext);
}

TEST(Embedder, RefusesFilesThatDoNotAddUp) {
  TempDir folder;
  const auto with = [&](const std::string& key, model::GgufValue value) {
    TinyBert tiny;
    tiny.set(key, std::move(value));
    return tiny.write(folder);
  };
  expect_refused(folder.path() / "none.gguf", ErrorCode::kNotFound, "none.gguf");
  expect_refused(with("general.architecture", std::string("llama")), ErrorCode::kUnsupported, "'llama'");
  expect_refused(with("bert.block_count", uint32_t{0}), ErrorCode::kCorrupt, "block_count");
  expect_refused(with("bert.block_count", uint64_t{1} << 63), ErrorCode::kCorrupt, "block_count");
  expect_refused(with("bert.block_count", uint32_t{3}), ErrorCode::kCorrupt, "blk.2.");
  expect_refused(with("bert.embedding_length", uint32_t{0xFFFFFFFF}), ErrorCode::kCorrupt,
                 "embedding_length");
  expect_refused(with("bert.embedding_length", uint32_t{64}), ErrorCode::kCorrupt, "token_embd");
  expect_refused(with("bert.attention.head_count", uint32_t{5}), ErrorCode::kCorrupt, "5 heads");
  expect_refused(with("bert.feed_forward_length", uint32_t{96}), ErrorCode::kCorrupt, "ffn_up");
  expect_refused(with("bert.context_length", uint32_t{2}), ErrorCode::kCorrupt, "no room");
  expect_refused(with("bert.attention.layer_norm_epsilon", NAN), ErrorCode::kCorrupt, "epsilon");
  expect_refused(with("bert.pooling_type", uint32_t{4}), ErrorCode::kUnsupported, "pools");
}

TEST(Embedder, RefusesTensorsThatAreMissingOrDamaged) {
  TempDir folder;
  for (const auto& [name, values] : TinyBert().tensors) {
    TinyBert tiny;
    tiny.tensors[name].back() = name.ends_with("weight") ? NAN : INFINITY;
    const bool used = name != "token_types.weight";  // of which the first row alone is
    if (used) expect_refused(tiny.write(folder), ErrorCode::kCorrupt, name);
    tiny.tensors.erase(name);
    if (used) expect_refused(tiny.write(folder), ErrorCode::kCorrupt, name);
  }
  TinyBert short_of_rows;
  short_of_rows.tensors["token_embd.weight"].resize(TinyBert::kD * 9);
  short_of_rows.shapes["token_embd.weight"] = {TinyBert::kD, 9};
  expect_refused(short_of_rows.write(folder), ErrorCode::kCorrupt, "10 tokens and embeddings for 9");
}

TEST(Embedder, NumbersThatOverflowAreSaidToBeTheModels) {
  TinyBert tiny;
  for (float& v : tiny.tensors["blk.1.layer_output_norm.weight"]) v = 3e38f;
  TempDir folder;
  ThreadPool pool(1);
  const auto embedder = Embedder::load(tiny.write(folder), pool);
  const std::vector<std::string> texts{"hello world"};
  EXPECT_THROW(embedder->embed(texts), Error);
}

TEST(MiniLm, EmbedsAsTheReference) {
  const char* set = std::getenv("FATHOM_TEST_MINILM");
  const fs::path folder = set != nullptr
                              ? fs::path(set)
                              : fs::path(FATHOM_SOURCE_DIR) / ".fathom" / "test-models" / "all-MiniLM-L6-v2";
  if (!fs::exists(folder))
    GTEST_SKIP() << "all-MiniLM-L6-v2 is not there; FATHOM_TEST_MINILM names its folder";
  ThreadPool pool(2);
  const auto embedder = Embedder::load(folder, pool);
  EXPECT_EQ(embedder->info().dimensions, 384u);
  EXPECT_EQ(embedder->info().context, 256u);  // sentence_bert_config.json
  const auto cases = nlohmann::json::parse(
      read_file(fs::path(FATHOM_SOURCE_DIR) / "tests" / "infer" / "testdata" / "embeddings_minilm.json"));
  std::vector<std::string> texts;
  for (const auto& one : cases) texts.push_back(one["text"]);
  const auto out = embedder->embed(texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(out[i].tokens, cases[i]["tokens"].get<size_t>()) << texts[i];
    EXPECT_LT(cosine_distance(out[i].values, cases[i]["values"].get<std::vector<float>>()), 1e-6) << texts[i];
    EXPECT_NEAR(length(out[i].values), 1, 1e-5);
  }
}

}  // namespace
}  // namespace fathom::infer
