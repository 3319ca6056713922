// GGUF files in parts, and files that are written as their data comes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "model/gguf.h"

namespace fathom::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

class Parts : public ::testing::Test {
 protected:
  /// A part with one tensor of four numbers, or none.
  void write(const std::string& file, uint16_t number, uint16_t count, const std::string& tensor, float first,
             int32_t tensors = 3) {
    GgufWriter writer;
    if (number == 0) writer.set("general.architecture", "llama");
    writer.set("split.no", number);
    writer.set("split.count", count);
    writer.set("split.tensors.count", tensors);
    const std::array<float, 4> values = {first, first + 1, first + 2, first + 3};
    const std::array<uint64_t, 1> shape = {4};
    writer.add_tensor(tensor, tensor::DType::kF32, shape, std::as_bytes(std::span(values)));
    writer.write(folder_.path() / file);
  }

  void write_three() {
    write("m-00001-of-00003.gguf", 0, 3, "a", 0);
    write("m-00002-of-00003.gguf", 1, 3, "b", 10);
    write("m-00003-of-00003.gguf", 2, 3, "c", 20);
  }

  TempDir folder_;
};

TEST_F(Parts, AnyOneOpensAll) {
  write_three();
  for (const char* name : {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"}) {
    const auto file = GgufFile::open(folder_.path() / name);
    EXPECT_EQ(file.parts(), 3u);
    EXPECT_EQ(file.get_string("general.architecture"), "llama");
    ASSERT_EQ(file.tensors().size(), 3u);
    float value = 0;
    std::memcpy(&value, file.tensor("c").data.data() + 12, 4);
    EXPECT_EQ(value, 23.0f);
    EXPECT_EQ(file.file_bytes(), std::filesystem::file_size(folder_.path() / "m-00001-of-00003.gguf") +
                                     std::filesystem::file_size(folder_.path() / "m-00002-of-00003.gguf") +
                                     std::filesystem::file_size(folder_.path() / "m-00003-of-00003.gguf"));
  }
}

TEST_F(Parts, WhatIsMissingIsNamed) {
  write_three();
  std::filesystem::remove(folder_.path() / "m-00002-of-00003.gguf");
  expect_error(ErrorCode::kNotFound, "m-00002-of-00003.gguf",
               [&] { GgufFile::open(folder_.path() / "m-00003-of-00003.gguf"); });
  std::filesystem::rename(folder_.path() / "m-00001-of-00003.gguf", folder_.path() / "renamed.gguf");
  expect_error(ErrorCode::kNotFound, "NAME-00001-of-00003.gguf",
               [&] { GgufFile::open(folder_.path() / "renamed.gguf"); });
}

TEST_F(Parts, MustBelongTogether) {
  const auto open = [&] { GgufFile::open(folder_.path() / "m-00001-of-00003.gguf"); };
  write_three();
  write("m-00002-of-00003.gguf", 2, 3, "b", 0);
  expect_error(ErrorCode::kCorrupt, "is number 3 of 3, not 2 of 3", open);
  write("m-00002-of-00003.gguf", 1, 4, "b", 0);
  expect_error(ErrorCode::kCorrupt, "is number 2 of 4, not 2 of 3", open);
  write("m-00002-of-00003.gguf", 1, 3, "a", 0);
  expect_error(ErrorCode::kCorrupt, "more than one has the tensor 'a'", open);
  write_three();
  write("m-00001-of-00003.gguf", 0, 3, "a", 0, 4);
  expect_error(ErrorCode::kCorrupt, "they hold 3 tensors of 4", open);
}

TEST(GgufWriter, WritesDataAsItIsMade) {
  const TempDir folder;
  const auto path = folder.path() / "made.gguf";
  GgufWriter writer;
  writer.set("general.architecture", "test");
  const std::array<uint64_t, 2> shape = {1000, 50};
  writer.add_tensor("t", tensor::DType::kF32, shape, [](const GgufSink& sink) {
    std::vector<float> row(1000);
    for (int r = 0; r < 50; ++r) {
      std::fill(row.begin(), row.end(), static_cast<float>(r));
      sink(std::as_bytes(std::span(row)));
    }
  });
  writer.write(path);
  EXPECT_EQ(read_file(path), writer.serialise());
  const auto file = GgufFile::open(path);
  float last = 0;
  std::memcpy(&last, file.tensor("t").data.data() + 4 * 49'999, 4);
  EXPECT_EQ(last, 49.0f);
}

TEST(GgufWriter, AFailureLeavesWhatWasThere) {
  const TempDir folder;
  const auto path = folder.path() / "made.gguf";
  write_file_atomic(path, "before");
  GgufWriter writer;
  const std::array<uint64_t, 1> shape = {4};
  writer.add_tensor("t", tensor::DType::kF32, shape,
                    [](const GgufSink&) { throw Error(ErrorCode::kCorrupt, "the source fails"); });
  EXPECT_THROW(writer.write(path), Error);
  EXPECT_EQ(read_file(path), "before");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(GgufWriter, CopiesMetadataOfAnyKind) {
  GgufWriter first;
  first.set("a", std::vector<std::string>{"x", "", "yz"});
  first.set("b", -7);
  first.set("c", true);
  first.set("d", std::vector<double>{1.5, -2});
  const std::string bytes = first.serialise();
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "first");
  GgufWriter second;
  for (const auto& [key, entry] : file.metadata()) second.set(key, entry);
  EXPECT_EQ(second.serialise(), bytes);
  EXPECT_THROW(second.set("a", file.metadata().at("a")), Error);
}

}  // namespace
}  // namespace fathom::model
