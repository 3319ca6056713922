#include "answer/eval_questions.h"

#include <gtest/gtest.h>

#include "answer/eval_run.h"
#include "answer/fakes.h"
#include "answer/generate.h"
#include "base/error.h"
#include "base/file.h"

namespace fathom::answer {
namespace {

using testing::at;
using testing::FakeStore;
using testing::make_post;

std::vector<EvalQuestion> read(std::string_view json) {
  const TempDir folder;
  write_file_atomic(folder.path() / "q.json", json);
  return read_questions(folder.path() / "q.json");
}

TEST(Questions, AreReadInTheOrderInWhichTheyAreAsked) {
  const auto questions = read(R"({"questions": [
      {"id": "b", "kind": "when", "storyline": "s", "question": "B?", "answers": ["2"], "gold_posts": ["7"],
       "asked_at": "2031-05-14T12:00:00Z", "fact": null},
      {"question": "last?", "answers": []},
      {"question": "A?", "answers": ["1"], "asked_at": "2031-05-14T11:00:00Z"}]})");
  ASSERT_EQ(questions.size(), 3U);
  EXPECT_EQ(questions[0].question, "A?");
  EXPECT_EQ(questions[1].gold_posts, std::vector<std::string>{"7"});
  EXPECT_EQ(questions[2].kind, "no_answer");
  EXPECT_FALSE(questions[2].asked_at);
  EXPECT_EQ(read(R"([{"question": "x", "answers": ["y"]}])").size(), 1U);
}

TEST(Questions, KnowEveryValueOfTheirFigure) {
  const auto questions = read(R"({"facts": [
      {"key": "storm.gust", "accepted": ["98"], "posts": ["1"]}, {"key": "storm.gust", "accepted": ["121"], "posts": ["2"]},
      {"key": "storm.gusts", "accepted": ["5"], "posts": ["3"]}],
    "questions": [{"question": "How strong?", "lang": "en", "answers": ["121"], "fact": "storm.gust.2"}]})");
  ASSERT_EQ(questions.size(), 1U);
  EXPECT_EQ(questions[0].lang, "en");
  ASSERT_EQ(questions[0].provenance.size(), 2U);
  EXPECT_EQ(questions[0].provenance[0].posts, std::vector<std::string>{"1"});
}

TEST(Questions, ThatCannotBeReadAreNamed) {
  const auto sentence = [](std::string_view json) {
    try {
      read(json);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(sentence("{").find("neither a list"), std::string::npos);
  EXPECT_NE(sentence("3").find("neither a list"), std::string::npos);
  EXPECT_NE(sentence(R"([{"question": "x", "answers": []}, {"question": 3}])").find("question 2"),
            std::string::npos);
  EXPECT_NE(sentence(R"([{"question": "x", "answers": [], "asked_at": "noon"}])").find("asked_at"),
            std::string::npos);
}

TEST(Feed, IsReadInTimeAndWithoutWhatIsNoPost) {
  const TempDir folder;
  write_file_atomic(folder.path() / "p.ndjson",
                    R"({"id":"2","author":"a","text":"later","created_at":"2031-05-14T12:00:00Z"})"
                    "\nno post\n"
                    R"({"id":"1","author":"a","text":"sooner","created_at":"2031-05-14T11:00:00Z"})");
  const auto posts = read_feed({folder.path() / "p.ndjson"});
  ASSERT_EQ(posts.size(), 2U);
  EXPECT_EQ(posts[0].text, "sooner");
}

TEST(Replay, ShowsEachQuestionWhatWasThereByThen) {
  std::vector<live::Post> posts = {make_post("1", "osf", "Osterfell Bay", "2031-05-14T10:00:00Z",
                                             "61 flights at Osterfell are cancelled."),
                                   make_post("2", "osf", "Osterfell Bay", "2031-05-14T11:00:00Z",
                                             "88 flights at Osterfell are cancelled.")};
  EvalQuestion early, late;
  early.question = late.question = "How many flights are cancelled at Osterfell?";
  early.asked_at = at("2031-05-14T10:30:00Z");
  FakeStore store;
  std::vector<size_t> seen;
  std::vector<Shown> shown;
  replay(posts, {early, late}, store, [&](const EvalQuestion& question) {
    seen.push_back(store.stats().posts);
    shown.push_back(shown_for(store, question.question));
  });
  EXPECT_EQ(seen, (std::vector<size_t>{1, 2}));
  ASSERT_FALSE(shown[1].posts.empty());
  EXPECT_EQ(shown[1].posts[0].id, "2") << "the newest figure stands first";
  EXPECT_EQ(shown[1].as_of, at("2031-05-14T11:00:00Z"));
}

struct Asked {
  Answer answer;
  std::string prompt;
};

Asked ask_model(bool cites, const std::string& reply, const std::string& question) {
  const FakeStore store({make_post("1", "osf", "Osterfell Bay", "2031-05-14T10:00:00Z",
                                   "88 flights at Osterfell are cancelled."),
                         make_post("2", "mayor", "Town Hall", "2031-05-14T10:05:00Z",
                                   "There was no crash at Osterfell, an exercise.")});
  testing::FakeEngine engine(reply);
  if (cites) engine.set_cites();
  const SystemClock clock;
  Request request;
  request.messages = {{"user", question}};
  request.search.mode = SearchMode::kOn;
  Asked out{Assistant::create(store, &engine, clock)->answer(request, {}, {}), {}};
  out.prompt = engine.prompt;
  return out;
}

Asked ask_citing(const std::string& reply, const std::string& question) {
  return ask_model(true, reply, question);
}

TEST(CitingModel, IsShownThePostsWithTheirAuthorsAndTimes) {
  const Asked asked = ask_citing("88 flights at Osterfell are cancelled [1].",
                                 "How many flights are cancelled at Osterfell?");
  EXPECT_NE(asked.prompt.find("[1] Osterfell Bay, 10:00 UTC: 88 flights at Osterfell are cancelled.\n"),
            std::string::npos)
      << asked.prompt;
  EXPECT_EQ(asked.answer.text, "88 flights at Osterfell are cancelled [1].");
  EXPECT_EQ(asked.answer.writer, "generate");
}

TEST(CitingModel, MayRefuse) {
  const Asked asked = ask_citing("The posts do not say.", "How many flights are cancelled at Osterfell?");
  EXPECT_TRUE(asked.answer.citations.empty());
  EXPECT_NE(asked.answer.text.find("I found no post that answers this"), std::string::npos);
}

TEST(CitingModel, AnotherModelMayNotRefuseWhatWasFound) {
  const Asked asked =
      ask_model(false, "The posts do not say.", "How many flights are cancelled at Osterfell?");
  EXPECT_EQ(asked.answer.writer, "extract");
  EXPECT_NE(asked.answer.text.find("88 flights"), std::string::npos) << asked.answer.text;
}

TEST(CitingModel, MayDenyWhatIsAsked) {
  const Asked asked =
      ask_citing("There was no crash at Osterfell [2].", "How many people died in the crash at Osterfell?");
  ASSERT_EQ(asked.answer.citations.size(), 1U) << asked.answer.text;
  EXPECT_EQ(asked.answer.citations[0].post.id, "2");
}

TEST(CitingModel, IsCheckedAllTheSame) {
  const Asked asked = ask_citing("99 flights at Osterfell are cancelled [1].",
                                 "How many flights are cancelled at Osterfell?");
  EXPECT_EQ(asked.answer.writer, "extract");
  EXPECT_EQ(asked.answer.text.find("99"), std::string::npos);
}

TEST(EvalRun, JudgesTheModelsOwnWords) {
  const FakeStore store({make_post("1", "osf", "Osterfell Bay", "2031-05-14T10:00:00Z",
                                   "88 flights at Osterfell are cancelled.")});
  testing::FakeEngine engine("It rains in Velmarsund [1].");
  engine.set_cites();
  const SystemClock clock;
  const auto assistant = Assistant::create(store, &engine, clock);
  const std::string question = "How many flights are cancelled at Osterfell?";
  const JudgedAnswer own = answer_for_eval({store, *assistant, &engine}, EvalWriter::kModel, question);
  EXPECT_EQ(own.text, "It rains in Velmarsund [1].");
  ASSERT_EQ(own.marks.size(), 1U);
  const JudgedAnswer checked = answer_for_eval({store, *assistant, &engine}, EvalWriter::kAuto, question);
  EXPECT_NE(checked.text.find("88 flights"), std::string::npos);
  EXPECT_THROW(answer_for_eval({store, *assistant, nullptr}, EvalWriter::kModel, question), Error);
}

}  // namespace
}  // namespace fathom::answer
