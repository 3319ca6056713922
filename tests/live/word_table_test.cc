// The table before Snowball: whatever it holds and forgets, its answers are Snowball's.
#include "live/word_table.h"

#include <gtest/gtest.h>
#include <libstemmer.h>

#include <memory>
#include <string>
#include <vector>

#include "base/random.h"

namespace fathom::live {
namespace {

class Snowball {
 public:
  explicit Snowball(const char* language) : stemmer_(sb_stemmer_new(language, "UTF_8")) {}
  ~Snowball() { sb_stemmer_delete(stemmer_); }
  Snowball(const Snowball&) = delete;
  Snowball& operator=(const Snowball&) = delete;

  std::string stem(const std::string& word) const {
    const auto* bytes = reinterpret_cast<const sb_symbol*>(word.data());
    const auto* stem = sb_stemmer_stem(stemmer_, bytes, static_cast<int>(word.size()));
    return {reinterpret_cast<const char*>(stem), static_cast<size_t>(sb_stemmer_length(stemmer_))};
  }

 private:
  sb_stemmer* stemmer_;
};

std::string stem_of(WordTable& table, const std::string& word) {
  char room[WordTable::kRoom];
  const WordTable::Answer answer = table.look_up(word, room);
  const std::string stem(room, answer.size);
  EXPECT_EQ(answer.hash, term_hash(stem)) << word;
  return stem;
}

/// More words than the table holds, with every last letter and the endings that the rules know.
std::vector<std::string> many_words() {
  Random random(5);
  const std::vector<std::string> endings = {"",     "s",   "ed",   "ing",  "ly",   "ies",   "ational",
                                            "ness", "ful", "ize",  "ance", "ment", "ousli", "ically",
                                            "e",    "y",   "edly", "ion",  "ible", "us",    "yx"};
  std::vector<std::string> words;
  for (int i = 0; i < 100'000; ++i) {
    std::string word;
    for (uint64_t size = 3 + random.below(9); size > 0; --size)
      word += static_cast<char>('a' + random.below(26));
    words.push_back(word + endings[random.below(endings.size())]);
  }
  return words;
}

TEST(WordTable, AnswersAsSnowballDoes) {
  const Snowball english("english");
  WordTable table;
  const auto words = many_words();
  for (const auto& word : words) ASSERT_EQ(stem_of(table, word), english.stem(word)) << word;
  for (size_t i = words.size(); i-- > words.size() / 2;)  // some are still there, some are not
    ASSERT_EQ(stem_of(table, words[i]), english.stem(words[i])) << words[i];
}

TEST(WordTable, CyrillicAndOthers) {
  const Snowball russian("russian");
  WordTable table;
  for (const std::string word :
       {"\u043A\u043D\u0438\u0433\u0438", "\u0432\u043E\u0434\u044B", "\u043A\u043D\u0438\u0433o"})
    EXPECT_EQ(stem_of(table, word), russian.stem(word)) << word;
  for (const std::string word : {"b2b", "at&t", "\u03BB\u03CC\u03B3\u03BF\u03C2", "me"})
    EXPECT_EQ(stem_of(table, word), word);
}

TEST(WordTable, StopWords) {
  WordTable table;
  char room[WordTable::kRoom];
  for (const std::string_view word : {"a", "to", "who", "of", "the", "should", "being"}) {
    EXPECT_TRUE(table.look_up(word, room).stop) << word;
    EXPECT_TRUE(is_stop_word(word)) << word;
  }
  for (const std::string_view word : {"b", "flood", "river", "shoulder", "thea", "o"}) {
    EXPECT_FALSE(table.look_up(word, room).stop) << word;
    EXPECT_FALSE(is_stop_word(word)) << word;
  }
}

}  // namespace
}  // namespace fathom::live
