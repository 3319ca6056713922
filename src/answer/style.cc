#include "answer/style.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestLine = 300;  // bytes of a value

bool is_style_name(std::string_view name) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= 40 && std::ranges::all_of(name, allowed);
}

/// A line that an answer begins or ends with may not look like something that the posts say.
bool claims_nothing(std::string_view line) {
  if (line.find_first_of("0123456789\"[]<>@#`") != std::string_view::npos) return false;
  return std::ranges::none_of(
      std::initializer_list<std::string_view>{"://", "www.", "\xE2\x80\x9C", "\xE2\x80\x9D", "\xC2\xAB"},
      [&](std::string_view mark) { return line.find(mark) != std::string_view::npos; });
}

/// Reads the lines of one file.
class Reader {
 public:
  Reader(const std::string& name, const std::string& place) : place_(place) {
    style_.name = name;
    style_.title = name;
  }

  Style read(std::string_view text) {
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    if (!is_valid_utf8(text)) fail("the text is not valid UTF-8");
    bool head = true;
    for (std::string_view line : split(text, '\n')) {
      ++line_;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.find('\0') != std::string_view::npos) fail("there is a zero byte in it");
      if (line.starts_with('#')) continue;
      if (head && trim(line).empty() && !any_) continue;
      if (head && !trim(line).empty()) {
        setting(line);
        any_ = true;
      } else {
        head = false;
        style_.words += line;
        style_.words += '\n';
      }
    }
    style_.words = std::string(trim(style_.words));
    return std::move(style_);
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", place_, line_, what));
  }

  void setting(std::string_view line) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos)
      fail("a line 'name: value' is expected; an empty line ends them and the words for the model follow");
    const std::string key = to_lower_ascii(trim(line.substr(0, colon)));
    const std::string_view value = trim(line.substr(colon + 1));
    if (value.size() > kLongestLine) fail(fmt::format("'{}' is longer than {} bytes", key, kLongestLine));
    if (key == "title") {
      style_.title = std::string(value);
    } else if (key == "description") {
      style_.description = std::string(value);
    } else if (key == "sentences") {
      style_.sentences = number(value);
    } else if (key == "more") {
      if (value != "yes" && value != "no") fail("'more' is yes or no");
      style_.more = value == "yes";
    } else if (key.starts_with("opening")) {
      frame(key.substr(7), value, style_.openings);
    } else if (key.starts_with("closing")) {
      frame(key.substr(7), value, style_.closings);
    } else {
      fail(fmt::format("'{}' is none of title, description, sentences, more, opening and closing", key));
    }
  }

  size_t number(std::string_view value) const {
    size_t out = 0;
    const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), out);
    if (failed != std::errc{} || end != value.data() + value.size() || out < 1 || out > 50)
      fail("'sentences' is a number from 1 to 50");
    return out;
  }

  void frame(std::string_view language, std::string_view value,
             std::map<std::string, std::string>& out) const {
    if (!language.empty() && (language.size() != 3 || language.front() != '-'))
      fail("a line for one language is called opening-de or closing-de");
    if (!claims_nothing(value))
      fail("an opening or closing claims nothing: no digit, quotation mark, bracket or address in it");
    out[std::string(language.empty() ? language : language.substr(1))] = std::string(value);
  }

  Style style_;
  const std::string& place_;
  size_t line_ = 0;
  bool any_ = false;
};

std::string_view line_for(const std::map<std::string, std::string>& lines, std::string_view language) {
  for (const auto& [of, line] : lines)
    if (of == language) return line;
  // A line without a language is in English: better none than one in another language than the answer.
  const auto any = lines.find("");
  return any != lines.end() && (language.empty() || language == "en") ? std::string_view(any->second)
                                                                      : std::string_view();
}

Style read_style(const fs::path& file) {
  return parse_style(read_file(file, kMaxStyleBytes), file.stem().string(), file.string());
}

}  // namespace

std::string_view Style::opening(std::string_view language) const { return line_for(openings, language); }
std::string_view Style::closing(std::string_view language) const { return line_for(closings, language); }

Style parse_style(std::string_view text, const std::string& name, const std::string& place) {
  if (text.size() > kMaxStyleBytes)
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: over {} bytes", place, kMaxStyleBytes));
  return Reader(name, place).read(text);
}

fs::path Styles::file_of(std::string_view name) const {
  for (auto folder = folders_.rbegin(); folder != folders_.rend(); ++folder) {
    fs::path file = *folder / (std::string(name) + ".txt");
    std::error_code ignored;
    if (fs::is_regular_file(file, ignored)) return file;
  }
  return {};
}

std::vector<Style> Styles::list(std::vector<std::string>* errors) const {
  std::map<std::string, fs::path> files;  // by name: a later folder wins
  for (const fs::path& folder : folders_) {
    std::error_code ignored;
    if (!fs::is_directory(folder, ignored)) continue;
    for (const fs::path& file : files_of(folder, ".txt")) {
      const std::string name = file.stem().string();
      if (is_style_name(name)) {
        files[name] = file;
      } else if (errors != nullptr) {
        errors->push_back(fmt::format(
            "{}: a style's name has a-z, 0-9 and '-' and at most 40 of them; rename it", file.string()));
      }
    }
  }
  std::vector<Style> out;
  for (const auto& [name, file] : files) {
    if (out.size() >= kMaxStyles) break;
    try {
      out.push_back(read_style(file));
    } catch (const Error& error) {
      if (errors != nullptr) errors->push_back(error.what());
    }
  }
  return out;
}

Style Styles::find(std::string_view name) const {
  const fs::path file = is_style_name(name) ? file_of(name) : fs::path();
  if (!file.empty()) return read_style(file);
  std::vector<std::string> names;
  for (const Style& style : list()) names.push_back(style.name);
  throw Error(ErrorCode::kNotFound,
              fmt::format("there is no style '{}'; there are: {}", sanitize_utf8(name.substr(0, 60)),
                          names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
}

}  // namespace fathom::answer
