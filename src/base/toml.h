// TOML files that people write: typed reads whose errors name file and line, and unknown keys are errors too.
//
// Values and views: a TomlTable keeps the document alive that it points into, and is cheap to copy. Thread-safe for
// reading. toml++ itself stays in the .cc file.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

/// A text of a list, and the line that it stands on.
struct TomlText {
  std::string text;
  uint32_t line = 0;
};

class TomlTable {
 public:
  /// `name` is how errors call the document. Errors: kInvalidArgument for what is not TOML, with the line; also for over
  /// 4 MiB.
  static TomlTable parse(std::string_view text, const std::string& name);
  /// Errors: kNotFound, kIo; as parse.
  static TomlTable read(const std::filesystem::path& path);

  /// The whole document with values replaced or added, each "machine.chips=50000" in TOML's own form (a text without
  /// quotation marks is taken as one). Where a name meets a list of tables it stands for the one whose `id` it is:
  /// "task.racks.units=1600". Errors: kInvalidArgument, naming the change that has no such place.
  TomlTable changed(const std::vector<std::string>& changes) const;

  const std::string& file() const { return file_; }
  /// Line of the table, or of the value of `key` (of the table where the key is missing).
  uint32_t line() const { return line_; }
  uint32_t line(std::string_view key) const;
  /// "FILE:LINE" of the same.
  std::string place() const;
  std::string place(std::string_view key) const;
  /// Throws kInvalidArgument "PLACE: WHAT".
  [[noreturn]] void error(std::string_view what) const;
  [[noreturn]] void error(std::string_view key, std::string_view what) const;

  /// Errors: a key that is not in the list; the sentence lists those that are.
  void allow(std::initializer_list<std::string_view> keys) const;
  bool has(std::string_view key) const;
  std::vector<std::string> keys() const;  // as they stand in the file

  /// Errors of all reads: kInvalidArgument where the key is missing (unless `_or`), of another type or out of bounds.
  /// Numbers may be written whole or with a point; they are finite.
  std::string text(std::string_view key) const;
  std::string text_or(std::string_view key, std::string_view otherwise) const;
  double number(std::string_view key, double low, double high) const;
  double number_or(std::string_view key, double otherwise, double low, double high) const;
  int64_t integer(std::string_view key, int64_t low, int64_t high) const;
  int64_t integer_or(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const;
  bool flag_or(std::string_view key, bool otherwise) const;
  /// A TOML date (2024-05-01).
  std::chrono::sys_days date(std::string_view key) const;
  std::chrono::sys_days date_or(std::string_view key, std::chrono::sys_days otherwise) const;
  /// Index of the text in `names`. Errors: another one; the sentence lists the names.
  size_t choice(std::string_view key, std::initializer_list<std::string_view> names) const;
  size_t choice_or(std::string_view key, size_t otherwise,
                   std::initializer_list<std::string_view> names) const;
  /// Lists; empty where the key is missing.
  std::vector<TomlText> lines(std::string_view key) const;
  std::vector<std::string> texts(std::string_view key) const;
  std::vector<double> numbers(std::string_view key, double low, double high) const;
  /// The value, or each of a list, as text whatever its type: a text, a number ("250"), a flag ("true"). Errors: a date, a
  /// table, a list in a list.
  std::vector<std::string> plain(std::string_view key) const;

  /// The table under `key` ([key] or key = {...}); an empty one, at this table's place, where it is missing.
  TomlTable table(std::string_view key) const;
  /// The tables of [[key]]; none where it is missing.
  std::vector<TomlTable> tables(std::string_view key) const;
  /// The tables below this one by name ([this.NAME]), in the order of their names. Errors: a key that is no table.
  std::vector<std::pair<std::string, TomlTable>> named_tables() const;

 private:
  struct Document;
  TomlTable(std::shared_ptr<const Document> document, const void* table, std::string file, uint32_t line);
  std::string place_of(uint32_t line) const;

  std::shared_ptr<const Document> document_;
  const void* table_;  // toml::table within document_; null: empty
  std::string file_;
  uint32_t line_;
};

/// "2025-09-30".
std::string format_date(std::chrono::sys_days day);
/// Errors: kInvalidArgument for what is no date of the form above between 1970 and 2200.
std::chrono::sys_days parse_date(std::string_view text);

}  // namespace fathom
