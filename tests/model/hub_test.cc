#include "model/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"

namespace fathom::model {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

template <class Call>
void expect_error(ErrorCode code, const std::string& what, Call call) {
  try {
    call();
    ADD_FAILURE() << "accepted, though " << what;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(what));
  }
}

HubListing listing(const std::vector<std::string>& names) {
  HubListing out;
  for (const auto& name : names) out.files.push_back({name, 1, std::string(64, 'a'), ""});
  return out;
}

std::vector<std::string> chosen(const std::vector<std::string>& names, const std::string& file = "") {
  std::vector<std::string> out;
  for (const auto& found : choose_files(listing(names), {"owner", "name", file})) out.push_back(found.name);
  return out;
}

TEST(HubName, IsOwnerNameAndPerhapsAFile) {
  const auto plain = parse_hub_name("HuggingFaceTB/SmolLM2-135M");
  EXPECT_EQ(plain.repository(), "HuggingFaceTB/SmolLM2-135M");
  EXPECT_EQ(plain.file, "");
  const auto file = parse_hub_name("a/b.c:Q4_K_M/model-00001-of-00002.gguf");
  EXPECT_EQ(file.name, "b.c");
  EXPECT_EQ(file.file, "Q4_K_M/model-00001-of-00002.gguf");
  for (const char* bad : {"",           "a",     "a/",      "/b",       "a/b/c",
                          "../b",       "a/..",  "a/b:",    "a/b:../c", "a/b:/etc/passwd",
                          "a/b:c/../d", "a b/c", "a/b?x=1", "a/b#c",    "a/b:c\\d",
                          "a/b:c\nd",   "a:b/c", ".a/b",    "-a/b",     "a/b%2e"})
    expect_error(ErrorCode::kInvalidArgument, "is no OWNER/NAME", [&] { parse_hub_name(bad); });
}

TEST(HubListing, ReadsSizesAndChecksums) {
  const std::string sum(64, 'b'), blob(40, 'c'), commit(40, 'd');
  const json answer = {{"sha", commit},
                       {"siblings",
                        {{{"rfilename", "model.gguf"},
                          {"size", 134},
                          {"blobId", blob},
                          {"lfs", {{"sha256", sum}, {"size", 5000}}}},
                         {{"rfilename", "config.json"}, {"size", 20}, {"blobId", blob}},
                         {{"rfilename", "other"}}}}};
  const auto read = parse_listing(answer.dump(), "o/n", "main");
  EXPECT_EQ(read.commit, commit);
  ASSERT_EQ(read.files.size(), 3u);
  EXPECT_EQ(read.files[0].size, 5000u);  // the file's, not its pointer's
  EXPECT_EQ(read.files[0].sha256, sum);
  EXPECT_EQ(read.files[0].git_sha1, "");
  EXPECT_EQ(read.files[1].git_sha1, blob);
  EXPECT_EQ(read.files[2].size, std::nullopt);
  EXPECT_EQ(parse_listing(R"({"siblings":[]})", "o/n", "v1").commit, "v1");
}

TEST(HubListing, IsNotBelieved) {
  for (const char* name :
       {"../x.gguf", "/etc/passwd", "a/../../b", "a//b", "", ".", "a\\\\b", "a\\u0000b", "a\\nb", "c:x"})
    expect_error(ErrorCode::kCorrupt, "is no path inside a folder", [&] {
      parse_listing(R"({"siblings":[{"rfilename":")" + std::string(name) + "\"}]}", "o/n", "main");
    });
  expect_error(ErrorCode::kCorrupt, "a file without a name",
               [] { parse_listing(R"({"siblings":[7]})", "o/n", "m"); });
  expect_error(ErrorCode::kCorrupt, "lists no files",
               [] { parse_listing(R"({"siblings":{}})", "o/n", "m"); });
  expect_error(ErrorCode::kCorrupt, "not a JSON object", [] { parse_listing("[]", "o/n", "m"); });
  expect_error(ErrorCode::kCorrupt, "not a JSON object", [] { parse_listing("{", "o/n", "m"); });
  const auto odd = parse_listing(
      R"({"sha":"../../x","siblings":[{"rfilename":"a","size":-1,"blobId":"zz","lfs":{"sha256":"../x","size":1e9}}]})",
      "o/n", "main");
  EXPECT_EQ(odd.commit, "main");
  EXPECT_EQ(odd.files[0].size, std::nullopt);
  EXPECT_EQ(odd.files[0].sha256, "");
}

TEST(HubChoice, PrefersTheBestCompromise) {
  EXPECT_THAT(chosen({"README.md", "smol.gguf"}), ElementsAre("smol.gguf"));
  EXPECT_THAT(chosen({"m-F16.gguf", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf"}),
              ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_THAT(chosen({"m.f16.gguf", "m.q8_0.gguf", "m.q3_k_m.gguf"}), ElementsAre("m.q8_0.gguf"));
  EXPECT_THAT(chosen({"m-IQ4_NL.gguf", "m-F16.gguf"}), ElementsAre("m-IQ4_NL.gguf"));
  EXPECT_THAT(chosen({"m-Q4_K_M.gguf", "mmproj-F16.gguf"}), ElementsAre("m-Q4_K_M.gguf"));
}

TEST(HubChoice, PartsGoTogether) {
  EXPECT_THAT(chosen({"m-Q4_K_M-00002-of-00002.gguf", "m-Q4_K_M-00001-of-00002.gguf", "m-Q8_0.gguf"}),
              UnorderedElementsAre("m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf"));
  EXPECT_THAT(chosen({"Q8_0/m-00001-of-00002.gguf", "Q8_0/m-00002-of-00002.gguf", "Q2_K/m.gguf"}, "Q8_0"),
              UnorderedElementsAre("Q8_0/m-00001-of-00002.gguf", "Q8_0/m-00002-of-00002.gguf"));
  EXPECT_THAT(
      chosen({"m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "n.gguf"}, "m-00002-of-00002.gguf").size(),
      2u);
}

TEST(HubChoice, NamesWhatThereIsWhenItCannotChoose) {
  expect_error(ErrorCode::kInvalidArgument, "a-Q4_K_M.gguf, b-Q4_K_M.gguf", [] {
    chosen({"a-Q4_K_M.gguf", "b-Q4_K_M.gguf"});
  });
  expect_error(ErrorCode::kInvalidArgument, "FILE one of one.gguf, two.gguf", [] {
    chosen({"one.gguf", "two.gguf"});
  });
  expect_error(ErrorCode::kNotFound, "it has m-Q8_0.gguf", [] { chosen({"m-Q8_0.gguf"}, "Q4_K_M"); });
  expect_error(ErrorCode::kUnsupported, "neither a GGUF file nor", [] {
    chosen({"pytorch_model.bin", "config.json"});
  });
  EXPECT_THAT(chosen({"a-Q4_K_M.gguf", "b-Q4_K_M.gguf"}, "b-Q4_K_M.gguf"), ElementsAre("b-Q4_K_M.gguf"));
  EXPECT_THAT(chosen({"a-Q4_K_M.gguf", "a-Q8_0.gguf"}, "q8_0"), ElementsAre("a-Q8_0.gguf"));
}

TEST(HubChoice, SafetensorsComeWithWhatBelongsToThem) {
  EXPECT_THAT(
      chosen({"config.json", "model.safetensors", "tokenizer.json", "onnx/model.onnx", "README.md",
              "pytorch_model.bin", "1_Pooling/config.json", "tf_model.h5"}),
      UnorderedElementsAre("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"));
  EXPECT_THAT(chosen({"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
                      "model-00002-of-00002.safetensors", "original/consolidated.safetensors"}),
              UnorderedElementsAre("config.json", "model.safetensors.index.json",
                                   "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"));
}

}  // namespace
}  // namespace fathom::model
