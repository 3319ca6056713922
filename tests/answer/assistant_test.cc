#include "answer/assistant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "answer/check.h"
#include "answer/fakes.h"
#include "base/error.h"

namespace fathom::answer {
namespace {

using testing::FakeEngine;
using testing::FakeStore;
using ::testing::HasSubstr;
using testing::make_post;
using ::testing::Not;

std::vector<live::Post> ferry_posts() {
  std::vector<live::Post> posts = {
      make_post("1", "portradio", "Port Radio", "2026-03-01T09:00:00Z",
                "BREAKING: ferry Aurora hit the pier in Lund. 12 people injured, police say."),
      make_post("2", "anna", "Anna", "2026-03-01T09:05:00Z", "omg what was that noise at the harbour??"),
      make_post("3", "lundhospital", "Lund Hospital", "2026-03-01T11:30:00Z",
                "Update on the ferry Aurora accident: the number of injured has risen to 17 people."),
      make_post("4", "kim", "Kim", "2026-03-01T11:40:00Z",
                "RT @lundhospital: Update on the ferry Aurora accident: the number of injured has risen to "
                "17 people."),
      make_post("5", "mayorruiz", "Ana Ruiz", "2026-03-01T12:00:00Z",
                "The ferry line will stay closed until Monday. Thank you to all rescuers in Lund."),
      make_post("6", "spam4u", "Deals", "2026-03-01T12:05:00Z",
                "#ferry #Aurora #Lund #win #iphone ferry Aurora injured 99 click http://spam.example/x "
                "http://spam.example/y"),
      make_post("7", "tomf", "Tom Ford", "2026-03-01T12:10:00Z",
                "Captain Erik Holm steered the ferry Aurora when it hit the pier, the company confirms."),
      make_post("8", "velisnews", "Velis News", "2026-03-01T13:00:00Z",
                "Election in Velis: Maria Sol wins with 54% of the votes."),
      make_post("9", "velisnews", "Velis News", "2026-03-01T13:30:00Z",
                "The storm Dagny will reach Velis at 7 pm tonight, schools close at noon."),
  };
  for (live::Post& post : posts) post.metrics.likes = 10;
  return posts;
}

Request ask(std::string question, Writer writer = Writer::kExtract) {
  Request request;
  request.messages = {{"user", std::move(question)}};
  request.writer = writer;
  return request;
}

class AssistantTest : public ::testing::Test {
 protected:
  Answer run(const Request& request, infer::Engine* engine = nullptr, const Events& events = {}) {
    const Answer answer = Assistant::create(store_, engine, clock_)->answer(request, events, {});
    check(answer);
    return answer;
  }

  /// What holds for every answer: offsets, numbering, passages.
  static void check(const Answer& answer) {
    size_t highest = 0, last = 0;
    for (const Citation& c : answer.citations) {
      ASSERT_LE(c.end, answer.text.size());
      EXPECT_EQ(answer.text.substr(c.begin, c.end - c.begin), "[" + std::to_string(c.number) + "]");
      EXPECT_GE(c.begin, last);
      last = c.end;
      EXPECT_LE(c.number, highest + 1);
      highest = std::max(highest, c.number);
      EXPECT_LE(c.claim_begin, c.begin);
      EXPECT_GE(c.claim_end, c.end);
      EXPECT_LE(c.claim_end, answer.text.size());
      ASSERT_LE(c.passage_end, c.post.text.size());
      EXPECT_LT(c.passage_begin, c.passage_end);
      const bool read = std::ranges::any_of(
          answer.read, [&](const live::Post& post) { return post.key() == c.post.key(); });
      EXPECT_TRUE(read) << "a citation points at a post that was not read";
    }
    EXPECT_EQ(answer.found, !answer.citations.empty());
  }

  FakeStore store_{ferry_posts()};
  ManualClock clock_{testing::at("2026-03-01T14:00:00Z")};
};

TEST_F(AssistantTest, NewestFigureFirstAndTheEarlierNamed) {
  const Answer answer = run(ask("How many people were injured in the ferry Aurora accident?"));
  ASSERT_GE(answer.citations.size(), 2U);
  EXPECT_EQ(answer.citations[0].post.id, "3");
  EXPECT_THAT(answer.text, HasSubstr("risen to 17 people"));
  EXPECT_THAT(answer.text, HasSubstr("Earlier"));
  EXPECT_EQ(answer.citations[1].post.id, "1");
  EXPECT_EQ(answer.writer, "extract");
  EXPECT_THAT(answer.text, Not(HasSubstr("99")));
}

TEST_F(AssistantTest, AnswersWhoWhenAndPercent) {
  EXPECT_EQ(run(ask("Who won the election in Velis?")).citations.at(0).post.id, "8");
  EXPECT_EQ(run(ask("When will storm Dagny reach Velis?")).citations.at(0).post.id, "9");
  EXPECT_EQ(run(ask("Who was the captain of the ferry Aurora?")).citations.at(0).post.id, "7");
  EXPECT_EQ(run(ask("What did Ana Ruiz say about the ferry?")).citations.at(0).post.id, "5");
  EXPECT_EQ(run(ask("what did @mayorruiz say about the ferry line?")).citations.at(0).post.id, "5");
}

TEST_F(AssistantTest, RefusesWhatTheFeedLacks) {
  for (const char* question :
       {"How many people were injured in the Glasgow helicopter crash?", "Who won the election in Lund?",
        "When did Maria Sol resign?", "What did @nobody say about the ferry?",
        "How many people died when the ferry Borealis sank?"}) {
    const Answer answer = run(ask(question));
    EXPECT_FALSE(answer.found) << question << " -> " << answer.text;
    EXPECT_EQ(answer.writer, "none");
    EXPECT_THAT(answer.text, HasSubstr("no post")) << question;
    EXPECT_FALSE(answer.steps.empty());
  }
}

TEST_F(AssistantTest, EmptyFeedSaysSo) {
  const FakeStore empty;
  const Answer answer = Assistant::create(empty, nullptr, clock_)->answer(ask("Who won the cup?"), {}, {});
  EXPECT_FALSE(answer.found);
  EXPECT_THAT(answer.text, HasSubstr("no posts yet"));
}

TEST_F(AssistantTest, FollowUpAsksAboutTheSame) {
  Request request = ask("What happened to the ferry Aurora?");
  request.messages.push_back({"assistant", "It hit the pier."});
  request.messages.push_back({"user", "How many were injured?"});
  const Answer answer = run(request);
  ASSERT_TRUE(answer.found);
  EXPECT_EQ(answer.citations[0].post.id, "3");
}

TEST_F(AssistantTest, DigestTellsStories) {
  const Answer answer = run(ask("What is going on?"));
  EXPECT_GE(answer.citations.size(), 3U);
  EXPECT_LE(answer.citations.size(), 6U);
  EXPECT_THAT(answer.text, Not(HasSubstr("spam.example")));
}

TEST_F(AssistantTest, ParametersAreObeyed) {
  Request request = ask("How many people were injured in the ferry Aurora accident?");
  request.search.not_handles = {"@LundHospital"};
  Answer answer = run(request);
  for (const live::Post& post : answer.read) EXPECT_NE(post.author.handle, "lundhospital");
  request.search.not_handles.clear();
  request.search.handles = {"portradio"};
  answer = run(request);
  EXPECT_EQ(answer.citations.at(0).post.id, "1");
  for (const live::Post& post : answer.read) EXPECT_EQ(post.author.handle, "portradio");
  request.search.handles.clear();
  request.search.to = testing::at("2026-03-01T10:00:00Z");
  answer = run(request);
  EXPECT_EQ(answer.citations.at(0).post.id, "1");
  request.search = {};
  request.search.max_results = 1;
  answer = run(request);
  EXPECT_EQ(answer.read.size(), 1U);
  request.search.min_likes = 1000;
  EXPECT_FALSE(run(request).found);
  request.search = {};
  request.search.sources = {"elsewhere"};
  request.writer = Writer::kExtract;
  store_.searches = 0;
  run(request);
  EXPECT_EQ(store_.last_query.sources, std::vector<std::string>{"elsewhere"});
}

TEST_F(AssistantTest, SearchOffSearchesNothing) {
  Request request = ask("How many people were injured in the ferry Aurora accident?", Writer::kAuto);
  request.search.mode = SearchMode::kOff;
  store_.searches = 0;
  Answer answer = run(request);
  EXPECT_EQ(store_.searches, 0U);
  EXPECT_THAT(answer.text, HasSubstr("turn search on"));
  FakeEngine engine("I cannot look that up. ");
  answer = run(request, &engine);
  EXPECT_EQ(store_.searches, 0U);
  EXPECT_EQ(answer.text, "I cannot look that up. ");
  EXPECT_EQ(answer.writer, "none");
}

TEST_F(AssistantTest, GreetingsNeedNoSearch) {
  store_.searches = 0;
  const Answer answer = run(ask("Hello!"));
  EXPECT_EQ(store_.searches, 0U);
  EXPECT_FALSE(answer.found);
  EXPECT_FALSE(answer.text.empty());
}

TEST_F(AssistantTest, GeneratedSentencesAreCheckedAndCited) {
  FakeEngine engine(
      "The number of injured has risen to 17 people [4]. 500 people drowned [1]. The weather was nice.");
  const Answer answer =
      run(ask("How many people were injured in the ferry Aurora accident?", Writer::kGenerate), &engine);
  EXPECT_EQ(answer.writer, "generate");
  EXPECT_THAT(answer.text, HasSubstr("risen to 17 people [1]."));
  EXPECT_THAT(answer.text, Not(HasSubstr("500")));
  EXPECT_THAT(answer.text, Not(HasSubstr("weather")));
  EXPECT_EQ(answer.citations.at(0).post.id, "3");
  EXPECT_EQ(answer.dropped_sentences, 2U);
  EXPECT_EQ(engine.sampling.temperature, 0);
}

TEST_F(AssistantTest, AutoFallsBackToQuotes) {
  FakeEngine engine("There were 99 people injured. 12 of them swam.");
  const Answer answer =
      run(ask("How many people were injured in the ferry Aurora accident?", Writer::kAuto), &engine);
  EXPECT_EQ(answer.writer, "extract");
  EXPECT_EQ(answer.citations.at(0).post.id, "3");
  EXPECT_THAT(answer.text, Not(HasSubstr("99")));
}

TEST_F(AssistantTest, OldFigureFromTheModelIsNotTaken) {
  FakeEngine engine("12 people were injured when the ferry Aurora hit the pier.");
  const Answer answer =
      run(ask("How many people were injured in the ferry Aurora accident?", Writer::kAuto), &engine);
  EXPECT_EQ(answer.writer, "extract");
  EXPECT_THAT(answer.text, HasSubstr("17"));
}

TEST_F(AssistantTest, StreamEqualsText) {
  FakeEngine engine("Maria Sol wins the election in Velis with 54% of the votes.");
  for (const Writer writer : {Writer::kExtract, Writer::kAuto}) {
    std::string streamed;
    size_t citations = 0, steps = 0, read = 0;
    Events events;
    events.on_step = [&](const Step&) { ++steps; };
    events.on_read = [&](const std::vector<live::Post>& posts) { read = posts.size(); };
    events.on_text = [&](std::string_view piece, const std::vector<Citation>& more) {
      EXPECT_GT(read, 0U);
      streamed += piece;
      for (const Citation& c : more)
        EXPECT_EQ(streamed.substr(c.begin, c.end - c.begin), "[" + std::to_string(c.number) + "]");
      citations += more.size();
      return true;
    };
    const Answer answer = run(ask("Who won the election in Velis?", writer), &engine, events);
    EXPECT_EQ(streamed, answer.text);
    EXPECT_EQ(citations, answer.citations.size());
    EXPECT_EQ(steps, answer.steps.size());
    EXPECT_GT(citations, 0U);
  }
}

TEST_F(AssistantTest, ReaderWhoLeavesStopsTheAnswer) {
  Events events;
  events.on_text = [](std::string_view, const std::vector<Citation>&) { return false; };
  const Answer answer = run(ask("What is going on?"), nullptr, events);
  EXPECT_EQ(answer.citations.size(), 1U);
  EXPECT_EQ(answer.finish, infer::FinishReason::kCancelled);
}

TEST_F(AssistantTest, OffsetsHoldWithWideCharacters) {
  const FakeStore store({make_post("1", "zo\xC3\xAB", "Zo\xC3\xAB \xF0\x9F\x9A\xA2", "2026-03-01T09:00:00Z",
                                   "\xF0\x9F\x9A\xA2\xF0\x9F\x9A\xA2 RT \xC3\x9C"
                                   "ber 40 B\xC3\xB6"
                                   "te sanken vor L\xC3\xBC"
                                   "beck "
                                   "\xE2\x80\x93 \xE2\x80\x9C"
                                   "sehr traurig\xE2\x80\x9D http://t.co/x")});
  const Answer answer = Assistant::create(store, nullptr, clock_)
                            ->answer(ask("How many B\xC3\xB6"
                                         "te sanken in L\xC3\xBC"
                                         "beck?"),
                                     {}, {});
  check(answer);
  ASSERT_TRUE(answer.found);
  const Citation& c = answer.citations[0];
  EXPECT_TRUE(
      is_valid_utf8(std::string_view(c.post.text).substr(c.passage_begin, c.passage_end - c.passage_begin)));
  EXPECT_TRUE(is_valid_utf8(answer.text));
}

TEST_F(AssistantTest, BadRequestsAreNamed) {
  const auto code = [&](const Request& request) {
    try {
      run(request);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code(Request{}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(ask("   ")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(ask("Who won?", Writer::kGenerate)), ErrorCode::kUnsupported);
  Request request = ask("Who won?");
  request.search.max_results = 51;
  EXPECT_EQ(code(request), ErrorCode::kInvalidArgument);
}

TEST_F(AssistantTest, ManyThreadsAskAtOnce) {
  const auto assistant = Assistant::create(store_, nullptr, clock_);
  const std::string expected = assistant->answer(ask("Who won the election in Velis?"), {}, {}).text;
  std::vector<std::string> texts(4);
  {
    std::vector<std::jthread> threads;
    for (std::string& text : texts) {
      threads.emplace_back([&] {
        for (int i = 0; i < 5; ++i)
          text = assistant->answer(ask("Who won the election in Velis?"), {}, {}).text;
      });
    }
  }
  for (const std::string& text : texts) EXPECT_EQ(text, expected);
}

TEST_F(AssistantTest, PostsThatOnlyAskAreNoAnswer) {
  const FakeStore store({make_post("1", "anna", "Anna", "2026-03-01T09:05:00Z", "how many injured??"),
                         make_post("2", "bo", "Bo", "2026-03-01T09:06:00Z", "I pray. injured? lol")});
  const Answer answer =
      Assistant::create(store, nullptr, clock_)->answer(ask("What injured the visitors?"), {}, {});
  EXPECT_FALSE(answer.found) << answer.text;
}

TEST_F(AssistantTest, PromptIsFittedToTheContext) {
  FakeEngine small("Maria Sol wins the election in Velis with 54% of the votes.", 500);
  Request request = ask("Who won the election in Velis?", Writer::kGenerate);
  request.max_tokens = 100;
  EXPECT_NO_THROW(run(request, &small));
  EXPECT_LE(small.prompt.size() + 100, 500U);
  FakeEngine tiny("x", 120);
  EXPECT_THROW(run(request, &tiny), Error);
}

}  // namespace
}  // namespace fathom::answer
