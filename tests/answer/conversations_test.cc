#include "answer/conversations.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"

namespace fathom::answer {
namespace {

namespace fs = std::filesystem;

const Time kStart = *parse_time("2026-11-23T07:00:00Z");

ConversationItem item(const std::string& id, const std::string& role, const std::string& text) {
  return {id, role, text, "{\"text\":\"" + text + "\"}"};
}

std::vector<std::string> ids(const std::vector<ConversationItem>& items) {
  std::vector<std::string> out;
  for (const auto& one : items) out.push_back(one.id);
  return out;
}

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

/// Files below `folder` in which `text` stands.
std::vector<std::string> files_with(const fs::path& folder, const std::string& text) {
  std::vector<std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && read_file(entry.path()).find(text) != std::string::npos)
      out.push_back(entry.path().filename().string());
  return out;
}

class ConversationsTest : public testing::Test {
 protected:
  void open(const ConversationLimits& limits = {}) {
    store_.reset();
    store_ = Conversations::open(folder(), clock_, limits);
  }
  fs::path folder() const { return dir_.path() / "conversations"; }
  /// One of a question and an answer, a minute after the one before.
  std::string talk(const std::string& owner, const std::string& question, const std::string& answer) {
    clock_.set(clock_.now() + std::chrono::minutes(1));
    return store_
        ->create(owner, "", "{}", {item("msg_q", "user", question), item("msg_a", "assistant", answer)})
        .id;
  }
  std::vector<std::string> found(const std::string& owner, const std::string& words) {
    std::vector<std::string> out;
    for (const auto& hit : store_->search(owner, words, "", 100)) out.push_back(hit.conversation.id);
    return out;
  }

  TempDir dir_;
  ManualClock clock_{kStart};
  std::unique_ptr<Conversations> store_;
};

TEST_F(ConversationsTest, KeepsWhatItWasGiven) {
  open();
  const std::string id = talk("ada", "How strong was the gust?\nIn Varnholm.", "98 km/h [1].");
  EXPECT_EQ(id.size(), 37u);
  open();
  const auto kept = store_->find("ada", id);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->opening, "How strong was the gust? In Varnholm.");
  EXPECT_EQ(kept->title, "");
  EXPECT_EQ(kept->items, 2u);
  EXPECT_EQ(kept->turns, 1u);
  EXPECT_EQ(kept->created, kStart + std::chrono::minutes(1));
  const auto items = store_->items("ada", id);
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[1].id, "msg_a");
  EXPECT_EQ(items[1].role, "assistant");
  EXPECT_EQ(items[1].text, "98 km/h [1].");
  EXPECT_EQ(items[1].body, "{\"text\":\"98 km/h [1].\"}");
}

TEST_F(ConversationsTest, ListsTheNewestFirstAndMovesWhatIsGoneOnWith) {
  open();
  std::vector<std::string> all;
  for (int i = 0; i < 5; ++i) all.push_back(talk("", fmt::format("question {}", i), "answer"));
  clock_.set(clock_.now() + std::chrono::minutes(1));
  ASSERT_TRUE(store_->append("", all[1], {item("msg_3", "user", "and then?")}));
  std::vector<std::string> listed;
  for (std::string after;;) {
    const auto page = store_->list("", after, 2);
    for (const auto& one : page) listed.push_back(one.id);
    if (page.empty()) break;
    after = page.back().id;
  }
  EXPECT_EQ(listed, (std::vector<std::string>{all[1], all[4], all[3], all[2], all[0]}));
  EXPECT_EQ(store_->find("", all[1])->turns, 2u);
  EXPECT_EQ(ids(store_->items("", all[1])), (std::vector<std::string>{"msg_q", "msg_a", "msg_3"}));
}

TEST_F(ConversationsTest, FindsByTheWordsOfAllItems) {
  open();
  const auto ferry = talk("", "Do the ferries run?", "The last boat left Varnholm at 17:00 [1].");
  const auto grid = talk("", "Is the power back?", "In 5,100 of 9,000 homes of Varnholm [1].");
  EXPECT_EQ(found("", "varnholm"), (std::vector<std::string>{grid, ferry}));
  EXPECT_EQ(found("", "FERRY boats"), (std::vector<std::string>{ferry}));  // of two items, in other forms
  EXPECT_EQ(found("", "5100"), (std::vector<std::string>{grid}));
  EXPECT_TRUE(found("", "ferry power").empty());
  EXPECT_TRUE(found("", "the").empty());
  EXPECT_TRUE(found("", "").empty());
  const auto hits = store_->search("", "boat", "", 10);
  ASSERT_EQ(hits.size(), 1u);
  EXPECT_NE(hits[0].snippet.find("last boat left"), std::string::npos);
  const auto second = store_->search("", "varnholm", grid, 10);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].conversation.id, ferry);
}

TEST_F(ConversationsTest, FindsInScriptsWithoutSpaces) {
  open();
  const auto tokyo = talk("", "東京の天気は？", "晴れです");
  EXPECT_EQ(found("", "東京"), (std::vector<std::string>{tokyo}));
  EXPECT_TRUE(found("", "大阪").empty());
}

TEST_F(ConversationsTest, OwnersSeeTheirOwnAlone) {
  open();
  // Names of which one begins with the other.
  const auto mine = talk("ada", "secret plans of ada", "none");
  const auto yours = talk("adam", "secret plans of adam", "none");
  talk("", "secret plans of nobody", "none");
  EXPECT_EQ(found("ada", "secret"), (std::vector<std::string>{mine}));
  EXPECT_EQ(store_->list("adam", "", 10).size(), 1u);
  EXPECT_FALSE(store_->find("ada", yours));
  EXPECT_TRUE(store_->items("ada", yours).empty());
  EXPECT_FALSE(store_->append("ada", yours, {item("m", "user", "x")}));
  EXPECT_FALSE(store_->describe("ada", yours, "mine now", "{}"));
  EXPECT_FALSE(store_->remove("ada", yours));
  EXPECT_FALSE(store_->remove_item("ada", yours, "msg_q"));
  EXPECT_TRUE(store_->list("ada", yours, 10).empty());
  EXPECT_EQ(store_->remove_all("ada"), 1u);
  EXPECT_TRUE(store_->find("adam", yours));
  EXPECT_EQ(store_->list("", "", 10).size(), 1u);
}

TEST_F(ConversationsTest, IdsThatAreNoneAreNotThere) {
  open();
  for (const char* id : {"", "conv_", "conv_1", "conv_zz000000000000000000000000000000", "../etc"}) {
    EXPECT_FALSE(store_->find("", id)) << id;
    EXPECT_FALSE(store_->remove("", id)) << id;
    EXPECT_TRUE(store_->items("", id).empty()) << id;
  }
}

TEST_F(ConversationsTest, TitlesAndMetadataChangeInPlace) {
  open();
  const auto first = talk("", "one", "1");
  const auto second = talk("", "two", "2");
  const auto changed = store_->describe("", first, "A title", "{\"a\":\"b\"}");
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->title, "A title");
  EXPECT_EQ(store_->find("", first)->metadata, "{\"a\":\"b\"}");
  EXPECT_EQ(store_->list("", "", 10)[0].id, second);
}

TEST_F(ConversationsTest, WhatIsDeletedLeavesTheDisk) {
  open();
  // Digests stand for words that occur nowhere else; one in each place that could keep them.
  const std::string question = "quetzalwhisper7", answer = "obsidianlantern9", title = "velvetanchor3";
  const auto gone =
      store_
          ->create("ada", title, "{}",
                   {item("m1", "user", "ask " + question), item("m2", "assistant", "say " + answer)})
          .id;
  const auto stays = talk("ada", "keep lighthouse4", "yes");
  EXPECT_FALSE(files_with(folder(), question).empty());
  open();  // from the log into a table
  EXPECT_FALSE(files_with(folder(), answer).empty());
  ASSERT_TRUE(store_->append("ada", gone, {item("m3", "user", "more " + question)}));
  ASSERT_TRUE(store_->remove("ada", gone));
  for (const std::string& word : {question, answer, title})
    EXPECT_TRUE(files_with(folder(), word).empty()) << word << " in " << files_with(folder(), word).front();
  EXPECT_FALSE(store_->find("ada", gone));
  EXPECT_TRUE(found("ada", question).empty());
  EXPECT_EQ(found("ada", "lighthouse4"), (std::vector<std::string>{stays}));
  open();
  EXPECT_TRUE(files_with(folder(), question).empty());
  EXPECT_TRUE(store_->find("ada", stays));
  ASSERT_EQ(store_->remove_all("ada"), 1u);
  EXPECT_TRUE(files_with(folder(), "lighthouse4").empty());
}

TEST_F(ConversationsTest, AnItemIsDeletedForGoodToo) {
  open();
  const auto id = talk("", "ask quetzalwhisper7", "say obsidianlantern9");
  EXPECT_FALSE(store_->remove_item("", id, "msg_none"));
  ASSERT_TRUE(store_->remove_item("", id, "msg_q"));
  EXPECT_TRUE(files_with(folder(), "quetzalwhisper7").empty());
  EXPECT_TRUE(found("", "quetzalwhisper7").empty());
  EXPECT_EQ(found("", "obsidianlantern9"), (std::vector<std::string>{id}));
  const auto left = store_->find("", id);
  EXPECT_EQ(left->items, 1u);
  EXPECT_EQ(left->turns, 0u);
  EXPECT_EQ(left->opening, "");
}

TEST_F(ConversationsTest, SizesAreBounded) {
  ConversationLimits limits;
  limits.conversations = 2;
  limits.bytes = 4000;
  limits.items = 3;
  limits.conversation_bytes = 3000;
  limits.item_bytes = 1000;
  limits.metadata_bytes = 100;
  open(limits);
  const auto full = [&](const std::function<void()>& call) {
    EXPECT_EQ(code_of(call), ErrorCode::kResourceExhausted);
  };
  const auto id = talk("", "a", "b");
  full([&] { store_->append("", id, {item("x", "user", std::string(600, 'x'))}); });  // twice: text and body
  full([&] { store_->append("", id, {item("x", "user", "1"), item("y", "user", "2")}); });
  full([&] { store_->describe("", id, std::string(101, 't'), "{}"); });
  full([&] { store_->create("", "", std::string(101, ' '), {}); });
  EXPECT_EQ(store_->items("", id).size(), 2u);  // nothing of what was refused
  const auto second = talk("", "c", "d");
  full([&] { talk("", "e", "f"); });
  EXPECT_NO_THROW(talk("other", "e", "f"));
  ASSERT_TRUE(store_->remove("", second));
  EXPECT_NO_THROW(talk("", "e", "f"));
  open(limits);  // what is kept is counted again
  full([&] { talk("", "g", "h"); });
}

TEST_F(ConversationsTest, AllOfAnOwnersTogetherAreBounded) {
  ConversationLimits limits;
  limits.bytes = 2000;
  open(limits);
  const auto first = talk("", std::string(400, 'x'), "");
  talk("", std::string(400, 'y'), "");
  EXPECT_EQ(code_of([&] { talk("", std::string(400, 'z'), ""); }), ErrorCode::kResourceExhausted);
  ASSERT_TRUE(store_->remove("", first));
  EXPECT_NO_THROW(talk("", std::string(400, 'z'), ""));
}

/// What a process that is killed has written is there; in a child, so that nothing of it is closed.
TEST_F(ConversationsTest, WhatWasWrittenSurvivesAKill) {
  int pipes[2];
  ASSERT_EQ(::pipe(pipes), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    open();
    const std::string id = talk("ada", "a first question", "a first answer");
    store_->append("ada", id, {item("msg_last", "user", "a last question")});
    const bool told = ::write(pipes[1], id.data(), id.size()) == static_cast<ssize_t>(id.size());
    ::kill(::getpid(), told ? SIGKILL : SIGABRT);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  char buffer[64];
  const ssize_t size = ::read(pipes[0], buffer, sizeof buffer);
  ::close(pipes[0]);
  ::close(pipes[1]);
  ASSERT_EQ(size, 37);
  open();
  const std::string id(buffer, 37);
  EXPECT_EQ(ids(store_->items("ada", id)), (std::vector<std::string>{"msg_q", "msg_a", "msg_last"}));
  EXPECT_EQ(found("ada", "last"), (std::vector<std::string>{id}));
}

TEST_F(ConversationsTest, ADamagedFolderIsAnErrorThatNamesIt) {
  open();
  talk("", "a question", "an answer");
  store_.reset();
  for (const auto& entry : fs::directory_iterator(folder()))
    if (entry.path().filename().string().starts_with("MANIFEST-"))
      std::ofstream(entry.path(), std::ios::binary) << "this is no manifest, whatever its name says";
  try {
    open();
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_NE(std::string(error.what()).find(folder().string()), std::string::npos);
  }
}

TEST_F(ConversationsTest, DamageWithinTheLogIsAnErrorAndATornEndIsNot) {
  open();
  talk("", "first", "one");
  talk("", "second", "two");
  store_.reset();
  const auto copy = dir_.path() / "copy";
  const auto damage = [&](const std::function<void(const fs::path&)>& how) {
    fs::remove_all(copy);
    fs::copy(folder(), copy, fs::copy_options::recursive);
    fs::path log;
    for (const auto& entry : fs::directory_iterator(copy))
      if (entry.path().extension() == ".log" && (log.empty() || fs::file_size(entry) > 0)) log = entry.path();
    how(log);
  };
  damage([](const fs::path& log) { fs::resize_file(log, fs::file_size(log) - 5); });
  EXPECT_EQ(Conversations::open(copy, clock_)->list("", "", 10).size(), 1u);
  damage([](const fs::path& log) {
    std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(40);
    file << "damage in the middle of a log, which is not a torn end";
  });
  EXPECT_EQ(code_of([&] { Conversations::open(copy, clock_); }), ErrorCode::kCorrupt);
}

TEST_F(ConversationsTest, OneProcessAtATime) {
  open();
  EXPECT_EQ(code_of([&] { Conversations::open(folder(), clock_); }), ErrorCode::kIo);
}

TEST_F(ConversationsTest, ManyAtOnce) {
  open();
  const std::string id = talk("", "begin", "now");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        store_->append("", id, {item(fmt::format("m{}-{}", t, i), "user", "shared words")});
        const auto own = store_->create("", "", "{}", {item("m", "user", "shared words")}).id;
        store_->search("", "shared", "", 5);
        store_->list("", "", 5);
        if (i % 5 == 0 && !store_->remove("", own)) ADD_FAILURE() << own;
      }
    });
  for (auto& thread : threads) thread.join();
  const auto all = ids(store_->items("", id));
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), 42u);
  EXPECT_EQ(store_->list("", "", 100).size(), 33u);
}

}  // namespace
}  // namespace fathom::answer
