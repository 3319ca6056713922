#include "answer/injection.h"

#include <algorithm>
#include <array>
#include <string>

#include "answer/words.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr size_t kMostInvisible = 2;  // characters: more hide something

/// Cyrillic and Greek letters that look like Latin ones, and full-width forms; 0 for others.
char looks_like(char32_t c) {
  if (c >= 0xFF01 && c <= 0xFF5E) return static_cast<char>(c - 0xFF01 + '!');
  struct Pair {
    char32_t letter;
    char latin;
  };
  static constexpr auto kPairs = std::to_array<Pair>(
      {{0x430, 'a'}, {0x435, 'e'}, {0x43E, 'o'}, {0x440, 'p'}, {0x441, 'c'}, {0x443, 'y'}, {0x445, 'x'},
       {0x455, 's'}, {0x456, 'i'}, {0x458, 'j'}, {0x501, 'd'}, {0x51B, 'q'}, {0x51D, 'w'}, {0x410, 'a'},
       {0x415, 'e'}, {0x41E, 'o'}, {0x420, 'p'}, {0x421, 'c'}, {0x423, 'y'}, {0x425, 'x'}, {0x405, 's'},
       {0x406, 'i'}, {0x408, 'j'}, {0x412, 'b'}, {0x41D, 'h'}, {0x41C, 'm'}, {0x422, 't'}, {0x41A, 'k'},
       {0x3BF, 'o'}, {0x3B1, 'a'}, {0x3B9, 'i'}, {0x3C1, 'p'}, {0x3BD, 'v'}, {0x391, 'a'}, {0x395, 'e'},
       {0x397, 'h'}, {0x399, 'i'}, {0x39A, 'k'}, {0x39C, 'm'}, {0x39D, 'n'}, {0x39F, 'o'}, {0x3A1, 'p'},
       {0x3A4, 't'}, {0x3A5, 'y'}, {0x3A7, 'x'}, {0x131, 'i'}});
  for (const Pair& pair : kPairs) {
    if (pair.letter == c) return pair.latin;
  }
  return 0;
}

bool is_latin(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// What a reader sees: the text in lower case without what is not seen; and the same with look-alikes as Latin letters.
struct Seen {
  std::string plain, latin;
  size_t invisible = 0;
  bool mixed = false;  // a word of Latin letters and their look-alikes
};

Seen look_at(std::string_view text) {
  Seen out;
  bool latin = false, alike = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    if (is_invisible(c) || c == 0x200C || c == 0x200D) {
      out.invisible += c >= 0x200B && c != 0x200C && c != 0x200D ? 1 : 0;
      continue;
    }
    const char other = looks_like(c);
    if (c < 0x80 && !is_latin(c)) latin = alike = false;
    latin = latin || is_latin(c);
    alike = alike || (other != 0 && c >= 0x370 && c < 0x600);
    out.mixed = out.mixed || (latin && alike);
    append_utf8(out.plain, c);
    if (other != 0) {
      out.latin.push_back(other);
    } else {
      append_utf8(out.latin, c);
    }
  }
  out.plain = to_lower_ascii(out.plain);
  out.latin = to_lower_ascii(out.latin);
  return out;
}

template <size_t N>
bool holds_any(std::string_view text, const std::array<std::string_view, N>& cues) {
  return std::ranges::any_of(cues,
                             [&](std::string_view cue) { return text.find(cue) != std::string_view::npos; });
}

/// Parts of chat templates, forged calls, addresses that are programs. Nobody writes them to people.
constexpr auto kForgeries = std::to_array<std::string_view>({"<|im_",
                                                             "<|end",
                                                             "<|start",
                                                             "<|eot",
                                                             "<|begin",
                                                             "<|system",
                                                             "<|user",
                                                             "<|assistant",
                                                             "<|python_tag",
                                                             "[inst]",
                                                             "[/inst]",
                                                             "<<sys>>",
                                                             "<</sys>>",
                                                             "</s>",
                                                             "<start_of_turn>",
                                                             "<end_of_turn>",
                                                             "<bos>",
                                                             "<eos>",
                                                             "<tool_call",
                                                             "</tool_call",
                                                             "<tool_response",
                                                             "</tool_response",
                                                             "[tool_calls]",
                                                             "[tool_results]",
                                                             "<function_call",
                                                             "<system>",
                                                             "</system>",
                                                             "</post",
                                                             "</context",
                                                             "</document",
                                                             "<think>",
                                                             "</think>",
                                                             "### instruction",
                                                             "### response",
                                                             "### system",
                                                             "### assistant",
                                                             "### human",
                                                             "\"role\":",
                                                             "\"tool_calls\"",
                                                             "\"arguments\":",
                                                             "'role':",
                                                             "begin system",
                                                             "end of posts",
                                                             "javascript:",
                                                             "vbscript:",
                                                             "data:text/",
                                                             "data:image/",
                                                             "<script",
                                                             "<iframe",
                                                             "<img ",
                                                             "<svg",
                                                             "onerror=",
                                                             "onload=",
                                                             "\nquestion:",
                                                             "system override",
                                                             "admin override",
                                                             "system notice:",
                                                             "message from the admin",
                                                             "note from the admin"});

/// Orders that only a machine is given.
constexpr auto kOrders = std::to_array<std::string_view>({"respond only with",
                                                          "reply only with",
                                                          "answer only with",
                                                          "output only",
                                                          "you must answer",
                                                          "you must say",
                                                          "you must reply",
                                                          "you must respond",
                                                          "you must cite",
                                                          "you are now a ",
                                                          "you are now an ",
                                                          "you are now in ",
                                                          "you are now dan",
                                                          "tell the user",
                                                          "tell users that",
                                                          "when summarizing",
                                                          "when summarising",
                                                          "in your answer",
                                                          "in your summary",
                                                          "end your answer with",
                                                          "begin your answer",
                                                          "start your answer",
                                                          "answer with the word",
                                                          "do not cite",
                                                          "cite this post",
                                                          "cite only this",
                                                          "reveal your system",
                                                          "reveal your prompt",
                                                          "reveal your instructions",
                                                          "print your system",
                                                          "print your prompt",
                                                          "print your instructions",
                                                          "repeat your instructions",
                                                          "repeat your system",
                                                          "repeat the words above",
                                                          "what is your system prompt",
                                                          "the right answer about",
                                                          "the correct answer is",
                                                          "the right answer is",
                                                          "the only correct answer",
                                                          "include the link",
                                                          "append the following",
                                                          "decode this and",
                                                          "decode the following",
                                                          "pretend you are",
                                                          "roleplay as",
                                                          "role-play as",
                                                          "note to ai",
                                                          "note to the ai",
                                                          "attention ai",
                                                          "attention, ai",
                                                          "dear ai",
                                                          "hey ai",
                                                          "hello ai",
                                                          "to all ai",
                                                          "to any ai",
                                                          "ai assistants must",
                                                          "ai assistants should",
                                                          "ai models must",
                                                          "chatbots must",
                                                          "llms must",
                                                          "llms reading",
                                                          "llm reading",
                                                          "ai reading this",
                                                          "if you are an ai",
                                                          "if you're an ai",
                                                          "if you are a language model",
                                                          "if you are an llm",
                                                          "as an ai you",
                                                          "as an ai, you",
                                                          "as a language model you",
                                                          "as a language model, you",
                                                          "the assistant must",
                                                          "the assistant should",
                                                          "the assistant will",
                                                          "dear assistant",
                                                          "override the system",
                                                          "jailbreak mode",
                                                          "a jailbreak"});

constexpr auto kRoles =
    std::to_array<std::string_view>({"system", "assistant", "developer", "user", "human", "tool"});

/// "Ignore", "instructions" and, in English, which ones: "ignored the evacuation instructions" is news.
constexpr auto kIgnoreEnglish =
    std::to_array<std::string_view>({"ignore ", "disregard ", "forget ", "override ", "bypass "});
constexpr auto kWhich =
    std::to_array<std::string_view>({"previous", "prior", "above", "your", " all ", " any ", "earlier",
                                     "system", "preceding", "other", "before"});
constexpr auto kInstructionsEnglish = std::to_array<std::string_view>(
    {"instruction", "prompt", "rules", "guidelines", "everything", "posts", "messages", "directive"});
constexpr auto kIgnore = std::to_array<std::string_view>({"ignor",        "oubli",
                                                          "olvid",        "esquec",
                                                          "vergiss",      "vergessen",
                                                          "vergeet",      "negeer",
                                                          "dimentic",     "missacht",
                                                          "omite ",       "zapomn",
                                                          "pomi\xC5\x84", "abaikan",
                                                          "lupakan",      "b\xE1\xBB\x8F qua",
                                                          "yok say",      "g\xC3\xB6rmezden",
                                                          "glem ",        "gl\xC3\xB6m",
                                                          "гнорир",       "абуд",
                                                          "忽略",         "无视",
                                                          "無視",         "無視",
                                                          "忘记",         "忘れ",
                                                          "무시",         "잊어",
                                                          "تجاهل",        "انسَ",
                                                          "अनदेखा",        "αγν",
                                                          "התעלם"});
constexpr auto kInstructions =
    std::to_array<std::string_view>({"instruccion",    "instrucci\xC3\xB3n",
                                     "instru\xC3\xA7", "istruzion",
                                     "instruktion",    "instrukc",
                                     "instruksi",      "anweisung",
                                     "anleitung",      "instructies",
                                     "consignes",      "instructions pr",
                                     "r\xC3\xA8gles",  "reglas",
                                     "regole",         "regeln",
                                     "talimat",        "h\xC6\xB0\xE1\xBB\x9Bng d\xE1\xBA\xABn",
                                     "инструкц",       "указани",
                                     "指令",           "指示",
                                     "지시",           "명령",
                                     "تعليمات",        "निर्देश",
                                     "οδηγ",           "הוראות"});
/// "The answer is" in other languages than English, where it stands alone before a claim.
constexpr auto kFrames = std::to_array<std::string_view>(
    {"la respuesta correcta es", "la bonne r\xC3\xA9ponse est", "die richtige antwort",
     "la risposta corretta", "a resposta correta", "правильный ответ", "正确答案", "正解は"});

/// One of `first` with one of `then` within so many bytes behind it; the words between are handed to `good`.
template <size_t N, size_t M, class Good>
bool near(std::string_view text, const std::array<std::string_view, N>& first,
          const std::array<std::string_view, M>& then, Good good) {
  constexpr size_t kReach = 80;
  for (const std::string_view cue : first) {
    for (size_t at = text.find(cue); at != std::string_view::npos; at = text.find(cue, at + 1)) {
      const std::string_view behind = text.substr(at + cue.size() - 1, kReach);
      if (holds_any(behind, then) && good(behind)) return true;
    }
  }
  return false;
}

/// "System: ..." at the beginning of the text, of a line, or behind a mark; "immune system: ..." is none.
bool speaks_as_other(std::string_view text) {
  return std::ranges::any_of(kRoles, [&](std::string_view role) {
    for (size_t at = text.find(role); at != std::string_view::npos; at = text.find(role, at + 1)) {
      const size_t end = at + role.size();
      if (end >= text.size() || text[end] != ':') continue;
      const std::string_view before = trim(text.substr(0, at));
      const bool line = before.size() < at &&
                        text.substr(before.size(), at - before.size()).find('\n') != std::string_view::npos;
      if (before.empty() || line ||
          std::string_view(".:!?)>*#-]").find(before.back()) != std::string_view::npos)
        return true;
    }
    return false;
  });
}

/// Marks as an answer has them, two in a row: "[1] [2]".
bool forges_marks(std::string_view text) {
  size_t row = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end =
        text[at] == '[' ? text.find_first_not_of("0123456789", at + 1) : std::string_view::npos;
    if (end != std::string_view::npos && end > at + 1 && end - at <= 4 && text[end] == ']') {
      if (++row == 2) return true;
      at = end + 1;
    } else {
      if (text[at] != ' ' && text[at] != ',') row = 0;
      ++at;
    }
  }
  return false;
}

bool orders(std::string_view seen) {
  const auto any = [](std::string_view) { return true; };
  return holds_any(seen, kForgeries) || holds_any(seen, kOrders) || holds_any(seen, kFrames) ||
         speaks_as_other(seen) || near(seen, kIgnore, kInstructions, any) ||
         near(seen, kInstructions, kIgnore, any) ||
         near(seen, kIgnoreEnglish, kInstructionsEnglish,
              [](std::string_view between) { return holds_any(between, kWhich); });
}

}  // namespace

bool orders_machine(std::string_view text) {
  const Seen seen = look_at(text);
  return seen.invisible > kMostInvisible || seen.mixed || forges_marks(text) || orders(seen.plain) ||
         (seen.latin != seen.plain && orders(seen.latin));
}

}  // namespace fathom::answer
