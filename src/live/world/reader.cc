#include "live/world/reader.h"

#include <algorithm>

#include "base/text.h"

namespace fathom::live::world {
namespace {

constexpr size_t kMaxFile = size_t{1} << 20;
constexpr size_t kMaxEntries = 2048;

std::string quoted(std::string_view key) { return "'" + std::string(key) + "'"; }

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

toml::table parse_document(std::string_view text, const std::string& file) {
  if (text.size() > kMaxFile) fail({file, 1}, "the file is larger than 1 MiB; split it");
  try {
    return toml::parse(text, std::string_view(file));
  } catch (const toml::parse_error& error) {
    fail({file, error.source().begin.line}, std::string("not TOML: ") + std::string(error.description()));
  }
}

void Table::allow(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, node] : *table_) {
    if (std::find(keys.begin(), keys.end(), key.str()) != keys.end()) continue;
    std::string known;
    for (const std::string_view name : keys) known += (known.empty() ? "" : ", ") + std::string(name);
    fail(place_of(node), "unknown key " + quoted(key.str()) + "; known here: " + known);
  }
}

std::string Table::text(std::string_view key) const {
  const toml::node* node = find(key);
  if (!node) error(quoted(key) + " is missing");
  const auto value = node->value<std::string>();
  if (!node->is_string() || value->empty()) fail(place_of(*node), quoted(key) + " must be a text");
  return *value;
}

std::string Table::text_or(std::string_view key, std::string_view otherwise) const {
  return has(key) ? text(key) : std::string(otherwise);
}

int64_t Table::integer_or(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const {
  const toml::node* node = find(key);
  if (!node) return otherwise;
  if (!node->is_integer()) fail(place_of(*node), quoted(key) + " must be a whole number");
  const int64_t value = node->as_integer()->get();
  if (value < low || value > high) {
    fail(place_of(*node),
         quoted(key) + " must be from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

bool Table::flag_or(std::string_view key, bool otherwise) const {
  const toml::node* node = find(key);
  if (!node) return otherwise;
  if (!node->is_boolean()) fail(place_of(*node), quoted(key) + " must be true or false");
  return node->as_boolean()->get();
}

int64_t Table::clock(std::string_view key) const {
  const auto seconds = parse_clock(text(key));
  if (!seconds) fail(place_of(*find(key)), quoted(key) + " must be a time such as \"14:05\"");
  return *seconds;
}

int64_t Table::clock_or(std::string_view key, int64_t otherwise) const {
  return has(key) ? clock(key) : otherwise;
}

std::vector<Line> Table::lines_of(std::string_view key, const toml::node& node) const {
  const toml::array* array = node.as_array();
  if (!array) fail(place_of(node), quoted(key) + " must be a list of texts");
  if (array->size() > kMaxEntries) fail(place_of(node), quoted(key) + " has over 2048 entries; use fewer");
  std::vector<Line> lines;
  for (const toml::node& entry : *array) {
    if (!entry.is_string()) fail(place_of(entry), quoted(key) + " must hold texts only");
    lines.push_back({entry.as_string()->get(), place_of(entry)});
  }
  return lines;
}

std::vector<Line> Table::lines(std::string_view key) const {
  const toml::node* node = find(key);
  return node ? lines_of(key, *node) : std::vector<Line>{};
}

std::vector<std::string> Table::strings(std::string_view key) const {
  std::vector<std::string> out;
  for (Line& line : lines(key)) {
    if (line.text.empty()) fail(line.place, quoted(key) + " holds an empty text");
    out.push_back(std::move(line.text));
  }
  return out;
}

std::vector<Table> Table::tables(std::string_view key) const {
  const toml::node* node = find(key);
  if (!node) return {};
  const toml::array* array = node->as_array();
  if (!array) fail(place_of(*node), quoted(key) + " must be a list of tables");
  if (array->size() > kMaxEntries) fail(place_of(*node), quoted(key) + " has over 2048 entries; use fewer");
  std::vector<Table> out;
  for (const toml::node& entry : *array) {
    const toml::table* table = entry.as_table();
    if (!table) fail(place_of(entry), quoted(key) + " must hold tables only");
    out.emplace_back(*table, file_);
  }
  return out;
}

std::vector<std::pair<std::string, std::vector<Line>>> Table::named_lines(std::string_view key) const {
  const toml::node* node = find(key);
  if (!node) return {};
  const toml::table* table = node->as_table();
  if (!table) fail(place_of(*node), quoted(key) + " must be a table of lists");
  std::vector<std::pair<std::string, std::vector<Line>>> out;
  for (const auto& [name, entry] : *table) {
    out.emplace_back(std::string(name.str()), lines_of(name.str(), entry));
    if (out.back().second.empty()) fail(place_of(entry), "the list " + quoted(name.str()) + " is empty");
  }
  return out;
}

}  // namespace fathom::live::world
