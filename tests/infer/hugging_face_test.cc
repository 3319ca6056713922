// Hugging Face folders give the logits that the transformers library computes from them (recorded by
// record_hugging_face.py), architecture by architecture, and the same as the GGUF file they are converted to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/thread_pool.h"
#include "infer/engine.h"
#include "model/hugging_face_folder.h"

namespace fathom::infer {
namespace {

using nlohmann::json;

const json& recorded() {
  static const json file =
      json::parse(read_file(FATHOM_SOURCE_DIR "/tests/infer/testdata/hugging_face_logits.json"));
  return file;
}

class HuggingFaceLogits : public ::testing::TestWithParam<size_t> {};

TEST_P(HuggingFaceLogits, AreTheLibrarys) {
  const json& all = recorded();
  const json& one = all["cases"][GetParam()];
  test::HuggingFaceFolder folder;
  folder.config = one["config"];
  folder.gemma = one["name"].get<std::string>().starts_with("gemma");
  for (const auto& [name, shape] : one["tensors"].items())
    folder.tensors.emplace_back(name, shape.get<std::vector<uint64_t>>());
  const TempDir place;
  folder.write(place.path());

  ThreadPool pool(1);
  const auto engine = Engine::load(place.path(), {}, pool);
  EXPECT_EQ(engine->info().vocabulary, all["vocab"].get<size_t>());
  const auto tokens = all["tokens"].get<std::vector<int32_t>>();
  const auto logits = engine->logits(tokens, 0);
  const size_t every = all["every"];
  const size_t vocabulary = all["vocab"];
  for (const auto& [position, expected] : one["logits"].items()) {
    const size_t row = std::stoul(position) * vocabulary;
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(logits.at(row + i * every), expected[i].get<float>(), 5e-4)
          << one["name"] << ", position " << position << ", token " << i * every;
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, HuggingFaceLogits,
                         ::testing::Range(size_t{0}, recorded()["cases"].size()), [](const auto& param) {
                           return recorded()["cases"][param.param]["name"].template get<std::string>();
                         });

}  // namespace
}  // namespace fathom::infer
