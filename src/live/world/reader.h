// The world's files: base/toml.h, with times of the day, the place of every text, and bounds on the length of lists.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/toml.h"
#include "live/world/scenario.h"

namespace fathom::live::world {

/// A string and where it stands.
struct Line {
  std::string text;
  Place place;
};

class Table : public TomlTable {
 public:
  explicit Table(TomlTable table) : TomlTable(std::move(table)) {}

  Place place() const { return {file(), line()}; }

  /// "HH:MM" or "HH:MM:SS" as seconds into the day; "24:00" too.
  int64_t clock(std::string_view key) const;
  int64_t clock_or(std::string_view key, int64_t otherwise) const;
  /// A list of strings; none when the key is missing.
  std::vector<Line> lines(std::string_view key) const;
  /// The same without places. Errors: an empty string.
  std::vector<std::string> strings(std::string_view key) const;
  /// A list of tables; none when the key is missing.
  std::vector<Table> tables(std::string_view key) const;
  /// Key and list of each entry of the table `key`, by name. Errors: an empty list.
  std::vector<std::pair<std::string, std::vector<Line>>> named_lines(std::string_view key) const;
};

/// Errors: kInvalidArgument for what is not TOML, with the line; also for over 1 MiB.
Table parse_document(std::string_view text, const std::string& file);

}  // namespace fathom::live::world
