// Styles: how an answer is told, as plain text files that people edit.
//
// A file NAME.txt holds lines `name: value`, an empty line, and then the words that a model is given:
//   title, description   for a menu
//   sentences            most claims of an answer, 1..50; without it, as many as it takes
//   more                 yes: also what is said besides, up to that many
//   opening, closing     a line before and behind a quoted answer; "opening-de" for one language. They claim nothing: no digit,
//                        quotation mark, bracket or address may stand in them
// Lines that begin with '#' are passed over. A style changes how much is told and in what voice; the checks stay.
//
// Ownership: owns paths alone; every call reads the files anew, so that an edit holds for the next answer. Thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::answer {

struct Style {
  std::string name;  // of the file: a-z, 0-9 and '-', at most 40
  std::string title, description;
  size_t sentences = 0;  // 0: as many as it takes
  bool more = false;
  std::map<std::string, std::string> openings, closings;  // by language ("de"); "": any other
  std::string words;                                      // for a model

  /// For this language; empty where there is none.
  std::string_view opening(std::string_view language) const;
  std::string_view closing(std::string_view language) const;
};

inline constexpr size_t kMaxStyleBytes = 16 * 1024;  // of a file
inline constexpr size_t kMaxStyles = 100;            // that are listed

/// Reads a file's text; `name` becomes Style::name, `place` is how errors call the file. Errors: kInvalidArgument, with the
/// line.
Style parse_style(std::string_view text, const std::string& name, const std::string& place);

class Styles {
 public:
  /// Of two styles of one name that of the later folder wins. A folder that does not exist holds none.
  explicit Styles(std::vector<std::filesystem::path> folders) : folders_(std::move(folders)) {}

  /// Those that can be read, by name. `errors`: a sentence for each that cannot.
  std::vector<Style> list(std::vector<std::string>* errors = nullptr) const;

  /// Errors: kNotFound (names those that there are), kInvalidArgument (a file that cannot be used), kIo.
  Style find(std::string_view name) const;

 private:
  std::filesystem::path file_of(std::string_view name) const;

  std::vector<std::filesystem::path> folders_;
};

}  // namespace fathom::answer
