// Digest, explain and deep: what they tell, and that nothing in them stands without a post.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "answer/assistant.h"
#include "answer/check.h"
#include "answer/fakes.h"
#include "answer/generate.h"
#include "answer/phrases.h"
#include "answer/style.h"
#include "base/error.h"

namespace fathom::answer {
namespace {

using ::testing::Contains;
using testing::FakeEngine;
using testing::FakeStore;
using ::testing::HasSubstr;
using testing::make_post;
using ::testing::Not;

std::vector<live::Post> harbour_posts() {
  std::vector<live::Post> posts = {
      make_post("0", "portradio", "Port Radio", "2026-02-20T08:00:00Z",
                "Good morning from the harbour of Lund."),
      make_post("1", "portradio", "Port Radio", "2026-03-01T09:00:00Z",
                "BREAKING: ferry Aurora hit the pier in Lund. 12 people injured, police say."),
      make_post("2", "anna", "Anna", "2026-03-01T09:05:00Z", "@portradio were you near the pier yourself?"),
      make_post("3", "lundhospital", "Lund Hospital", "2026-03-01T11:30:00Z",
                "Update on the ferry Aurora accident at the pier in Lund: 17 people injured."),
      make_post("4", "mayorruiz", "Ana Ruiz", "2026-03-01T12:00:00Z",
                "The ferry Aurora will stay in Lund until Monday, the harbour office announced."),
      make_post("5", "tomf", "Tom Ford", "2026-03-01T12:10:00Z",
                "The ferry Aurora hit the pier in Lund because its engine failed, says Captain Erik Holm."),
      make_post("6", "lundpolice", "Lund Police", "2026-03-01T12:30:00Z",
                "It is not true that the captain of the ferry Aurora in Lund has fled. Erik Holm is here."),
      make_post("7", "velisnews", "Velis News", "2026-03-01T13:00:00Z",
                "Election in Velis: Maria Sol wins with 54% of the votes."),
      make_post("8", "spam4u", "Deals", "2026-03-01T12:05:00Z",
                "#ferry #Aurora #Lund #win #iphone ferry Aurora injured 99 click http://spam.example/x "
                "http://spam.example/y"),
  };
  posts[2].reply_to = "1";
  return posts;
}

/// What of the text lies outside every claim, line by line.
std::vector<std::string> uncited_lines(const Answer& answer) {
  std::string rest = answer.text;
  for (const Citation& c : answer.citations) {
    for (size_t i = c.claim_begin; i < c.claim_end; ++i)
      if (rest[i] != '\n') rest[i] = ' ';
  }
  std::vector<std::string> out;
  for (const std::string_view line : split(rest, '\n'))
    if (!trim(line).empty()) out.emplace_back(trim(line));
  return out;
}

class ModesTest : public ::testing::Test {
 protected:
  Answer run(const Request& request, const Events& events = {}) {
    const Answer answer = Assistant::create(store_, engine_, clock_, &styles_)->answer(request, events, {});
    check(answer);
    return answer;
  }

  /// Every claim is a quotation that its post has, or a sentence that passes the check; every line without a claim is a
  /// heading, a question of the plan or a remark of the table.
  static void check(const Answer& answer) {
    for (const Citation& c : answer.citations) {
      EXPECT_EQ(answer.text.substr(c.begin, c.end - c.begin), "[" + std::to_string(c.number) + "]");
      const std::string claim = answer.text.substr(c.claim_begin, c.claim_end - c.claim_begin);
      const std::string passage = c.post.text.substr(c.passage_begin, c.passage_end - c.passage_begin);
      EXPECT_TRUE(claim.find(answer::quoted(passage)) != std::string::npos ||
                  check_support(claim, prepare(c.post)).supported)
          << claim << "\n of: " << c.post.text;
      EXPECT_TRUE(
          std::ranges::any_of(answer.read, [&](const live::Post& p) { return p.key() == c.post.key(); }));
    }
    for (const std::string& line : uncited_lines(answer)) {
      const bool heading = line.starts_with("## ");
      const bool question =
          line.starts_with("- ") && std::ranges::find(answer.plan, line.substr(2)) != answer.plan.end();
      const bool remark = std::ranges::any_of(all_phrases(), [&](const Phrases& p) {
        return line == p.undisputed || line == p.nothing_else || line == p.hello || line == p.no_posts ||
               line.starts_with(p.found_none.substr(0, p.found_none.find('{')));
      });
      EXPECT_TRUE(heading || question || remark) << line;
    }
    EXPECT_EQ(answer.found, !answer.citations.empty());
  }

  static Request request(Mode mode, std::string question) {
    Request out;
    out.messages = {{"user", std::move(question)}};
    out.mode = mode;
    return out;
  }

  static Request explain(std::string key) {
    Request out = request(Mode::kExplain, "Explain this post");
    out.subject = std::move(key);
    return out;
  }

  FakeStore store_{harbour_posts()};
  ManualClock clock_{testing::at("2026-03-01T14:00:00Z")};
  Styles styles_{{std::filesystem::path(FATHOM_SOURCE_DIR) / "data/styles"}};
  infer::Engine* engine_ = nullptr;
};

std::vector<std::string> cited(const Answer& answer) {
  std::vector<std::string> out;
  for (const Citation& c : answer.citations) out.push_back(c.post.id);
  return out;
}

TEST_F(ModesTest, ExplainTellsAuthorThreadOthersAndDisputes) {
  const Answer answer = run(explain("test:1"));
  EXPECT_EQ(cited(answer).front(), "1");
  EXPECT_THAT(answer.text, HasSubstr("First post of Port Radio (@portradio) in this feed, 20 February 2026"));
  EXPECT_THAT(cited(answer), Contains("0"));
  EXPECT_THAT(answer.text, HasSubstr("Answered by @anna, 09:05 UTC"));
  EXPECT_THAT(answer.text, HasSubstr("Later, at 11:30 UTC: \"Update on the ferry Aurora accident"));
  EXPECT_THAT(answer.text, Not(HasSubstr("99")));
  EXPECT_FALSE(answer.steps.empty());
}

TEST_F(ModesTest, ExplainOfAReplyShowsWhatItAnswers) {
  const Answer answer = run(explain("test:2"));
  EXPECT_THAT(answer.text, HasSubstr("It answers Port Radio (@portradio), 09:00 UTC: \"BREAKING"));
  EXPECT_THAT(answer.text, HasSubstr("First post of @anna in this feed"));
}

TEST_F(ModesTest, ExplainOfAPostWithoutCompanySaysSo) {
  const Answer answer = run(explain("test:7"));
  EXPECT_THAT(answer.text, HasSubstr("I found nothing else about it."));
  EXPECT_THAT(answer.text, HasSubstr("I found no post that disputes it."));
}

TEST_F(ModesTest, ExplainObeysTheParametersAndNamesWhatIsMissing) {
  Request other = explain("test:1");
  other.search.max_results = 2;
  EXPECT_LE(run(other).read.size(), 2U);
  other.search.not_handles = {"portradio"};
  for (const Request& bad : {explain("test:99"), other}) {
    try {
      run(bad);
      FAIL() << "a post that is not there was explained";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotFound);
      EXPECT_THAT(error.what(), HasSubstr(bad.subject));
    }
  }
  EXPECT_THROW(run(explain("")), Error);
}

TEST_F(ModesTest, DigestTellsStoriesWithPostsSourcesAndOpposition) {
  const Answer answer = run(request(Mode::kDigest, "What happened today?"));
  EXPECT_THAT(answer.text, HasSubstr("sources: 1"));
  EXPECT_THAT(answer.text, HasSubstr("Maria Sol"));
  EXPECT_THAT(answer.text, Not(HasSubstr("spam.example")));
  EXPECT_THAT(answer.text, Not(HasSubstr("Good morning"))) << "that was in February";
  Request few = request(Mode::kDigest, "Give me a digest of the news");
  few.search.max_results = 1;
  EXPECT_EQ(run(few).read.size(), 1U);
}

TEST_F(ModesTest, DigestAboutASubjectKeepsToIt) {
  const Answer answer = run(request(Mode::kDigest, "What is new about Velis?"));
  EXPECT_EQ(cited(answer), std::vector<std::string>{"7"});
  const Answer none = run(request(Mode::kDigest, "What is new about Qorbeth?"));
  EXPECT_FALSE(none.found) << none.text;
}

TEST_F(ModesTest, DeepRaisesQuestionsAndReportsWithSections) {
  Request deep = request(Mode::kDeep, "What happened to the ferry Aurora?");
  deep.rounds = 12;
  std::vector<std::vector<std::string>> plans;
  std::vector<Step> steps;
  Events events;
  events.on_plan = [&](const std::vector<std::string>& plan) { plans.push_back(plan); };
  events.on_step = [&](const Step& step) { steps.push_back(step); };
  const Answer answer = run(deep, events);
  ASSERT_GE(plans.size(), 2U);
  EXPECT_LT(plans.front().size(), plans.back().size());
  EXPECT_EQ(plans.back(), answer.plan);
  EXPECT_LE(answer.plan.size(), 12U);
  for (const Step& step : steps) EXPECT_THAT(answer.plan, Contains(step.question));
  EXPECT_THAT(answer.text, HasSubstr("## What happened to the ferry Aurora?"));
  EXPECT_THAT(answer.text, HasSubstr("engine failed"));
  EXPECT_THAT(answer.text, HasSubstr("until Monday"));
  EXPECT_THAT(answer.text, HasSubstr("17 people injured"));
  EXPECT_THAT(answer.text, Not(HasSubstr("99")));
  // One numbering over the whole report.
  size_t highest = 0;
  for (const Citation& c : answer.citations) {
    EXPECT_LE(c.number, highest + 1);
    highest = std::max(highest, c.number);
  }
  EXPECT_EQ(run(deep).text, answer.text) << "the same feed gives the same report";
}

TEST_F(ModesTest, DeepKeepsItsBudgetAndSaysWhatIsUnknown) {
  Request deep = request(Mode::kDeep, "Who won the election in Velis?");
  deep.rounds = 1;
  EXPECT_EQ(run(deep).plan.size(), 1U);
  deep.rounds = 12;
  const Answer answer = run(deep);
  EXPECT_THAT(answer.text, HasSubstr("## What the posts do not say"));
  EXPECT_THAT(answer.text, HasSubstr("- won the election in Velis: why?"));
  deep.rounds = 13;
  EXPECT_THROW(run(deep), Error);
  deep = request(Mode::kDeep, "What happened to the airship Qorbeth?");
  EXPECT_FALSE(run(deep).found);
}

TEST_F(ModesTest, DeepEndsWhenTheTimeIsOver) {
  Request deep = request(Mode::kDeep, "What happened to the ferry Aurora?");
  deep.rounds = 12;
  deep.deadline = std::chrono::steady_clock::now() - std::chrono::seconds{1};
  const Answer answer = run(deep);
  EXPECT_TRUE(answer.found);
  EXPECT_THAT(answer.text, Not(HasSubstr("\n## ")));
}

TEST_F(ModesTest, ReaderWhoLeavesEndsAReport) {
  Request deep = request(Mode::kDeep, "What happened to the ferry Aurora?");
  size_t pieces = 0;
  Events events;
  events.on_text = [&](std::string_view, const std::vector<Citation>&) { return ++pieces < 2; };
  const Answer answer = Assistant::create(store_, nullptr, clock_)->answer(deep, events, {});
  EXPECT_EQ(answer.finish, infer::FinishReason::kCancelled);
  EXPECT_EQ(pieces, 2U);
}

TEST_F(ModesTest, StylesChangeHowMuchIsToldAndNeverTheQuotations) {
  Request brief = request(Mode::kAnswer, "What happened to the ferry Aurora?");
  brief.style = "brief";
  Request thorough = brief;
  thorough.style = "thorough";
  EXPECT_LE(run(brief).citations.size(), 2U);
  EXPECT_GT(run(thorough).citations.size(), run(brief).citations.size());
  Request playful = brief;
  playful.style = "playful";
  const Answer answer = Assistant::create(store_, nullptr, clock_, &styles_)->answer(playful, {}, {});
  const Style style = styles_.find("playful");
  EXPECT_TRUE(answer.text.starts_with(style.opening("en")));
  EXPECT_TRUE(answer.text.ends_with(style.closing("en")));
  for (const Citation& c : answer.citations)
    EXPECT_THAT(
        answer.text.substr(c.claim_begin, c.claim_end - c.claim_begin),
        HasSubstr(answer::quoted(c.post.text.substr(c.passage_begin, c.passage_end - c.passage_begin))));
  playful.style = "nosuch";
  EXPECT_THROW(run(playful), Error);
}

TEST_F(ModesTest, RemarksAreInTheLanguageOfTheQuestion) {
  Request german = request(Mode::kAnswer, "Wer hat die Wahl in Qorbeth gewonnen?");
  EXPECT_THAT(run(german).text,
              HasSubstr("Ich habe im Feed bis 2026-03-01, 13:00 UTC keinen Beitrag gefunden"));
  Request french = explain("test:7");
  french.messages = {{"user", "Explique ce message, qui est-ce qui le dit ?"}};
  EXPECT_THAT(run(french).text, HasSubstr("## Qui l'a écrit"));
}

/// Thinks first, as its template says that it does.
class ThinkingEngine final : public infer::Engine {
 public:
  ThinkingEngine(std::string reply, std::string chat_template)
      : inner_(std::move(reply)), template_(std::move(chat_template)) {}

  const infer::ModelInfo& info() const override { return inner_.info(); }
  std::vector<int32_t> tokenize(std::string_view text) const override { return inner_.tokenize(text); }
  std::string detokenize(const std::vector<int32_t>& tokens) const override {
    return inner_.detokenize(tokens);
  }
  std::vector<int32_t> tokenize_chat(const std::vector<infer::ChatMessage>& messages) const override {
    return inner_.tokenize_chat(messages);
  }
  std::string chat_template() const override { return template_; }
  infer::GenerateResult generate(const infer::GenerateRequest& request, const infer::TextSink& sink,
                                 const std::stop_token& stop) override {
    return inner_.generate(request, sink, stop);
  }

 private:
  FakeEngine inner_;
  std::string template_;
};

TEST_F(ModesTest, ThoughtsAreShownAndNeverTheAnswer) {
  ThinkingEngine engine(
      "<think>\nPerhaps 99 people were injured.\nNo: 17.\n</think>\n\n17 people were injured in the ferry "
      "Aurora accident.",
      "{{ messages }}<think>");
  engine_ = &engine;
  Request question = request(Mode::kAnswer, "How many people were injured in the ferry Aurora accident?");
  question.think = true;
  std::string thoughts;
  Events events;
  events.on_thought = [&](std::string_view piece) {
    thoughts += piece;
    return true;
  };
  const Answer answer = run(question, events);
  EXPECT_EQ(answer.writer, "generate");
  EXPECT_THAT(thoughts, HasSubstr("Perhaps 99"));
  EXPECT_EQ(answer.reasoning, thoughts);
  EXPECT_THAT(answer.text, Not(HasSubstr("99")));
  EXPECT_THAT(answer.text, Not(HasSubstr("think")));
  EXPECT_THAT(answer.text, HasSubstr("17 people were injured in the ferry Aurora accident [1]."));
}

TEST_F(ModesTest, ThoughtsWithoutEndGiveQuotations) {
  ThinkingEngine engine("<think>17 people were injured in the ferry Aurora accident. And on and on",
                        "<think>");
  engine_ = &engine;
  const Answer answer =
      run(request(Mode::kAnswer, "How many people were injured in the ferry Aurora accident?"));
  EXPECT_EQ(answer.writer, "extract");
  EXPECT_THAT(answer.reasoning, HasSubstr("And on"));
}

TEST_F(ModesTest, ThinkingChangesNothingForOtherModels) {
  FakeEngine engine("<think>a</think>17 people were injured in the ferry Aurora accident.");
  engine_ = &engine;
  Request question = request(Mode::kAnswer, "How many people were injured in the ferry Aurora accident?");
  const std::string plain = run(question).text;
  question.think = true;
  const Answer answer = run(question);
  EXPECT_EQ(answer.text, plain);
  EXPECT_EQ(answer.reasoning, "");
}

TEST_F(ModesTest, StyleAndLanguageStandInTheStablePartOfThePrompt) {
  const Evidence post = prepare(harbour_posts()[1]);
  Plan one, two;
  one.resolved = "What hit the pier?";
  two.resolved = "Who was injured?";
  const auto a = grounded_prompt(one, {&post}, {}, "Be brief.", "German");
  const auto b = grounded_prompt(two, {&post}, {}, "Be brief.", "German");
  EXPECT_EQ(a.front().content, b.front().content);
  EXPECT_THAT(a.front().content, HasSubstr("Be brief."));
  EXPECT_THAT(a.back().content, HasSubstr("Answer in German."));
}

}  // namespace
}  // namespace fathom::answer
