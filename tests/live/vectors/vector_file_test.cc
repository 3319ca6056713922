#include "live/vectors/vector_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "live/vectors/vectors_support.h"

namespace fathom::live {
namespace {

constexpr size_t kDimensions = 24;
constexpr HnswOptions kOptions{
    .dimensions = kDimensions, .most_nodes = 300, .links = 4, .build_candidates = 30};

std::span<const std::byte> as_bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

class VectorFileTest : public ::testing::Test {
 protected:
  VectorFileTest() {
    for (size_t i = 0; i < vectors_.size(); ++i)
      graph_.add(vectors_[i], {i + 1, static_cast<int64_t>(i) * 1000, i * i});
    for (uint32_t node = 1; node <= 50; ++node) graph_.remove(node);
    EXPECT_TRUE(graph_.relink({}));
    for (uint32_t node = 51; node <= 60; ++node) graph_.remove(node);
    write_vector_file(path_, "a model", backlog_, graph_);
  }

  std::string content() const { return read_file(path_); }
  VectorFile read(const std::string& content, const HnswOptions& options = kOptions) const {
    return read_vector_file(as_bytes_of(content), options, "posts.vectors");
  }
  ErrorCode refusal(const std::string& content, const HnswOptions& options = kOptions) const {
    try {
      read(content, options);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("posts.vectors"), std::string::npos);
      return error.code();
    }
    ADD_FAILURE() << "it was taken";
    return ErrorCode::kInternal;
  }
  /// With the checksum that belongs to what is before it.
  static std::string resealed(std::string content) {
    const uint64_t sum = checksum64(std::string_view(content).substr(0, content.size() - 8));
    std::memcpy(content.data() + content.size() - 8, &sum, 8);
    return content;
  }

  TempDir dir_{"fathom-vectors-test"};
  std::filesystem::path path_ = dir_.path() / "posts.vectors";
  std::vector<std::vector<float>> vectors_ = testing::clustered(300, kDimensions, 1);
  Hnsw graph_{kOptions};
  Backlog backlog_{400, {{10, 20}, {300, 310}}};
};

TEST_F(VectorFileTest, GraphIsTheSameAfterwards) {
  const VectorFile file = read(content());
  EXPECT_EQ(file.model, "a model");
  EXPECT_EQ(file.backlog.known(), 400u);
  EXPECT_EQ(file.backlog.waiting(), 20u);
  EXPECT_EQ(file.graph->posts(), graph_.posts());
  EXPECT_EQ(file.graph->removed(), graph_.removed());
  EXPECT_EQ(file.graph->room(), graph_.room());
  for (const auto& query : testing::clustered(20, kDimensions, 2)) {
    const auto before = graph_.find(query, 10, 30), after = file.graph->find(query, 10, 30);
    ASSERT_EQ(before.size(), after.size());
    for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i].facts.sequence, after[i].facts.sequence);
  }
}

TEST_F(VectorFileTest, GraphGoesOnAfterwards) {
  const VectorFile file = read(content());
  while (file.graph->room() > 0) file.graph->add(vectors_[0], {1000, 0, 0});
  EXPECT_EQ(file.graph->posts(), 290u);
  for (uint32_t node = 200; node < 290; ++node) file.graph->remove(node);
  ASSERT_TRUE(file.graph->relink({}));
  EXPECT_EQ(file.graph->find(vectors_[100], 300, 300).size(), 200u);
}

TEST_F(VectorFileTest, AnyFlippedByteIsFound) {
  const std::string good = content();
  for (size_t at = 0; at < good.size(); at += 97) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    EXPECT_EQ(refusal(bad), ErrorCode::kCorrupt) << at;
  }
}

TEST_F(VectorFileTest, AnyCutIsFound) {
  const std::string good = content();
  for (size_t size = 0; size < good.size(); size += 61)
    EXPECT_EQ(refusal(good.substr(0, size)), ErrorCode::kCorrupt);
}

/// With a checksum that is right, what it covers is still looked at: nothing may crash, and what is taken can be searched.
TEST_F(VectorFileTest, DamageUnderARightChecksumDoesNoHarm) {
  const std::string good = content();
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    const size_t reach = round % 2 == 0 ? 100 : bad.size() - 8;
    for (int flips = 0; flips < 3; ++flips) bad[random.below(reach)] = static_cast<char>(random.next());
    try {
      const VectorFile file = read(resealed(bad));
      if (file.graph->options().dimensions == kDimensions) file.graph->find(vectors_[0], 10, 10);
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kCorrupt || error.code() == ErrorCode::kUnsupported);
    }
  }
}

TEST_F(VectorFileTest, OtherSizesAreNotTaken) {
  HnswOptions options = kOptions;
  options.links = 8;
  EXPECT_EQ(refusal(content(), options), ErrorCode::kUnsupported);
  options = kOptions;
  options.most_nodes = 100;
  EXPECT_EQ(refusal(content(), options), ErrorCode::kUnsupported);
}

TEST_F(VectorFileTest, MoreBytesThanNamedAreRefused) {
  EXPECT_EQ(refusal(resealed(content() + "more")), ErrorCode::kCorrupt);
}

TEST_F(VectorFileTest, EmptyGraphIsKept) {
  write_vector_file(path_, "", {}, Hnsw(kOptions));
  const VectorFile file = read(content());
  EXPECT_EQ(file.graph->posts(), 0u);
  EXPECT_EQ(file.backlog.known(), 0u);
}

}  // namespace
}  // namespace fathom::live
