#include "live/world/reader.h"

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace fathom::live::world {
namespace {

constexpr size_t kMaxFile = size_t{1} << 20;
constexpr size_t kMaxEntries = 2048;

std::string in_quotes(std::string_view key) { return "'" + std::string(key) + "'"; }

std::optional<int64_t> two_digits(std::string_view text) {
  if (text.size() != 2 || text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') {
    return std::nullopt;
  }
  return (text[0] - '0') * 10 + (text[1] - '0');
}

std::optional<int64_t> parse_clock(std::string_view text) {
  const auto parts = split(text, ':');
  if (parts.size() < 2 || parts.size() > 3) return std::nullopt;
  const auto hours = two_digits(parts[0]);
  const auto minutes = two_digits(parts[1]);
  const auto seconds = parts.size() == 3 ? two_digits(parts[2]) : std::optional<int64_t>(0);
  if (!hours || !minutes || !seconds || *minutes > 59 || *seconds > 59) return std::nullopt;
  const int64_t total = *hours * 3600 + *minutes * 60 + *seconds;
  return total <= kDaySeconds ? std::optional(total) : std::nullopt;
}

}  // namespace

Table parse_document(std::string_view text, const std::string& file) {
  if (text.size() > kMaxFile) fail({file, 1}, "the file is larger than 1 MiB; split it");
  return Table(TomlTable::parse(text, file));
}

int64_t Table::clock(std::string_view key) const {
  const auto seconds = parse_clock(text(key));
  if (!seconds) error(key, "must be a time such as \"14:05\"");
  return *seconds;
}

int64_t Table::clock_or(std::string_view key, int64_t otherwise) const {
  return has(key) ? clock(key) : otherwise;
}

std::vector<Line> Table::lines(std::string_view key) const {
  std::vector<TomlText> found = TomlTable::lines(key);
  if (found.size() > kMaxEntries) error(key, "has over 2048 entries; use fewer");
  std::vector<Line> out;
  for (TomlText& line : found) out.push_back({std::move(line.text), {file(), line.line}});
  return out;
}

std::vector<std::string> Table::strings(std::string_view key) const {
  std::vector<std::string> out;
  for (Line& line : lines(key)) {
    if (line.text.empty()) fail(line.place, in_quotes(key) + " holds an empty text");
    out.push_back(std::move(line.text));
  }
  return out;
}

std::vector<Table> Table::tables(std::string_view key) const {
  std::vector<TomlTable> found = TomlTable::tables(key);
  if (found.size() > kMaxEntries) error(key, "has over 2048 entries; use fewer");
  std::vector<Table> out;
  for (TomlTable& table : found) out.emplace_back(std::move(table));
  return out;
}

std::vector<std::pair<std::string, std::vector<Line>>> Table::named_lines(std::string_view key) const {
  const Table named(table(key));
  std::vector<std::string> names = named.keys();
  std::sort(names.begin(), names.end());
  std::vector<std::pair<std::string, std::vector<Line>>> out;
  for (std::string& name : names) {
    std::vector<Line> lines = named.lines(name);
    if (lines.empty()) fail({file(), named.line(name)}, "the list " + in_quotes(name) + " is empty");
    out.emplace_back(std::move(name), std::move(lines));
  }
  return out;
}

}  // namespace fathom::live::world
