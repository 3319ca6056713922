// POST /v1/completions, /v1/embeddings, /tokenize and /detokenize over the wire.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "server/completions_request.h"
#include "server/embeddings_request.h"
#include "server/fakes.h"

namespace fathom::server {
namespace {

using nlohmann::json;

json completion(const json& extra = json::object()) {
  json body = {{"model", "tiny-model"}, {"prompt", "Once"}};
  body.update(extra);
  return body;
}

TEST(Completions, GoOnFromText) {
  TestServer server;
  server.start();
  const json answer = server.post("/v1/completions", completion({{"max_tokens", 9}})).json();
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["choices"][0]["text"], "Hello, world");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(answer["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(server.engine.last_request->max_tokens, 9u);
  server.post("/v1/completions", completion());
  EXPECT_EQ(server.engine.last_request->max_tokens, 16u);
}

TEST(Completions, PromptsComeInFourShapes) {
  TestServer server;
  server.start();
  const auto prompts = [&](const json& prompt) {
    server.engine.requests.clear();
    const json answer = server.post("/v1/completions", completion({{"prompt", prompt}, {"n", 2}})).json();
    std::multiset<std::string> out;
    for (const auto& request : server.engine.requests) out.insert(server.engine.detokenize(request.prompt));
    EXPECT_EQ(answer["choices"].size(), out.size());
    return out;
  };
  using Texts = std::multiset<std::string>;
  EXPECT_EQ(prompts("ab"), (Texts{"ab", "ab"}));
  EXPECT_EQ(prompts({"ab", "c"}), (Texts{"ab", "ab", "c", "c"}));
  EXPECT_EQ(prompts({97, 98}), (Texts{"ab", "ab"}));
  EXPECT_EQ(prompts(json::array({{97}, {98}})), (Texts{"a", "a", "b", "b"}));
}

TEST(Completions, EchoAndLogProbabilities) {
  TestServer server;
  server.engine.script = says("xy");
  server.start();
  const json body = completion({{"prompt", "ab"}, {"echo", true}, {"logprobs", 1}});
  const json choice = server.post("/v1/completions", body).json()["choices"][0];
  EXPECT_EQ(choice["text"], "abxy");
  EXPECT_EQ(choice["logprobs"]["tokens"], json::array({"a", "b", "x", "y"}));
  EXPECT_EQ(choice["logprobs"]["text_offset"], json::array({0, 1, 2, 3}));
  EXPECT_TRUE(choice["logprobs"]["token_logprobs"][0].is_null());
  EXPECT_NEAR(choice["logprobs"]["token_logprobs"][1].get<double>(), -std::log(256.0), 1e-4);
  EXPECT_FLOAT_EQ(choice["logprobs"]["token_logprobs"][2], -0.5f);
  EXPECT_FLOAT_EQ(choice["logprobs"]["top_logprobs"][2]["z"], -2.5f);

  const size_t before = server.engine.requests.size();
  const json scored =
      server.post("/v1/completions", completion({{"prompt", "ab"}, {"echo", true}, {"max_tokens", 0}}))
          .json()["choices"][0];
  EXPECT_EQ(scored["text"], "ab");
  EXPECT_EQ(scored["finish_reason"], "length");
  EXPECT_EQ(server.engine.requests.size(), before);  // nothing was generated
}

TEST(Completions, StreamsTheSame) {
  TestServer server;
  server.engine.script = says("xy", 1);
  server.start();
  const Answer answer =
      server.post("/v1/completions", completion({{"stream", true},
                                                 {"echo", true},
                                                 {"logprobs", 0},
                                                 {"stream_options", {{"include_usage", true}}}}));
  EXPECT_NE(answer.body.find("data: [DONE]"), std::string::npos);
  std::string text;
  json offsets = json::array();
  const auto events = event_data(answer);
  for (const auto& event : events) {
    for (const auto& choice : event["choices"]) {
      text += choice["text"];
      if (!choice["logprobs"].is_null())
        for (const auto& offset : choice["logprobs"]["text_offset"]) offsets.push_back(offset);
    }
  }
  EXPECT_EQ(text, "Oncexy");
  EXPECT_EQ(offsets, json::array({0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 2);
}

TEST(Completions, WhatIsWrongIsNamed) {
  TestServer server;
  server.start();
  const std::vector<std::tuple<json, int, std::string>> cases = {
      {{{"prompt", nullptr}}, 400, "prompt"},
      {{{"prompt", ""}}, 400, "prompt"},
      {{{"prompt", json::array()}}, 400, "prompt"},
      {{{"prompt", {1, "a"}}}, 400, "prompt"},
      {{{"prompt", {-1}}}, 400, "prompt"},
      {{{"prompt", {256}}}, 400, "prompt"},
      {{{"prompt", json::array({json::array()})}}, 400, "prompt[0]"},
      {{{"prompt", std::string(300, 'a')}}, 400, "prompt"},
      {{{"prompt", {"a", std::string(300, 'a')}}}, 400, "prompt[1]"},
      {{{"suffix", "x"}}, 400, "suffix"},
      {{{"best_of", 2}}, 400, "best_of"},
      {{{"n", 9}}, 400, "n"},
      {{{"logprobs", 21}}, 400, "logprobs"},
      {{{"logprobs", true}}, 400, "logprobs"},
      {{{"echo", 1}}, 400, "echo"},
      {{{"max_tokens", 0}}, 400, "max_tokens"},
      {{{"model", "fathom"}}, 400, "model"},
      {{{"model", "none"}}, 404, "model"},
      {{{"model", 1}}, 400, "model"}};
  for (const auto& [extra, status, param] : cases) {
    const Answer answer = server.post("/v1/completions", completion(extra));
    EXPECT_EQ(answer.status, status) << extra << answer.body;
    EXPECT_EQ(answer.error()["param"], param) << extra;
  }
  EXPECT_EQ(server.post("/v1/completions", completion({{"prompt", json(65, "a")}})).status, 400);
  EXPECT_EQ(server.post("/v1/completions", completion({{"best_of", 2}, {"n", 2}, {"suffix", ""}})).status,
            200);
}

json embedding(const json& extra = json::object()) {
  json body = {{"model", "tiny-embedder"}, {"input", "hello"}};
  body.update(extra);
  return body;
}

TEST(Embeddings, FloatsAndBase64AreTheSameNumbers) {
  TestServer server;
  server.with_embedder = true;
  server.start();
  const json answer = server.post("/v1/embeddings", embedding({{"input", {"a", "bc"}}})).json();
  EXPECT_EQ(answer["object"], "list");
  ASSERT_EQ(answer["data"].size(), 2u);
  EXPECT_EQ(answer["data"][1]["index"], 1);
  EXPECT_EQ(answer["usage"], json({{"prompt_tokens", 3}, {"total_tokens", 3}}));
  const std::vector<float> values = answer["data"][0]["embedding"];
  EXPECT_EQ(values, (std::vector<float>{0.6f, 0.0f, 0.8f, 0.0f}));
  const json packed = server.post("/v1/embeddings", embedding({{"encoding_format", "base64"}})).json();
  std::vector<unsigned char> bytes(values.size() * 4);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  EXPECT_EQ(packed["data"][0]["embedding"], base64(bytes));
}

TEST(Embeddings, LongTextsKeepTheirOrder) {
  TestServer server;
  server.with_embedder = true;
  server.start();
  const json input = {std::string(40'000, 'a'), "b", std::string(20'000, 'c'), std::string(20'000, 'd'), "e"};
  const json answer = server.post("/v1/embeddings", embedding({{"input", input}})).json();
  ASSERT_EQ(answer["data"].size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(answer["data"][i]["index"], i);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 80'002);
}

TEST(Embeddings, FewerDimensionsHaveLengthOneAgain) {
  TestServer server;
  server.with_embedder = true;
  server.start();
  const std::vector<float> two =
      server.post("/v1/embeddings", embedding({{"dimensions", 2}})).json()["data"][0]["embedding"];
  EXPECT_EQ(two, (std::vector<float>{1.0f, 0.0f}));
}

TEST(Embeddings, WhatIsWrongIsNamed) {
  TestServer server;
  server.with_embedder = true;
  server.start();
  const std::vector<std::tuple<json, int, std::string>> cases = {
      {{{"input", nullptr}}, 400, "input"},
      {{{"input", ""}}, 400, "input"},
      {{{"input", {"a", ""}}}, 400, "input"},
      {{{"input", {1, 2}}}, 400, "input"},
      {{{"input", {{"a", 1}}}}, 400, "input"},
      {{{"input", json::array()}}, 400, "input"},
      {{{"dimensions", 0}}, 400, "dimensions"},
      {{{"dimensions", 5}}, 400, "dimensions"},
      {{{"encoding_format", "hex"}}, 400, "encoding_format"},
      {{{"model", "tiny-model"}}, 404, "model"}};
  for (const auto& [extra, status, param] : cases) {
    const Answer answer = server.post("/v1/embeddings", embedding(extra));
    EXPECT_EQ(answer.status, status) << extra << answer.body;
    EXPECT_EQ(answer.error()["param"], param) << extra;
  }
  EXPECT_EQ(server.post("/v1/embeddings", embedding({{"input", json(2049, "a")}})).status, 400);
  TestServer without;
  without.start();
  EXPECT_EQ(without.post("/v1/embeddings", embedding()).status, 404);
}

TEST(Embeddings, Base64IsThatOfTheStandard) {
  const auto encode = [](const std::string& text) {
    return base64({reinterpret_cast<const unsigned char*>(text.data()), text.size()});
  };
  EXPECT_EQ(encode(""), "");
  EXPECT_EQ(encode("f"), "Zg==");
  EXPECT_EQ(encode("fo"), "Zm8=");
  EXPECT_EQ(encode("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encode("\xFF\xFE\xFD"), "//79");
}

TEST(Tokens, InTheShapesOfBothServers) {
  TestServer server;
  server.start();
  const auto tokenize = [&](const json& body) { return server.post("/tokenize", body).json(); };
  EXPECT_EQ(tokenize({{"content", "ab"}})["tokens"], json::array({97, 98}));
  EXPECT_EQ(tokenize({{"content", "a"}, {"with_pieces", true}})["tokens"],
            json::array({{{"id", 97}, {"piece", "a"}}}));
  const json other = tokenize({{"model", "tiny-model"}, {"prompt", "ab"}, {"return_token_strs", true}});
  EXPECT_EQ(other["count"], 2);
  EXPECT_EQ(other["max_model_len"], 200);
  EXPECT_EQ(other["token_strs"], json::array({"a", "b"}));
  EXPECT_EQ(tokenize(user_says("hi", "tiny-model"))["count"], 2);
  const json text = server.post("/detokenize", {{"tokens", {104, 105}}}).json();
  EXPECT_EQ(text, json({{"content", "hi"}, {"prompt", "hi"}}));
  EXPECT_EQ(server.post("/detokenize", {{"tokens", json::array()}}).json()["content"], "");
}

TEST(Tokens, WhatIsWrongIsNamed) {
  TestServer server;
  server.start();
  EXPECT_EQ(server.post("/tokenize", json::object()).error()["param"], "prompt");
  EXPECT_EQ(server.post("/tokenize", {{"content", 1}}).error()["param"], "content");
  EXPECT_EQ(server.post("/tokenize", {{"content", "a"}, {"parse_special", true}}).error()["code"],
            "unsupported");
  EXPECT_EQ(server.post("/tokenize", {{"content", "a"}, {"model", "x"}}).status, 404);
  EXPECT_EQ(server.post("/detokenize", {{"tokens", {256}}}).error()["param"], "tokens");
  EXPECT_EQ(server.post("/detokenize", {{"tokens", {-1}}}).error()["param"], "tokens");
  EXPECT_EQ(server.post("/detokenize", {{"tokens", "ab"}}).error()["param"], "tokens");
  EXPECT_EQ(server.post("/detokenize", json::object()).error()["param"], "tokens");
}

TEST(Models, TheEmbedderIsListed) {
  TestServer server;
  server.with_embedder = true;
  server.start();
  const json model = get(server.port(), "/v1/models/tiny-embedder").json();
  EXPECT_EQ(model["dimensions"], 4);
  EXPECT_EQ(get(server.port(), "/v1/models/tiny-model").json()["context_length"], 200);
}

}  // namespace
}  // namespace fathom::server
