#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "base/error.h"
#include "base/random.h"
#include "llama2c.h"

namespace fathom::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
std::string raw_string(const std::string& text) { return raw<uint64_t>(text.size()) + text; }

/// A GGUF header by hand, for files that the writer would not write.
std::string header(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(entries);
}
std::string entry(const std::string& key, uint32_t type, const std::string& value) {
  return raw_string(key) + raw(type) + value;
}
std::string tensor_info(const std::string& name, const std::vector<uint64_t>& shape, uint32_t type,
                        uint64_t offset) {
  std::string out = raw_string(name) + raw(static_cast<uint32_t>(shape.size()));
  for (const uint64_t extent : shape) out += raw(extent);
  return out + raw(type) + raw(offset);
}
std::string padded(std::string text, size_t alignment = 32) {
  text.resize((text.size() + alignment - 1) / alignment * alignment);
  return text;
}

void expect_refused(const std::string& file, ErrorCode code, const std::string& what) {
  try {
    GgufFile::parse(bytes_of(file), "bad.gguf");
    ADD_FAILURE() << "accepted where '" << what << "' was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(what));
    EXPECT_THAT(error.what(), HasSubstr("bad.gguf"));
  }
}

std::vector<float> ramp(size_t n) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i) - 10.5f;
  return values;
}

/// Every metadata type and a few tensors.
GgufWriter full_writer(const std::vector<float>& data, const std::string& blocks, uint32_t alignment = 32) {
  GgufWriter writer(alignment);
  writer.set("general.architecture", "test");
  writer.set("u8", uint8_t{200});
  writer.set("i8", int8_t{-100});
  writer.set("u16", uint16_t{60000});
  writer.set("i16", int16_t{-30000});
  writer.set("u32", uint32_t{4000000000});
  writer.set("i32", int32_t{-2000000000});
  writer.set("f32", 1.5f);
  writer.set("bool", true);
  writer.set("u64", uint64_t{1} << 63);
  writer.set("i64", int64_t{-1} << 62);
  writer.set("f64", 2.25);
  writer.set("empty", "");
  writer.set("strings", std::vector<std::string>{"a", "", "\xFF\x00 c"});
  writer.set("u8s", std::vector<uint8_t>{1, 2});
  writer.set("bools", std::vector<bool>{true, false});
  writer.set("f32s", std::vector<float>{0.5f, -1});
  writer.set("f64s", std::vector<double>{0.25});
  writer.set("i32s", std::vector<int32_t>{-1, 7});
  writer.set("u64s", std::vector<uint64_t>{1, 2, 3});
  writer.set("none", std::vector<int64_t>{});
  const uint64_t matrix[] = {5, 4}, vector[] = {3}, quantised[] = {32, 2};
  writer.add_tensor("matrix", tensor::DType::kF32, matrix, std::as_bytes(std::span(data).first(20)));
  writer.add_tensor("vector", tensor::DType::kF32, vector, std::as_bytes(std::span(data).last(3)));
  writer.add_tensor("blocks", tensor::DType::kQ8_0, quantised, bytes_of(blocks));
  return writer;
}

std::string full_file(uint32_t alignment = 32) {
  const std::vector<float> data = ramp(23);
  return full_writer(data, std::string(68, '\x01'), alignment).serialise();
}

TEST(Gguf, RoundTripsEveryType) {
  const std::string file = full_file();
  const auto gguf = GgufFile::parse(bytes_of(file), "full");
  EXPECT_EQ(gguf.version(), 3u);
  EXPECT_EQ(gguf.alignment(), 32u);
  EXPECT_EQ(gguf.get_uint("u8"), 200u);
  EXPECT_EQ(gguf.find_int("i8"), -100);
  EXPECT_EQ(gguf.get_uint("u16"), 60000u);
  EXPECT_EQ(gguf.find_int("i16"), -30000);
  EXPECT_EQ(gguf.get_uint("u32"), 4000000000u);
  EXPECT_EQ(gguf.find_int("i32"), -2000000000);
  EXPECT_EQ(gguf.get_float("f32"), 1.5);
  EXPECT_EQ(gguf.find_bool("bool"), true);
  EXPECT_EQ(gguf.get_uint("u64"), uint64_t{1} << 63);
  EXPECT_EQ(gguf.find_int("i64"), int64_t{-1} << 62);
  EXPECT_EQ(gguf.get_float("f64"), 2.25);
  EXPECT_EQ(gguf.get_string("general.architecture"), "test");
  EXPECT_EQ(gguf.get_string("empty"), "");
  EXPECT_THAT(gguf.get_strings("strings"), ElementsAre("a", "", "\xFF"));
  EXPECT_EQ(gguf.find_ints("u8s"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(gguf.find_ints("i32s"), (std::vector<int64_t>{-1, 7}));
  EXPECT_EQ(gguf.find_ints("u64s"), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(gguf.find_ints("none"), std::vector<int64_t>{});
  EXPECT_EQ(gguf.find_floats("f32s"), (std::vector<float>{0.5f, -1}));
  EXPECT_EQ(gguf.find_floats("f64s"), (std::vector<float>{0.25f}));
  EXPECT_EQ(gguf.metadata().at("bools").count, 2u);
  EXPECT_FALSE(gguf.find_uint("not there"));

  ASSERT_EQ(gguf.tensors().size(), 3u);
  const GgufTensor& matrix = gguf.tensor("matrix");
  EXPECT_EQ(matrix.shape, (std::vector<uint64_t>{5, 4}));
  EXPECT_EQ(matrix.elements, 20u);
  std::vector<float> read(20);
  std::memcpy(read.data(), matrix.data.data(), 80);
  EXPECT_EQ(read, ramp(20));
  EXPECT_EQ(gguf.tensor("blocks").dtype, tensor::DType::kQ8_0);
  EXPECT_EQ(gguf.tensor("blocks").data.size(), 68u);
  EXPECT_EQ(gguf.find_tensor("other"), nullptr);
}

TEST(Gguf, AlignmentIsKept) {
  for (const uint32_t alignment : {8u, 64u, 4096u}) {
    const std::string file = full_file(alignment);
    const auto gguf = GgufFile::parse(bytes_of(file), "aligned");
    EXPECT_EQ(gguf.alignment(), alignment);
    for (const GgufTensor& tensor : gguf.tensors()) EXPECT_EQ(tensor.offset % alignment, 0u);
    EXPECT_EQ(gguf.tensor("vector").data.size(), 12u);
  }
}

TEST(Gguf, OpensFromDiskAndReplacesAtomically) {
  const TempDir folder;
  const auto path = folder.path() / "model.gguf";
  const std::vector<float> data = ramp(23);
  write_file_atomic(path, "old");
  full_writer(data, std::string(68, '\x01')).write(path);
  const auto gguf = GgufFile::open(path);
  EXPECT_EQ(gguf.get_uint("u8"), 200u);
  EXPECT_EQ(gguf.file_bytes(), std::filesystem::file_size(path));
  GgufFile moved = GgufFile::open(path);
  const GgufFile target = std::move(moved);
  EXPECT_EQ(target.tensor("matrix").data.size(), 80u);
  EXPECT_THROW(GgufFile::open(folder.path() / "absent.gguf"), Error);
}

TEST(Gguf, VersionTwoReads) {
  std::string file = full_file();
  file[4] = 2;
  EXPECT_EQ(GgufFile::parse(bytes_of(file), "v2").version(), 2u);
}

TEST(Gguf, WrongKindsNameTheKey) {
  const std::string file = full_file();
  const auto gguf = GgufFile::parse(bytes_of(file), "bad.gguf");
  const std::pair<std::function<void()>, std::string> calls[] = {
      {[&] { gguf.find_uint("i8"); }, "'i8'"},
      {[&] { gguf.find_uint("f32"); }, "'f32'"},
      {[&] { gguf.find_int("u64"); }, "'u64'"},
      {[&] { gguf.find_int("bool"); }, "'bool'"},
      {[&] { gguf.find_float("u8"); }, "'u8'"},
      {[&] { gguf.find_bool("u8"); }, "'u8'"},
      {[&] { gguf.find_string("strings"); }, "'strings'"},
      {[&] { gguf.find_strings("i32s"); }, "array of i32"},
      {[&] { gguf.find_ints("f32s"); }, "'f32s'"},
      {[&] { gguf.find_ints("u8"); }, "'u8'"},
      {[&] { gguf.find_floats("strings"); }, "array of string"},
      {[&] { gguf.get_uint("gone"); }, "'gone'"},
      {[&] { gguf.get_float("gone"); }, "'gone'"},
      {[&] { gguf.get_string("gone"); }, "'gone'"},
      {[&] { gguf.get_strings("gone"); }, "'gone'"},
      {[&] { gguf.tensor("gone"); }, "'gone'"},
  };
  for (const auto& [call, what] : calls) {
    try {
      call();
      ADD_FAILURE() << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr(what));
    }
  }
}

TEST(HostileGguf, EveryTruncationIsRefused) {
  const std::string file = full_file();
  const auto data = GgufFile::parse(bytes_of(file), "full").tensor("blocks");
  const size_t needed = static_cast<size_t>(data.offset) + data.data.size();  // the rest is padding
  for (size_t size = 0; size < file.size(); ++size) {
    // A fresh allocation of the exact size, so that the address sanitizer sees a read past the end.
    const std::vector<std::byte> cut(bytes_of(file).begin(),
                                     bytes_of(file).begin() + static_cast<std::ptrdiff_t>(size));
    if (size >= needed) {
      EXPECT_NO_THROW(GgufFile::parse(cut, "cut"));
      continue;
    }
    try {
      GgufFile::parse(cut, "cut");
      ADD_FAILURE() << "accepted " << size << " of " << file.size() << " bytes";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << error.what();
    }
  }
}

TEST(HostileGguf, EveryFlippedByteIsReadOrRefused) {
  const std::string file = full_file();
  for (size_t at = 0; at < file.size(); ++at)
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string bad = file;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      try {
        const auto gguf = GgufFile::parse(bytes_of(bad), "flipped");
        for (const auto& [key, value] : gguf.metadata()) gguf.has(key);
      } catch (const Error& error) {
        EXPECT_TRUE(error.code() == ErrorCode::kCorrupt || error.code() == ErrorCode::kUnsupported)
            << error.what();
      }
    }
}

TEST(HostileGguf, NotGguf) {
  expect_refused("", ErrorCode::kCorrupt, "magic");
  expect_refused("GGML" + header(0, 0).substr(4), ErrorCode::kCorrupt, "magic");
  expect_refused(header(0, 0, 1), ErrorCode::kUnsupported, "version 1");
  expect_refused(header(0, 0, 4), ErrorCode::kUnsupported, "version 4");
  expect_refused(header(0, 0, 0x03000000), ErrorCode::kUnsupported, "big-endian");
}

TEST(HostileGguf, HugeCounts) {
  const std::string pad(100, '\0');
  expect_refused(header(UINT64_MAX, 0) + pad, ErrorCode::kCorrupt, "tensors");
  expect_refused(header(uint64_t{1} << 60, 0) + pad, ErrorCode::kCorrupt, "tensors");
  expect_refused(header(0, UINT64_MAX) + pad, ErrorCode::kCorrupt, "metadata entries");
  expect_refused(header(0, 1) + raw(UINT64_MAX) + pad, ErrorCode::kCorrupt, "metadata key");
  expect_refused(header(0, 1) + entry("k", 8, raw(UINT64_MAX)) + pad, ErrorCode::kCorrupt, "string");
  for (const uint32_t element : {0u, 4u, 7u, 8u, 9u, 12u})
    for (const uint64_t count : {UINT64_MAX, uint64_t{1} << 61, uint64_t{1} << 32})
      expect_refused(header(0, 1) + entry("k", 9, raw(element) + raw(count)) + pad, ErrorCode::kCorrupt,
                     "'k' has");
}

TEST(HostileGguf, MetadataThatBreaksTheRules) {
  expect_refused(header(0, 1) + entry("k", 13, raw(uint64_t{0})), ErrorCode::kCorrupt, "unknown type 13");
  expect_refused(header(0, 1) + entry("k", 9, raw(uint32_t{99}) + raw(uint64_t{0})), ErrorCode::kCorrupt,
                 "type 99");
  expect_refused(header(0, 1) + entry("k", 7, "\x02" + std::string(20, '\0')), ErrorCode::kCorrupt,
                 "neither true");
  expect_refused(header(0, 2) + entry("k", 0, "a") + entry("k", 0, "b") + std::string(20, '\0'),
                 ErrorCode::kCorrupt, "stands twice");
  expect_refused(header(0, 1) + entry("", 0, "a") + std::string(20, '\0'), ErrorCode::kCorrupt, "empty");
  std::string nested;
  for (int i = 0; i < 100; ++i) nested += raw(uint32_t{9}) + raw(uint64_t{1});
  expect_refused(header(0, 1) + entry("k", 9, nested + raw(uint32_t{0}) + raw(uint64_t{0})),
                 ErrorCode::kCorrupt, "nests deeper");
}

TEST(HostileGguf, NestedArraysAreSkippedWhole) {
  const std::string inner = raw(uint32_t{0}) + raw(uint64_t{2}) + "ab";
  const std::string file = header(0, 2) + entry("k", 9, raw(uint32_t{9}) + raw(uint64_t{2}) + inner + inner) +
                           entry("z", 0, "\x05");
  const auto gguf = GgufFile::parse(bytes_of(file), "nested");
  EXPECT_EQ(gguf.get_uint("z"), 5u);
  EXPECT_EQ(gguf.metadata().at("k").element, GgufType::kArray);
  EXPECT_THROW(gguf.find_ints("k"), Error);
}

TEST(HostileGguf, Alignments) {
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 0xFFFFFFFFu, 0x80000000u})
    expect_refused(header(0, 1) + entry("general.alignment", 4, raw(alignment)), ErrorCode::kCorrupt,
                   "alignment");
  expect_refused(header(0, 1) + entry("general.alignment", 6, raw(32.0f)), ErrorCode::kCorrupt, "alignment");
}

TEST(HostileGguf, Tensors) {
  const auto one = [](const std::string& info) {
    return padded(header(1, 0) + info) + std::string(256, '\0');
  };
  expect_refused(one(tensor_info("", {4}, 0, 0)), ErrorCode::kCorrupt, "name of tensor 0");
  expect_refused(one(tensor_info("t", {}, 0, 0)), ErrorCode::kCorrupt, "0 dimensions");
  expect_refused(one(tensor_info("t", {1, 1, 1, 1, 1}, 0, 0)), ErrorCode::kCorrupt, "5 dimensions");
  expect_refused(one(tensor_info("t", {4, 0}, 0, 0)), ErrorCode::kCorrupt, "dimension 1");
  expect_refused(one(tensor_info("t", {uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0)), ErrorCode::kCorrupt,
                 "counted");
  expect_refused(one(tensor_info("t", {uint64_t{1} << 62}, 0, 0)), ErrorCode::kCorrupt, "past the end");
  expect_refused(one(tensor_info("t", {UINT64_MAX}, 0, 0)), ErrorCode::kCorrupt, "past the end");
  expect_refused(one(tensor_info("t", {65}, 0, 0)), ErrorCode::kCorrupt, "past the end");
  expect_refused(one(tensor_info("t", {4}, 0, 8)), ErrorCode::kCorrupt, "multiple of the alignment");
  expect_refused(one(tensor_info("t", {4}, 0, 1024)), ErrorCode::kCorrupt, "past the end");
  expect_refused(one(tensor_info("t", {4}, 0, UINT64_MAX - 31)), ErrorCode::kCorrupt, "past the end");
  expect_refused(one(tensor_info("t", {33}, 8, 0)), ErrorCode::kCorrupt, "multiple of 32");
  const auto two = [](const std::string& infos) {
    return padded(header(2, 0) + infos) + std::string(256, '\0');
  };
  expect_refused(two(tensor_info("t", {4}, 0, 0) + tensor_info("t", {4}, 0, 32)), ErrorCode::kCorrupt,
                 "twice");
  expect_refused(two(tensor_info("t", {16}, 0, 0) + tensor_info("u", {4}, 0, 32)), ErrorCode::kCorrupt,
                 "overlap");
  EXPECT_NO_THROW(GgufFile::parse(bytes_of(one(tensor_info("t", {64}, 0, 0))), "fits"));
}

TEST(HostileGguf, UnknownTensorFormatsLeaveTheFileReadable) {
  const std::string file = padded(header(3, 1) + entry("k", 0, "\x07") + tensor_info("q", {256}, 16, 0) +
                                  tensor_info("?", {256}, 4711, 64) + tensor_info("f", {4}, 0, 128)) +
                           std::string(256, '\0');
  const auto gguf = GgufFile::parse(bytes_of(file), "other-formats.gguf");
  EXPECT_EQ(gguf.get_uint("k"), 7u);
  EXPECT_EQ(gguf.tensor("f").data.size(), 16u);
  EXPECT_FALSE(gguf.find_tensor("q")->dtype);
  try {
    gguf.tensor("q");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("'q' is stored as IQ2_XXS"));
  }
  try {
    gguf.tensor("?");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("type 4711"));
  }
}

TEST(GgufWriter, RefusesWhatItCouldNotReadBack) {
  EXPECT_THROW(GgufWriter(0), Error);
  EXPECT_THROW(GgufWriter(24), Error);
  GgufWriter writer;
  const std::vector<float> data = ramp(4);
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& shape, tensor::DType dtype) {
    writer.add_tensor(name, dtype, shape, std::as_bytes(std::span(data)));
  };
  writer.set("k", uint8_t{1});
  EXPECT_THROW(writer.set("k", uint8_t{2}), Error);
  EXPECT_THROW(writer.set("", uint8_t{2}), Error);
  EXPECT_THROW(writer.set("general.alignment", uint32_t{32}), Error);
  add("t", {4}, tensor::DType::kF32);
  EXPECT_THROW(add("t", {4}, tensor::DType::kF32), Error);
  EXPECT_THROW(add("", {4}, tensor::DType::kF32), Error);
  EXPECT_THROW(add(std::string(65, 'n'), {4}, tensor::DType::kF32), Error);
  EXPECT_THROW(add("a", {}, tensor::DType::kF32), Error);
  EXPECT_THROW(add("a", {0}, tensor::DType::kF32), Error);
  EXPECT_THROW(add("a", {5}, tensor::DType::kF32), Error);
  EXPECT_THROW(add("a", {1, 1, 1, 1, 4}, tensor::DType::kF32), Error);
  EXPECT_THROW(add("a", {16}, tensor::DType::kQ8_0), Error);
  EXPECT_THROW(add("a", {uint64_t{1} << 63, 8}, tensor::DType::kF32), Error);
}

}  // namespace
}  // namespace fathom::model
