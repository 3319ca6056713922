#include "base/toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace fathom {
namespace {

constexpr size_t kMostNames = 16;
constexpr size_t kMaxFile = size_t{4} << 20;

const toml::table& as_table(const void* table) { return *static_cast<const toml::table*>(table); }

std::string listed(std::initializer_list<std::string_view> names) {
  std::string out;
  for (const std::string_view name : names) out += (out.empty() ? "" : ", ") + std::string(name);
  return out;
}

Error too_large(const std::string& name) {
  return Error(ErrorCode::kInvalidArgument, fmt::format("{}: the file is larger than 4 MiB; split it", name));
}

/// REQUIRES: a number. toml++ itself converts no integer beyond 2^53.
double as_double(const toml::node& number) {
  if (const auto* whole = number.as_integer()) return static_cast<double>(whole->get());
  return number.as_floating_point()->get();
}

[[noreturn]] void fail_change(const std::string& change, std::string_view why) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("the change '{}' {}", change, why));
}

/// The table below `at` that `name` stands for, made where it is missing.
toml::table& step_into(toml::table& at, std::string_view name, const std::string& change) {
  toml::node* node = at.get(name);
  if (!node) return *at.insert_or_assign(name, toml::table{}).first->second.as_table();
  if (auto* table = node->as_table()) return *table;
  fail_change(change, fmt::format("goes through '{}', which is no table", name));
}

toml::table& named_in_list(toml::array& list, std::string_view id, const std::string& change) {
  for (auto& node : list) {
    auto* table = node.as_table();
    if (table && table->get_as<std::string>("id") && table->get_as<std::string>("id")->get() == id)
      return *table;
  }
  fail_change(change, fmt::format("names '{}', and no entry of the list has this id", id));
}

void assign(toml::table& at, std::string_view key, const std::string& value) {
  try {
    toml::table parsed = toml::parse("value = " + value);
    at.insert_or_assign(key, *parsed.get("value"));
  } catch (const toml::parse_error&) {
    at.insert_or_assign(key, value);
  }
}

void apply_change(toml::table& root, const std::string& change) {
  const size_t equals = change.find('=');
  if (equals == std::string::npos || equals + 1 >= change.size())
    fail_change(change, "is not of the form section.key=value");
  const auto names = split(std::string_view(change).substr(0, equals), '.');
  const bool empty =
      std::any_of(names.begin(), names.end(), [](std::string_view name) { return trim(name).empty(); });
  if (empty || names.size() > kMostNames)
    fail_change(change.substr(0, 80), "is not of the form section.key=value");
  toml::table* at = &root;
  for (size_t i = 0; i + 1 < names.size(); ++i) {
    const std::string_view name = trim(names[i]);
    toml::node* node = at->get(name);
    if (node && node->is_array() && i + 2 < names.size())
      at = &named_in_list(*node->as_array(), trim(names[++i]), change);
    else
      at = &step_into(*at, name, change);
  }
  const std::string_view key = trim(names.back());
  assign(*at, key, std::string(trim(std::string_view(change).substr(equals + 1))));
}

std::chrono::sys_days to_days(const toml::date& date) {
  return std::chrono::year(date.year) / date.month / date.day;
}

}  // namespace

struct TomlTable::Document {
  std::string text;
  toml::table root;
};

TomlTable::TomlTable(std::shared_ptr<const Document> document, const void* table, std::string file,
                     uint32_t line)
    : document_(std::move(document)), table_(table), file_(std::move(file)), line_(line) {}

TomlTable TomlTable::parse(std::string_view text, const std::string& name) {
  if (text.size() > kMaxFile) throw too_large(name);
  try {
    auto document =
        std::make_shared<Document>(Document{std::string(text), toml::parse(text, std::string_view(name))});
    const void* root = &document->root;
    return TomlTable(std::move(document), root, name, 1);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}:{}: not TOML: {}", name, error.source().begin.line,
                            std::string_view(error.description())));
  }
}

TomlTable TomlTable::read(const std::filesystem::path& path) {
  try {
    return parse(read_file(path, kMaxFile), path.string());
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kResourceExhausted) throw too_large(path.string());
    throw;
  }
}

TomlTable TomlTable::changed(const std::vector<std::string>& changes) const {
  auto document = std::make_shared<Document>(
      Document{document_->text, toml::parse(document_->text, std::string_view(file_))});
  for (const auto& change : changes) apply_change(document->root, change);
  const void* root = &document->root;
  return TomlTable(std::move(document), root, file_, 1);
}

std::string TomlTable::place_of(uint32_t line) const {
  return line == 0 ? file_ + " as changed" : fmt::format("{}:{}", file_, line);
}

std::string TomlTable::place() const { return place_of(line_); }

uint32_t TomlTable::line(std::string_view key) const {
  const toml::node* node = table_ ? as_table(table_).get(key) : nullptr;
  return node ? node->source().begin.line : line_;
}

std::string TomlTable::place(std::string_view key) const { return place_of(line(key)); }

void TomlTable::error(std::string_view what) const {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: {}", place(), what));
}

void TomlTable::error(std::string_view key, std::string_view what) const {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: '{}' {}", place(key), key, what));
}

void TomlTable::allow(std::initializer_list<std::string_view> keys) const {
  if (!table_) return;
  for (const auto& [key, node] : as_table(table_)) {
    if (std::find(keys.begin(), keys.end(), key.str()) != keys.end()) continue;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: unknown key '{}'; known here: {}", place_of(node.source().begin.line),
                            key.str(), listed(keys)));
  }
}

bool TomlTable::has(std::string_view key) const { return table_ && as_table(table_).contains(key); }

std::vector<std::string> TomlTable::keys() const {
  std::vector<std::pair<uint32_t, std::string>> found;
  if (table_)
    for (const auto& [key, node] : as_table(table_))
      found.emplace_back(node.source().begin.line, std::string(key.str()));
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> out;
  for (auto& [line, key] : found) out.push_back(std::move(key));
  return out;
}

std::string TomlTable::text(std::string_view key) const {
  if (!has(key)) error(key, "is missing");
  const auto* value = as_table(table_).get_as<std::string>(key);
  if (!value || value->get().empty()) error(key, "must be a text");
  return value->get();
}

std::string TomlTable::text_or(std::string_view key, std::string_view otherwise) const {
  return has(key) ? text(key) : std::string(otherwise);
}

double TomlTable::number(std::string_view key, double low, double high) const {
  if (!has(key)) error(key, "is missing");
  const toml::node* node = as_table(table_).get(key);
  if (!node->is_number()) error(key, "must be a number");
  const double value = as_double(*node);
  if (!(value >= low && value <= high)) error(key, fmt::format("must be from {} to {}", low, high));
  return value;
}

double TomlTable::number_or(std::string_view key, double otherwise, double low, double high) const {
  return has(key) ? number(key, low, high) : otherwise;
}

int64_t TomlTable::integer(std::string_view key, int64_t low, int64_t high) const {
  if (!has(key)) error(key, "is missing");
  const auto* value = as_table(table_).get_as<int64_t>(key);
  if (!value) error(key, "must be a whole number");
  if (value->get() < low || value->get() > high) error(key, fmt::format("must be from {} to {}", low, high));
  return value->get();
}

int64_t TomlTable::integer_or(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const {
  return has(key) ? integer(key, low, high) : otherwise;
}

bool TomlTable::flag_or(std::string_view key, bool otherwise) const {
  if (!has(key)) return otherwise;
  const auto* value = as_table(table_).get_as<bool>(key);
  if (!value) error(key, "must be true or false");
  return value->get();
}

std::chrono::sys_days TomlTable::date(std::string_view key) const {
  if (!has(key)) error(key, "is missing");
  const auto* value = as_table(table_).get_as<toml::date>(key);
  if (!value) error(key, "must be a date such as 2024-05-01, without quotation marks");
  const auto day = to_days(value->get());
  if (day < std::chrono::sys_days{} || day > std::chrono::sys_days(std::chrono::year(2200) / 1 / 1))
    error(key, "must be a date between 1970 and 2200");
  return day;
}

std::chrono::sys_days TomlTable::date_or(std::string_view key, std::chrono::sys_days otherwise) const {
  return has(key) ? date(key) : otherwise;
}

size_t TomlTable::choice(std::string_view key, std::initializer_list<std::string_view> names) const {
  const std::string value = text(key);
  const auto* found = std::find(names.begin(), names.end(), value);
  if (found == names.end()) error(key, fmt::format("is '{}', which is none of: {}", value, listed(names)));
  return static_cast<size_t>(found - names.begin());
}

size_t TomlTable::choice_or(std::string_view key, size_t otherwise,
                            std::initializer_list<std::string_view> names) const {
  return has(key) ? choice(key, names) : otherwise;
}

std::vector<TomlText> TomlTable::lines(std::string_view key) const {
  std::vector<TomlText> out;
  if (!has(key)) return out;
  const auto* list = as_table(table_).get_as<toml::array>(key);
  if (!list) error(key, "must be a list of texts");
  for (const auto& node : *list) {
    const uint32_t at = node.source().begin.line;
    if (!node.is_string())
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}: '{}' must hold texts only", place_of(at), key));
    out.push_back({node.as_string()->get(), at});
  }
  return out;
}

std::vector<std::string> TomlTable::texts(std::string_view key) const {
  std::vector<std::string> out;
  for (TomlText& line : lines(key)) out.push_back(std::move(line.text));
  return out;
}

std::vector<std::string> TomlTable::plain(std::string_view key) const {
  std::vector<std::string> out;
  if (!has(key)) return out;
  const auto take = [&](const toml::node& node) -> void {
    if (const auto* text = node.as_string()) return out.push_back(text->get());
    if (const auto* flag = node.as_boolean()) return out.push_back(flag->get() ? "true" : "false");
    if (const auto* whole = node.as_integer()) return out.push_back(std::to_string(whole->get()));
    if (const auto* number = node.as_floating_point()) return out.push_back(fmt::format("{}", number->get()));
    error(key, "must be a text, a number, a flag or a list of them");
  };
  const toml::node& value = *as_table(table_).get(key);
  const auto* list = value.as_array();
  if (!list) take(value);
  if (list)
    for (const auto& node : *list) take(node);
  return out;
}

std::vector<double> TomlTable::numbers(std::string_view key, double low, double high) const {
  std::vector<double> out;
  if (!has(key)) return out;
  const auto* list = as_table(table_).get_as<toml::array>(key);
  if (!list) error(key, "must be a list of numbers");
  for (const auto& node : *list) {
    const double value = node.is_number() ? as_double(node) : std::nan("");
    if (!(value >= low && value <= high))
      error(key, fmt::format("must be a list of numbers from {} to {}", low, high));
    out.push_back(value);
  }
  return out;
}

TomlTable TomlTable::table(std::string_view key) const {
  if (!has(key)) return TomlTable(document_, nullptr, file_, line_);
  const toml::node* node = as_table(table_).get(key);
  if (!node->is_table()) error(key, "must be a table");
  return TomlTable(document_, node->as_table(), file_, node->source().begin.line);
}

std::vector<TomlTable> TomlTable::tables(std::string_view key) const {
  std::vector<TomlTable> out;
  if (!has(key)) return out;
  const auto* list = as_table(table_).get_as<toml::array>(key);
  if (!list) error(key, fmt::format("must be a list of tables: [[{}]]", key));
  for (const auto& node : *list) {
    if (!node.is_table())
      throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: '{}' must hold tables only: [[{}]]",
                                                           place_of(node.source().begin.line), key, key));
    out.push_back(TomlTable(document_, node.as_table(), file_, node.source().begin.line));
  }
  return out;
}

std::vector<std::pair<std::string, TomlTable>> TomlTable::named_tables() const {
  std::vector<std::pair<std::string, TomlTable>> out;
  if (!table_) return out;
  for (const auto& [key, node] : as_table(table_)) {
    if (!node.is_table()) error(key.str(), "must be a table");
    out.emplace_back(std::string(key.str()),
                     TomlTable(document_, node.as_table(), file_, node.source().begin.line));
  }
  return out;
}

std::string format_date(std::chrono::sys_days day) {
  const std::chrono::year_month_day date(day);
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

std::chrono::sys_days parse_date(std::string_view text) {
  const auto digits = [&](size_t from, size_t count) {
    int value = 0;
    for (size_t i = from; i < from + count; ++i) {
      if (text[i] < '0' || text[i] > '9') return -1;
      value = value * 10 + (text[i] - '0');
    }
    return value;
  };
  if (text.size() == 10 && text[4] == '-' && text[7] == '-') {
    const int year = digits(0, 4), month = digits(5, 2), day = digits(8, 2);
    const std::chrono::year_month_day date(std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day)));
    if (year >= 1970 && year <= 2200 && date.ok()) return date;
  }
  throw Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is no date; write it as 2025-09-30", text));
}

}  // namespace fathom
