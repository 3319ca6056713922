#include "live/sources/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "live/sources/redacted.h"
#include "support/http_server.h"
#include "support/memory_store.h"

namespace fathom::live {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::HttpServer;
using test::Reply;
using test::ServerRequest;

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
    return error.what();
  }
  return "no error";
}

void write(const std::filesystem::path& path, std::string_view text) { std::ofstream(path) << text; }

// --- the short form

TEST(SourceSpec, TheShortFormNamesPlaceAndOptions) {
  const SourceSpec plain = parse_source("hackernews");
  EXPECT_EQ(plain.kind, "hackernews");
  EXPECT_EQ(plain.name, "hackernews");
  EXPECT_TRUE(plain.options.empty());
  const SourceSpec file = parse_source("file:/a/b.jsonl,pace=feed*60,lead=90%,name=old,at-once");
  EXPECT_EQ(file.name, "old");
  EXPECT_EQ(file.option("path"), "/a/b.jsonl");
  EXPECT_EQ(file.option("pace"), "feed*60");
  EXPECT_EQ(file.option("at-once"), "true");
  EXPECT_EQ(parse_source("-").kind, "stdin");
}

TEST(SourceSpec, ListsTakeSeveralEntriesAndAddressesKeepTheirSigns) {
  const SourceSpec rss = parse_source("rss:https://a.example/?x=1&y=2,https://b.example/f,shortest=60");
  EXPECT_EQ(rss.list("feeds"),
            (std::vector<std::string>{"https://a.example/?x=1&y=2", "https://b.example/f"}));
  EXPECT_EQ(rss.number("shortest", 5, 1, 100), 60);
  const SourceSpec file = parse_source("file:/a,b.jsonl");
  EXPECT_EQ(file.option("path"), "/a,b.jsonl");
  const SourceSpec mastodon = parse_source("mastodon:,hashtags=a,hashtags=b,host=h.example");
  EXPECT_EQ(mastodon.list("hashtags"), (std::vector<std::string>{"a", "b"}));
}

TEST(SourceSpec, WhatIsWrongIsNamed) {
  EXPECT_THAT(error_of([] { parse_source("gopher:x"); }), testing::HasSubstr("there are x, bluesky"));
  EXPECT_THAT(error_of([] { parse_source("rss:https://a.example,colour=red"); }),
              testing::HasSubstr("'colour'"));
  EXPECT_THAT(error_of([] { parse_source("mastodon"); }), testing::HasSubstr("needs the option 'host'"));
  EXPECT_THAT(error_of([] { parse_source("file:/a,lead=1h,lead=2h"); }), testing::HasSubstr("twice"));
  EXPECT_THAT(error_of([] { parse_source("file:/a,name=A B"); }), testing::HasSubstr("'A B'"));
  EXPECT_THAT(error_of([] { parse_source("file:/a,max_per_second=many"); }),
              testing::HasSubstr("max_per_second"));
  EXPECT_EQ(limits_of(parse_source("file:/a,max_per_second=25.5")).posts_per_second, 25.5);
}

TEST(SourceSpec, ASecretInTheOpenIsRefusedWithoutBeingShown) {
  const std::string error = error_of([] { parse_source("mastodon:h.example,token=hunter2hunter2"); });
  EXPECT_THAT(error, testing::HasSubstr("secret"));
  EXPECT_THAT(error, testing::Not(testing::HasSubstr("hunter2")));
}

TEST(SourceKinds, AreWellFormed) {
  std::set<std::string_view> names;
  for (const SourceKind& kind : source_kinds()) {
    EXPECT_TRUE(names.insert(kind.name).second) << kind.name;
    EXPECT_FALSE(kind.summary.empty()) << kind.name;
    EXPECT_TRUE(kind.make) << kind.name;
    std::set<std::string_view> options;
    for (const SourceOption& option : kind.options) {
      EXPECT_TRUE(options.insert(option.name).second) << kind.name << " " << option.name;
      EXPECT_FALSE(option.help.empty()) << kind.name << " " << option.name;
      EXPECT_NE(option.name, kRateOption);
    }
  }
  for (const char* name : {"x", "bluesky", "mastodon", "nostr", "rss", "hackernews", "file", "stdin"})
    EXPECT_NE(find_kind(name), nullptr) << name;
  EXPECT_EQ(find_kind("gopher"), nullptr);
}

// --- the file

TEST(SourcesFile, WhatIsWrittenIsReadAgain) {
  const TempDir folder;
  const auto file = folder.path() / "sources.toml";
  EXPECT_TRUE(read_sources(file).empty());
  std::vector<SourceSpec> specs = {parse_source("mastodon:h.example,token=$T,hashtags=a,b\"\\é"),
                                   parse_source("file:/tmp/\x01odd,max_per_second=5"),
                                   parse_source("hackernews")};
  specs[1].enabled = false;
  write_sources(file, specs);
  EXPECT_EQ(read_sources(file), specs);
  specs.pop_back();
  write_sources(file, specs);
  EXPECT_EQ(read_sources(file), specs);
}

TEST(SourcesFile, TakesNumbersFlagsAndListsAsTheyAreWritten) {
  const TempDir folder;
  const auto file = folder.path() / "sources.toml";
  write(
      file,
      "# mine\n[[source]]\nkind = \"rss\"\nname = \"news\"\nfeeds = [\"https://a.example\"]\nshortest = 90\n"
      "max_per_second = 2.5\n[[source]]\nkind = \"hackernews\"\nstream = false\nenabled = false\n");
  const auto specs = read_sources(file);
  ASSERT_EQ(specs.size(), 2u);
  EXPECT_EQ(specs[0].option("shortest"), "90");
  EXPECT_EQ(limits_of(specs[0]).posts_per_second, 2.5);
  EXPECT_FALSE(specs[1].flag("stream", true));
  EXPECT_FALSE(specs[1].enabled);
  write_sources(file, specs);
  EXPECT_EQ(read_file(file).substr(0, 7), "# mine\n");
  EXPECT_EQ(read_sources(file), specs);
}

TEST(SourcesFile, ErrorsNameThePlace) {
  const TempDir folder;
  const auto file = folder.path() / "sources.toml";
  const auto error = [&](std::string_view text) {
    write(file, text);
    return error_of([&] { read_sources(file); });
  };
  EXPECT_THAT(error("[[source]]\nkind = \"gopher\"\n"), testing::HasSubstr("sources.toml:1"));
  EXPECT_THAT(error("[[source]]\nkind = \"file\"\npath = \"a\"\ncolour = 1\n"),
              testing::HasSubstr("'colour'"));
  EXPECT_THAT(error("[[source]]\nkind = \"hackernews\"\n[[source]]\nkind = \"hackernews\"\n"),
              testing::HasSubstr("two sources"));
  EXPECT_THAT(error("[[source]]\nkind = \"file\"\npath = {a = 1}\n"), testing::HasSubstr("path"));
  EXPECT_THAT(error("[[source]]\nkind = \"mastodon\"\nhost = \"h\"\ntoken = \"hunter2\"\n"),
              testing::Not(testing::HasSubstr("hunter2")));
  EXPECT_THAT(error("sources = 1\n"), testing::HasSubstr("'sources'"));
  EXPECT_THAT(error("[[source\n"), testing::HasSubstr("sources.toml"));
}

// --- secrets

TEST(Secret, ComesFromAVariableOrAFileOfItsOwnersAlone) {
  const TempDir folder;
  const auto path = folder.path() / "token";
  write(path, "s3cret-value\n");
  ::chmod(path.c_str(), 0600);
  EXPECT_EQ(read_secret("file:" + path.string()), "s3cret-value");
  ::setenv("FATHOM_TEST_SECRET", " from-env ", 1);
  EXPECT_EQ(read_secret("$FATHOM_TEST_SECRET"), "from-env");
  for (const mode_t mode : {0640, 0604, 0660}) {
    ::chmod(path.c_str(), mode);
    EXPECT_THROW(read_secret("file:" + path.string()), Error) << mode;
  }
}

TEST(Secret, RefusalsNeverShowTheValue) {
  const TempDir folder;
  const auto path = folder.path() / "token";
  write(path, "two words");
  ::chmod(path.c_str(), 0600);
  ::unsetenv("FATHOM_TEST_SECRET");
  const std::string reference = "file:" + path.string();
  for (const std::string& secret : {std::string("$FATHOM_TEST_SECRET"), std::string("plain"), reference,
                                    std::string("file:/nowhere/at/all"), "file:" + folder.path().string()}) {
    try {
      read_secret(secret);
      ADD_FAILURE() << secret;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("two words")));
      EXPECT_TRUE(secret != "plain" || std::string(error.what()).find("plain") == std::string::npos);
    }
  }
}

/// All that the program logs while it lives.
class CapturedLog {
 public:
  CapturedLog() { testing::internal::CaptureStderr(); }
  std::string text() { return testing::internal::GetCapturedStderr(); }
};

TEST(Secret, ServersThatEchoItDoNotBringItIntoLogsOrStatus) {
  constexpr std::string_view kSecret = "tok-0123456789-abcdef";
  ::setenv("FATHOM_TEST_TOKEN", std::string(kSecret).c_str(), 1);
  HttpServer server([&](const ServerRequest& request, Reply& reply) {
    reply.send(500, "your header was " + request.header("authorization"));
  });
  CapturedLog log;
  std::string shown;
  {
    test::MemoryStore store;
    const TempDir folder;
    const auto cursors = open_cursor_file(folder.path() / "cursors.json");
    const SystemClock clock;
    const auto transport = make_transport();
    const auto web_sockets = make_web_sockets();
    SourceRunner runner(store, *cursors, clock, {.retry_first = 5ms});
    runner.add(make_source(parse_source("mastodon:" + server.url() + ",token=$FATHOM_TEST_TOKEN"),
                           {*transport, *web_sockets, clock}));
    ASSERT_TRUE(eventually([&] { return runner.status()[0].reconnects > 1; }));
    shown = runner.status()[0].last_error;
  }
  EXPECT_THAT(shown, testing::HasSubstr("your header was Bearer ***"));
  const std::string logged = log.text();
  EXPECT_THAT(logged, testing::HasSubstr("***"));
  EXPECT_THAT(logged + shown, testing::Not(testing::HasSubstr(kSecret)));
}

/// Fails in each way with a secret in its mouth.
class TalkativeSource final : public Source {
 public:
  std::string_view name() const override { return "talkative"; }
  void run(Sink& sink, const std::stop_token&) override {
    sink.warn("warned of abcd");
    sink.reject("rejected abcd and abcdef");
    throw RetryAfter(ErrorCode::kNetwork, "abcd, again abcd", 5s);
  }
};

class NotingSink final : public Sink {
 public:
  std::string cursor() const override { return {}; }
  bool deliver(Post) override { return true; }
  void advance(std::string) override {}
  void set_live() override {}
  void reject(std::string_view why) override { said += why; }
  void warn(std::string_view what) override { said += what; }
  std::string said;
};

TEST(Redacted, EverySecretIsReplacedAndTheWaitKept) {
  NotingSink sink;
  const auto source = redacted(std::make_unique<TalkativeSource>(), {"abcd", "", "abcdef"});
  EXPECT_EQ(source->name(), "talkative");
  try {
    source->run(sink, {});
    ADD_FAILURE();
  } catch (const RetryAfter& error) {
    EXPECT_STREQ(error.what(), "***, again ***");
    EXPECT_EQ(error.wait(), 5s);
  }
  EXPECT_EQ(sink.said, "warned of ***rejected *** and ***");
}

}  // namespace
}  // namespace fathom::live
