#include "answer/phrases.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "answer/compose.h"
#include "answer/words.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

/// The commonest function and question words; without accents, as Word::folded has them.
struct FunctionWords {
  std::string_view code, words;
};
constexpr auto kFunctionWords = std::to_array<FunctionWords>({
    {"en",
     "the of and to in a is was were are what who when where why how many much did does do has have had be "
     "been it that "
     "this with for on at by from which there about any will happened say said tell me latest going i you"},
    {"de",
     "der die das und in ist war waren sind was wer wann wo warum wieso wie viele viel hat haben hatte wurde "
     "wurden wird "
     "werden nicht ein eine einen einem einer mit fur auf bei von vom zu zum zur im am den dem des es gibt "
     "uber nach passiert "
     "sagt gesagt los mir neues seit heute gestern an aus als auch noch"},
    {"fr",
     "le la les de du des et un une est etait sont que qui quoi quand ou pourquoi comment combien quel "
     "quelle quels quelles "
     "a ont avait ete dans sur avec pour par au aux en ce cette il elle ils y qu est-ce l d s c'est se passe "
     "n'a dit pas"},
    {"es",
     "el la los las de del y un una es fue eran son que quien quienes cuando donde por porque como cuanto "
     "cuantos cuanta "
     "cuantas cual ha han habia en con para al se lo su sobre hay esta estan no dijo paso pasado muertos"},
    {"it",
     "il lo la i gli le di del della dei delle e un una uno che chi quando dove perche come quanto quanti "
     "quante quale cosa "
     "ha hanno era erano sono stato stati nel nella con per al alla su si da dal non detto successo c'e "
     "cos'e e' dell'"},
    {"pt",
     "o a os as de do da dos das e um uma foi eram sao que quem quando onde porque como quanto quantos "
     "quantas qual tem "
     "houve no na nos nas em com para ao pelo pela se nao disse aconteceu esta ha por sobre pessoas"},
    {"nl",
     "de het een en van in is was waren zijn wat wie wanneer waar waarom hoe veel hoeveel heeft hebben had "
     "werd werden wordt "
     "niet met voor op bij naar te aan door uit er dat dit over zei gezegd gebeurd gebeurde om ook"},
    {"pl",
     "i w we z ze na do o od po za jest byl byla bylo byli sa co kto kiedy gdzie dlaczego jak ile ilu czy "
     "nie sie to ten ta "
     "te przez dla przy ktory ktora zostal zostalo stalo powiedzial zgineło zginelo ma"},
    {"tr",
     "ve bir bu su ne kim nerede nere zaman neden nicin nasil nasıl kac kaç kacta hangi mi mı mu mü icin ile "
     "da de oldu oldu mu "
     "var yok dedi olan cok daha en gibi sonra kisi kişi"},
});

/// Letters that one language of ours has and the others have not.
std::string_view language_of_letter(char32_t c) {
  switch (c) {
    case 0xDF: return "de";  // sharp s
    case 0xF1:
    case 0xD1:
    case 0xBF:
    case 0xA1: return "es";  // n with tilde, turned marks
    case 0xE3:
    case 0xF5: return "pt";  // a and o with tilde
    case 0x142:
    case 0x105:
    case 0x119:
    case 0x15B:
    case 0x17C:
    case 0x17A:
    case 0x144: return "pl";
    case 0x11F:
    case 0x131:
    case 0x15F:
    case 0x130: return "tr";  // soft g, dotless i, s with cedilla
    case 0x153: return "fr";  // oe
    default: return {};
  }
}

enum class Script { kNone, kLatin, kCyrillic, kArabic, kHan, kKana };

Script script_of(char32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0x24F)) return Script::kLatin;
  if (c >= 0x400 && c <= 0x52F) return Script::kCyrillic;
  if ((c >= 0x600 && c <= 0x6FF) || (c >= 0x750 && c <= 0x77F)) return Script::kArabic;
  if (c >= 0x3040 && c <= 0x30FF) return Script::kKana;
  if ((c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF)) return Script::kHan;
  return Script::kNone;
}

/// The language that most words of a text in Latin letters belong to; nothing on a tie and without any.
std::optional<std::string_view> latin_language(std::string_view text,
                                               const std::unordered_map<std::string_view, double>& letters) {
  std::array<double, kFunctionWords.size()> score{};
  const std::vector<Word> words = split_words(text);
  for (size_t i = 0; i < kFunctionWords.size(); ++i) {
    const auto list = split(kFunctionWords[i].words, ' ');
    for (size_t k = 0; k < words.size() && k < 200; ++k) {
      if (words[k].kind != WordKind::kWord) continue;
      const bool listed = std::ranges::find(list, std::string_view(words[k].folded)) != list.end();
      score[i] += listed ? (k == 0 ? 1.5 : 1) : 0;  // a question begins with its most telling word
    }
    if (const auto found = letters.find(kFunctionWords[i].code); found != letters.end())
      score[i] += found->second;
  }
  const auto best = std::ranges::max_element(score);
  if (*best <= 0 || std::ranges::count(score, *best) > 1) return std::nullopt;
  return kFunctionWords[static_cast<size_t>(best - score.begin())].code;
}

}  // namespace

std::optional<std::string_view> detect_language(std::string_view text) {
  std::array<size_t, 6> count{};
  std::unordered_map<std::string_view, double> letters;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    ++count[static_cast<size_t>(script_of(c))];
    if (const std::string_view code = language_of_letter(c); !code.empty())
      letters[code] = std::min(letters[code] + 1, 2.0);
  }
  const auto of = [&](Script script) { return count[static_cast<size_t>(script)]; };
  const size_t latin = of(Script::kLatin);
  // Names keep their Latin letters in every script; a letter of Japanese or Chinese is most of a word.
  if (of(Script::kKana) > 0 && 3 * (of(Script::kKana) + of(Script::kHan)) > latin) return "ja";
  if (3 * of(Script::kHan) > latin) return "zh";
  if (2 * of(Script::kCyrillic) > latin) return "ru";
  if (2 * of(Script::kArabic) > latin) return "ar";
  return latin_language(text, letters);
}

const Phrases& phrases_of(std::string_view code) {
  const auto& all = all_phrases();
  const auto found = std::ranges::find(all, code, &Phrases::code);
  return found != all.end() ? *found : all.front();
}

const Phrases& phrases_for(const std::vector<infer::ChatMessage>& messages) {
  constexpr size_t kRead = 2000;  // bytes of a message
  for (auto message = messages.rbegin(); message != messages.rend(); ++message) {
    if (message->role != "user") continue;
    if (const auto code = detect_language(std::string_view(message->content).substr(0, kRead)))
      return phrases_of(*code);
  }
  return all_phrases().front();
}

std::string time_in(const Phrases& phrases, Time when, Time now) {
  if (phrases.code == "en") return written_time(when, now);
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(when - day).count();
  const std::string clock = fmt::format("{:02}:{:02} UTC", minutes / 60, minutes % 60);
  if (day == std::chrono::floor<std::chrono::days>(now)) return clock;
  const std::chrono::year_month_day date{day};
  return fmt::format("{:04}-{:02}-{:02}, {}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock);
}

bool announces(std::string_view folded) {
  static constexpr auto kWords = std::to_array<std::string_view>(
      {"will",     "tomorrow", "tonight", "expected", "plans",  "planned", "scheduled", "until",
       "next",     "upcoming", "due",     "soon",     "wird",   "werden",  "morgen",    "erwartet",
       "geplant",  "bis",      "demain",  "prevu",    "prevue", "attendu", "manana",    "previsto",
       "prevista", "hasta",    "domani",  "atteso",   "amanha", "zal",     "zullen",    "verwacht",
       "jutro",    "bedzie",   "yarin",   "kadar",    "завтра", "будет",   "будут",     "ожидается"});
  return std::ranges::find(kWords, folded) != kWords.end();
}

}  // namespace fathom::answer
