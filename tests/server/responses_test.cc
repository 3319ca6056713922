// /v1/responses over the wire: items, events in order, tools, the store.
#include <gtest/gtest.h>

#include "server/fakes.h"
#include "server/inline_links.h"
#include "server/response_store.h"

namespace fathom::server {
namespace {

using nlohmann::json;

json ask_model(const json& extra = json::object()) {
  json body = {{"model", "tiny-model"}, {"input", "hello"}};
  body.update(extra);
  return body;
}

json respond(const TestServer& server, const json& extra = json::object()) {
  const Answer answer = server.post("/v1/responses", ask_model(extra));
  EXPECT_EQ(answer.status, 200) << answer.body;
  return answer.json();
}

std::vector<std::string> types(const std::vector<json>& events) {
  std::vector<std::string> out;
  for (const auto& event : events) {
    if (out.empty() || out.back() != event["type"]) out.push_back(event["type"]);
  }
  return out;
}

TEST(Responses, AWholeOneHasEveryMember) {
  TestServer server;
  server.start();
  const json body =
      respond(server, {{"metadata", {{"a", "b"}}}, {"instructions", "Be brief."}, {"temperature", 0.5}});
  EXPECT_EQ(body["object"], "response");
  EXPECT_EQ(body["status"], "completed");
  EXPECT_EQ(body["id"].get<std::string>().substr(0, 5), "resp_");
  EXPECT_EQ(body["metadata"]["a"], "b");
  EXPECT_EQ(body["instructions"], "Be brief.");
  EXPECT_EQ(body["temperature"], 0.5);
  EXPECT_TRUE(body["error"].is_null());
  ASSERT_EQ(body["output"].size(), 1u);
  EXPECT_EQ(body["output"][0]["type"], "message");
  EXPECT_EQ(body["output"][0]["status"], "completed");
  EXPECT_EQ(body["output"][0]["content"][0]["type"], "output_text");
  EXPECT_EQ(body["output"][0]["content"][0]["text"], "Hello, world");
  EXPECT_EQ(body["usage"], json({{"input_tokens", 14},
                                 {"input_tokens_details", {{"cached_tokens", 0}}},
                                 {"output_tokens", 3},
                                 {"output_tokens_details", {{"reasoning_tokens", 0}}},
                                 {"total_tokens", 17}}));
}

TEST(Responses, EventsComeInTheOrderThatClientsTake) {
  TestServer server;
  server.start();
  const Answer answer = server.post("/v1/responses", ask_model({{"stream", true}}));
  const auto events = event_data(answer);
  EXPECT_EQ(types(events),
            (std::vector<std::string>{
                "response.created", "response.in_progress", "response.output_item.added",
                "response.content_part.added", "response.output_text.delta", "response.output_text.done",
                "response.content_part.done", "response.output_item.done", "response.completed"}));
  std::string text;
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i]["sequence_number"], i);
    text += events[i].value("delta", "");
  }
  EXPECT_EQ(text, "Hello, world");
  EXPECT_EQ(events.back()["response"]["output"][0]["content"][0]["text"], text);
  for (const auto& event : parse_events(answer.body))
    EXPECT_EQ(event.at("event"), json::parse(event.at("data"))["type"].get<std::string>());
}

TEST(Responses, ThoughtsAndCallsAreItems) {
  TestServer server;
  server.engine.set_context(4000);
  server.engine.script =
      says("<think>hm</think>ok\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>", 3);
  server.start();
  const json tools = {{{"type", "function"},
                       {"name", "f"},
                       {"parameters", {{"type", "object"}, {"properties", {{"a", {{"type", "integer"}}}}}}}}};
  const auto events =
      event_data(server.post("/v1/responses", ask_model({{"tools", tools}, {"stream", true}})));
  const json output = events.back()["response"]["output"];
  ASSERT_EQ(output.size(), 3u) << output;
  EXPECT_EQ(output[0]["type"], "reasoning");
  EXPECT_EQ(output[0]["content"][0]["text"], "hm");
  EXPECT_EQ(output[1]["content"][0]["text"], "ok");
  EXPECT_EQ(output[2]["type"], "function_call");
  EXPECT_EQ(json::parse(output[2]["arguments"].get<std::string>()), json({{"a", 1}}));
  std::string arguments;
  for (const auto& event : events) {
    if (event["type"] == "response.function_call_arguments.delta") arguments += event["delta"];
    if (event.contains("item_id")) {
      EXPECT_EQ(event["item_id"], output[event["output_index"].get<size_t>()]["id"]);
    }
  }
  EXPECT_EQ(arguments, output[2]["arguments"]);
}

TEST(Responses, AConversationDoesNotGrowForever) {
  TestServer server;
  server.options.limits.chat_body_bytes = 2000;
  server.start();
  std::string previous = respond(server)["id"];
  Answer answer;
  for (int turn = 0; turn < 10; ++turn) {
    answer = server.post("/v1/responses", ask_model({{"previous_response_id", previous}}));
    if (answer.status != 200) break;
    previous = answer.json()["id"];
  }
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.error()["code"], "context_length_exceeded");
  EXPECT_EQ(answer.error()["param"], "previous_response_id");
}

TEST(Responses, WhatIsCutOffIsIncomplete) {
  TestServer server;
  server.engine.script = [](const infer::GenerateRequest&, const infer::TextSink& sink,
                            const std::stop_token&) {
    infer::GenerateResult result;
    sink("cut");
    result.finish = infer::FinishReason::kLength;
    return result;
  };
  server.start();
  const json body = respond(server, {{"max_output_tokens", 1}});
  EXPECT_EQ(body["status"], "incomplete");
  EXPECT_EQ(body["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(body["output"][0]["status"], "incomplete");
  EXPECT_EQ(event_data(server.post("/v1/responses", ask_model({{"stream", true}}))).back()["type"],
            "response.incomplete");
}

TEST(Responses, ADefectInMidStreamIsAFailedResponse) {
  TestServer server;
  server.engine.script = [](const infer::GenerateRequest&, const infer::TextSink& sink,
                            const std::stop_token&) -> infer::GenerateResult {
    sink("so far");
    throw std::runtime_error("secret detail");
  };
  server.start();
  const Answer streamed = server.post("/v1/responses", ask_model({{"stream", true}}));
  const json last = event_data(streamed).back();
  EXPECT_EQ(last["type"], "response.failed");
  EXPECT_EQ(last["response"]["status"], "failed");
  EXPECT_EQ(last["response"]["error"]["code"], "internal_error");
  EXPECT_EQ(streamed.body.find("secret"), std::string::npos);
  EXPECT_EQ(server.post("/v1/responses", ask_model()).status, 500);
}

TEST(Responses, AConversationGoesOn) {
  TestServer server;
  server.start();
  const std::string first = respond(server)["id"];
  respond(server, {{"previous_response_id", first}, {"input", "more"}});
  EXPECT_EQ(server.engine.detokenize(server.engine.last_request->prompt), "helloHello, worldmore");
  const uint16_t port = server.port();
  EXPECT_EQ(get(port, "/v1/responses/" + first).json()["output"][0]["content"][0]["text"], "Hello, world");
  const json items = get(port, "/v1/responses/" + first + "/input_items").json();
  EXPECT_EQ(items["data"][0]["content"][0]["text"], "hello");
  EXPECT_EQ(ask(port, "DELETE", "/v1/responses/" + first).json()["deleted"], true);
  EXPECT_EQ(ask(port, "DELETE", "/v1/responses/" + first).status, 404);
  EXPECT_EQ(get(port, "/v1/responses/" + first).status, 404);
  EXPECT_EQ(server.post("/v1/responses", ask_model({{"previous_response_id", first}})).error()["param"],
            "previous_response_id");
  const std::string unkept = respond(server, {{"store", false}})["id"];
  EXPECT_EQ(get(port, "/v1/responses/" + unkept).status, 404);
}

TEST(Responses, ItemsOfAllKindsReachTheModel) {
  TestServer server;
  server.start();
  const json input = {{{"role", "developer"}, {"content", "D"}},
                      {{"role", "user"}, {"content", {{{"type", "input_text"}, {"text", "U"}}}}},
                      {{"type", "reasoning"}, {"id", "rs_1"}, {"summary", json::array()}},
                      {{"type", "function_call"}, {"call_id", "c"}, {"name", "f"}, {"arguments", "{}"}},
                      {{"type", "function_call_output"}, {"call_id", "c"}, {"output", "result"}}};
  respond(server, {{"input", input}});
  const std::string seen = server.engine.last_messages.dump();
  for (const char* part : {"D", "U", "result"}) EXPECT_NE(seen.find(part), std::string::npos) << part;
}

TEST(Responses, SearchToolsAskTheFeed) {
  TestServer server;
  server.start();
  const json tools = {{{"type", "x_search"}, {"allowed_x_handles", {"ada"}}, {"from_date", "2026-01-01"}}};
  const json body = respond(server, {{"tools", tools}, {"tool_choice", "required"}});
  const auto asked = server.assistant.last_request();
  EXPECT_EQ(asked.search.mode, answer::SearchMode::kOn);
  EXPECT_EQ(asked.search.handles, std::vector<std::string>{"ada"});
  EXPECT_TRUE(asked.search.from.has_value());
  ASSERT_EQ(body["output"].size(), 2u);
  EXPECT_EQ(body["output"][0]["type"], "x_search_call");
  EXPECT_EQ(json::parse(body["output"][0]["arguments"].get<std::string>())["query"], "hello");
  const json part = body["output"][1]["content"][0];
  EXPECT_EQ(part["text"],
            "Gr\xC3\xBC\xC3\x9F"
            "e [[1]](https://example.org/p1). Done [2].");
  ASSERT_EQ(part["annotations"].size(), 1u);
  EXPECT_EQ(part["annotations"][0]["type"], "url_citation");
  EXPECT_EQ(part["annotations"][0]["url"], "https://example.org/p1");
  EXPECT_EQ(part["annotations"][0]["start_index"], 6);
  EXPECT_EQ(part["annotations"][0]["end_index"], 35);
  EXPECT_EQ(body["usage"]["num_sources_used"], 2);
  EXPECT_EQ(body["usage"]["num_server_side_tools_used"], 1);
  EXPECT_EQ(body["citations"], json::array({"https://example.org/p1"}));
}

TEST(Responses, TheFeedsEventsAndItsLinks) {
  TestServer server;
  server.start();
  const json body = {
      {"model", "fathom"}, {"input", "hello"}, {"stream", true}, {"tools", {{{"type", "web_search"}}}}};
  const auto events = event_data(server.post("/v1/responses", body));
  EXPECT_EQ(types(events),
            (std::vector<std::string>{
                "response.created", "response.in_progress", "response.output_item.added",
                "response.output_item.done", "response.output_item.added", "response.content_part.added",
                "response.output_text.delta", "response.output_text.annotation.added",
                "response.output_text.delta", "response.output_text.done", "response.content_part.done",
                "response.output_item.done", "response.completed"}));
  EXPECT_EQ(events[2]["item"]["type"], "web_search_call");
  json plain = body;
  plain["stream"] = false;
  plain["include"] = {"no_inline_citations"};
  plain.erase("tools");
  const json part = server.post("/v1/responses", plain).json()["output"][0]["content"][0];
  EXPECT_EQ(part["text"],
            "Gr\xC3\xBC\xC3\x9F"
            "e. Done.");
  EXPECT_EQ(part["annotations"][0]["end_index"], 5);
}

TEST(Responses, WhatIsWrongIsNamed) {
  TestServer server;
  server.start();
  const json function = {{"type", "function"}, {"name", "f"}};
  const std::vector<std::tuple<json, int, std::string>> cases = {
      {{{"model", nullptr}}, 400, "model"},
      {{{"model", "none"}}, 404, "model"},
      {{{"input", nullptr}}, 400, "input"},
      {{{"input", 1}}, 400, "input"},
      {{{"input", json::array()}}, 400, "input"},
      {{{"input", {1}}}, 400, "input[0]"},
      {{{"input", {{{"role", "king"}, {"content", "x"}}}}}, 400, "input[0].role"},
      {{{"input", {{{"role", "user"}}}}}, 400, "input[0].content"},
      {{{"input", {{{"role", "user"}, {"content", {{{"type", "input_image"}}}}}}}},
       400,
       "input[0].content[0].type"},
      {{{"input", {{{"type", "function_call"}, {"name", "f"}}}}}, 400, "input[0].call_id"},
      {{{"input", {{{"type", "item_reference"}, {"id", "x"}}}}}, 400, "input[0].type"},
      {{{"instructions", 1}}, 400, "instructions"},
      {{{"previous_response_id", "resp_no"}}, 404, "previous_response_id"},
      {{{"background", true}}, 400, "background"},
      {{{"truncation", "auto"}}, 400, "truncation"},
      {{{"conversation", 1}}, 400, "conversation"},
      {{{"max_output_tokens", 0}}, 400, "max_output_tokens"},
      {{{"store", "yes"}}, 400, "store"},
      {{{"metadata", 1}}, 400, "metadata"},
      {{{"text", 1}}, 400, "text"},
      {{{"text", {{"format", {{"type", "xml"}}}}}}, 400, "text.format.type"},
      {{{"text", {{"format", {{"type", "json_schema"}, {"schema", {{"type", 3}}}}}}}},
       400,
       "text.format.schema"},
      {{{"tools", 1}}, 400, "tools"},
      {{{"tools", {{{"type", "mcp"}}}}}, 400, "tools[0].type"},
      {{{"tools", {{{"type", "function"}}}}}, 400, "tools[0].name"},
      {{{"tools", {function}}, {"tool_choice", {{"type", "function"}, {"name", "g"}}}}, 400, "tool_choice"},
      {{{"tools", {{{"type", "x_search"}, {"from_date", "soon"}}}}}, 422, "tools"},
      {{{"tools", {{{"type", "x_search"}}, function}}}, 400, "tools"},
      {{{"top_logprobs", 21}}, 400, "top_logprobs"},
      {{{"include", "x"}}, 400, "include"},
      {{{"input", std::string(300, 'a')}}, 400, "input"}};
  for (const auto& [extra, status, param] : cases) {
    const Answer answer = server.post("/v1/responses", ask_model(extra));
    EXPECT_EQ(answer.status, status) << extra << answer.body;
    EXPECT_EQ(answer.error()["param"], param) << extra << answer.body;
  }
}

StoredResponse stored(const std::string& body) {
  const auto none = std::make_shared<const nlohmann::ordered_json>(nlohmann::ordered_json::array());
  return {body, none, none};
}

TEST(ResponseStore, TheLeastRecentlyUsedMakeRoom) {
  ResponseStore store(2, 1 << 20);
  store.put("a", stored("A"));
  store.put("b", stored("B"));
  ASSERT_TRUE(store.find("a"));
  store.put("c", stored("C"));
  EXPECT_FALSE(store.find("b"));
  EXPECT_EQ(store.find("a")->body, "A");
  EXPECT_TRUE(store.remove("a"));
  EXPECT_FALSE(store.remove("a"));
  EXPECT_EQ(store.find("c")->body, "C");
}

TEST(ResponseStore, BytesAreBounded) {
  ResponseStore store(100, 4000);
  for (int i = 0; i < 10; ++i) store.put(std::to_string(i), stored(std::string(1000, 'x')));
  int kept = 0;
  for (int i = 0; i < 10; ++i) kept += store.find(std::to_string(i)) != nullptr;
  EXPECT_GE(kept, 1);
  EXPECT_LE(kept, 3);
  store.put("huge", stored(std::string(5000, 'x')));
  EXPECT_FALSE(store.find("huge"));
  EXPECT_TRUE(store.find("9"));
}

TEST(InlineLinks, CannotBeBrokenOutOf) {
  live::Post post = make_post("p", "text");
  post.url = "https://e.org/a) [x](javascript:alert(1)";
  InlineLinks links(true);
  const auto piece = links.push("A [1].", {{1, post, 2, 5, 0, 6, 0, 4}});
  EXPECT_EQ(piece.text, "A [[1]](https://e.org/a%29%20[x]%28javascript:alert%281%29).");
  const auto odd = links.push("B", {{2, post, 90, 95, 0, 6, 0, 4}, {2, post, 3, 2, 0, 6, 0, 4}});
  EXPECT_EQ(odd.text, "B");
}

}  // namespace
}  // namespace fathom::server
