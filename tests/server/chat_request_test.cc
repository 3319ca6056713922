#include "server/chat_request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/api_error.h"

namespace fathom::server {
namespace {

using nlohmann::json;

/// A valid request with `extra` laid over it.
json request(const json& extra = json::object()) {
  json body = {{"model", "fathom"}, {"messages", {{{"role", "user"}, {"content", "hi"}}}}};
  body.update(extra);
  return body;
}

ChatRequest parse(const json& extra) { return parse_chat_request(request(extra).dump()); }

/// The error that `body` gets; status 0 when it is taken.
ApiError refusal(const std::string& body) {
  try {
    parse_chat_request(body);
  } catch (const ApiError& error) {
    return error;
  }
  return ApiError(0, "taken");
}

answer::SearchParameters search(const json& parameters) {
  const auto parsed = parse({{"search_parameters", parameters}});
  EXPECT_TRUE(parsed.search.has_value());
  return parsed.search.value_or(answer::SearchParameters{});
}

TEST(ChatRequest, ReadsEveryField) {
  const ChatRequest out = parse({{"stream", true},
                                 {"stream_options", {{"include_usage", true}}},
                                 {"max_tokens", 5},
                                 {"max_completion_tokens", 7},
                                 {"temperature", 0.5},
                                 {"top_p", 0.9},
                                 {"top_k", 40},
                                 {"min_p", 0.05},
                                 {"repetition_penalty", 1.1},
                                 {"frequency_penalty", -1},
                                 {"presence_penalty", 2},
                                 {"seed", -1},
                                 {"stop", {"a", "b"}}});
  EXPECT_TRUE(out.stream);
  EXPECT_TRUE(out.include_usage);
  EXPECT_EQ(out.max_tokens, 7u);
  EXPECT_EQ(out.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(out.search.has_value());
  const infer::Sampling sampling = out.sampling.over({});
  EXPECT_FLOAT_EQ(sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_FLOAT_EQ(sampling.min_p, 0.05f);
  EXPECT_FLOAT_EQ(sampling.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(sampling.frequency_penalty, -1);
  EXPECT_FLOAT_EQ(sampling.presence_penalty, 2);
  EXPECT_EQ(sampling.seed, UINT64_MAX);
}

TEST(ChatRequest, NullsAndUnknownFieldsCountAsAbsent) {
  const ChatRequest out = parse({{"stream", nullptr},
                                 {"temperature", nullptr},
                                 {"stop", nullptr},
                                 {"tools", json::array()},
                                 {"tool_choice", "auto"},
                                 {"user", "u"},
                                 {"metadata", {{"a", 1}}},
                                 {"made_up", {1, 2, 3}},
                                 {"logprobs", false},
                                 {"response_format", {{"type", "text"}}},
                                 {"search_parameters", nullptr},
                                 {"reasoning_effort", "low"},
                                 {"n", 1}});
  EXPECT_FALSE(out.stream);
  EXPECT_FALSE(out.sampling.temperature.has_value());
  EXPECT_FALSE(out.search.has_value());
}

TEST(ChatRequest, NoShareOfTheProbabilityIsTheLikeliestToken) {
  EXPECT_FLOAT_EQ(parse({{"top_p", 0}, {"temperature", 1}}).sampling.over({}).temperature, 0);
}

TEST(ChatRequest, ContentIsTextOrParts) {
  const ChatRequest out =
      parse({{"messages",
              {{{"role", "developer"}, {"content", "be brief"}},
               {{"role", "assistant"}, {"content", {{{"type", "refusal"}, {"refusal", "no"}}}}},
               {{"role", "user"},
                {"content", {{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}}}}}}});
  ASSERT_EQ(out.conversation.plain.size(), 3u);
  EXPECT_EQ(out.conversation.plain[0].role, "system");
  EXPECT_EQ(out.conversation.plain[1].content, "no");
  EXPECT_EQ(out.conversation.plain[2].content, "ab");
}

const json kWeatherTool = {{"type", "function"},
                           {"function", {{"name", "weather"}, {"parameters", {{"type", "object"}}}}}};

TEST(ChatRequest, WhatNoModelDoesIsRefusedByName) {
  const std::vector<std::pair<json, std::string>> cases = {
      {{{"functions", {{{"name", "f"}}}}}, "functions"},
      {{{"tools", {{{"type", "web"}}}}}, "tools[0].type"},
      {{{"audio", {{"voice", "a"}}}}, "audio"},
      {{{"messages", {{{"role", "function"}, {"content", "x"}}}}}, "messages[0].role"},
      {{{"messages", {{{"role", "assistant"}, {"function_call", {{"name", "f"}}}}}}},
       "messages[0].function_call"},
      {{{"messages",
         {{{"role", "user"}, {"content", {{{"type", "image_url"}, {"image_url", {{"url", "x"}}}}}}}}}},
       "messages[0].content[0].type"}};
  for (const auto& [extra, param] : cases) {
    const ApiError error = refusal(request(extra).dump());
    EXPECT_EQ(error.status, 400) << extra;
    EXPECT_EQ(error.code, "unsupported") << extra;
    EXPECT_EQ(error.param, param) << extra;
  }
}

TEST(ChatRequest, WhatAnswersFromTheFeedCannotBeIsRefusedByName) {
  const std::vector<std::pair<json, std::string>> cases = {
      {{{"n", 2}}, "n"},
      {{{"tools", {kWeatherTool}}}, "tools"},
      {{{"logprobs", true}}, "logprobs"},
      {{{"logit_bias", {{"1", 5}}}}, "logit_bias"},
      {{{"response_format", {{"type", "json_object"}}}}, "response_format"},
      {{{"messages", {{{"role", "tool"}, {"content", "x"}, {"tool_call_id", "c"}}}}}, "messages[0].role"}};
  for (const auto& [extra, param] : cases) {
    try {
      require_groundable(parse(extra));
      ADD_FAILURE() << extra;
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, 400) << extra;
      EXPECT_EQ(error.code, "unsupported") << extra;
      EXPECT_EQ(error.param, param) << extra;
    }
  }
  EXPECT_NO_THROW(require_groundable(parse({{"tools", {kWeatherTool}}, {"tool_choice", "none"}})));
}

TEST(ChatRequest, ToolsAndTheirChoice) {
  const ChatRequest open = parse({{"tools", {kWeatherTool}}, {"parallel_tool_calls", false}});
  ASSERT_TRUE(open.tools.active());
  EXPECT_EQ(open.tools.choice, ToolsRequest::Choice::kAuto);
  EXPECT_FALSE(open.tools.parallel);
  EXPECT_EQ((*open.tools.tools)[0]["function"]["name"], "weather");
  EXPECT_EQ(parse({{"tools", {kWeatherTool}}, {"tool_choice", "required"}}).tools.choice,
            ToolsRequest::Choice::kRequired);
  EXPECT_FALSE(parse({{"tools", {kWeatherTool}}, {"tool_choice", "none"}}).tools.active());
  const json named = {{"type", "function"}, {"function", {{"name", "weather"}}}};
  EXPECT_EQ(parse({{"tools", {kWeatherTool}}, {"tool_choice", named}}).tools.name, "weather");
  EXPECT_FALSE(parse({{"tools", json::array()}, {"tool_choice", "auto"}}).tools.active());
}

TEST(ChatRequest, SchemasKeepTheOrderOfTheirMembers) {
  const auto out = parse_chat_request(
      R"({"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":
          {"name":"n","strict":true,"schema":{"type":"object","properties":{"z":{},"a":{},"m":{}}}}}})");
  ASSERT_TRUE(out.format.schema);
  EXPECT_EQ(out.format.schema->at("properties").dump(), R"({"z":{},"a":{},"m":{}})");
  EXPECT_EQ(out.format.param, "response_format.json_schema.schema");
}

TEST(ChatRequest, ToolTurnsTakeTheFormOfTemplates) {
  const ChatRequest out = parse(
      {{"messages",
        {{{"role", "user"}, {"content", "rain?"}},
         {{"role", "assistant"},
          {"content", nullptr},
          {"tool_calls",
           {{{"id", "c1"},
             {"type", "function"},
             {"function", {{"name", "f"}, {"arguments", R"({"b":1,"a":2})"}}}},
            {{"id", "c2"}, {"type", "function"}, {"function", {{"name", "g"}, {"arguments", "not json"}}}}}}},
         {{"role", "tool"}, {"tool_call_id", "c1"}, {"content", {{{"type", "text"}, {"text", "yes"}}}}}}}});
  const auto& messages = *out.conversation.messages;
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[1]["content"], "");
  EXPECT_EQ(messages[1]["tool_calls"][0]["function"]["arguments"].dump(), R"({"b":1,"a":2})");
  EXPECT_EQ(messages[1]["tool_calls"][1]["function"]["arguments"], "not json");
  EXPECT_EQ(messages[2]["tool_call_id"], "c1");
  EXPECT_EQ(messages[2]["content"], "yes");
  EXPECT_EQ(out.conversation.tool_param, "messages[1].tool_calls");
}

TEST(ChatRequest, LogProbabilitiesAndBiases) {
  EXPECT_FALSE(parse(json::object()).logprobs.has_value());
  EXPECT_EQ(parse({{"logprobs", true}}).logprobs, 0);
  EXPECT_EQ(parse({{"logprobs", true}, {"top_logprobs", 20}}).logprobs, 20);
  const auto biased = parse({{"logit_bias", {{"7", -100}, {"12", 2.5}}}}).sampling.over({});
  EXPECT_EQ(biased.logit_bias, (std::vector<std::pair<int32_t, float>>{{12, 2.5f}, {7, -100.0f}}));
  EXPECT_NO_THROW(check_logit_bias(parse({{"logit_bias", {{"7", 1}}}}).sampling, 8));
  EXPECT_THROW(check_logit_bias(parse({{"logit_bias", {{"8", 1}}}}).sampling, 8), ApiError);
}

TEST(ChatRequest, WrongTypesAndValuesAreNamed) {
  const std::vector<std::pair<json, std::string>> cases = {
      {{{"model", 3}}, "model"},
      {{{"model", ""}}, "model"},
      {{{"messages", "hi"}}, "messages"},
      {{{"messages", json::array()}}, "messages"},
      {{{"messages", {1}}}, "messages[0]"},
      {{{"messages", {{{"role", "king"}, {"content", "x"}}}}}, "messages[0].role"},
      {{{"messages", {{{"content", "x"}}}}}, "messages[0].role"},
      {{{"messages", {{{"role", "user"}}}}}, "messages[0].content"},
      {{{"messages", {{{"role", "user"}, {"content", 1}}}}}, "messages[0].content"},
      {{{"messages", {{{"role", "user"}, {"content", {{{"type", "text"}}}}}}}},
       "messages[0].content[0].text"},
      {{{"stream", "yes"}}, "stream"},
      {{{"stream_options", 1}}, "stream_options"},
      {{{"max_tokens", 0}}, "max_tokens"},
      {{{"max_tokens", 1.5}}, "max_tokens"},
      {{{"max_completion_tokens", UINT64_MAX}}, "max_completion_tokens"},
      {{{"temperature", 2.1}}, "temperature"},
      {{{"temperature", "hot"}}, "temperature"},
      {{{"top_p", -0.1}}, "top_p"},
      {{{"presence_penalty", 3}}, "presence_penalty"},
      {{{"seed", 1.5}}, "seed"},
      {{{"stop", 1}}, "stop"},
      {{{"stop", {"a", "b", "c", "d", "e"}}}, "stop"},
      {{{"stop", {""}}}, "stop"},
      {{{"stop", {1}}}, "stop"},
      {{{"n", 0}}, "n"},
      {{{"n", 9}}, "n"},
      {{{"top_logprobs", 3}}, "top_logprobs"},
      {{{"logprobs", 1}}, "logprobs"},
      {{{"logprobs", true}, {"top_logprobs", 21}}, "top_logprobs"},
      {{{"logit_bias", {1}}}, "logit_bias"},
      {{{"logit_bias", {{"a", 1}}}}, "logit_bias"},
      {{{"logit_bias", {{"-1", 1}}}}, "logit_bias"},
      {{{"logit_bias", {{"1", 101}}}}, "logit_bias.1"},
      {{{"logit_bias", {{"1", "x"}}}}, "logit_bias.1"},
      {{{"tools", "f"}}, "tools"},
      {{{"tools", {1}}}, "tools[0]"},
      {{{"tools", {{{"type", "function"}}}}}, "tools[0].function"},
      {{{"tools", {{{"type", "function"}, {"function", {{"name", ""}}}}}}}, "tools[0].function.name"},
      {{{"tools", {{{"type", "function"}, {"function", {{"name", "a b"}}}}}}}, "tools[0].function.name"},
      {{{"tools", {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", 3}}}}}}},
       "tools[0].function.parameters"},
      {{{"tools", {kWeatherTool, kWeatherTool}}}, "tools"},
      {{{"tool_choice", "required"}}, "tool_choice"},
      {{{"tool_choice", "maybe"}}, "tool_choice"},
      {{{"tool_choice", 1}}, "tool_choice"},
      {{{"tools", {kWeatherTool}}, {"tool_choice", {{"type", "function"}, {"function", {{"name", "g"}}}}}},
       "tool_choice"},
      {{{"parallel_tool_calls", 1}}, "parallel_tool_calls"},
      {{{"messages", {{{"role", "tool"}, {"content", "x"}}}}}, "messages[0].tool_call_id"},
      {{{"messages", {{{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {1}}}}}},
       "messages[0].tool_calls[0]"},
      {{{"response_format", {{"type", "yaml"}}}}, "response_format.type"},
      {{{"response_format", {{"type", "json_schema"}}}}, "response_format.json_schema"},
      {{{"response_format", {{"type", "json_schema"}, {"json_schema", {{"schema", 1}}}}}},
       "response_format.json_schema.schema"},
      {{{"response_format", "text"}}, "response_format"},
      {{{"search_parameters", true}}, "search_parameters"},
      {{{"web_search_options", 1}}, "web_search_options"}};
  for (const auto& [extra, param] : cases) {
    const ApiError error = refusal(request(extra).dump());
    EXPECT_EQ(error.status, 400) << extra;
    EXPECT_EQ(error.param, param) << extra;
    EXPECT_NE(std::string(error.what()).find(param), std::string::npos) << error.what();
  }
}

TEST(ChatRequest, BadJsonNamesTheByte) {
  const ApiError error = refusal(R"({"model":"fathom", oops})");
  EXPECT_EQ(error.status, 400);
  EXPECT_EQ(error.code, "invalid_json");
  EXPECT_NE(std::string(error.what()).find("byte 20"), std::string::npos) << error.what();
  std::string many = "{\"model\":\"m\"";
  for (int i = 0; i < 5000; ++i) many += ",\"k" + std::to_string(i) + "\":1";
  std::string values = "{\"model\":[1";
  for (int i = 0; i < 1'000'001; ++i) values += ",1";
  for (const std::string& body :
       {many + "}", values + "]}", std::string("[]"), std::string("\"a\""),
        std::string("{\"model\":\"\xFF\"}"), std::string(70, '['), std::string(1'000'000, '['),
        std::string("{\"model\":1e999}"), std::string("{} {}"), std::string("{\"model\":\"\\ud800\"}"),
        std::string()})
    EXPECT_EQ(refusal(body).status, 400) << body.substr(0, 20);
}

TEST(SearchParameters, DefaultsAreXais) {
  const auto out = search(json::object());
  EXPECT_EQ(out.mode, answer::SearchMode::kAuto);
  EXPECT_TRUE(out.return_citations);
  EXPECT_EQ(out.max_results, 20u);
  EXPECT_TRUE(out.sources.empty());
  EXPECT_FALSE(out.from || out.to || out.min_likes || out.min_views);
}

TEST(SearchParameters, TheBytesOfTheAiSdkAreObeyed) {
  const auto out = search(json::parse(
      R"({"mode":"on","return_citations":false,"from_date":"2026-01-01","to_date":"2026-01-31","max_search_results":5,
          "sources":[{"type":"x","included_x_handles":["a","@b"],"post_favorite_count":3,"post_view_count":4},
                     {"type":"news","country":"CH","safe_search":true}]})"));
  EXPECT_EQ(out.mode, answer::SearchMode::kOn);
  EXPECT_FALSE(out.return_citations);
  EXPECT_EQ(out.from, parse_time("2026-01-01"));
  EXPECT_EQ(out.to, parse_time("2026-02-01"));  // the last day belongs to it
  EXPECT_EQ(out.max_results, 5u);
  EXPECT_EQ(out.handles, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(out.min_likes, 3);
  EXPECT_EQ(out.min_views, 4);
  EXPECT_TRUE(out.sources.empty());  // x stands for all posts
}

TEST(SearchParameters, SourcesMapToThoseOfTheStore) {
  EXPECT_EQ(search({{"sources", {{{"type", "web"}}}}}).sources,
            (std::vector<std::string>{"hackernews", "rss"}));
  EXPECT_EQ(search({{"sources", {{{"type", "x"}, {"excluded_x_handles", {"a"}}}}}}).not_handles,
            std::vector<std::string>{"a"});
  EXPECT_EQ(search({{"sources", {{{"type", "x"}, {"x_handles", {"a"}}}}}}).handles,
            std::vector<std::string>{"a"});
  EXPECT_EQ(search({{"mode", "off"}}).mode, answer::SearchMode::kOff);
}

TEST(SearchParameters, OpenAisOwnSwitchTurnsSearchOn) {
  const auto out = parse({{"web_search_options", {{"search_context_size", "low"}}}});
  ASSERT_TRUE(out.search.has_value());
  EXPECT_EQ(out.search->mode, answer::SearchMode::kOn);
}

TEST(SearchParameters, LimitsAreChecked) {
  const json eleven = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"};
  const std::vector<std::tuple<json, int, std::string>> cases = {
      {{{"mode", "maybe"}}, 400, "mode"},
      {{{"mode", 1}}, 400, "mode"},
      {{{"return_citations", "yes"}}, 400, "return_citations"},
      {{{"from_date", "01/02/2026"}}, 422, "from_date"},
      {{{"from_date", "2026-02-30"}}, 422, "from_date"},
      {{{"to_date", "2026-01-01T00:00:00Z"}}, 422, "to_date"},
      {{{"from_date", "2026-02-02"}, {"to_date", "2026-02-01"}}, 400, "from_date"},
      {{{"max_search_results", 0}}, 400, "max_search_results"},
      {{{"max_search_results", 51}}, 400, "max_search_results"},
      {{{"sources", json::array()}}, 400, "sources"},
      {{{"sources", "x"}}, 400, "sources"},
      {{{"sources", {"x"}}}, 400, "sources[0]"},
      {{{"sources", {{{"type", "fax"}}}}}, 400, "sources[0].type"},
      {{{"sources", {{{"type", "x"}}, {{"type", "x"}}}}}, 400, "sources[1].type"},
      {{{"sources", {{{"type", "x"}, {"included_x_handles", eleven}}}}},
       400,
       "sources[0].included_x_handles"},
      {{{"sources", {{{"type", "x"}, {"included_x_handles", {"a"}}, {"excluded_x_handles", {"b"}}}}}},
       400,
       "sources[0].included_x_handles"},
      {{{"sources", {{{"type", "x"}, {"included_x_handles", {"@"}}}}}}, 400, "sources[0].included_x_handles"},
      {{{"sources", {{{"type", "x"}, {"post_favorite_count", -1}}}}}, 400, "sources[0].post_favorite_count"},
      {{{"sources", {{{"type", "web"}, {"country", "Switzerland"}}}}}, 422, "sources[0].country"},
      {{{"sources", {{{"type", "web"}, {"allowed_websites", {"a.com"}}}}}},
       400,
       "sources[0].allowed_websites"},
      {{{"sources", {{{"type", "rss"}, {"links", {"https://e.com/f.xml"}}}}}}, 400, "sources[0].links"}};
  for (const auto& [parameters, status, param] : cases) {
    const ApiError error = refusal(request({{"search_parameters", parameters}}).dump());
    EXPECT_EQ(error.status, status) << parameters;
    EXPECT_EQ(error.param, "search_parameters." + param) << parameters;
  }
}

TEST(ChatRequest, ReadsWhatIsAskedOfTheFeed) {
  const FeedRequest deep =
      parse({{"fathom",
              {{"mode", "deep"}, {"style", "brief"}, {"rounds", 7}, {"think", true}, {"planner", "rules"}}}})
          .feed;
  answer::Request ask;
  deep.apply_to(ask);
  EXPECT_EQ(ask.mode, answer::Mode::kDeep);
  EXPECT_EQ(ask.style, "brief");
  EXPECT_EQ(ask.rounds, 7u);
  EXPECT_TRUE(ask.think);
  EXPECT_EQ(ask.planner, answer::Planning::kRules);
  EXPECT_TRUE(deep.needs_feed());
  EXPECT_FALSE(parse(json::object()).feed.needs_feed());
  EXPECT_EQ(parse({{"fathom", {{"mode", "explain"}, {"post", "hn:1"}}}}).feed.post, "hn:1");
  EXPECT_TRUE(parse({{"reasoning_effort", "low"}}).feed.think);
  EXPECT_FALSE(parse({{"reasoning_effort", "minimal"}}).feed.think);
  EXPECT_FALSE(parse({{"reasoning_effort", "high"}, {"fathom", {{"think", false}}}}).feed.think);
}

TEST(ChatRequest, RefusesWhatTheFeedCannotBeAsked) {
  const std::vector<std::pair<json, std::string>> bad = {
      {{{"mode", "shout"}}, "fathom.mode"},
      {{{"mode", 1}}, "fathom.mode"},
      {{{"mode", "explain"}}, "fathom.post"},
      {{{"post", "hn:1"}}, "fathom.post"},
      {{{"mode", "explain"}, {"post", "x"}}, "fathom.post"},
      {{{"style", "../x"}}, "fathom.style"},
      {{{"style", std::string(41, 'a')}}, "fathom.style"},
      {{{"rounds", 3}}, "fathom.rounds"},
      {{{"mode", "deep"}, {"rounds", 13}}, "fathom.rounds"},
      {{{"mode", "deep"}, {"rounds", 0}}, "fathom.rounds"},
      {{{"think", "yes"}}, "fathom.think"},
      {{{"planner", "me"}}, "fathom.planner"},
      {{{"colour", "red"}}, "fathom.colour"},
      {"digest", "fathom"}};
  for (const auto& [object, param] : bad) {
    const ApiError error = refusal(request({{"fathom", object}}).dump());
    EXPECT_EQ(error.status, 400) << object;
    EXPECT_EQ(error.param, param) << object;
  }
  EXPECT_EQ(
      refusal(request({{"fathom", {{"mode", "digest"}}}, {"search_parameters", {{"mode", "off"}}}}).dump())
          .param,
      "fathom");
}

TEST(ChatRequest, ReadsTheConversationThatItIsPartOf) {
  EXPECT_EQ(parse({{"conversation", "conv_1"}}).kept->id, "conv_1");
  EXPECT_EQ(parse({{"conversation", {{"id", "conv_1"}}}}).kept->id, "conv_1");
  EXPECT_EQ(parse({{"conversation", "new"}}).kept->id, "");
  EXPECT_FALSE(parse({{"conversation", nullptr}}).kept.has_value());
}

}  // namespace
}  // namespace fathom::server
