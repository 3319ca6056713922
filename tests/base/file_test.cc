#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>
#include <vector>

#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// Runs `act`, which must throw an Error of this code whose sentence has `part`.
template <class Act>
void expect_error(ErrorCode code, const std::string& part, Act act) {
  try {
    act();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(File, WritesAndReads) {
  const TempDir dir;
  const auto path = dir.path() / "a";
  for (const std::string& content : {std::string(), std::string("x\0y", 3), std::string(300000, 'z')}) {
    write_file_atomic(path, content);
    EXPECT_EQ(read_file(path), content);
    EXPECT_EQ(text_of(MappedFile(path)), content);
  }
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(File, ReadsFilesWithoutASize) {
  EXPECT_NE(read_file("/proc/self/status").find("Pid:"), std::string::npos);
}

TEST(File, ReadsNoMoreThanAllowed) {
  const TempDir dir;
  const auto path = dir.path() / "a";
  write_file_atomic(path, std::string(1000, 'x'));
  EXPECT_EQ(read_file(path, 1000).size(), 1000u);
  expect_error(ErrorCode::kResourceExhausted, path.string(), [&] { read_file(path, 999); });
  expect_error(ErrorCode::kResourceExhausted, "/dev/zero", [&] { read_file("/dev/zero", 1 << 20); });
}

TEST(File, ErrorsNameThePath) {
  const TempDir dir;
  const auto missing = dir.path() / "none";
  expect_error(ErrorCode::kNotFound, missing.string(), [&] { read_file(missing); });
  expect_error(ErrorCode::kNotFound, missing.string(), [&] { MappedFile file(missing); });
  expect_error(ErrorCode::kIo, dir.path().string(), [&] { read_file(dir.path()); });
  expect_error(ErrorCode::kIo, dir.path().string(), [&] { MappedFile file(dir.path()); });
  expect_error(ErrorCode::kNotFound, "none", [&] { write_file_atomic(missing / "a", "x"); });
}

TEST(File, AFailedReplacementLeavesNothingBehind) {
  const TempDir dir;
  const auto folder = dir.path() / "folder";
  fs::create_directory(folder);
  expect_error(ErrorCode::kIo, folder.string(), [&] { write_file_atomic(folder, "x"); });
  EXPECT_EQ(entries(dir.path()), 1u);
  EXPECT_TRUE(fs::is_directory(folder));
}

TEST(File, WritesBesideAPathWithoutAFolder) {
  const TempDir dir;
  const auto before = fs::current_path();
  fs::current_path(dir.path());
  write_file_atomic("bare", "x");
  fs::current_path(before);
  EXPECT_EQ(read_file(dir.path() / "bare"), "x");
}

TEST(File, AReplacementIsSeenWholeOrNotAtAll) {
  const TempDir dir;
  const auto path = dir.path() / "a";
  write_file_atomic(path, std::string(100000, '0'));
  std::atomic<bool> done{false};
  std::jthread writer([&] {
    for (int i = 1; i < 40; ++i) write_file_atomic(path, std::string(100000, static_cast<char>('0' + i)));
    done = true;
  });
  while (!done) {
    const auto content = read_file(path);
    ASSERT_EQ(content.size(), 100000u);
    ASSERT_EQ(content.find_first_not_of(content.front()), std::string::npos);
  }
}

TEST(File, WritersOfOneFileDoNotMix) {
  const TempDir dir;
  const auto path = dir.path() / "a";
  {
    std::vector<std::jthread> writers;
    for (char c = 'a'; c < 'e'; ++c)
      writers.emplace_back([&path, c] {
        for (int i = 0; i < 10; ++i) write_file_atomic(path, std::string(50000, c));
      });
  }
  const auto content = read_file(path);
  EXPECT_EQ(content.size(), 50000u);
  EXPECT_EQ(content.find_first_not_of(content.front()), std::string::npos);
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(MappedFile, MovesItsMapping) {
  const TempDir dir;
  write_file_atomic(dir.path() / "a", "first");
  write_file_atomic(dir.path() / "b", "second");
  MappedFile a(dir.path() / "a");
  MappedFile b(std::move(a));
  EXPECT_EQ(text_of(b), "first");
  EXPECT_EQ(b.path(), dir.path() / "a");
  MappedFile c(dir.path() / "b");
  c = std::move(b);
  EXPECT_EQ(text_of(c), "first");
  auto& same = c;
  c = std::move(same);
  EXPECT_EQ(text_of(c), "first");
}

TEST(MappedFile, OutlivesTheNameOfItsFile) {
  const TempDir dir;
  write_file_atomic(dir.path() / "a", "content");
  const MappedFile file(dir.path() / "a");
  write_file_atomic(dir.path() / "a", "other");
  EXPECT_EQ(text_of(file), "content");
}

TEST(TempDir, IsPrivateFreshAndRemoved) {
  fs::path path;
  {
    const TempDir one("prefix"), two("prefix");
    EXPECT_NE(one.path(), two.path());
    EXPECT_NE(one.path().string().find("prefix"), std::string::npos);
    struct stat info {};
    ASSERT_EQ(::stat(one.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    path = one.path();
    fs::create_directories(path / "deep" / "deeper");
    std::ofstream(path / "deep" / "file") << "x";
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(File, AFoldersFilesByName) {
  const TempDir folder("files");
  for (const char* name : {"b.toml", "a.toml", "c.txt"}) write_file_atomic(folder.path() / name, "x");
  const auto files = files_of(folder.path(), ".toml");
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].filename(), "a.toml");
  EXPECT_EQ(files[1].filename(), "b.toml");
  EXPECT_THROW(files_of(folder.path() / "none", ".toml"), Error);
}

}  // namespace
}  // namespace fathom
