// POST /v1/chat/completions over the wire: answers, streams, errors, clients that leave.
#include <gtest/gtest.h>

#include <set>

#include "server/fakes.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

const std::string kCited =
    "Gr\xC3\xBC\xC3\x9F"
    "e [1]. Done [2].";

/// The JSON of each event; the last must be [DONE].
std::vector<json> chunks(const Answer& answer) {
  std::vector<json> out;
  auto events = parse_events(answer.body);
  EXPECT_FALSE(events.empty());
  if (events.empty()) return out;
  EXPECT_EQ(events.back().at("data"), "[DONE]");
  events.pop_back();
  for (const auto& event : events) {
    if (event.count("data") != 0) out.push_back(json::parse(event.at("data")));
  }
  return out;
}

std::string joined_text(const std::vector<json>& list) {
  std::string out;
  for (const auto& chunk : list) {
    for (const auto& choice : chunk["choices"]) out += choice["delta"].value("content", "");
  }
  return out;
}

json streamed(json body) {
  body["stream"] = true;
  return body;
}

TEST(Chat, AnswersWholeInTheShapeOfOpenAiAndXai) {
  TestServer server;
  server.start();
  const Answer answer = server.chat(user_says("hello"));
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.header("content-type"), "application/json");
  const json body = answer.json();
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "fathom");
  EXPECT_EQ(body["created"],
            std::chrono::duration_cast<std::chrono::seconds>(kNow.time_since_epoch()).count());
  EXPECT_EQ(body["id"].get<std::string>().substr(0, 9), "chatcmpl-");
  const json choice = body["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], kCited);
  EXPECT_EQ(body["citations"], json::array({"https://example.org/p1"}));
  ASSERT_EQ(choice["message"]["annotations"].size(), 1u);  // the second post has no address
  EXPECT_EQ(choice["message"]["annotations"][0], json({{"type", "url_citation"},
                                                       {"url_citation",
                                                        {{"url", "https://example.org/p1"},
                                                         {"title",
                                                          "@ada: Viele Gr\xC3\xBC\xC3\x9F"
                                                          "e an alle"},
                                                         {"start_index", 6},
                                                         {"end_index", 9}}}}));
  EXPECT_EQ(body["usage"]["prompt_tokens"], 11);
  EXPECT_EQ(body["usage"]["completion_tokens"], 7);
  EXPECT_EQ(body["usage"]["total_tokens"], 18);
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 5);
  EXPECT_EQ(body["usage"]["num_sources_used"], 2);
}

TEST(Chat, TheMemberFathomHasWhatThePageShows) {
  TestServer server;
  server.start();
  const json fathom = server.chat(user_says("hello")).json()["fathom"];
  EXPECT_EQ(fathom["as_of"], "2026-11-23T07:00:00Z");
  EXPECT_EQ(fathom["writer"], "extract");
  EXPECT_EQ(fathom["fiction"], true);
  EXPECT_EQ(fathom["found"], true);
  EXPECT_EQ(fathom["steps"],
            json::array({{{"tool", "search_posts"}, {"query", "hello"}, {"found", 3}, {"read", 2}}}));
  ASSERT_EQ(fathom["citations"].size(), 2u);
  const json first = fathom["citations"][0];
  EXPECT_EQ(first["number"], 1);
  EXPECT_EQ(first["key"], "x:p1");
  EXPECT_EQ(first["author"]["handle"], "ada");
  EXPECT_EQ(first["begin"], 6);
  EXPECT_EQ(first["end"], 9);
  EXPECT_EQ(first["claim_begin"], 0);
  EXPECT_EQ(first["claim_end"], 10);
  EXPECT_EQ(first["passage"],
            "Gr\xC3\xBC\xC3\x9F"
            "e");
  EXPECT_EQ(first["passage_begin"], 6);
  EXPECT_EQ(first["passage_end"], 11);
  EXPECT_EQ(fathom["citations"][1]["fiction"], true);
  EXPECT_FALSE(fathom["citations"][1].contains("url"));
  ASSERT_EQ(fathom["read"].size(), 2u);
  EXPECT_EQ(fathom["read"][1]["key"], "world:p2");
}

TEST(Chat, OffsetsOutsideTheTextAreClamped) {
  TestServer server;
  server.assistant.script = [](const answer::Request&, const answer::Events&, const std::stop_token&) {
    answer::Answer odd;
    odd.text = "short";
    odd.citations = {{1, make_post("p", "tiny"), 90, 99, 3, 70, 50, 20}};
    return odd;
  };
  server.start();
  const json citation = server.chat(user_says("hello")).json()["fathom"]["citations"][0];
  EXPECT_EQ(citation["begin"], 5);
  EXPECT_EQ(citation["passage"], "");
}

TEST(Chat, TheRequestReachesTheAssistant) {
  TestServer server;
  server.start();
  json body = user_says("hello", "fathom-extract");
  body["max_tokens"] = 9;
  body["stop"] = "END";
  body["search_parameters"] = {{"mode", "on"}, {"max_search_results", 3}};
  server.chat(body);
  auto asked = server.assistant.last_request();
  EXPECT_EQ(asked.writer, answer::Writer::kExtract);
  EXPECT_EQ(asked.max_tokens, 9u);
  EXPECT_EQ(asked.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(asked.search.mode, answer::SearchMode::kOn);
  EXPECT_EQ(asked.search.max_results, 3u);
  EXPECT_FLOAT_EQ(asked.sampling.temperature, 0);
  ASSERT_EQ(asked.messages.size(), 1u);
  EXPECT_EQ(asked.messages[0].content, "hello");
  server.chat(user_says("hello", "fathom-generate"));
  asked = server.assistant.last_request();
  EXPECT_EQ(asked.writer, answer::Writer::kGenerate);
  EXPECT_EQ(asked.search.mode, answer::SearchMode::kAuto);  // no search_parameters: grounded all the same
  server.chat(user_says("hello"));
  EXPECT_EQ(server.assistant.last_request().writer, answer::Writer::kAuto);
}

TEST(Chat, CitationsStayAwayWhenNotWanted) {
  TestServer server;
  server.start();
  json body = user_says("hello");
  body["search_parameters"] = {{"return_citations", false}};
  for (const bool stream : {false, true}) {
    const Answer answer = server.chat(stream ? streamed(body) : body);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body.find("citations"), std::string::npos) << answer.body;
    EXPECT_EQ(answer.body.find("annotations"), std::string::npos);
    EXPECT_EQ(answer.body.find("example.org"), std::string::npos);
  }
}

TEST(Chat, StreamsInTheOrderThatEveryClientTakes) {
  TestServer server;
  server.start();
  json body = streamed(user_says("hello"));
  body["stream_options"] = {{"include_usage", true}};
  const Answer answer = server.chat(body);
  ASSERT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "text/event-stream");
  EXPECT_EQ(answer.body.find("event:"), std::string::npos);
  const auto list = chunks(answer);
  ASSERT_GE(list.size(), 5u);
  std::set<std::string> ids;
  for (const auto& chunk : list) {
    ids.insert(chunk["id"]);
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
    EXPECT_TRUE(chunk.contains("usage"));
  }
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_EQ(list[0]["choices"][0]["delta"], json({{"role", "assistant"}, {"content", ""}}));
  EXPECT_EQ(joined_text(list), kCited);
  const json usage = list.back(), last = list[list.size() - 2];
  EXPECT_EQ(usage["choices"], json::array());
  EXPECT_EQ(usage["usage"]["num_sources_used"], 2);
  EXPECT_EQ(last["choices"][0]["delta"], json::object());
  EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(last["usage"].is_null());
  EXPECT_EQ(last["citations"], json::array({"https://example.org/p1"}));
  EXPECT_EQ(last["fathom"]["citations"].size(), 2u);
  EXPECT_EQ(last["fathom"]["writer"], "extract");
  for (size_t i = 0; i + 2 < list.size(); ++i) {
    EXPECT_TRUE(list[i]["choices"][0]["finish_reason"].is_null());
    EXPECT_FALSE(list[i].contains("citations"));
  }
}

TEST(Chat, StepsPostsAndCitationsRideAlong) {
  TestServer server;
  server.start();
  const auto list = chunks(server.chat(streamed(user_says("hello"))));
  std::vector<json> extras;
  for (const auto& chunk : list) {
    EXPECT_FALSE(chunk.contains("usage"));
    if (chunk.contains("fathom")) extras.push_back(chunk["fathom"]);
  }
  ASSERT_EQ(extras.size(), 5u);  // a step, the posts, two citations, the end
  EXPECT_EQ(extras[0]["step"]["found"], 3);
  EXPECT_EQ(extras[1]["read"].size(), 2u);
  EXPECT_EQ(extras[2]["citations"][0]["begin"], 6);
  EXPECT_EQ(extras[3]["citations"][0]["begin"], 16);
  EXPECT_EQ(extras[4]["steps"].size(), 1u);
}

TEST(Chat, TextThatWasNotStreamedComesAtTheEnd) {
  TestServer server;
  server.assistant.script = [](const answer::Request&, const answer::Events& events, const std::stop_token&) {
    answer::Answer answer;
    events.on_text("one ", {});
    answer.text = "one two";
    answer.finish = infer::FinishReason::kLength;
    return answer;
  };
  server.start();
  const auto list = chunks(server.chat(streamed(user_says("hello"))));
  EXPECT_EQ(joined_text(list), "one two");
  EXPECT_EQ(list.back()["choices"][0]["finish_reason"], "length");
}

TEST(Chat, TheModelAloneAnswersUnderItsOwnName) {
  TestServer server;
  server.start();
  json body = user_says("hello", "tiny-model");
  body["max_tokens"] = 500;
  body["seed"] = 7;
  const json answer = server.chat(body).json();
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "Hello, world");
  EXPECT_FALSE(answer.contains("citations"));
  EXPECT_FALSE(answer.contains("fathom"));
  EXPECT_FALSE(answer["usage"].contains("num_sources_used"));
  EXPECT_EQ(server.engine.last_request->sampling.seed, 7u);
  EXPECT_FLOAT_EQ(server.engine.last_request->sampling.temperature, 1);
  EXPECT_EQ(server.engine.last_request->max_tokens, 195u);  // what the context leaves
  const auto list = chunks(server.chat(streamed(body)));
  EXPECT_EQ(joined_text(list), "Hello, world");
  EXPECT_EQ(list.size(), 5u);
  body["search_parameters"] = {{"mode", "on"}};
  EXPECT_TRUE(server.chat(body).json().contains("citations"));
}

TEST(Chat, UnknownModelsAreNotFound) {
  TestServer server;
  server.start(false);
  for (const char* name : {"gpt-9", "tiny-model", "fathom-generate"}) {
    const Answer answer = server.chat(user_says("hello", name));
    EXPECT_EQ(answer.status, 404) << name;
    EXPECT_EQ(answer.error()["code"], "model_not_found");
    EXPECT_EQ(answer.error()["param"], "model");
  }
  EXPECT_EQ(server.chat(user_says("hello")).status, 200);
}

TEST(Chat, ErrorsBeforeTheFirstTextHaveTheirStatusInStreamsToo) {
  TestServer server;
  server.assistant.script = [](const answer::Request& request, const answer::Events&,
                               const std::stop_token&) -> answer::Answer {
    if (request.messages[0].content == "long")
      throw Error(ErrorCode::kResourceExhausted, "the conversation has 900 tokens; the model takes 200");
    if (request.messages[0].content == "none")
      throw Error(ErrorCode::kInvalidArgument, "there is no user message");
    throw std::runtime_error("secret detail");
  };
  server.start();
  for (const bool stream : {false, true}) {
    const auto body = [&](const char* text) { return stream ? streamed(user_says(text)) : user_says(text); };
    const Answer too_long = server.chat(body("long"));
    EXPECT_EQ(too_long.status, 400);
    EXPECT_EQ(too_long.error()["code"], "context_length_exceeded");
    EXPECT_EQ(server.chat(body("none")).status, 400);
    const Answer defect = server.chat(body("defect"), {{"X-Request-Id", "trace-1"}});
    EXPECT_EQ(defect.status, 500);
    EXPECT_EQ(defect.error()["type"], "server_error");
    EXPECT_EQ(defect.body.find("secret"), std::string::npos);
    EXPECT_NE(defect.body.find("trace-1"), std::string::npos);
    const Answer overlong = server.chat(stream ? streamed(user_says(std::string(300, 'a'), "tiny-model"))
                                               : user_says(std::string(300, 'a'), "tiny-model"));
    EXPECT_EQ(overlong.status, 400);
    EXPECT_EQ(overlong.error()["code"], "context_length_exceeded");
  }
}

TEST(Chat, ErrorsInMidStreamAreEvents) {
  TestServer server;
  server.assistant.script = [](const answer::Request&, const answer::Events& events,
                               const std::stop_token&) -> answer::Answer {
    events.on_text("so far", {});
    throw std::runtime_error("secret detail");
  };
  server.start();
  const Answer answer = server.chat(streamed(user_says("hello")));
  EXPECT_EQ(answer.status, 200);
  const json last = json::parse(parse_events(answer.body).back().at("data"));
  EXPECT_EQ(last["error"]["type"], "server_error");
  EXPECT_TRUE(last["error"].contains("param"));
  EXPECT_EQ(answer.body.find("secret"), std::string::npos);
  EXPECT_EQ(answer.body.find("[DONE]"), std::string::npos);
}

TEST(Chat, JsonMustBeSaidAndSent) {
  TestServer server;
  const uint16_t port = server.start();
  const std::string body = user_says("hello").dump();
  EXPECT_EQ(ask(port, "POST", "/v1/chat/completions", {}, body).status, 415);
  EXPECT_EQ(ask(port, "POST", "/v1/chat/completions", {{"Content-Type", "text/plain"}}, body).status, 415);
  EXPECT_EQ(ask(port, "POST", "/v1/chat/completions", {{"Content-Type", "application/json"}}).status, 415);
  EXPECT_EQ(
      ask(port, "POST", "/v1/chat/completions", {{"Content-Type", "APPLICATION/JSON;charset=utf-8"}}, body)
          .status,
      200);
  EXPECT_EQ(get(port, "/v1/chat/completions").status, 405);
}

TEST(Chat, ASilentStreamIsKeptAlive) {
  TestServer server;
  server.options.limits.ping = milliseconds(20);
  Gate release;
  server.engine.script = [&](const infer::GenerateRequest&, const infer::TextSink& sink,
                             const std::stop_token& stop) {
    release.wait(stop);
    infer::GenerateResult result;
    result.text = "late";
    sink(result.text);
    return result;
  };
  Client client(server.start());
  client.send(request_text("POST", "/v1/chat/completions", {{"Content-Type", "application/json"}},
                           streamed(user_says("hello", "tiny-model")).dump()));
  EXPECT_EQ(client.read_head().status, 200);
  EXPECT_NE(client.read_chunk().find("assistant"), std::string::npos);
  EXPECT_EQ(client.read_chunk(), ": ping\n\n");
  EXPECT_EQ(client.read_chunk(), ": ping\n\n");
  release.open();
  std::string rest;
  for (std::string piece = client.read_chunk(); !piece.empty(); piece = client.read_chunk()) rest += piece;
  EXPECT_NE(rest.find("late"), std::string::npos);
}

TEST(Chat, AClientThatLeavesStopsItsAnswer) {
  for (const bool stream : {false, true}) {
    TestServer server;
    Gate started, stopped;
    server.engine.script = [&](const infer::GenerateRequest&, const infer::TextSink&,
                               const std::stop_token& stop) {
      started.open();
      Gate never;
      never.wait(stop);
      if (stop.stop_requested()) stopped.open();
      infer::GenerateResult result;
      result.finish = infer::FinishReason::kCancelled;
      return result;
    };
    Client client(server.start());
    json body = user_says("hello", "tiny-model");
    body["stream"] = stream;
    client.send(
        request_text("POST", "/v1/chat/completions", {{"Content-Type", "application/json"}}, body.dump()));
    ASSERT_TRUE(started.wait());
    client.close();
    EXPECT_TRUE(stopped.wait());
  }
}

/// Its place and its thread are for those who read; that it takes a little now and then does not keep them.
TEST(Chat, AReaderThatIsTooSlowIsGivenUp) {
  TestServer server;
  server.options.limits.write_timeout = milliseconds(400);
  server.options.limits.client_bytes_per_second = size_t{1} << 30;
  Gate given_up;
  server.engine.script = [&](const infer::GenerateRequest&, const infer::TextSink& sink,
                             const std::stop_token& stop) {
    while (!stop.stop_requested() && sink(std::string(4096, 'x'))) {
    }
    given_up.open();
    infer::GenerateResult result;
    result.finish = infer::FinishReason::kCancelled;
    return result;
  };
  Client client(server.start(), 4096);
  json body = user_says("hello", "tiny-model");
  body["stream"] = true;
  client.send(
      request_text("POST", "/v1/chat/completions", {{"Content-Type", "application/json"}}, body.dump()));
  EXPECT_EQ(client.read_head().status, 200);
  std::jthread reader([&](const std::stop_token& stop) {
    try {
      while (!stop.stop_requested() && !client.read_chunk().empty())
        std::this_thread::sleep_for(milliseconds(20));
    } catch (const std::exception&) {  // the connection was closed
    }
  });
  EXPECT_TRUE(given_up.wait());
}

TEST(Chat, GroundedAnswersHaveTheirTimeToo) {
  for (const int limit : {5000, 0}) {
    TestServer server;
    server.options.limits.answer_time = milliseconds(limit);
    server.start();
    EXPECT_EQ(server.chat(user_says("hello")).status, 200);
    EXPECT_EQ(server.assistant.last_request().deadline.has_value(), limit > 0);
  }
}

TEST(Chat, ManyAnswersQueueAndMoreAreTurnedAwayWhileTheRestGoesOn) {
  TestServer server;
  server.options.limits.answers_at_once = 2;
  server.options.limits.answers_waiting = 1;
  Gate release;
  std::atomic<int> running{0};
  server.assistant.script = [&](const answer::Request&, const answer::Events& events,
                                const std::stop_token& stop) {
    ++running;
    release.wait(stop);
    return cited_answer(events);
  };
  const uint16_t port = server.start();
  const std::string request = request_text("POST", "/v1/chat/completions",
                                           {{"Content-Type", "application/json"}}, user_says("hello").dump());
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<Client>(port));
    clients.back()->send(request);
    while (i < 2 && running < i + 1) std::this_thread::yield();
  }
  // Only once the third one waits is there no room: a fourth that came earlier could take its place.
  while (get(port, "/metrics").body.find("fathom_answers{state=\"waiting\"} 1") == std::string::npos) {
    std::this_thread::yield();
  }
  Client surely(port);
  surely.send(request);
  const Answer refused = surely.read();
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.error()["code"], "rate_limit_exceeded");
  EXPECT_EQ(refused.error()["type"], "rate_limit_error");
  EXPECT_EQ(refused.header("retry-after"), "2");
  EXPECT_EQ(get(port, "/healthz").status, 200);
  EXPECT_EQ(ask(port, "POST", "/v1/posts", {}, R"({"id":"1","text":"a"})").status, 200);
  release.open();
  for (auto& client : clients) EXPECT_EQ(client->read().status, 200);
}

TEST(Chat, IllFormedTextNeverBreaksTheJson) {
  TestServer server;
  server.assistant.script = [](const answer::Request&, const answer::Events& events, const std::stop_token&) {
    answer::Answer answer;
    answer.text = "bad \xC3 byte";
    events.on_text(answer.text, {});
    return answer;
  };
  server.start();
  EXPECT_EQ(server.chat(user_says("hello")).json()["choices"][0]["message"]["content"],
            "bad \xEF\xBF\xBD byte");
  EXPECT_EQ(joined_text(chunks(server.chat(streamed(user_says("hello"))))), "bad \xEF\xBF\xBD byte");
}

}  // namespace
}  // namespace fathom::server
