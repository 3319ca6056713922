// TOML with manners: typed reads that name file and line in every error, and unknown keys are errors too.
//
// Views into a parsed document, which the caller keeps alive. Included only by the files that read scenarios, since
// toml++ is long.
#pragma once

#include <toml++/toml.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "live/world/scenario.h"

namespace fathom::live::world {

/// A string and where it stands.
struct Line {
  std::string text;
  Place place;
};

/// Errors: kInvalidArgument for what is not TOML, with the line; also for over 1 MiB.
toml::table parse_document(std::string_view text, const std::string& file);

class Table {
 public:
  Table(const toml::table& table, std::string file) : table_(&table), file_(std::move(file)) {}

  Place place() const { return place_of(*table_); }
  [[noreturn]] void error(std::string_view what) const { fail(place(), what); }

  /// Errors: a key that is not in the list.
  void allow(std::initializer_list<std::string_view> keys) const;
  bool has(std::string_view key) const { return table_->contains(key); }

  std::string text(std::string_view key) const;
  std::string text_or(std::string_view key, std::string_view otherwise) const;
  int64_t integer_or(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const;
  bool flag_or(std::string_view key, bool otherwise) const;
  /// "HH:MM" or "HH:MM:SS" as seconds into the day; "24:00" too.
  int64_t clock(std::string_view key) const;
  int64_t clock_or(std::string_view key, int64_t otherwise) const;
  /// A list of strings; none when the key is missing.
  std::vector<Line> lines(std::string_view key) const;
  std::vector<std::string> strings(std::string_view key) const;
  /// A list of tables; none when the key is missing.
  std::vector<Table> tables(std::string_view key) const;
  /// Key and list of each entry of the table `key`, by name.
  std::vector<std::pair<std::string, std::vector<Line>>> named_lines(std::string_view key) const;

 private:
  Place place_of(const toml::node& node) const { return {file_, node.source().begin.line}; }
  const toml::node* find(std::string_view key) const { return table_->get(key); }
  std::vector<Line> lines_of(std::string_view key, const toml::node& node) const;

  const toml::table* table_;
  std::string file_;
};

}  // namespace fathom::live::world
