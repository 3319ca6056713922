#include "train/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "train/permutation.h"
#include "train/shard.h"

namespace fathom::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Row {
  std::vector<int32_t> tokens, targets, starts;
};

Row row_of(const Dataset& data, uint64_t seed, uint64_t index, size_t length) {
  Row row{std::vector<int32_t>(length, -7), std::vector<int32_t>(length, -7),
          std::vector<int32_t>(length, -7)};
  data.sample(seed, index, length, row.tokens.data(), row.targets.data(), row.starts.data());
  return row;
}

using Documents = std::vector<std::vector<int32_t>>;

/// Documents of 1 to 40 tokens, numbered through.
Documents some_documents(size_t count, size_t vocab) {
  Random random(7);
  Documents documents(count);
  int32_t next = 0;
  for (auto& document : documents)
    for (size_t size = 1 + random.below(40); size > 0; --size)
      document.push_back(next++ % static_cast<int32_t>(vocab));
  return documents;
}

DatasetInfo write(const std::filesystem::path& folder, const Documents& documents, size_t vocab, bool masked,
                  uint64_t per_shard) {
  DatasetWriter writer(folder, vocab, masked, "digest", per_shard);
  for (const auto& document : documents) writer.add(document);
  return writer.finish("{}");
}

template <class Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kInternal, "nothing was thrown"};
}

TEST(Permutation, IsOneToOneAndDependsOnTheKey) {
  for (const uint64_t count : {1u, 2u, 3u, 5u, 64u, 1000u, 4097u}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < count; ++i) {
      EXPECT_LT(permute(1, i, count), count);
      seen.insert(permute(1, i, count));
    }
    EXPECT_EQ(seen.size(), count);
  }
  size_t fixed = 0, same = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    fixed += permute(1, i, 1000) == i ? 1 : 0;
    same += permute(1, i, 1000) == permute(2, i, 1000) ? 1 : 0;
  }
  EXPECT_LT(fixed, 10u);  // one is to be expected of chance
  EXPECT_LT(same, 10u);
}

TEST(Dataset, RowsAreConsecutiveTokensAcrossDocumentsAndShards) {
  const TempDir dir;
  write(dir.path() / "d", {{1, 2, 3}, {4, 5}, {6, 7, 8, 9}, {10}}, 100, false, 5);
  const auto data = Dataset::open(dir.path() / "d");
  EXPECT_EQ(data.info().tokens, 10u);
  EXPECT_EQ(data.info().documents, 4u);
  EXPECT_EQ(data.info().loss_tokens, 6u);
  EXPECT_EQ(data.info().tokenizer, "digest");
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "d/shard-00001.tokens"));
  ASSERT_EQ(data.rows(4), 2u);
  std::map<int32_t, Row> rows;  // by first token
  for (uint64_t i = 0; i < 2; ++i) {
    Row row = row_of(data, 1, i, 4);
    rows[row.tokens[0]] = row;
  }
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_THAT(rows[1].tokens, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(rows[1].targets, ElementsAre(2, 3, -1, 5));
  EXPECT_THAT(rows[1].starts, ElementsAre(0, 0, 0, 3));
  EXPECT_THAT(rows[5].tokens, ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(rows[5].targets, ElementsAre(-1, 7, 8, 9));
  EXPECT_THAT(rows[5].starts, ElementsAre(0, 1, 1, 1));
}

TEST(Dataset, AnEpochHasEveryRowOnceAndTheNextAnotherOrder) {
  const TempDir dir;
  const Documents documents = some_documents(200, 70000);  // four bytes a token
  const auto info = write(dir.path() / "d", documents, 70000, false, 1000);
  const auto data = Dataset::open(dir.path() / "d");
  data.verify();
  const uint64_t rows = data.rows(16);
  ASSERT_EQ(rows, (info.tokens - 1) / 16);
  std::vector<int32_t> first, second;
  for (uint64_t i = 0; i < 2 * rows; ++i)
    (i < rows ? first : second).push_back(row_of(data, 3, i, 16).tokens[0]);
  EXPECT_NE(first, second);
  EXPECT_NE(first[0], row_of(data, 4, 0, 16).tokens[0]);
  EXPECT_EQ(std::set<int32_t>(first.begin(), first.end()).size(), rows);
  EXPECT_EQ(std::set<int32_t>(first.begin(), first.end()), std::set<int32_t>(second.begin(), second.end()));
}

TEST(Dataset, CountsOfLossAreThoseOfTheRows) {
  const TempDir dir;
  for (const bool masked : {false, true}) {
    const auto folder = dir.path() / (masked ? "m" : "u");
    DatasetWriter writer(folder, 1000, masked, "t", 300);
    Random random(5);
    for (const auto& document : some_documents(100, 1000)) {
      std::vector<uint8_t> learn(masked ? document.size() : 0);
      for (auto& bit : learn) bit = random.chance(0.5) ? 1 : 0;
      writer.add(document, learn);
    }
    const auto info = writer.finish("{}");
    const auto data = Dataset::open(folder);
    data.verify();
    uint64_t counted = 0;
    for (uint64_t i = 0; i < data.rows(24); ++i)
      for (const int32_t target : row_of(data, 9, i, 24).targets) counted += target >= 0 ? 1 : 0;
    EXPECT_EQ(data.loss_tokens(9, 0, data.rows(24), 24), counted);
    if (masked) {
      EXPECT_EQ(counted, info.loss_tokens);  // nothing that is to be learnt is cut off
    }
  }
}

TEST(Dataset, MaskedDocumentsStandWholeInTheirRows) {
  const TempDir dir;
  DatasetWriter writer(dir.path() / "d", 100, true, "t");
  writer.add(std::vector<int32_t>{1, 2, 3, 4}, std::vector<uint8_t>{0, 0, 1, 1});
  writer.add(std::vector<int32_t>{5, 6, 7}, std::vector<uint8_t>{0, 1, 0});
  writer.add(std::vector<int32_t>{8, 9}, std::vector<uint8_t>{1, 0});  // nothing to learn
  EXPECT_EQ(writer.finish("{}").loss_tokens, 3u);
  const auto data = Dataset::open(dir.path() / "d");
  ASSERT_EQ(data.rows(9), 1u);
  const Row row = row_of(data, 1, 0, 9);
  EXPECT_THAT(row.tokens, ElementsAre(1, 2, 3, 4, 5, 6, 7, 7, 7));
  EXPECT_THAT(row.targets, ElementsAre(-1, 3, 4, -1, 6, -1, -1, -1, -1));
  EXPECT_THAT(row.starts, ElementsAre(0, 0, 0, 0, 4, 4, 4, 7, 7));
}

TEST(Dataset, LongMaskedDocumentsAreCutAndRowsAreNearlyFull) {
  const TempDir dir;
  Documents documents = some_documents(500, 1000);
  documents.emplace_back(1000);
  std::iota(documents.back().begin(), documents.back().end(), 0);
  const auto info = write(dir.path() / "d", documents, 1000, true, 1 << 20);
  const auto data = Dataset::open(dir.path() / "d");
  EXPECT_EQ(data.loss_tokens(1, 0, data.rows(64), 64), info.loss_tokens);
  EXPECT_LT(data.rows(64), info.tokens / 64 * 105 / 100);
  bool found = false;
  for (uint64_t i = 0; i < data.rows(64); ++i) {
    const Row row = row_of(data, 1, i, 64);
    found = found || (row.starts.back() == 0 && row.targets.back() == row.tokens.front() + 64);
  }
  EXPECT_TRUE(found);  // a piece of the long one: 65 places, the last a target only
}

TEST(Dataset, SamplesAreTheSameFromManyThreads) {
  const TempDir dir;
  write(dir.path() / "d", some_documents(300, 500), 500, true, 1000);
  const auto data = Dataset::open(dir.path() / "d");
  std::vector<std::vector<int32_t>> seen(4);
  std::vector<std::jthread> threads;
  for (auto& tokens : seen)
    threads.emplace_back([&data, &tokens] {
      for (uint64_t i = 0; i < 50; ++i) {
        const Row row = row_of(data, 1, i, 32);
        tokens.insert(tokens.end(), row.tokens.begin(), row.tokens.end());
      }
    });
  threads.clear();
  for (const auto& tokens : seen) EXPECT_EQ(tokens, seen[0]);
}

TEST(Dataset, TooLittleForARowSaysSo) {
  const TempDir dir;
  write(dir.path() / "d", {{1, 2, 3}}, 10, false, 100);
  const auto data = Dataset::open(dir.path() / "d");
  EXPECT_EQ(data.rows(8), 0u);
  EXPECT_THAT(error_of([&] { row_of(data, 1, 0, 8); }).what(), HasSubstr("too few for a row of 8"));
  write(dir.path() / "empty", {}, 10, true, 100);
  EXPECT_EQ(Dataset::open(dir.path() / "empty").rows(8), 0u);
}

TEST(Dataset, WhatIsNoDatasetIsNamed) {
  const TempDir dir;
  EXPECT_EQ(error_of([&] { Dataset::open(dir.path()); }).code(), ErrorCode::kNotFound);
  write_file_atomic(dir.path() / "manifest.json", "[1]");
  EXPECT_EQ(error_of([&] { Dataset::open(dir.path()); }).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of([&] { DatasetWriter(dir.path(), 10, false, "t"); }).code(), ErrorCode::kInvalidArgument);
  write_file_atomic(dir.path() / "manifest.json",
                    R"({"format":1,"tokenizer":"t","vocab":10,"masked":false,"loss_tokens":0,)"
                    R"("shards":[{"file":"../shard","tokens":1,"checksum":1}]})");
  EXPECT_THAT(error_of([&] { Dataset::open(dir.path()); }).what(), HasSubstr("no name of a shard"));
}

/// Every byte of a shard changed once: `open` or `verify` names the file, and sampling never leaves its memory.
TEST(Dataset, DamageIsFound) {
  const TempDir dir;
  const auto folder = dir.path() / "d";
  write(folder, {{1, 2, 3}, {4, 5}, {6, 7, 8, 9}}, 10, true, 100);
  const auto path = folder / "shard-00000.tokens";
  const std::string good = read_file(path);
  for (size_t at = 0; at < good.size(); ++at) {
    if (at >= 48 && at < 64) continue;  // not used
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    write_file_atomic(path, bad);
    const auto error = error_of([&] {
      const auto data = Dataset::open(folder);
      try {
        for (uint64_t i = 0; i < data.rows(4); ++i) row_of(data, 1, i, 4);
      } catch (const Error&) {
      }
      data.verify();
    });
    EXPECT_THAT(error.what(), HasSubstr("shard-00000.tokens")) << "byte " << at;
  }
  write_file_atomic(path, good.substr(0, good.size() - 8));
  EXPECT_EQ(error_of([&] { Dataset::open(folder); }).code(), ErrorCode::kCorrupt);
  write_file_atomic(path, good);
  Dataset::open(folder).verify();
}

TEST(Shard, FindsTheDocumentOfAToken) {
  const TempDir dir;
  write(dir.path() / "d", {{1, 2, 3}, {4}, {5, 6}}, 10, false, 100);
  const std::string bytes = read_file(dir.path() / "d/shard-00000.tokens");
  const auto shard = Shard::parse(std::as_bytes(std::span(bytes)), "s");
  std::vector<uint64_t> documents;
  for (uint64_t i = 0; i < 6; ++i) documents.push_back(shard.document_of(i));
  EXPECT_THAT(documents, ElementsAre(0, 0, 0, 1, 2, 2));
}

}  // namespace
}  // namespace fathom::train
