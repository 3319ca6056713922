#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "model/safetensors_writer.h"

namespace fathom::model {
namespace {

using test::safetensors_file;
using test::SafetensorsWriter;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

void expect_corrupt(const std::string& file, const std::string& what) {
  try {
    SafetensorsFile::parse(bytes_of(file), "bad.safetensors");
    ADD_FAILURE() << "accepted, though " << what;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr("bad.safetensors"));
    EXPECT_THAT(error.what(), HasSubstr(what));
  }
}

std::string one(std::string_view description, size_t data_bytes = 8) {
  return safetensors_file("{\"t\":" + std::string(description) + "}", std::string(data_bytes, '\0'));
}

SafetensorsWriter three_formats() {
  SafetensorsWriter writer;
  writer.add("b", tensor::DType::kF32, {2, 3}, {1, 2, 3, 4, 5, -6.5f});
  writer.add("a", tensor::DType::kF16, {2}, {0.5f, -2});
  writer.add("c", tensor::DType::kBF16, {1, 1, 3}, {1, 256, -0.125f});
  return writer;
}

TEST(Safetensors, ReadsWhatIsThere) {
  const std::string file = three_formats().serialise();
  const auto read = SafetensorsFile::parse(bytes_of(file), "three");
  ASSERT_EQ(read.tensors().size(), 3u);
  EXPECT_EQ(read.tensors()[0].name, "b");  // in the order of the data, not of the names
  EXPECT_EQ(read.tensor("b").dtype, tensor::DType::kF32);
  EXPECT_THAT(read.tensor("b").shape, ElementsAre(2, 3));
  EXPECT_THAT(read.floats("b"), ElementsAre(1, 2, 3, 4, 5, -6.5f));
  EXPECT_THAT(read.floats("a"), ElementsAre(0.5f, -2));
  EXPECT_THAT(read.floats("c"), ElementsAre(1, 256, -0.125f));
  EXPECT_EQ(read.file_bytes(), file.size());
  EXPECT_EQ(read.find("d"), nullptr);
  EXPECT_THROW(read.tensor("d"), Error);
}

TEST(Safetensors, KeepsMetadataScalarsAndEmptyTensors) {
  const std::string file = safetensors_file(
      R"({"__metadata__":{"format":"pt"},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("e":{"dtype":"F16","shape":[0,7],"data_offsets":[4,4]}}   )",
      std::string("\0\0\x80\x3f", 4));
  const auto read = SafetensorsFile::parse(bytes_of(file), "few");
  EXPECT_EQ(read.metadata().at("format"), "pt");
  EXPECT_THAT(read.floats("s"), ElementsAre(1.0f));
  EXPECT_EQ(read.tensor("e").elements, 0u);
  EXPECT_TRUE(read.floats("e").empty());
}

TEST(Safetensors, ListsFormatsWithoutArithmeticAndRefusesTheirNumbers) {
  SafetensorsWriter writer;
  writer.add("positions", "I64", {1, 2}, std::string(16, '\1'));
  writer.add("w", "F8_E4M3", {4}, "abcd");
  writer.add("half", "F4", {4}, "xy");
  const std::string file = writer.serialise();
  const auto read = SafetensorsFile::parse(bytes_of(file), "exotic");
  EXPECT_EQ(read.find("positions")->format, "I64");
  EXPECT_EQ(read.find("positions")->data.size(), 16u);
  try {
    read.floats("w");
    ADD_FAILURE() << "gave numbers";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("F8_E4M3"));
  }
}

TEST(Safetensors, RefusesWhatTheReferenceRefuses) {
  expect_corrupt("short", "only 5 bytes");
  expect_corrupt(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "longer than");
  expect_corrupt(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10), "longer than");  // 100,000,001
  expect_corrupt(std::string("\x40\0\0\0\0\0\0\0{}", 10), "needs 64 bytes and the file has 2");
  expect_corrupt(safetensors_file(" {}", ""), "begin with '{'");
  expect_corrupt(safetensors_file("[]", ""), "begin with '{'");
  expect_corrupt(safetensors_file("{", ""), "not well-formed");
  expect_corrupt(safetensors_file("{\"\xff\":1}", ""), "not well-formed");
  expect_corrupt(safetensors_file("{} x", ""), "not well-formed");
  expect_corrupt(safetensors_file("{\"a\":" + std::string(100'000, '['), ""), "nested too deep");
  expect_corrupt(safetensors_file(R"({"__metadata__":{"a":1}})", ""), "metadata 'a' is not a string");
  expect_corrupt(safetensors_file(R"({"__metadata__":[]})", ""), "'__metadata__' is not an object");
  expect_corrupt(one("7"), "not described by an object");
  expect_corrupt(one(R"({"shape":[2],"data_offsets":[0,8]})"), "lacks its dtype");
  expect_corrupt(one(R"({"dtype":"F33","shape":[2],"data_offsets":[0,8]})"), "unknown format");
  expect_corrupt(one(R"({"dtype":"F32","data_offsets":[0,8]})"), "lacks its shape");
  expect_corrupt(one(R"({"dtype":"F32","shape":[2]})"), "lacks its data_offsets");
  expect_corrupt(one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), "not a whole number");
  expect_corrupt(one(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), "not a whole number");
  expect_corrupt(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,9]})"), "two numbers");
  expect_corrupt(one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), "lies at 8 to 0");
  expect_corrupt(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,16]})"), "cut short");
  expect_corrupt(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), "has 8 bytes of data");
  expect_corrupt(one(R"({"dtype":"F4","shape":[3],"data_offsets":[0,1]})", 1), "has 1 bytes of data");
  expect_corrupt(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})"),
                 "more elements than can be counted");
  expect_corrupt(one(R"({"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]})"),
                 "0 bytes of data");
  expect_corrupt(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), "leave a hole at byte 0");
  expect_corrupt(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"),
                 "have 4 bytes and the file holds 8");
}

TEST(Safetensors, RefusesOverlapsHolesAndRepeatedNames) {
  const auto two = [](const char* first, const char* second) {
    const auto entry = [](const char* name, const char* offsets) {
      return "\"" + std::string(name) + R"(":{"dtype":"U8","shape":[4],"data_offsets":)" + offsets + "}";
    };
    return safetensors_file("{" + entry("a", first) + "," + entry("b", second) + "}", std::string(8, 'x'));
  };
  EXPECT_NO_THROW(SafetensorsFile::parse(bytes_of(two("[4,8]", "[0,4]")), "sound"));
  expect_corrupt(two("[0,4]", "[2,6]"), "overlap at byte 2");
  expect_corrupt(two("[0,4]", "[0,4]"), "overlap at byte 0");
  const std::string entry = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  expect_corrupt(safetensors_file("{" + entry + "," + entry + "}", "xxxx"), "names 'a' twice");
}

TEST(Safetensors, EveryCutAndEveryFlippedByteIsRefusedOrRead) {
  const std::string file = three_formats().serialise();
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_THROW(SafetensorsFile::parse(bytes_of(file.substr(0, size)), "cut"), Error) << size;
  for (size_t at = 0; at < file.size(); ++at)
    for (const char flip : {'\x01', '\x10', '\x80'}) {
      std::string bad = file;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      try {
        const auto read = SafetensorsFile::parse(bytes_of(bad), "flipped");
        for (const auto& tensor : read.tensors())
          if (tensor.dtype) read.floats(tensor.name);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      }
    }
}

class SafetensorsFolder : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) {
    write_file_atomic(folder_.path() / name, content);
  }

  void write_parts() {
    SafetensorsWriter first, second;
    first.add("x", tensor::DType::kF32, {1}, {1});
    second.add("y", tensor::DType::kF32, {1}, {2});
    write("model-00001-of-00002.safetensors", first.serialise());
    write("model-00002-of-00002.safetensors", second.serialise());
  }

  void write_index(const std::string& x, const std::string& y) {
    write("model.safetensors.index.json",
          R"({"metadata":{"total_size":8},"weight_map":{"x":")" + x + R"(","y":")" + y + "\"}}");
  }

  void expect_refused(ErrorCode code, const std::string& what) {
    try {
      SafetensorsFile::open_folder(folder_.path());
      ADD_FAILURE() << "accepted, though " << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_THAT(error.what(), HasSubstr(what));
    }
  }

  TempDir folder_;
};

TEST_F(SafetensorsFolder, PartsAreOneFile) {
  write_parts();
  write_index("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
  const auto file = SafetensorsFile::open_folder(folder_.path());
  EXPECT_EQ(file.parts(), 2u);
  EXPECT_THAT(file.floats("x"), ElementsAre(1.0f));
  EXPECT_THAT(file.floats("y"), ElementsAre(2.0f));
}

TEST_F(SafetensorsFolder, AWholeFileNeedsNoIndex) {
  write("model.safetensors", three_formats().serialise());
  EXPECT_EQ(SafetensorsFile::open_folder(folder_.path()).tensors().size(), 3u);
}

TEST_F(SafetensorsFolder, WhatIsMissingOrElsewhereIsNamed) {
  expect_refused(ErrorCode::kNotFound, "neither model.safetensors nor");
  write_parts();
  write_index("model-00001-of-00002.safetensors", "model-00003-of-00002.safetensors");
  expect_refused(ErrorCode::kNotFound, "model-00003-of-00002.safetensors");
  write_index("model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors");
  expect_refused(ErrorCode::kCorrupt, "but model-00001-of-00002.safetensors holds it");
  write_index("model-00001-of-00002.safetensors", "model-00001-of-00002.safetensors");
  expect_refused(ErrorCode::kCorrupt, "lacks the tensor 'y'");
}

TEST(SafetensorsIndex, RefusesNamesThatLeaveTheFolder) {
  const auto refused = [](const std::string& json, const std::string& what) {
    try {
      parse_safetensors_index(json, "index");
      ADD_FAILURE() << json;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr(what));
    }
  };
  for (const std::string name :
       {"../x.safetensors", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b", "a\\u0000b"})
    refused(R"({"weight_map":{"t":")" + name + "\"}}", "names no file of its own folder");
  refused(R"({"weight_map":{"t":7}})", "names no file");
  refused(R"({"weight_map":{}})", "names no tensor");
  refused("{}", "weight_map");
  refused("[]", "not a JSON object");
  refused("{", "not well-formed");
}

TEST(Safetensors, ReadsARealEmbeddingModel) {
  const char* given = std::getenv("FATHOM_TEST_MINILM");
  const std::filesystem::path folder =
      given != nullptr ? given : FATHOM_SOURCE_DIR "/.fathom/test-models/all-MiniLM-L6-v2";
  if (!std::filesystem::exists(folder / "model.safetensors")) GTEST_SKIP() << "all-MiniLM-L6-v2 is not here";
  const auto file = SafetensorsFile::open_folder(folder);
  EXPECT_THAT(file.tensor("embeddings.word_embeddings.weight").shape, ElementsAre(30522, 384));
  EXPECT_EQ(file.find("embeddings.position_ids")->format, "I64");
  const auto norm = file.floats("embeddings.LayerNorm.weight");
  for (const float value : norm) EXPECT_TRUE(std::isfinite(value));
}

}  // namespace
}  // namespace fathom::model
