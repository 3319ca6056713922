// Planning by the model: with an engine that says what it is told to, with a random small model held to calls by the
// grammar, and with SmolLM2 where it is.
#include "answer/model_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "infer/tiny_model.h"
#include "live/store_support.h"
#include "model/llama2c.h"

namespace fathom::answer {
namespace {

using live::Post;
using live::testing::kStart;
using live::testing::make_post;
using live::testing::TestStore;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Says one reply after the other; a token is a byte. What it was shown stays in `shown`.
class ScriptedEngine final : public infer::Engine {
 public:
  explicit ScriptedEngine(std::vector<std::string> replies) : replies_(replies.begin(), replies.end()) {
    info_.parameters = kPlanningModel;
    info_.context = 32 * 1024;
  }
  const infer::ModelInfo& info() const override { return info_; }
  std::vector<int32_t> tokenize(std::string_view text) const override { return {text.begin(), text.end()}; }
  std::string detokenize(const std::vector<int32_t>& tokens) const override {
    return {tokens.begin(), tokens.end()};
  }
  std::vector<int32_t> tokenize_chat(const std::vector<infer::ChatMessage>& messages) const override {
    std::string out;
    for (const auto& message : messages) out += message.content;
    return tokenize(out);
  }
  std::vector<int32_t> apply_template(const infer::ChatRequest& request) const override {
    return tokenize(request.messages->dump());
  }
  std::string chat_template() const override { return "{{ tools }} <tool_call>"; }
  infer::GenerateResult generate(const infer::GenerateRequest& request, const infer::TextSink& sink,
                                 const std::stop_token&) override {
    shown.push_back(detokenize(request.prompt));
    if (replies_.empty()) throw Error(ErrorCode::kDeadlineExceeded, "time is over");
    infer::GenerateResult result;
    result.text = replies_.front();
    replies_.pop_front();
    result.prompt_tokens = 10;
    for (const char c : result.text)
      if (!sink(std::string_view(&c, 1))) break;
    return result;
  }

  std::vector<std::string> shown;
  infer::ModelInfo info_;

 private:
  std::deque<std::string> replies_;
};

std::string tool_call(std::string_view name, std::string_view arguments) {
  return "<tool_call>\n{\"name\": \"" + std::string(name) + "\", \"arguments\": " + std::string(arguments) +
         "}\n</tool_call>";
}

class ModelPlan : public ::testing::Test {
 protected:
  ModelPlan()
      : feed_({make_post("1", "The Lund ferry is delayed by fog", kStart),
               make_post("2", "Crossing to Lund suspended, harbour master says: engine fire",
                         kStart + std::chrono::minutes{5})}) {
    request_.messages = {{"user", "Why is the Lund ferry delayed?"}};
    request_.planner = Planning::kModel;
    request_.writer = Writer::kAuto;
  }

  /// What is read after the rules found the first post.
  Reading read(infer::Engine& engine) {
    Reading reading;
    reading.as_of = feed_.store->feed_time();
    reading.evidence.push_back(prepare(*feed_.store->find("test:1")));
    const Tools tools(*feed_.store, nullptr, request_.search);
    search_with_model(engine, request_, "Why is the Lund ferry delayed?", tools,
                      [&](const Step& step) { steps_.push_back(step); }, reading, answer_, {});
    return reading;
  }

  static std::vector<std::string> ids(const Reading& reading) {
    std::vector<std::string> out;
    for (const Evidence& evidence : reading.evidence) out.push_back(evidence.post.id);
    return out;
  }

  TestStore feed_;
  Request request_;
  Answer answer_;
  std::vector<Step> steps_;
};

TEST_F(ModelPlan, FoundPostsJoinAndStepsAreShown) {
  ScriptedEngine engine({tool_call("search_posts", R"({"query": "crossing suspended"})"), "enough"});
  EXPECT_THAT(ids(read(engine)), ElementsAre("1", "2"));
  ASSERT_THAT(steps_, SizeIs(1));
  EXPECT_EQ(steps_[0].query, "crossing suspended");
  EXPECT_EQ(steps_[0].read, 1U);
  EXPECT_TRUE(steps_[0].by_model);
  EXPECT_EQ(answer_.prompt_tokens, 20U);
  ASSERT_THAT(engine.shown, SizeIs(2));
  EXPECT_THAT(engine.shown[0],
              AllOf(HasSubstr("Why is the Lund ferry delayed?"), HasSubstr("delayed by fog")));
  EXPECT_THAT(engine.shown[1], HasSubstr("engine fire"));
}

TEST_F(ModelPlan, RulesAloneWhereNothingIsCalled) {
  for (const char* reply :
       {"", "enough", "I think it is the fog.", "<tool_call>", "<tool_call>\n{\"name\": \"search",
        "<tool_call>{\"name\":\"search_posts\",\"arguments\":{\"query\":"}) {
    ScriptedEngine engine({reply});
    EXPECT_THAT(ids(read(engine)), ElementsAre("1")) << reply;
    EXPECT_THAT(steps_, IsEmpty());
  }
}

TEST_F(ModelPlan, RefusedCallsFindNothingAndSayWhy) {
  ScriptedEngine engine(
      {tool_call("rm", R"({"path": "/"})"), tool_call("search_posts", R"({"words": "x"})"), "enough"});
  EXPECT_THAT(ids(read(engine)), ElementsAre("1"));
  ASSERT_THAT(engine.shown, SizeIs(3));
  EXPECT_THAT(engine.shown[2], HasSubstr("there is no argument"));
}

TEST_F(ModelPlan, StopsAfterFiveCallsAndAtOneMadeTwice) {
  std::vector<std::string> replies;
  for (int i = 0; i < 9; ++i)
    replies.push_back(tool_call("search_posts", "{\"query\": \"word" + std::to_string(i) + "\"}"));
  ScriptedEngine many(replies);
  read(many);
  EXPECT_THAT(steps_, SizeIs(kMostCalls));
  steps_.clear();
  ScriptedEngine same({replies[0], replies[0], replies[1]});
  read(same);
  EXPECT_THAT(steps_, SizeIs(1));
}

TEST_F(ModelPlan, TimeThatIsOverEndsThePlanningOnly) {
  ScriptedEngine engine({tool_call("get_author", R"({"handle": "ann"})")});
  EXPECT_THAT(ids(read(engine)), ElementsAre("1", "2"));
}

TEST_F(ModelPlan, WhatTheRequestExcludesStaysOut) {
  request_.search.not_handles = {"ann"};
  ScriptedEngine engine({tool_call("search_posts", R"({"query": "crossing", "handles": ["ann"]})"),
                         tool_call("get_thread", R"({"key": "test:2"})")});
  EXPECT_THAT(ids(read(engine)), ElementsAre("1"));
}

TEST_F(ModelPlan, IsForModelsThatCan) {
  ScriptedEngine engine({});
  request_.planner = Planning::kAuto;
  EXPECT_TRUE(model_plans(&engine, request_));
  engine.info_.parameters = kPlanningModel - 1;
  EXPECT_FALSE(model_plans(&engine, request_));
  request_.planner = Planning::kModel;
  EXPECT_TRUE(model_plans(&engine, request_));
  EXPECT_FALSE(model_plans(nullptr, request_));
  request_.writer = Writer::kExtract;
  EXPECT_FALSE(model_plans(&engine, request_));
}

/// Whatever a model's weights are, the grammar makes calls of it that are read.
TEST_F(ModelPlan, ARandomModelIsHeldToACall) {
  test::TinyModel spec;
  spec.context = 8192;
  TempDir folder;
  write_file_atomic(folder.path() / "model.gguf", test::tiny_gguf(spec));
  ThreadPool pool(2);
  infer::EngineOptions options;
  options.context = 8192;
  const auto engine = infer::Engine::load(folder.path() / "model.gguf", options, pool);
  const Reading reading = read(*engine);
  EXPECT_THAT(ids(reading), Contains("1"));
}

TEST_F(ModelPlan, SmolLm2HeldToACallSearches) {
  const auto path = test::smollm2_path();
  if (!path) GTEST_SKIP() << "SmolLM2 is not there; set FATHOM_TEST_MODEL to its GGUF file";
  ThreadPool pool(2);
  infer::EngineOptions options;
  options.context = 4096;
  const auto engine = infer::Engine::load(*path, options, pool);
  const Reading reading = read(*engine);
  EXPECT_THAT(ids(reading), Contains("1"));
  ASSERT_FALSE(steps_.empty());
  for (const Step& step : steps_) RecordProperty("step", step.tool + " " + step.query);
  EXPECT_THAT((std::vector<std::string>{"search_posts", "get_thread", "get_trends", "get_author"}),
              Contains(steps_[0].tool));
}

}  // namespace
}  // namespace fathom::answer
