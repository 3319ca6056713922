// /v1/conversations over the wire, with a real store of them; and what chat completions and responses keep there.
#include "answer/conversations.h"

#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "server/conversation_export.h"
#include "server/fakes.h"
#include "server/keys.h"

namespace fathom::server {
namespace {

using nlohmann::json;

class ConversationsApi : public testing::Test {
 protected:
  ConversationsApi() : store_(answer::Conversations::open(folder_.path() / "conversations", clock_)) {
    server_.conversations = store_.get();
  }
  ~ConversationsApi() override { server_.stop(); }

  json ask(json extra) {
    json body = {{"model", "fathom-extract"}, {"messages", {{{"role", "user"}, {"content", "hello?"}}}}};
    body.update(extra);
    const Answer answer = server_.post("/v1/chat/completions", body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.json();
  }
  json items(const std::string& id) {
    return server_.get("/v1/conversations/" + id + "/items?order=asc").json()["data"];
  }

  TempDir folder_;
  ManualClock clock_{kNow};
  std::unique_ptr<answer::Conversations> store_;
  TestServer server_;
};

TEST_F(ConversationsApi, OneIsMadeShownChangedAndDeleted) {
  server_.start();
  const json made = server_
                        .post("/v1/conversations",
                              {{"metadata", {{"topic", "demo"}}},
                               {"items", {{{"type", "message"}, {"role", "user"}, {"content", "Hi there"}}}}})
                        .json();
  EXPECT_EQ(made["object"], "conversation");
  EXPECT_EQ(made["metadata"]["topic"], "demo");
  EXPECT_EQ(made["title"], "Hi there");
  const std::string id = made["id"], one = "/v1/conversations/" + id;
  EXPECT_EQ(server_.get(one).json(), made);
  const json changed = server_.post(one, {{"metadata", {{"title", "Greetings"}}}}).json();
  EXPECT_EQ(changed["title"], "Greetings");
  EXPECT_FALSE(changed["metadata"].contains("topic"));
  const json added =
      server_.post(one + "/items", {{"items", {{{"role", "user"}, {"content", "More"}}}}}).json();
  ASSERT_EQ(added["data"].size(), 1u);
  const std::string item = added["data"][0]["id"];
  EXPECT_EQ(added["first_id"], item);
  EXPECT_EQ(server_.get(one + "/items/" + item).json(), added["data"][0]);
  EXPECT_EQ(items(id).size(), 2u);
  const json newest = server_.get(one + "/items?limit=1").json();
  EXPECT_EQ(newest["data"][0]["id"], item);
  EXPECT_EQ(newest["has_more"], true);
  EXPECT_EQ(server_.get(one + "/items?after=" + item).json()["data"][0]["content"][0]["text"], "Hi there");
  EXPECT_EQ(server_.remove(one + "/items/" + item).json()["items"], 1);
  EXPECT_EQ(server_.get(one + "/items/" + item).status, 404);
  EXPECT_EQ(server_.remove(one).json(),
            json({{"id", id}, {"object", "conversation.deleted"}, {"deleted", true}}));
  EXPECT_EQ(server_.get(one).status, 404);
  EXPECT_EQ(server_.remove(one).error()["code"], "conversation_not_found");
}

TEST_F(ConversationsApi, WhatIsNotRightIsRefused) {
  server_.start();
  const std::string id = server_.post("/v1/conversations", json::object()).json()["id"];
  const std::string one = "/v1/conversations/" + id;
  json many = json::object();
  for (int i = 0; i < 17; ++i) many["k" + std::to_string(i)] = "v";
  const std::vector<std::pair<std::string, json>> bad = {
      {"/v1/conversations", {{"metadata", many}}},
      {"/v1/conversations", {{"metadata", {{"a", 1}}}}},
      {"/v1/conversations", {{"metadata", {{"a", std::string(513, 'x')}}}}},
      {"/v1/conversations", {{"items", "x"}}},
      {"/v1/conversations", {{"items", {{{"role", "nobody"}, {"content", "x"}}}}}},
      {"/v1/conversations", json::array()},
      {one, json::object()},
      {one + "/items", json::object()},
      {one + "/items", {{"items", json::array()}}}};
  for (const auto& [path, body] : bad) EXPECT_EQ(server_.post(path, body).status, 400) << path << body;
  for (const char* query : {"?limit=0", "?limit=101", "?limit=x"})
    EXPECT_EQ(server_.get("/v1/conversations" + std::string(query)).status, 400) << query;
  EXPECT_EQ(server_.get("/v1/conversations?after=conv_1").status, 404);
  EXPECT_EQ(server_.get(one + "/items?order=up").status, 400);
  EXPECT_EQ(server_.get(one + "/items?after=msg_1").status, 400);
  EXPECT_EQ(server_.get(one + "/export?format=pdf").status, 400);
}

TEST_F(ConversationsApi, AChatKeepsQuestionAndAnswerWithWhatItRestsOn) {
  server_.start();
  const json answer = ask({{"conversation", "new"}, {"fathom", {{"mode", "digest"}, {"style", "brief"}}}});
  const std::string id = answer["conversation"]["id"];
  EXPECT_EQ(server_.assistant.last_request().mode, answer::Mode::kDigest);
  EXPECT_EQ(server_.assistant.last_request().style, "brief");
  const json kept = items(id);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(answer["conversation"]["items"], json({kept[0]["id"], kept[1]["id"]}));
  EXPECT_EQ(kept[0]["role"], "user");
  EXPECT_EQ(kept[0]["content"][0], json({{"type", "input_text"}, {"text", "hello?"}}));
  EXPECT_EQ(kept[1]["content"][0]["text"], answer["choices"][0]["message"]["content"]);
  EXPECT_EQ(kept[1]["content"][0]["annotations"][0]["url"], "https://example.org/p1");
  const json& record = kept[1]["fathom"];
  EXPECT_EQ(record["citations"], answer["fathom"]["citations"]);
  EXPECT_EQ(record["read"], answer["fathom"]["read"]);
  EXPECT_EQ(record["mode"], "digest");
  EXPECT_EQ(record["style"], "brief");
  EXPECT_EQ(record["steps"][0]["tool"], "search_posts");
  // A second question goes to the same, as an object; a stream tells it with its end.
  const Answer streamed =
      server_.post("/v1/chat/completions", {{"model", "fathom-extract"},
                                            {"stream", true},
                                            {"conversation", {{"id", id}}},
                                            {"messages", {{{"role", "user"}, {"content", "and?"}}}}});
  EXPECT_NE(streamed.body.find("\"conversation\":{\"id\":\"" + id + "\",\"items\":["), std::string::npos);
  EXPECT_EQ(items(id).size(), 4u);
  EXPECT_EQ(server_.get("/v1/conversations/" + id).json()["turns"], 2);
}

TEST_F(ConversationsApi, TheLanguageModelsAnswersAreKeptToo) {
  server_.start();
  const json answer = ask({{"model", "tiny-model"}, {"conversation", "new"}});
  EXPECT_EQ(items(answer["conversation"]["id"])[1]["content"][0]["text"], "Hello, world");
  const Answer two =
      server_.post("/v1/chat/completions", {{"model", "tiny-model"},
                                            {"n", 2},
                                            {"conversation", "new"},
                                            {"messages", {{{"role", "user"}, {"content", "x"}}}}});
  EXPECT_EQ(two.error()["param"], "n");
}

TEST_F(ConversationsApi, AResponseGoesOnWithTheItemsBefore) {
  server_.start();
  const std::string id = server_.post("/v1/conversations", json::object()).json()["id"];
  const json first =
      server_.post("/v1/responses", {{"model", "tiny-model"}, {"input", "one"}, {"conversation", id}}).json();
  EXPECT_EQ(first["conversation"]["id"], id);
  server_.post("/v1/responses", {{"model", "tiny-model"}, {"input", "two"}, {"conversation", {{"id", id}}}});
  const auto& prompt = server_.engine.last_request->prompt;
  EXPECT_EQ(std::string(prompt.begin(), prompt.end()), "oneHello, worldtwo");
  const json kept = items(id);
  ASSERT_EQ(kept.size(), 4u);
  EXPECT_EQ(kept[1]["id"], first["output"][0]["id"]);
  // What a client sends again is kept again, under an id of its own.
  json again = kept[0];
  server_.post("/v1/responses",
               {{"model", "tiny-model"}, {"input", json::array({again})}, {"conversation", id}});
  std::set<std::string> ids;
  for (const json& item : items(id)) ids.insert(item["id"]);
  EXPECT_EQ(ids.size(), 6u);
  const Answer both = server_.post(
      "/v1/responses",
      {{"model", "tiny-model"}, {"input", "x"}, {"conversation", id}, {"previous_response_id", first["id"]}});
  EXPECT_EQ(both.status, 400);
  EXPECT_EQ(both.error()["code"], "mutually_exclusive_parameters");
}

TEST_F(ConversationsApi, AResponseFromTheFeedKeepsWhatItRestsOn) {
  server_.start();
  const std::string id = server_.post("/v1/conversations", json::object()).json()["id"];
  server_.post("/v1/responses", {{"model", "fathom"}, {"input", "hello?"}, {"conversation", id}});
  const json kept = items(id);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_NE(kept[1]["content"][0]["text"].get<std::string>().find("[[1]](https://example.org/p1)"),
            std::string::npos);
  EXPECT_EQ(kept[1]["fathom"]["citations"].size(), 2u);
  EXPECT_EQ(kept[1]["fathom"]["text"].get<std::string>().find("](http"), std::string::npos);
}

TEST_F(ConversationsApi, OneThatIsNotThereIsToldBeforeTheAnswer) {
  server_.start();
  for (const char* path : {"/v1/chat/completions", "/v1/responses"}) {
    const Answer answer = server_.post(path, {{"model", "fathom"},
                                              {"input", "x"},
                                              {"messages", {{{"role", "user"}, {"content", "x"}}}},
                                              {"conversation", "conv_00000000000000000000000000000000"}});
    EXPECT_EQ(answer.status, 404) << answer.body;
    EXPECT_EQ(answer.error()["code"], "conversation_not_found");
  }
  for (const json& wrong : {json(1), json(""), json(std::string(200, 'x')), json::object(), json::array()})
    EXPECT_EQ(server_
                  .post("/v1/chat/completions", {{"model", "fathom"},
                                                 {"messages", {{{"role", "user"}, {"content", "x"}}}},
                                                 {"conversation", wrong}})
                  .status,
              400)
        << wrong;
}

TEST_F(ConversationsApi, ListsSearchesAndDeletesAll) {
  server_.start();
  std::vector<std::string> ids;
  for (const char* text : {"ferries in the storm", "power cuts", "storm warnings"}) {
    clock_.set(clock_.now() + std::chrono::minutes(1));
    ids.push_back(
        server_.post("/v1/conversations", {{"items", {{{"role", "user"}, {"content", text}}}}}).json()["id"]);
  }
  const json page = server_.get("/v1/conversations?limit=2").json();
  EXPECT_EQ(page["object"], "list");
  EXPECT_EQ(page["has_more"], true);
  EXPECT_EQ(page["first_id"], ids[2]);
  EXPECT_EQ(page["last_id"], ids[1]);
  const json rest = server_.get("/v1/conversations?limit=2&after=" + ids[1]).json();
  EXPECT_EQ(rest["data"].size(), 1u);
  EXPECT_EQ(rest["has_more"], false);
  const json found = server_.get("/v1/conversations?q=storms").json();
  ASSERT_EQ(found["data"].size(), 2u);
  EXPECT_EQ(found["data"][0]["id"], ids[2]);
  EXPECT_EQ(found["data"][1]["snippet"], "ferries in the storm");
  EXPECT_EQ(server_.remove("/v1/conversations").json()["deleted"], 3);
  EXPECT_TRUE(server_.get("/v1/conversations").json()["data"].empty());
}

TEST_F(ConversationsApi, ExportsADocumentWithSources) {
  server_.start();
  const std::string id = ask({{"conversation", "new"}})["conversation"]["id"];
  const Answer markdown = server_.get("/v1/conversations/" + id + "/export");
  EXPECT_EQ(markdown.header("content-type"), "text/markdown; charset=utf-8");
  EXPECT_EQ(markdown.header("content-disposition"), "attachment; filename=\"" + id + ".md\"");
  EXPECT_NE(markdown.body.find("# hello?"), std::string::npos) << markdown.body;
  EXPECT_NE(markdown.body.find("[\\[1\\]](<https://example.org/p1>)"), std::string::npos) << markdown.body;
  EXPECT_NE(markdown.body.find("1. [@ada](<https://example.org/p1>), 2026-11-23T07:00:00Z: "),
            std::string::npos);
  EXPECT_NE(markdown.body.find("2. @ada, "), std::string::npos);  // has no web address
  const json whole = server_.get("/v1/conversations/" + id + "/export?format=json").json();
  EXPECT_EQ(whole["conversation"]["id"], id);
  EXPECT_EQ(whole["items"].size(), 2u);
}

TEST(ConversationExport, NothingOfWhatWasWrittenBecomesALinkOrMarkup) {
  const json item = {
      {"type", "message"},
      {"role", "assistant"},
      {"content", {{{"text", "![x](http://evil.example/p.png) <img src=x> [2] [1]\n## Heading"}}}},
      {"fathom",
       {{"citations",
         {{{"number", 1},
           {"url", "https://a.example/(b) c>d"},
           {"author", {{"handle", "a](http://evil.example)"}}},
           {"created_at", "2026-11-23T07:00:00Z"},
           {"passage", "said\n# so"}},
          {{"number", 3}, {"url", "javascript:alert(1)"}, {"text", "t"}}}}}}};
  const std::string out = to_markdown({{"title", "a\nb <i>"}}, std::vector<json>{item});
  EXPECT_EQ(
      out,
      "# a b \\<i\\>\n\n"
      "\\!\\[x\\](http://evil.example/p.png) \\<img src=x\\> \\[2\\] "
      "[\\[1\\]](<https://a.example/(b)%20c%3Ed>)\n"
      "## Heading\n\nSources:\n\n"
      "1. [@a\\](http://evil.example)](<https://a.example/(b)%20c%3Ed>), 2026-11-23T07:00:00Z: said # so\n"
      "3. , : t\n\n");
}

TEST_F(ConversationsApi, KeysHaveTheirOwn) {
  const std::string ada = make_key(), bob = make_key();
  server_.options.key_file = folder_.path() / "keys.toml";
  ApiKey a, b;
  a.name = "ada";
  a.sha256 = key_digest(ada);
  a.role = Role::kReader;
  b.name = "bob";
  b.sha256 = key_digest(bob);
  write_keys(server_.options.key_file, {a, b});
  server_.start();
  const auto as = [](const std::string& key) { return HeaderList{{"Authorization", "Bearer " + key}}; };
  const std::string id = server_.post("/v1/conversations", json::object(), as(ada)).json()["id"];
  EXPECT_EQ(server_.get("/v1/conversations/" + id, as(ada)).status, 200);
  EXPECT_EQ(server_.get("/v1/conversations/" + id, as(bob)).status, 404);
  EXPECT_EQ(server_.remove("/v1/conversations/" + id, as(bob)).status, 404);
  EXPECT_EQ(server_.remove("/v1/conversations", as(bob)).json()["deleted"], 0);
  EXPECT_EQ(server_.get("/v1/conversations/" + id, as(ada)).status, 200);
}

TEST(ConversationsApiWithoutStore, SaysWhyNoneAreKept) {
  TestServer server;
  server.conversations_problem = "the stored conversations are damaged";
  server.start();
  EXPECT_EQ(server.get("/v1/conversations").status, 404);
  EXPECT_EQ(server.get("/v1/status").json()["conversations"],
            json({{"kept", false}, {"problem", "the stored conversations are damaged"}}));
  const Answer answer = server.post(
      "/v1/chat/completions",
      {{"model", "fathom"}, {"conversation", "new"}, {"messages", {{{"role", "user"}, {"content", "x"}}}}});
  EXPECT_EQ(answer.error()["code"], "no_conversations");
}

}  // namespace
}  // namespace fathom::server
