// The manifest: round trip, that no damaged one gets through, and what the files alone tell.
#include "live/manifest.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"

namespace fathom::live {
namespace {

using ::testing::HasSubstr;

Manifest sample() {
  Manifest manifest;
  manifest.through = 300;
  manifest.feed_time = -5;
  manifest.segments = {{segment_file({1, 200}), 260, changes_file({1, 200}, 260)},
                       {segment_file({201, 300}), 310, {}}};
  return manifest;
}

void expect_same(const Manifest& a, const Manifest& b) {
  EXPECT_EQ(a.through, b.through);
  EXPECT_EQ(a.feed_time, b.feed_time);
  ASSERT_EQ(a.segments.size(), b.segments.size());
  for (size_t i = 0; i < a.segments.size(); ++i) {
    EXPECT_EQ(a.segments[i].file, b.segments[i].file);
    EXPECT_EQ(a.segments[i].counted, b.segments[i].counted);
    EXPECT_EQ(a.segments[i].changes, b.segments[i].changes);
  }
}

TEST(Manifest, RoundTrip) {
  expect_same(parse_manifest(encode_manifest(sample())), sample());
  expect_same(parse_manifest(encode_manifest({})), {});
  const TempDir dir;
  EXPECT_FALSE(read_manifest(dir.path()));
  write_manifest(dir.path(), sample());
  expect_same(*read_manifest(dir.path()), sample());
}

TEST(Manifest, NoDamageGetsThrough) {
  const std::string text = encode_manifest(sample());
  for (size_t at = 0; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_THROW(parse_manifest(damaged), Error) << at;
    EXPECT_THROW(parse_manifest(text.substr(0, at)), Error) << at;
  }
}

TEST(Manifest, ErrorsNameTheFileAndANewerFormatIsTold) {
  const TempDir dir;
  const auto expect = [&](const std::string& text, ErrorCode code) {
    std::ofstream(dir.path() / "MANIFEST") << text;
    try {
      read_manifest(dir.path());
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_THAT(error.what(), HasSubstr("MANIFEST"));
    }
  };
  expect(encode_manifest(sample()).substr(0, 40), ErrorCode::kCorrupt);
  const std::string newer = "fathom-live 3\nanother line\n";
  expect(newer + fmt::format("checksum {:016x}\n", checksum64(newer)), ErrorCode::kUnsupported);
}

TEST(Manifest, NamesOfFiles) {
  const SegmentRange range{7, 12345678901234567890u};
  for (const auto& file : {segment_file(range), changes_file(range, 9)}) {
    const auto read = segment_range(file);
    ASSERT_TRUE(read) << file;
    EXPECT_EQ(read->first, range.first);
    EXPECT_EQ(read->last, range.last);
  }
  EXPECT_EQ(changes_counted(changes_file(range, 9)), 9u);
  EXPECT_FALSE(changes_counted(segment_file(range)));
  for (const char* other : {"", "segment-", "segment-1-2.seg", "log-00000000000000000001", "MANIFEST",
                            "segment-00000000000000000009-00000000000000000002.seg",
                            "segment-00000000000000000001-00000000000000000002.seg.damaged",
                            "segment-00000000000000000001-00000000000000000002",
                            "segment-000000000000000000x1-00000000000000000002.seg"})
    EXPECT_FALSE(segment_range(other)) << other;
}

TEST(Manifest, GuessedFromTheFiles) {
  const TempDir dir;
  for (const auto& file :
       {segment_file({1, 100}), segment_file({101, 200}), segment_file({1, 200}), segment_file({201, 250}),
        changes_file({1, 200}, 230), changes_file({1, 200}, 240), changes_file({1, 100}, 300)})
    std::ofstream(dir.path() / file) << "x";
  const Manifest manifest = guess_manifest(dir.path());
  EXPECT_EQ(manifest.through, 250u);
  ASSERT_EQ(manifest.segments.size(), 2u);
  EXPECT_EQ(manifest.segments[0].file, segment_file({1, 200}));
  EXPECT_EQ(manifest.segments[0].changes, changes_file({1, 200}, 240));
  EXPECT_EQ(manifest.segments[1].counted, 250u);
}

}  // namespace
}  // namespace fathom::live
