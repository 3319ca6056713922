#include "answer/check.h"

#include <gtest/gtest.h>

#include "answer/fakes.h"

namespace fathom::answer {
namespace {

Evidence post(std::string text, std::string name = "Port Radio", std::string handle = "portradio") {
  return prepare(
      testing::make_post("1", std::move(handle), std::move(name), "2013-04-15T14:32:00Z", std::move(text)));
}

bool supported(std::string_view sentence, const Evidence& evidence) {
  return check_support(sentence, evidence).supported;
}

TEST(Check, PassesWhatThePostSays) {
  const Evidence e = post("Police: at least 3 people killed and 140 injured in the Boston Marathon bombing.");
  EXPECT_TRUE(supported("At least three people were killed in the Boston Marathon bombing [1].", e));
  EXPECT_TRUE(supported("140 people were injured in the Boston Marathon bombing.",
                        post("140 people injured in the Boston Marathon bombing")));
  EXPECT_TRUE(supported("The Boston Marathon bombing killed 3 people and injured 140.", e));
}

TEST(Check, NumbersMustBeThere) {
  const Evidence e = post("Flood: 1,200 homes without power since 7 pm, damage at $50.6 billion, up 13%.");
  EXPECT_TRUE(supported("1200 homes without power since 19:00.", e));
  EXPECT_FALSE(supported("1,300 homes without power.", e));
  EXPECT_FALSE(supported("1,200 homes without power since 8 pm.", e));
  EXPECT_FALSE(supported("Damage is at $50.7 billion.", e));
  EXPECT_FALSE(supported("Flood damage is up 13.6%.", e));
  EXPECT_FALSE(supported("Flood damage is up 13 dollars.", e));
}

TEST(Check, NumbersBelongToTheirNouns) {
  const Evidence e = post("3 people killed and 140 injured in Boston");
  EXPECT_TRUE(supported("3 people were killed in Boston.", e));
  EXPECT_FALSE(supported("140 people were killed in Boston.", e));
  EXPECT_FALSE(supported("3 people were injured in Boston.", e));
}

TEST(Check, NamesMustBeThere) {
  const Evidence e = post("The mayor opened the new bridge in Lund.");
  EXPECT_TRUE(supported("The mayor opened the new bridge in Lund.", e));
  EXPECT_FALSE(supported("Mayor Ortiz opened the new bridge in Lund.", e));
  EXPECT_FALSE(supported("Ortiz opened the new bridge in Lund.", e));
  EXPECT_FALSE(supported("The mayor opened the new bridge in Lund, Sweden.", e));
  EXPECT_FALSE(supported("The mayor opened the new bridge in Lund, says @someone.", e));
  EXPECT_TRUE(supported("Port Radio reported that the mayor opened the new bridge in Lund.", e));
}

TEST(Check, QuotationsAreVerbatim) {
  const Evidence e = post("\"We will rebuild the  bridge\", she said in Lund.");
  EXPECT_TRUE(supported("She said in Lund: \"We will rebuild the bridge\".", e));
  EXPECT_FALSE(supported("She said in Lund: \"We rebuild the bridge\".", e));
  EXPECT_FALSE(supported("She said in Lund: \xE2\x80\x9CWe shall rebuild the bridge\xE2\x80\x9D.", e));
}

TEST(Check, DenialsAgree) {
  const Evidence e = post("The harbour bridge is not closed, traffic moves.");
  EXPECT_FALSE(supported("The harbour bridge is closed.", e));
  EXPECT_TRUE(supported("The harbour bridge is not closed.", e));
  EXPECT_FALSE(supported("The ferry did not sink at the pier.", post("The ferry sank at the pier.")));
}

TEST(Check, WhoDidItToWhom) {
  const Evidence e = post("Harbour United beat Velis Rovers in the cup final");
  EXPECT_TRUE(supported("Harbour United beat Velis Rovers in the final.", e));
  EXPECT_FALSE(supported("Velis Rovers beat Harbour United in the final.", e));
}

TEST(Check, AddressesComeFromThePost) {
  const Evidence e = post("Donate for the flood victims at https://help.example/now");
  EXPECT_TRUE(supported("Donate for flood victims at https://help.example/now.", e));
  EXPECT_FALSE(supported("Donate for flood victims at https://evil.example/now.", e));
}

TEST(Check, OtherMattersAreRefused) {
  const Evidence e = post("The harbour bridge is closed after a fire.");
  EXPECT_FALSE(supported("The weather was pleasant and warm.", e));
  EXPECT_FALSE(supported("", e));
  EXPECT_FALSE(supported("[1]", e));
}

TEST(Check, PassageIsTheSentenceThatSaysIt) {
  const Evidence e = post("Good morning all. The ferry left with 240 people on board. Have fun!");
  const Support support = check_support("The ferry left with 240 people.", e);
  ASSERT_TRUE(support.supported);
  EXPECT_EQ(slice(e.post.text, support.passage), "The ferry left with 240 people on board.");
}

TEST(Check, AttributesToTheRightPost) {
  const std::vector<Evidence> posts = {post("Two boats sank near Lund."),
                                       post("The ferry left with 240 people on board.")};
  const auto found = attribute("The ferry left with 240 people.", posts);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->index, 1U);
  EXPECT_FALSE(attribute("The ferry left with 250 people.", posts));
}

TEST(Marks, AreReadAndTakenOut) {
  const Marks marks = strip_marks("Eight died [2], nine hurt [1, 3]. See [x] and [");
  EXPECT_EQ(marks.numbers, (std::vector<size_t>{2, 1, 3}));
  EXPECT_EQ(marks.text, "Eight died, nine hurt. See [x] and [");
}

}  // namespace
}  // namespace fathom::answer
