#include "answer/phrases.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fathom::answer {
namespace {

TEST(Phrases, LanguageByScriptAndFunctionWords) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"How many people were hurt in Lund?", "en"},
      {"Was ist in Lund passiert?", "de"},
      {"Wie viele Menschen wurden verletzt?", "de"},
      {"Combien de personnes ont été blessées à Lund ?", "fr"},
      {"¿Cuántas personas resultaron heridas en Lund?", "es"},
      {"Quante persone sono state ferite a Lund?", "it"},
      {"Quantas pessoas ficaram feridas em Lund?", "pt"},
      {"Hoeveel mensen zijn er gewond geraakt in Lund?", "nl"},
      {"Ile osób zostało rannych w Lund?", "pl"},
      {"Сколько человек пострадало в Lund?", "ru"},
      {"Lund'da kaç kişi yaralandı?", "tr"},
      {"Lundで何人がけがをしましたか?", "ja"},
      {"Lund有多少人受伤?", "zh"},
      {"كم عدد المصابين في Lund؟", "ar"},
      {"What did Wilhelm von der Heide say about the ferry?", "en"},
  };
  for (const auto& [text, code] : cases) EXPECT_EQ(detect_language(text).value_or("-"), code) << text;
  EXPECT_FALSE(detect_language("Lund 12?"));
  EXPECT_FALSE(detect_language(""));
  EXPECT_FALSE(detect_language("\xFF\xFE\x80"));
}

TEST(Phrases, AFollowUpWithoutALanguageKeepsTheOneBefore) {
  EXPECT_EQ(
      phrases_for({{"user", "Was ist in Lund passiert?"}, {"assistant", "The ..."}, {"user", "Velis?"}}).code,
      "de");
  EXPECT_EQ(phrases_for({{"user", "Velis?"}}).code, "en");
  EXPECT_EQ(phrases_for({}).code, "en");
}

/// Every language fills every line with the same number of places.
TEST(Phrases, AllLanguagesSayEverything) {
  const auto places = [](std::string_view text) {
    size_t count = 0;
    for (size_t at = text.find("{}"); at != std::string_view::npos; at = text.find("{}", at + 2)) ++count;
    return count;
  };
  EXPECT_EQ(all_phrases().size(), 13U);
  const Phrases& en = all_phrases().front();
  for (const Phrases& p : all_phrases()) {
    const auto same = [&](std::string_view Phrases::*field) {
      EXPECT_FALSE((p.*field).empty()) << p.code;
      EXPECT_EQ(places(p.*field), places(en.*field)) << p.code << ": " << p.*field;
    };
    for (const auto field :
         {&Phrases::as_of,      &Phrases::same,         &Phrases::earlier,    &Phrases::later,
          &Phrases::but,        &Phrases::volume,       &Phrases::first_post, &Phrases::answers,
          &Phrases::quotes,     &Phrases::reply,        &Phrases::found_none, &Phrases::searched,
          &Phrases::no_posts,   &Phrases::unsupported,  &Phrases::hello,      &Phrases::search_off,
          &Phrases::undisputed, &Phrases::nothing_else, &Phrases::post,       &Phrases::author,
          &Phrases::thread,     &Phrases::others,       &Phrases::disputed,   &Phrases::more,
          &Phrases::unsaid,     &Phrases::who,          &Phrases::how_many,   &Phrases::why,
          &Phrases::next,       &Phrases::when,         &Phrases::where,      &Phrases::disputes})
      same(field);
    EXPECT_EQ(&phrases_of(p.code), &p);
  }
  EXPECT_EQ(&phrases_of("xx"), &en);
}

}  // namespace
}  // namespace fathom::answer
