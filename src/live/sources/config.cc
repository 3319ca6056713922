#include "live/sources/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/toml.h"
#include "live/sources/redacted.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxSources = 256;
constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr double kMaxRate = 1e6;
constexpr std::string_view kHeading =
    "# What Fathom reads; 'fathom sources --help' says how. A running server takes changes over by itself.\n";

[[noreturn]] void refuse(const std::string& sentence) { throw Error(ErrorCode::kInvalidArgument, sentence); }

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

/// Empty: the kind has no such option. The option of every kind is described here.
const SourceOption* find_option(const SourceKind& kind, std::string_view name) {
  static const SourceOption kRate{
      .name = kRateOption, .help = "The most posts a second; what is faster waits", .example = "200"};
  const auto found = std::find_if(kind.options.begin(), kind.options.end(),
                                  [&](const SourceOption& option) { return option.name == name; });
  if (found != kind.options.end()) return &*found;
  return name == kRateOption ? &kRate : nullptr;
}

std::string names_of(const SourceKind& kind) {
  std::string names;
  for (const SourceOption& option : kind.options) names += fmt::format("{}, ", option.name);
  return names + std::string(kRateOption);
}

std::string kind_names() {
  std::string names;
  for (const SourceKind& kind : source_kinds()) names += (names.empty() ? "" : ", ") + std::string(kind.name);
  return names;
}

const SourceKind& known_kind(std::string_view name) {
  if (const SourceKind* kind = find_kind(name)) return *kind;
  refuse(fmt::format("there is no kind of source '{}'; there are {}", sanitize_utf8(name.substr(0, 100)),
                     kind_names()));
}

// --- the short form

/// How much of `part` names an option ("host=..."): its length, or 0. What could be one but is none is an error.
size_t option_length(const SourceKind& kind, std::string_view part) {
  const size_t length = std::min(part.find('='), part.size());
  const std::string_view name = part.substr(0, length);
  if (name == "name" || find_option(kind, name) != nullptr) return length;
  const bool could_be = length < part.size() && length > 0 &&
                        std::all_of(name.begin(), name.end(),
                                    [](char c) { return (c >= 'a' && c <= 'z') || c == '_' || c == '-'; });
  if (could_be)
    refuse(fmt::format("a source of the kind {} has no option '{}'; it has {}", kind.name, name,
                       names_of(kind)));
  return 0;
}

void put_option(SourceSpec& spec, const SourceKind& kind, std::string_view name, std::string_view value) {
  if (name == "name") {
    spec.name = value;
    return;
  }
  const auto [at, added] = spec.options.try_emplace(std::string(name), value);
  if (added) return;
  const SourceOption* option = find_option(kind, name);
  if (option == nullptr || !option->list) refuse(fmt::format("the option '{}' is given twice", name));
  at->second += fmt::format("\n{}", value);
}

void parse_options(SourceSpec& spec, const SourceKind& kind, std::string_view text) {
  std::string last = kind.options.empty() ? "" : std::string(kind.options.front().name);
  bool first = true;
  for (const std::string_view part : split(text, ',')) {
    const bool place = std::exchange(first, false);
    if (place && part.empty()) continue;
    const size_t length = place ? 0 : option_length(kind, part);
    if (length > 0) {
      last = part.substr(0, length);
      put_option(spec, kind, last, length < part.size() ? part.substr(length + 1) : "true");
    } else if (const auto at = spec.options.find(last); at != spec.options.end()) {
      const SourceOption* option = find_option(kind, last);
      at->second += (option != nullptr && option->list ? '\n' : ',') + std::string(part);
    } else if (!last.empty()) {
      put_option(spec, kind, last, part);
    } else {
      refuse(fmt::format("a source of the kind {} takes no '{}'", kind.name, part));
    }
  }
}

// --- the file

SourceSpec read_one(const TomlTable& table) {
  SourceSpec spec;
  spec.kind = table.text("kind");
  spec.name = table.text_or("name", spec.kind);
  spec.enabled = table.flag_or("enabled", true);
  for (const std::string& key : table.keys()) {
    if (key == "kind" || key == "name" || key == "enabled") continue;
    std::string& value = spec.options[key];
    bool first = true;
    for (const std::string& entry : table.plain(key)) {
      if (entry.find('\n') != std::string::npos) table.error(key, "has a line break in it");
      value += (std::exchange(first, false) ? "" : "\n") + entry;
    }
  }
  try {
    check_source(spec);
  } catch (const Error& error) {
    table.error(error.what());
  }
  return spec;
}

std::string toml_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string toml_list(const std::vector<std::string>& entries) {
  std::string out;
  for (const std::string& entry : entries) out += (out.empty() ? "" : ", ") + toml_text(entry);
  return "[" + out + "]";
}

std::string write_one(const SourceSpec& spec) {
  std::string out =
      fmt::format("\n[[source]]\nname = {}\nkind = {}\n", toml_text(spec.name), toml_text(spec.kind));
  if (!spec.enabled) out += "enabled = false\n";
  const SourceKind& kind = known_kind(spec.kind);
  for (const auto& [name, value] : spec.options) {
    const SourceOption* option = find_option(kind, name);
    const bool list = option != nullptr && option->list;
    out += fmt::format("{} = {}\n", name, list ? toml_list(spec.list(name)) : toml_text(value));
  }
  return out;
}

/// What people wrote above the first source.
std::string heading_of(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return std::string(kHeading);
  std::string text = read_file(file, kMaxFileBytes);
  const size_t first = text.find("[[source]]");
  text = std::string(trim(std::string_view(text).substr(0, first)));
  return text.empty() ? std::string(kHeading) : text + "\n";
}

// --- secrets

bool is_reference(std::string_view value) { return value.starts_with('$') || value.starts_with("file:"); }

std::vector<std::string> secrets_of(const SourceSpec& spec, const SourceKind& kind) {
  std::vector<std::string> secrets;
  for (const SourceOption& option : kind.options)
    if (option.secret && !spec.option(option.name).empty())
      secrets.push_back(read_secret(spec.option(option.name)));
  return secrets;
}

}  // namespace

// --- SourceSpec

std::string_view SourceSpec::option(std::string_view key) const {
  const auto found = options.find(std::string(key));
  return found == options.end() ? std::string_view() : std::string_view(found->second);
}

std::vector<std::string> SourceSpec::list(std::string_view key) const {
  std::vector<std::string> entries;
  for (const std::string_view entry : split(option(key), '\n'))
    if (!trim(entry).empty()) entries.emplace_back(trim(entry));
  return entries;
}

double SourceSpec::number(std::string_view key, double otherwise, double low, double high) const {
  const std::string_view text = option(key);
  if (text.empty()) return otherwise;
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size() || !(value >= low && value <= high))
    refuse(fmt::format("the option '{}' must be a number from {} to {}", key, low, high));
  return value;
}

bool SourceSpec::flag(std::string_view key, bool otherwise) const {
  const std::string_view text = option(key);
  if (text.empty()) return otherwise;
  if (text != "true" && text != "false") refuse(fmt::format("the option '{}' must be true or false", key));
  return text == "true";
}

// --- kinds

const std::vector<SourceKind>& source_kinds() {
  static const std::vector<SourceKind> kKinds = [] {
    std::vector<SourceKind> kinds;
    for (const auto& some : {x_kinds(), bluesky_kinds(), mastodon_kinds(), nostr_kinds(), rss_kinds(),
                             hackernews_kinds(), file_kinds(), kafka_kinds()})
      kinds.insert(kinds.end(), some.begin(), some.end());
    return kinds;
  }();
  return kKinds;
}

const SourceKind* find_kind(std::string_view name) {
  const auto& kinds = source_kinds();
  const auto found =
      std::find_if(kinds.begin(), kinds.end(), [&](const SourceKind& kind) { return kind.name == name; });
  return found == kinds.end() ? nullptr : &*found;
}

void check_source(const SourceSpec& spec) {
  const SourceKind& kind = known_kind(spec.kind);
  if (!is_name(spec.name))
    refuse(fmt::format("'{}' cannot name a source: use 1 to 32 of a-z, 0-9, '_' and '-'",
                       sanitize_utf8(spec.name.substr(0, 100))));
  for (const auto& [name, value] : spec.options) {
    const SourceOption* option = find_option(kind, name);
    if (option == nullptr)
      refuse(fmt::format("source '{}': the kind {} has no option '{}'; it has {}", spec.name, kind.name, name,
                         names_of(kind)));
    if (option->secret && !is_reference(value))
      refuse(fmt::format(
          "source '{}': '{}' is a secret, which never stands in the open: give $VARIABLE or file:PATH",
          spec.name, name));
    if (!option->list && value.find('\n') != std::string::npos)
      refuse(fmt::format("source '{}': the option '{}' takes one value", spec.name, name));
  }
  for (const SourceOption& option : kind.options)
    if (option.required && spec.option(option.name).empty())
      refuse(fmt::format("source '{}': the kind {} needs the option '{}', such as {}={}", spec.name,
                         kind.name, option.name, option.name, option.example));
  limits_of(spec);
}

SourceLimits limits_of(const SourceSpec& spec) {
  return {.posts_per_second = spec.number(kRateOption, 0, 0, kMaxRate)};
}

SourceSpec parse_source(std::string_view text) {
  if (text == "-") text = "stdin";
  const size_t colon = text.find(':');
  SourceSpec spec;
  spec.kind = text.substr(0, colon);
  spec.name = spec.kind;
  const SourceKind& kind = known_kind(spec.kind);
  if (colon != std::string_view::npos) parse_options(spec, kind, text.substr(colon + 1));
  check_source(spec);
  return spec;
}

std::unique_ptr<Source> make_source(const SourceSpec& spec, const SourceContext& context) {
  check_source(spec);
  const SourceKind& kind = known_kind(spec.kind);
  return redacted(kind.make(spec, context), secrets_of(spec, kind));
}

// --- the file

std::vector<SourceSpec> read_sources(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return {};
  const TomlTable document = TomlTable::parse(read_file(file, kMaxFileBytes), file.string());
  document.allow({"source"});
  std::vector<SourceSpec> specs;
  std::set<std::string> names;
  for (const TomlTable& table : document.tables("source")) {
    SourceSpec spec = read_one(table);
    if (!names.insert(spec.name).second)
      table.error(fmt::format("there are two sources of the name '{}'", spec.name));
    if (specs.size() == kMaxSources) table.error(fmt::format("there are more than {} sources", kMaxSources));
    specs.push_back(std::move(spec));
  }
  return specs;
}

void write_sources(const std::filesystem::path& file, const std::vector<SourceSpec>& sources) {
  std::string text = heading_of(file);
  for (const SourceSpec& spec : sources) text += write_one(spec);
  write_file_atomic(file, text);
}

}  // namespace fathom::live
