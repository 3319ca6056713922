// Chat completions by the language model alone: choices, log probabilities, formats, tools, thoughts.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "infer/reasoning_split.h"
#include "server/fakes.h"

namespace fathom::server {
namespace {

using nlohmann::json;

json ask_model(const json& extra = json::object()) {
  json body = user_says("hello", "tiny-model");
  body.update(extra);
  return body;
}

const json kTool = {
    {"type", "function"},
    {"function",
     {{"name", "weather"},
      {"parameters",
       {{"type", "object"}, {"properties", {{"city", {{"type", "string"}}}}}, {"required", {"city"}}}}}}};

const std::string kCall =
    "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call>";

TEST(ModelChat, SeveralChoicesShareOnePromptAndHaveSeedsOfTheirOwn) {
  TestServer server;
  server.start();
  const json answer = server.chat(ask_model({{"n", 3}, {"seed", 5}})).json();
  ASSERT_EQ(answer["choices"].size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(answer["choices"][i]["index"], i);
    EXPECT_EQ(answer["choices"][i]["message"]["content"], "Hello, world");
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 5);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 9);
  EXPECT_EQ(answer["system_fingerprint"], "fathom_1.2.3");
  std::set<uint64_t> seeds;
  for (const auto& request : server.engine.requests) seeds.insert(request.sampling.seed);
  EXPECT_EQ(seeds.size(), 3u);
  EXPECT_TRUE(seeds.contains(5));
}

TEST(ModelChat, StreamedChoicesAreWholeEach) {
  TestServer server;
  server.start();
  const auto events = event_data(server.chat(ask_model({{"n", 2}, {"stream", true}})));
  std::map<int, std::string> texts;
  std::map<int, int> ends, roles;
  for (const auto& event : events) {
    for (const auto& choice : event["choices"]) {
      texts[choice["index"]] += choice["delta"].value("content", "");
      roles[choice["index"]] += choice["delta"].contains("role");
      ends[choice["index"]] += !choice["finish_reason"].is_null();
    }
  }
  EXPECT_EQ(texts, (std::map<int, std::string>{{0, "Hello, world"}, {1, "Hello, world"}}));
  EXPECT_EQ(ends, (std::map<int, int>{{0, 1}, {1, 1}}));
  EXPECT_EQ(roles, ends);
}

TEST(ModelChat, LogProbabilitiesComeWithTheirTokens) {
  TestServer server;
  server.engine.script = says("ab");
  server.start();
  const json body = ask_model({{"logprobs", true}, {"top_logprobs", 2}});
  const json choice = server.chat(body).json()["choices"][0];
  ASSERT_EQ(choice["logprobs"]["content"].size(), 2u);
  const json first = choice["logprobs"]["content"][0];
  EXPECT_EQ(first["token"], "a");
  EXPECT_FLOAT_EQ(first["logprob"], -0.5f);
  EXPECT_EQ(first["bytes"], json::array({97}));
  EXPECT_EQ(first["top_logprobs"][1]["token"], "z");
  EXPECT_EQ(server.engine.last_request->logprobs, 2);
  json streamed = body;
  streamed["stream"] = true;
  size_t tokens = 0;
  for (const auto& event : event_data(server.chat(streamed))) {
    const json& logprobs = event["choices"][0]["logprobs"];
    if (!logprobs.is_null()) tokens += logprobs["content"].size();
  }
  EXPECT_EQ(tokens, 2u);
  EXPECT_TRUE(server.chat(ask_model()).json()["choices"][0]["logprobs"].is_null());
}

TEST(ModelChat, SamplingReachesTheEngine) {
  TestServer server;
  server.start();
  server.chat(ask_model({{"logit_bias", {{"65", -100}}},
                         {"frequency_penalty", 0.5},
                         {"presence_penalty", -0.5},
                         {"min_p", 0.1},
                         {"top_k", 7},
                         {"stop", {"x", "y"}}}));
  const auto& request = *server.engine.last_request;
  EXPECT_EQ(request.sampling.logit_bias, (std::vector<std::pair<int32_t, float>>{{65, -100.0f}}));
  EXPECT_FLOAT_EQ(request.sampling.frequency_penalty, 0.5f);
  EXPECT_FLOAT_EQ(request.sampling.presence_penalty, -0.5f);
  EXPECT_FLOAT_EQ(request.sampling.min_p, 0.1f);
  EXPECT_EQ(request.sampling.top_k, 7);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(request.deadline.has_value());
  const Answer refused = server.chat(ask_model({{"logit_bias", {{"256", 1}}}}));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.error()["param"], "logit_bias");
}

TEST(ModelChat, FormatsBecomeGrammars) {
  TestServer server;
  server.start();
  EXPECT_EQ(server.chat(ask_model({{"response_format", {{"type", "json_object"}}}})).status, 200);
  EXPECT_TRUE(server.engine.last_request->grammar != nullptr);
  const auto with_schema = [&](const json& schema) {
    return server.chat(
        ask_model({{"response_format",
                    {{"type", "json_schema"}, {"json_schema", {{"name", "n"}, {"schema", schema}}}}}}));
  };
  EXPECT_EQ(with_schema({{"type", "object"}}).status, 200);
  const Answer bad = with_schema({{"type", "no such type"}});
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.error()["code"], "invalid_schema");
  EXPECT_EQ(bad.error()["param"], "response_format.json_schema.schema");
  server.chat(ask_model());
  EXPECT_TRUE(server.engine.last_request->grammar == nullptr);
}

TEST(ModelChat, AToolCallIsAnAnswerOfItsOwn) {
  TestServer server;
  server.engine.set_context(4000);
  server.engine.script = says(kCall, 3);
  server.start();
  const json body = ask_model({{"tools", {kTool}}, {"tool_choice", "required"}});
  const json choice = server.chat(body).json()["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(choice["message"]["content"].is_null());
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u) << choice;
  const json call = choice["message"]["tool_calls"][0];
  EXPECT_EQ(call["type"], "function");
  EXPECT_EQ(call["function"]["name"], "weather");
  EXPECT_EQ(json::parse(call["function"]["arguments"].get<std::string>()), json({{"city", "Bern"}}));
  EXPECT_EQ(call["id"].get<std::string>().substr(0, 5), "call_");
  EXPECT_TRUE(server.engine.last_request->grammar != nullptr);
}

TEST(ModelChat, AMarkerThatWasCutOffIsNoText) {
  TestServer server;
  server.engine.set_context(4000);
  server.engine.script = [](const infer::GenerateRequest& request, const infer::TextSink& sink,
                            const std::stop_token& stop) {
    auto result = says(kCall + "\n<tool_c")(request, sink, stop);
    result.finish = infer::FinishReason::kLength;
    return result;
  };
  server.start();
  const json choice = server.chat(ask_model({{"tools", {kTool}}})).json()["choices"][0];
  EXPECT_TRUE(choice["message"]["content"].is_null()) << choice;
  EXPECT_EQ(choice["message"]["tool_calls"].size(), 1u);
}

TEST(ModelChat, AStreamedToolCallHasAllThatClientsWant) {
  TestServer server;
  server.engine.set_context(4000);
  server.engine.script = says(kCall, 3);
  server.start();
  json body = ask_model({{"tools", {kTool}}, {"stream", true}});
  std::string arguments, id, name, finish, content;
  for (const auto& event : event_data(server.chat(body))) {
    const json& choice = event["choices"][0];
    if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
    content += choice["delta"].value("content", "");
    if (!choice["delta"].contains("tool_calls")) continue;
    const json& call = choice["delta"]["tool_calls"][0];
    EXPECT_EQ(call["index"], 0);
    EXPECT_TRUE(id.empty()) << "xAI's clients want a call in one piece";
    id = call["id"];
    name = call["function"]["name"];
    EXPECT_EQ(call["type"], "function");
    arguments += call["function"]["arguments"];
  }
  EXPECT_EQ(json::parse(arguments), json({{"city", "Bern"}}));
  EXPECT_FALSE(id.empty());
  EXPECT_EQ(name, "weather");
  EXPECT_EQ(finish, "tool_calls");
  EXPECT_EQ(content, "");
}

TEST(ModelChat, ACallThatWasCutOffIsNotThereToBeMade) {
  TestServer server;
  server.engine.set_context(4000);
  server.engine.script = [](const infer::GenerateRequest& request, const infer::TextSink& sink,
                            const std::stop_token& stop) {
    auto result = says(kCall.substr(0, kCall.find("Bern")))(request, sink, stop);
    result.finish = infer::FinishReason::kLength;
    return result;
  };
  server.start();
  const json choice = server.chat(ask_model({{"tools", {kTool}}})).json()["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "length");
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u) << choice;
  const json call = choice["message"]["tool_calls"][0]["function"];
  EXPECT_EQ(call["arguments"], "{\"city\": \"");
  std::string finish, arguments;
  for (const auto& event : event_data(server.chat(ask_model({{"tools", {kTool}}, {"stream", true}})))) {
    const json& streamed = event["choices"][0];
    if (!streamed["finish_reason"].is_null()) finish = streamed["finish_reason"];
    if (streamed["delta"].contains("tool_calls"))
      arguments += streamed["delta"]["tool_calls"][0]["function"]["arguments"];
  }
  EXPECT_EQ(finish, "length");
  EXPECT_EQ(arguments, call["arguments"]);
}

TEST(ModelChat, EarlierCallsMayHaveAnyArguments) {
  TestServer server;
  server.start();
  const std::string deep = "{\"a\":" + std::string(500'000, '[') + std::string(500'000, ']') + "}";
  for (const std::string& arguments : {deep, std::string("no JSON"), std::string("[1]")}) {
    json body = ask_model();
    body["messages"].push_back(
        {{"role", "assistant"},
         {"tool_calls",
          {{{"id", "c1"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", arguments}}}}}}});
    EXPECT_EQ(server.chat(body).status, arguments == deep ? 400 : 200);
  }
  EXPECT_EQ(server.chat(ask_model()).status, 200);
}

TEST(ModelChat, TextBesideToolsStaysText) {
  TestServer server;
  server.engine.set_context(4000);
  server.engine.script = says("It is sunny.");
  server.start();
  const json choice = server.chat(ask_model({{"tools", {kTool}}})).json()["choices"][0];
  EXPECT_EQ(choice["message"]["content"], "It is sunny.");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_FALSE(choice["message"].contains("tool_calls"));
}

TEST(ModelChat, ResultsOfToolsReachTheTemplate) {
  TestServer server;
  server.start();
  json body = ask_model({{"tools", {kTool}}});
  body["messages"].push_back(
      {{"role", "assistant"},
       {"content", nullptr},
       {"tool_calls",
        {{{"id", "c1"},
          {"type", "function"},
          {"function", {{"name", "weather"}, {"arguments", "{\"city\":\"Bern\"}"}}}}}}});
  body["messages"].push_back({{"role", "tool"}, {"tool_call_id", "c1"}, {"content", "rain all day"}});
  server.engine.script = says("It rains.");
  const Answer answer = server.chat(body);
  ASSERT_EQ(answer.status, 400);  // 200 bytes of context are too few for the description of the tools
  EXPECT_EQ(answer.error()["code"], "context_length_exceeded");
  EXPECT_NE(server.engine.last_messages.dump().find("rain all day"), std::string::npos);
  EXPECT_NE(server.engine.last_messages.dump().find("Bern"), std::string::npos);
}

TEST(ModelChat, ToolsAndAFormatThatMayClashAreRefused) {
  TestServer server;
  server.engine.set_context(4000);
  server.start();
  const Answer answer =
      server.chat(ask_model({{"tools", {kTool}}, {"response_format", {{"type", "json_object"}}}}));
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.error()["param"], "response_format");
}

TEST(ModelChat, ThoughtsAreToldApart) {
  TestServer server;
  server.engine.script = says("<think>\nhm, so\n</think>\n\nFour.", 3);
  server.start();
  const json answer = server.chat(ask_model()).json();
  EXPECT_EQ(answer["choices"][0]["message"]["reasoning_content"], "\nhm, so\n");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "Four.");
  EXPECT_EQ(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 8);
  std::string thoughts, text;
  for (const auto& event : event_data(server.chat(ask_model({{"stream", true}})))) {
    thoughts += event["choices"][0]["delta"].value("reasoning_content", "");
    text += event["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(thoughts, "\nhm, so\n");
  EXPECT_EQ(text, "Four.");
}

TEST(ModelChat, AFullEngineTellsTheClientToComeAgain) {
  TestServer server;
  server.options.limits.generations_at_once = 2;
  Gate started, release;
  server.engine.script = [&](const infer::GenerateRequest&, const infer::TextSink& sink,
                             const std::stop_token& stop) {
    started.open();
    release.wait(stop);
    sink("done");
    return infer::GenerateResult{};
  };
  const uint16_t port = server.start();
  Client first(port);
  first.send(request_text("POST", "/v1/chat/completions", {{"Content-Type", "application/json"}},
                          ask_model().dump()));
  ASSERT_TRUE(started.wait());
  for (const bool stream : {false, true}) {
    const Answer refused = server.chat(ask_model({{"n", 2}, {"stream", stream}}));
    EXPECT_EQ(refused.status, 429);
    EXPECT_EQ(refused.error()["type"], "rate_limit_error");
    EXPECT_FALSE(refused.header("retry-after").empty());
  }
  release.open();
  EXPECT_EQ(first.read().status, 200);
  int status = 429;  // the slots are given back, a moment after the answer was sent
  for (int tries = 0; tries < 1000 && status == 429; ++tries) {
    status = server.chat(ask_model({{"n", 2}})).status;
    std::this_thread::yield();
  }
  EXPECT_EQ(status, 200);
}

TEST(ModelChat, TheEnginesOwnRefusalIs429AndADeadline504) {
  TestServer server;
  ErrorCode code = ErrorCode::kResourceExhausted;
  server.engine.script = [&](const infer::GenerateRequest&, const infer::TextSink&,
                             const std::stop_token&) -> infer::GenerateResult { throw Error(code, "no"); };
  server.start();
  EXPECT_EQ(server.chat(ask_model()).status, 429);
  EXPECT_EQ(server.chat(ask_model({{"n", 4}})).status, 429);
  const auto events = event_data(server.chat(ask_model({{"stream", true}})));
  EXPECT_EQ(events.back()["error"]["code"], "rate_limit_exceeded");
  code = ErrorCode::kDeadlineExceeded;
  EXPECT_EQ(server.chat(ask_model()).status, 504);
}

TEST(ModelChat, TheStateOfTheEngineShows) {
  TestServer server;
  server.with_embedder = true;
  server.engine.engine_status = {2, 3, 100, 40, 1000, 600, 500, 50};
  server.start();
  const json status = get(server.port(), "/v1/status").json();
  EXPECT_EQ(status["engine"]["running"], 2);
  EXPECT_EQ(status["engine"]["waiting"], 3);
  EXPECT_EQ(status["engine"]["guessed_tokens"], 50);
  EXPECT_EQ(status["embedding_model"]["name"], "tiny-embedder");
  server.chat(ask_model());
  const std::string metrics = get(server.port(), "/metrics").body;
  for (const char* line : {"fathom_generations{state=\"waiting\"} 3", "fathom_cache_pages{state=\"free\"} 60",
                           "fathom_engine_tokens_total{kind=\"cached\"} 600",
                           "fathom_first_text_seconds_count 1", "fathom_next_text_seconds_count 2"})
    EXPECT_NE(metrics.find(line), std::string::npos) << line;
}

using infer::ReasoningSplit;

std::string split(ReasoningSplit::Start start, const std::string& text, size_t step) {
  ReasoningSplit reader(start);
  std::string reasoning, content;
  const auto take = [&](const ReasoningSplit::Parts& parts) {
    reasoning += parts.reasoning;
    content += parts.content;
  };
  for (size_t at = 0; at < text.size(); at += step) take(reader.push(text.substr(at, step)));
  take(reader.finish());
  return reasoning + "|" + content;
}

TEST(ReasoningSplit, PiecesOfAnySizeGiveTheSame) {
  using Start = ReasoningSplit::Start;
  const std::vector<std::tuple<Start, std::string, std::string>> cases = {
      {Start::kUnknown, "plain", "|plain"},
      {Start::kUnknown, "", "|"},
      {Start::kUnknown, "  <think>a</think> b", "a|b"},
      {Start::kUnknown, " <thin", "| <thin"},
      {Start::kUnknown, "<think>never ends </thi", "never ends </thi|"},
      {Start::kUnknown, "x <think>a</think>", "|x <think>a</think>"},
      {Start::kThinking, "a < b </think>\n\nc", "a < b |c"},
      {Start::kThinking, "a</think>", "a|"},
      {Start::kAnswer, "<think>{}", "|<think>{}"}};
  for (const auto& [start, text, expected] : cases) {
    for (size_t step = 1; step <= text.size() + 1; ++step)
      EXPECT_EQ(split(start, text, step), expected) << step;
  }
}

}  // namespace
}  // namespace fathom::server
