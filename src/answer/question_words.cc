#include "answer/question_words.h"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "answer/phrases.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

/// "english: words that stand for it", folded. "the" is any word that says nothing; "how-many" is one word here.
struct Grammar {
  std::string_view lang;
  std::vector<std::string_view> function;  // replaced altogether
  std::vector<std::string_view> concept_;  // understood, but searched for as written
};

const std::vector<Grammar>& grammars() {
  static const std::vector<Grammar> all = {
      {"de",
       {"how: wie",
        "many: viele",
        "much: viel",
        "high: hoch",
        "strong: stark",
        "big: gross gros",
        "long: lange lang",
        "far: weit",
        "old: alt",
        "deep: tief",
        "heavy: schwer",
        "fast: schnell",
        "what: was",
        "which: welche welcher welches welchem welchen",
        "who: wer wem wen",
        "whose: wessen",
        "where: wo woher wohin",
        "when: wann",
        "why: warum wieso weshalb",
        "is: ist gibt",
        "are: sind",
        "was: war wurde",
        "were: waren wurden gab",
        "has: hat",
        "have: haben",
        "had: hatte hatten",
        "will: wird werden",
        "can: kann konnen",
        "not: nicht",
        "no: kein keine keinen",
        "now: jetzt derzeit nun",
        "currently: aktuell momentan",
        "latest: zuletzt",
        "far: bisher",
        "still: noch",
        "until: bis",
        "said: sagt sagte sagen gesagt",
        "reported: meldet meldete",
        "more: mehr",
        "less: weniger",
        "the: der die das den dem des ein eine einen einem einer eines und oder aber in im an am auf aus bei "
        "beim mit nach "
        "seit von vom vor zu zum zur uber unter fur durch gegen um als auch nur schon sehr so sich sie er es "
        "wir ihr ich du "
        "man dass ob wenn weil wegen heute dort hier dieser diese dieses wieder ab uhr zwischen trotz doch "
        "denn mal bitte"},
       {"people: menschen leute personen", "percent: prozent", "turnout: wahlbeteiligung", "time: uhrzeit",
        "number: zahl anzahl", "place: ort", "town: stadt", "name: name namens heisst", "result: ergebnis",
        "morning: morgen vormittag mittag"}},
      {"fr",
       {"how-many: combien",
        "which: quel quelle quels quelles",
        "what: quoi qu",
        "who: qui",
        "where: ou",
        "when: quand",
        "why: pourquoi",
        "how: comment",
        "is: est",
        "are: sont",
        "was: etait",
        "has: a",
        "have: ont",
        "will: sera seront",
        "can: peut peuvent",
        "not: ne pas",
        "now: maintenant actuellement",
        "still: encore toujours",
        "said: dit dite",
        "announced: annonce",
        "more: plus",
        "less: moins",
        "that: que",
        "the: le la les l un une des du de d et en au aux dans sur sous par pour avec sans ce cet cette ces "
        "il elle on ils "
        "elles se s y t n c depuis apres avant vers chez son sa ses leur leurs ete fait deja aujourd hui "
        "matin midi"},
       {"people: personnes gens", "time: heure", "number: nombre", "place: endroit lieu", "price: prix",
        "name: nom appelle"}},
      {"es",
       {"how-many: cuanto cuanta cuantos cuantas",
        "what: que",
        "which: cual cuales",
        "who: quien quienes",
        "where: donde",
        "when: cuando",
        "how: como",
        "is: es esta hay",
        "are: son estan",
        "was: fue era",
        "has: ha tiene",
        "have: han",
        "can: puede pueden",
        "not: no",
        "now: ahora",
        "still: aun todavia",
        "said: dijo dice",
        "more: mas",
        "less: menos",
        "the: el la los las un una unos unas de del al a en con por para sin sobre entre y o se su sus lo le "
        "les ya hoy "
        "este esta ese esa manana tarde principio"},
       {"people: personas gente", "time: hora", "number: numero", "place: lugar", "price: precio",
        "cost: cuesta cuestan", "name: nombre llama"}},
      {"it",
       {"how-many: quanto quanta quanti quante",
        "what: che cosa",
        "which: qual quale quali",
        "who: chi",
        "where: dove",
        "when: quando",
        "why: perche",
        "how: come",
        "is: e viene sta",
        "are: sono stanno",
        "was: era",
        "has: ha",
        "have: hanno",
        "can: puo possono",
        "not: non",
        "now: adesso",
        "still: ancora",
        "said: detto dice",
        "more: piu",
        "less: meno",
        "the: il lo la i gli le l un uno una di d del dello della dell dei degli delle a al allo alla all ai "
        "agli alle in "
        "nel nello nella nell nei negli nelle su sul sullo sulla sull da dal dallo dalla dall con per tra "
        "fra o si ne ci "
        "vi stato stata stati oggi stamattina contro quando"},
       {"people: persone gente", "time: ora", "number: numero", "place: luogo posto", "price: prezzo",
        "cost: costa costano", "result: risultato", "name: nome chiama"}},
      {"pt",
       {"how-many: quanto quanta quantos quantas",
        "what: que",
        "which: qual quais",
        "who: quem",
        "where: onde",
        "when: quando",
        "why: porque",
        "how: como",
        "is: e esta ha",
        "are: sao estao",
        "was: foi era",
        "has: tem",
        "have: teve",
        "can: pode podem",
        "not: nao",
        "now: agora",
        "still: ainda",
        "said: disse diz",
        "more: mais",
        "less: menos",
        "the: o a os as um uma uns umas de do da dos das em no na nos nas ao aos por pelo pela para com sem "
        "sobre entre ou "
        "se seu sua seus suas lhe hoje ja manha tarde comeco houve"},
       {"people: pessoas gente", "time: hora horas", "number: numero", "place: lugar", "price: preco",
        "cost: custa custam", "name: nome chama"}},
  };
  return all;
}

using Translation = std::unordered_map<std::string_view, std::string_view>;

/// The first entry that names a word wins.
Translation read_entries(const std::vector<std::string_view>& entries) {
  Translation out;
  for (const std::string_view entry : entries) {
    const size_t colon = entry.find(':');
    for (const std::string_view word : split(entry.substr(colon + 1), ' '))
      if (!word.empty()) out.try_emplace(word, entry.substr(0, colon));
  }
  return out;
}

struct Dictionary {
  Translation function, concept_;
};

const Dictionary* dictionary_of(std::string_view lang) {
  static const auto all = [] {
    std::map<std::string_view, Dictionary> out;
    for (const Grammar& grammar : grammars())
      out[grammar.lang] = {read_entries(grammar.function), read_entries(grammar.concept_)};
    return out;
  }();
  const auto found = all.find(lang);
  return found == all.end() ? nullptr : &found->second;
}

/// Every German noun has a capital: a name is one that stands beside another, or behind a preposition without an article.
void unname_nouns(std::vector<Word>& words) {
  static constexpr auto kBeforeNames =
      std::to_array<std::string_view>({"in", "bei", "aus", "nach", "von", "aus"});
  std::vector<bool> name(words.size());
  for (size_t i = 0; i < words.size(); ++i) {
    if (!words[i].capital || words[i].all_caps) {
      name[i] = words[i].all_caps;
      continue;
    }
    const bool led = i > 0 && std::ranges::find(kBeforeNames, words[i - 1].folded) != kBeforeNames.end();
    const bool beside = (i > 0 && words[i - 1].capital && !words[i - 1].opens) ||
                        (i + 1 < words.size() && words[i + 1].capital);
    name[i] = led || beside;
  }
  for (size_t i = 0; i < words.size(); ++i)
    if (words[i].kind == WordKind::kWord && !name[i]) words[i].capital = false;
}

/// For a short question that leaves the detector undecided: the one language that knows most of its words.
std::string_view known_best(const std::vector<Word>& words) {
  const auto in_english = static_cast<size_t>(
      std::ranges::count_if(words, [](const Word& word) { return is_stop_word(word.folded); }));
  std::string_view best = "en";
  size_t most = std::max<size_t>(in_english, 1);
  for (const Grammar& grammar : grammars()) {
    const Dictionary& dictionary = *dictionary_of(grammar.lang);
    const auto known = static_cast<size_t>(std::ranges::count_if(
        words, [&](const Word& word) { return dictionary.function.contains(word.folded); }));
    if (known < most || (known == most && best != "en")) continue;
    best = known > most ? grammar.lang : best;
    most = known;
  }
  return best;
}

}  // namespace

PlannedWords read_question_words(std::string_view question) {
  PlannedWords out;
  out.words = split_words(question);
  const auto detected = detect_language(question);
  out.lang = detected ? *detected : known_best(out.words);
  const Dictionary* dictionary = dictionary_of(out.lang);
  if (out.lang == "de") unname_nouns(out.words);
  for (Word& word : out.words) {
    std::string english = word.folded;
    if (dictionary != nullptr && word.kind == WordKind::kWord) {
      if (const auto found = dictionary->function.find(word.folded); found != dictionary->function.end()) {
        english = found->second;
        word.folded = word.stem = english;
        word.groups = 0;
        word.capital = false;
      } else if (const auto meant = dictionary->concept_.find(word.folded);
                 meant != dictionary->concept_.end()) {
        english = meant->second;
      }
    }
    out.english.push_back(std::move(english));
  }
  return out;
}

std::string_view japanese_question_word(std::string_view question) {
  struct Asked {
    std::string_view written, english;
  };
  static constexpr auto kAsked = std::to_array<Asked>({{"何時", "when"},
                                                       {"いつ", "when"},
                                                       {"どこ", "where"},
                                                       {"誰", "who"},
                                                       {"だれ", "who"},
                                                       {"なぜ", "why"},
                                                       {"どうして", "why"}});
  for (const Asked& asked : kAsked)
    if (question.find(asked.written) != std::string_view::npos) return asked.english;
  return {};
}

bool is_kana_particle(const Word& word) {
  size_t at = 0;
  const char32_t c = word.folded.empty() ? 0 : decode_utf8(word.folded, at);
  const bool asks = c == U'\u4F55' || c == U'\u8AB0';  // what, who
  return at == word.folded.size() && ((c >= 0x3041 && c <= 0x309F) || asks);
}

}  // namespace fathom::answer
