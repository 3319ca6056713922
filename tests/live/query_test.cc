// The query language: every operator, what combines, what is refused, and that no bytes break it.
#include "live/query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"

namespace fathom::live {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ParsedQuery parse(std::string_view text) {
  Query query;
  query.text = text;
  return parse_query(query);
}

std::string refusal(std::string_view text) {
  try {
    parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(QueryText, PlainWordsAreAlternatives) {
  const auto q = parse("What happened in the floods?");
  EXPECT_THAT(q.scored, ElementsAre("happen", "flood"));
  EXPECT_TRUE(q.required.empty());
  EXPECT_TRUE(q.one_must_match);
}

TEST(QueryText, StopWordsCountWhenThereIsNothingElse) {
  EXPECT_THAT(parse("to be or not to be").scored, ElementsAre("to", "be", "or", "not"));
  EXPECT_TRUE(parse("from:ann the").scored.empty());
}

TEST(QueryText, RequireAll) {
  Query query;
  query.text = "storm surge";
  query.require_all = true;
  EXPECT_THAT(parse_query(query).required, ElementsAre("storm", "surg"));
}

TEST(QueryText, Operators) {
  const auto q = parse(
      "+storm -drill \"high water\" -\"false alarm\" from:@Ann from:bob -from:spam to:@carl lang:en "
      "source:x since:2026-01-02 until:2026-01-03T04:05:06Z min_likes:5 min_views:6 has:link");
  EXPECT_THAT(q.required, ElementsAre("storm", "high", "water", "to:carl"));
  EXPECT_THAT(q.excluded, ElementsAre("drill", "from:spam"));
  ASSERT_EQ(q.phrases.size(), 1u);
  ASSERT_EQ(q.excluded_phrases.size(), 1u);
  ASSERT_EQ(q.any_of.size(), 1u);
  EXPECT_THAT(q.any_of[0], ElementsAre("from:ann", "from:bob"));
  EXPECT_THAT(q.langs, ElementsAre("en"));
  EXPECT_THAT(q.sources, ElementsAre("x"));
  EXPECT_EQ(format_time(*q.since), "2026-01-02T00:00:00Z");
  EXPECT_EQ(format_time(*q.until), "2026-01-03T04:05:06Z");
  EXPECT_EQ(q.min_likes, 5);
  EXPECT_EQ(q.min_views, 6);
  EXPECT_EQ(q.has_link, true);
  EXPECT_EQ(parse("-has:link x").has_link, false);
  EXPECT_EQ(parse("is:reply -is:repost x").is_reply, true);
  EXPECT_EQ(parse("is:reply -is:REPOST x").is_repost, false);
  EXPECT_TRUE(parse("is:reply -is:reply x").never);
}

TEST(QueryText, TagsNamesAndTickers) {
  const auto q = parse("#Sandy @FEMA $AAPL +#must -@spam");
  EXPECT_THAT(q.scored, ElementsAre("#must", "#sandy", "@fema", "$aapl"));
  EXPECT_THAT(q.required, ElementsAre("#must"));
  EXPECT_THAT(q.excluded, ElementsAre("@spam"));
}

TEST(QueryText, FieldsAndTextNarrowEachOther) {
  Query query;
  query.text = "since:2026-01-05 min_likes:3";
  query.since = parse_time("2026-01-01");
  query.min_likes = 10;
  const auto q = parse_query(query);
  EXPECT_EQ(format_time(*q.since), "2026-01-05T00:00:00Z");
  EXPECT_EQ(q.min_likes, 10);
  EXPECT_TRUE(parse("since:2026-01-05 until:2026-01-05").never);
}

TEST(QueryText, WhatOnlyLooksLikeAnOperatorIsText) {
  EXPECT_THAT(parse("re:calderon 12:30").scored, ElementsAre("re", "calderon", "12", "30"));
  EXPECT_THAT(parse("since: yesterday").scored, ElementsAre("sinc", "yesterday"));
  EXPECT_THAT(parse("- + \"\" a-b").scored, ElementsAre("b"));
  EXPECT_THAT(parse("\"never closed").required, ElementsAre("never", "close"));
}

TEST(QueryText, RefusalsNameThePart) {
  EXPECT_THAT(refusal("storm since:yesterday"), HasSubstr("'since:yesterday'"));
  EXPECT_THAT(refusal("until:2026-02-30"), HasSubstr("'until:2026-02-30'"));
  EXPECT_THAT(refusal("min_likes:many"), HasSubstr("'min_likes:many'"));
  EXPECT_THAT(refusal("min_likes:-1"), HasSubstr("min_likes"));
  EXPECT_THAT(refusal("has:video"), HasSubstr("'has:video'"));
  EXPECT_THAT(refusal("is:old"), HasSubstr("'is:old'"));
  EXPECT_THAT(refusal("-lang:en"), HasSubstr("'-lang:en'"));
  EXPECT_THAT(refusal(std::string(kMaxQueryBytes + 1, 'a')), HasSubstr("longer"));
  Query query;
  for (const RankWeights& weights :
       {RankWeights{.recency = -1}, RankWeights{.recency = 1.5}, RankWeights{.author = -1},
        RankWeights{.engagement = INFINITY}, RankWeights{.half_life_hours = NAN}}) {
    query.weights = weights;
    EXPECT_THROW(parse_query(query), Error);
  }
}

TEST(QueryText, ManyWordsAreCutNotRefused) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "w" + std::to_string(i) + " ";
  EXPECT_EQ(parse(text).scored.size(), kMaxQueryTerms);
}

TEST(QueryText, Phrases) {
  const auto q = parse("\"the boston marathon\"");
  ASSERT_EQ(q.phrases.size(), 1u);
  EXPECT_THAT(q.required, ElementsAre("boston", "marathon"));
  EXPECT_TRUE(PhraseMatcher("At the Boston Marathons!").has(q.phrases[0]));
  EXPECT_FALSE(PhraseMatcher("Boston, the marathon").has(q.phrases[0]));
  EXPECT_FALSE(PhraseMatcher("").has(q.phrases[0]));
  EXPECT_TRUE(PhraseMatcher("#BostonMarathon").has(parse("\"boston marathon\"").phrases[0]));
}

TEST(QueryText, NoBytesBreakIt) {
  Random random(11);
  constexpr std::string_view kPieces[] = {
      "\"", "-",   "+",    "from:",        "since:", "2026-01-01", "#",          "@", "$",     " ",
      "a",  "the", "\xFF", "\xE6\x9D\xB1", ":",      "has:link",   "min_likes:", "9", "lang:", "\0"};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint64_t n = random.below(12); n > 0; --n) text += kPieces[random.below(std::size(kPieces))];
    try {
      parse(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_TRUE(is_valid_utf8(error.what()));
    }
  }
}

}  // namespace
}  // namespace fathom::live
