#include "answer/compose.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/text.h"

namespace fathom::answer {

bool Composer::claim(std::string_view sentence, const std::vector<Source>& sources,
                     std::string_view separator) {
  if (cancelled_) return false;
  std::string& text = answer_.text;
  const size_t from = text.size();
  begin(separator, true);
  const size_t claim_begin = text.size();
  std::string_view end;
  sentence = trim(sentence);
  if (!sentence.empty() && (sentence.back() == '.' || sentence.back() == '!' || sentence.back() == '?')) {
    end = sentence.substr(sentence.size() - 1);
    sentence.remove_suffix(1);
  }
  text += sentence;
  text += ' ';
  std::vector<Citation> citations;
  for (const Source& source : sources) {
    const live::Post& post = source.evidence->post;
    const size_t number = numbers_.try_emplace(post.key(), numbers_.size() + 1).first->second;
    Citation citation;
    citation.number = number;
    citation.post = post;
    citation.begin = text.size();
    text += fmt::format("[{}]", number);
    citation.end = text.size();
    citation.claim_begin = claim_begin;
    citation.passage_begin = source.passage.begin;
    citation.passage_end = source.passage.end;
    citations.push_back(std::move(citation));
    answer_.fiction = answer_.fiction || post.fiction;
  }
  text += end.empty() ? std::string_view(".") : end;
  for (Citation& citation : citations) citation.claim_end = text.size();
  answer_.citations.insert(answer_.citations.end(), citations.begin(), citations.end());
  answer_.found = true;
  ++claims_;
  return emit(from, citations);
}

bool Composer::remark(std::string_view sentence, std::string_view separator) {
  if (cancelled_) return false;
  const size_t from = answer_.text.size();
  begin(separator, false);
  answer_.text += sentence;
  return emit(from, {});
}

void Composer::begin(std::string_view separator, bool claims) {
  std::string& text = answer_.text;
  std::string before;
  if (claims && !opening_.empty()) before = std::exchange(opening_, {});
  if (!heading_.empty()) before += (before.empty() ? "## " : "\n\n## ") + std::exchange(heading_, {});
  if (!text.empty()) text += before.empty() ? separator : std::string_view("\n\n");
  if (!before.empty()) text += before + "\n\n";
}

bool Composer::emit(size_t from, const std::vector<Citation>& citations) {
  if (events_.on_text && !events_.on_text(std::string_view(answer_.text).substr(from), citations))
    cancelled_ = true;
  return !cancelled_;
}

std::string written_time(Time when, Time now) {
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(when - day).count();
  const std::string clock = fmt::format("{:02}:{:02} UTC", minutes / 60, minutes % 60);
  if (day == std::chrono::floor<std::chrono::days>(now)) return clock;
  const std::chrono::year_month_day date{day};
  return fmt::format("{} {} {}, {}", static_cast<unsigned>(date.day()),
                     month_name(static_cast<int>(static_cast<unsigned>(date.month()))),
                     static_cast<int>(date.year()), clock);
}

namespace {

/// Brackets could pass for a mark of ours or for a link, and curly quotation marks would end the quotation.
void append_quoted(std::string& out, char32_t c) {
  if (c == '[' || c == ']') {
    out.push_back(c == '[' ? '(' : ')');
  } else if (c == 0x201C || c == 0x201D) {
    out.push_back('"');
  } else if (!is_invisible(c)) {
    append_utf8(out, c);
  }
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string words;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == 0x2028 || c == 0x2029;
    if (!space) {
      append_quoted(words, c);
    } else if (!words.empty() && words.back() != ' ') {
      words.push_back(' ');
    }
  }
  if (words.find('"') == std::string::npos) return '"' + words + '"';
  return "\xE2\x80\x9C" + words + "\xE2\x80\x9D";
}

std::string as_data(std::string_view text, size_t longest) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    if (out.size() >= longest) break;
    if (c == '[') {
      out.push_back('(');
    } else if (c == ']') {
      out.push_back(')');
    } else if (c < 0x20 || c == 0x2028 || c == 0x2029) {
      if (!out.empty() && out.back() != ' ') out.push_back(' ');
    } else if (is_invisible(c)) {
      continue;
    } else {
      append_utf8(out, c);
    }
  }
  return std::string(trim(out));
}

std::string attribution(const Evidence& evidence) {
  const std::vector<Word>& words = evidence.words;
  const bool repost = words.size() > 2 && words[0].folded == "rt" && words[1].kind == WordKind::kHandle;
  const std::string author = author_label(evidence.post);
  if (!repost) return author;
  const std::string original(slice(evidence.post.text, words[1].span));
  return author == "a post" ? original + ", reposted" : original + ", reposted by " + author;
}

}  // namespace fathom::answer
