#include "answer/words.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace fathom::answer {
namespace {

std::vector<std::string> folded(std::string_view text) {
  std::vector<std::string> out;
  for (const Word& word : split_words(text)) out.push_back(word.folded);
  return out;
}

std::vector<std::string> sentences(std::string_view text) {
  std::vector<std::string> out;
  for (const Span span : split_sentences(text)) out.emplace_back(slice(text, span));
  return out;
}

std::string clean(std::string_view text) {
  return std::string(slice(text, clean_span(text, {0, text.size()})));
}

TEST(Words, KeepTheirPlaces) {
  const std::string_view text =
      "RT @ana: $AAPL rose 1,200.5 in #Z\xC3\xBCrich\xE2\x80\x99s cafe\xCC\x81, http://t.co/x";
  size_t last = 0;
  for (const Word& word : split_words(text)) {
    EXPECT_GE(word.span.begin, last);
    EXPECT_LT(word.span.begin, word.span.end);
    EXPECT_TRUE(is_valid_utf8(slice(text, word.span)));
    last = word.span.end;
  }
  const std::vector<Word> words = split_words(text);
  EXPECT_EQ(words[1].kind, WordKind::kHandle);
  EXPECT_EQ(words[2].kind, WordKind::kTicker);
  EXPECT_EQ(words[2].folded, "aapl");
  EXPECT_EQ(words[4].folded, "1,200.5");
  EXPECT_EQ(words[6].kind, WordKind::kHashtag);
  EXPECT_EQ(words.back().kind, WordKind::kUrl);
}

TEST(Words, FoldCasePossessiveAndAccents) {
  EXPECT_EQ(folded("Boston's CAF\xC3\x89 don\xE2\x80\x99t"),
            (std::vector<std::string>{"boston", "cafe", "don't"}));
}

TEST(Words, AnyBytesAreRead) {
  std::string text;
  for (int i = 0; i < 512; ++i) text.push_back(static_cast<char>(i * 37));
  for (const Word& word : split_words(text)) EXPECT_LE(word.span.end, text.size());
  for (const Span span : split_sentences(text)) EXPECT_LE(clean_span(text, span).end, text.size());
}

TEST(Words, NewsWordsAreRelated) {
  const std::vector<Word> words = split_words("killed deaths injured dead");
  EXPECT_TRUE(related(words[0], words[1]));
  EXPECT_TRUE(related(words[0], words[3]));
  EXPECT_FALSE(related(words[0], words[2]) && words[0].stem == words[2].stem);
}

TEST(Sentences, EndWhereTheyEnd) {
  EXPECT_EQ(
      sentences("Dr. Lee won 3.5 points. U.S. wins! \"Why?\" he said\nNext line"),
      (std::vector<std::string>{"Dr. Lee won 3.5 points.", "U.S. wins!", "\"Why?\" he said", "Next line"}));
}

TEST(Sentences, MarksBelongToNone) {
  EXPECT_EQ(sentences("It is so [1]. Not so[2] here"),
            (std::vector<std::string>{"It is so", ".", "Not so", "here"}));
}

TEST(Clean, DropsWhatIsNoProse) {
  EXPECT_EQ(clean("RT @PortRadio: The bridge is closed. #lund #news http://t.co/abc"),
            "The bridge is closed.");
  EXPECT_EQ(clean("Fire in #Lund"), "Fire in #Lund");
  EXPECT_EQ(clean("@CityPolice confirm two arrests http://t.co/a htt\xE2\x80\xA6"),
            "@CityPolice confirm two arrests");
  EXPECT_EQ(clean("#a #b http://t.co/x"), "");
}

}  // namespace
}  // namespace fathom::answer
