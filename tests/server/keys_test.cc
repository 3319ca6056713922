#include "server/keys.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"

namespace fathom::server {
namespace {

using std::chrono::seconds;

ApiKey named(std::string name, const std::string& key, Role role = Role::kReader) {
  ApiKey out;
  out.name = std::move(name);
  out.sha256 = key_digest(key);
  out.role = role;
  return out;
}

TEST(Keys, AreMadeEachOnceAndLong) {
  std::set<std::string> keys;
  for (int i = 0; i < 100; ++i) keys.insert(make_key());
  EXPECT_EQ(keys.size(), 100u);
  for (const auto& key : keys) EXPECT_EQ(key.size(), 7u + 43u) << key;
}

TEST(Keys, AFileComesBackAsItWasWrittenAndHoldsNoKey) {
  const TempDir folder;
  const auto file = folder.path() / "keys.toml";
  auto alice = named("alice", "open-sesame", Role::kPoster);
  alice.requests_per_minute = 90;
  alice.created = Time(seconds(1'700'000'000));
  write_keys(file, {alice, named("bob", "other")});
  EXPECT_EQ(read_file(file).find("open-sesame"), std::string::npos);
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  const auto keys = read_keys(file);
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0].name, "alice");
  EXPECT_EQ(keys[0].role, Role::kPoster);
  EXPECT_EQ(keys[0].requests_per_minute, 90u);
  EXPECT_EQ(keys[0].created, alice.created);
  EXPECT_EQ(keys[1].role, Role::kReader);
  EXPECT_FALSE(keys[1].requests_per_minute);
}

TEST(Keys, WhatIsNoKeyFileIsRefusedWithItsLine) {
  const TempDir folder;
  const auto file = folder.path() / "keys.toml";
  const std::string digest = key_digest("x");
  for (const std::string& text :
       {std::string("[[key]]\nname = \"a\"\nsha256 = \"short\"\n"),
        "[[key]]\nname = \"a\"\nsha256 = \"" + digest + "\"\nrole = \"king\"\n",
        "[[key]]\nname = \"a\"\nsha256 = \"" + digest + "\"\nrequests_per_minute = 0\n",
        "[[key]]\nname = \"a\"\nsha256 = \"" + digest + "\"\n[[key]]\nname = \"a\"\nsha256 = \"" + digest +
            "\"\n",
        "[[key]]\nsha256 = \"" + digest + "\"\n"}) {
    write_file_atomic(file, text);
    EXPECT_THROW(read_keys(file), Error) << text;
  }
  EXPECT_TRUE(read_keys(folder.path() / "none.toml").empty());
}

TEST(RateLimit, LetsABurstThroughAndThenItsRate) {
  RateLimit limit(60);
  auto now = std::chrono::steady_clock::now();
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(limit.take(now).allowed) << i;
  const auto refused = limit.take(now);
  EXPECT_FALSE(refused.allowed);
  EXPECT_EQ(refused.limit, 60u);
  EXPECT_EQ(refused.remaining, 0u);
  EXPECT_EQ(refused.wait, seconds(1));
  now += seconds(2);
  EXPECT_TRUE(limit.take(now).allowed);
  EXPECT_TRUE(limit.take(now).allowed);
  EXPECT_FALSE(limit.take(now).allowed);
}

TEST(KeyRing, KnowsPlainKeysAndNamedOnes) {
  const TempDir folder;
  const auto file = folder.path() / "keys.toml";
  write_keys(file, {named("alice", "a-key")});
  KeyRing ring({"plain"}, file);
  EXPECT_EQ(ring.find("plain")->key.role, Role::kAdmin);
  EXPECT_EQ(ring.find("a-key")->key.name, "alice");
  EXPECT_EQ(ring.find("a-ke"), nullptr);
  EXPECT_FALSE(ring.empty());
  EXPECT_TRUE(KeyRing({}, folder.path() / "none.toml").empty());
}

TEST(KeyRing, AKeyGivenOrWithdrawnCountsWithoutARestartAndABrokenFileChangesNothing) {
  const TempDir folder;
  const auto file = folder.path() / "keys.toml";
  auto alice = named("alice", "a-key");
  alice.requests_per_minute = 1;
  write_keys(file, {alice});
  KeyRing ring({}, file);
  EXPECT_TRUE(ring.find("a-key")->limit->take(std::chrono::steady_clock::now()).allowed);

  const auto until = [&](auto holds) {
    for (int tries = 0; tries < 100 && !holds(); ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return holds();
  };
  write_keys(file, {alice, named("bob", "b-key")});
  ASSERT_TRUE(until([&] { return ring.find("b-key") != nullptr; }));
  EXPECT_FALSE(ring.find("a-key")->limit->take(std::chrono::steady_clock::now()).allowed)
      << "its rate began anew";

  write_file_atomic(file, "[[key]]\nname = 3\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  EXPECT_NE(ring.find("b-key"), nullptr);

  write_keys(file, {alice});
  EXPECT_TRUE(until([&] { return ring.find("b-key") == nullptr; }));
}

}  // namespace
}  // namespace fathom::server
