#include "server/conversation_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/text.h"

namespace fathom::server {
namespace {

using nlohmann::json;

std::string text_at(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Links, images, HTML and the escapes themselves as plain characters.
void append_plain(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '[' || c == ']' || c == '<' || c == '>' || c == '\\' || c == '!') out += '\\';
    out += c;
  }
}

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  std::string out;
  append_plain(out, text);
  return out;
}

/// Within "<...>": empty for what is no web address.
std::string link_target(const std::string& url) {
  if (!url.starts_with("http://") && !url.starts_with("https://")) return {};
  std::string out;
  for (const char c : url) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == '<' || c == '>' || c == '\\') {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

/// The cited posts by number; the first of a number is like the others.
std::map<int64_t, json> sources_of(const json& record) {
  std::map<int64_t, json> out;
  const auto citations = record.find("citations");
  if (citations == record.end() || !citations->is_array()) return out;
  for (const json& citation : *citations)
    if (citation.is_object() && citation.value("number", json()).is_number_integer())
      out.try_emplace(citation["number"].get<int64_t>(), citation);
  return out;
}

/// The number of a mark "[12]" at the beginning of `text`, or 0.
int64_t mark_at(std::string_view text, size_t& size) {
  int64_t number = 0;
  size_t at = 1;
  while (at < text.size() && at < 5 && text[at] >= '0' && text[at] <= '9')
    number = 10 * number + (text[at++] - '0');
  if (at == 1 || at >= text.size() || text[at] != ']') return 0;
  size = at + 1;
  return number;
}

/// An answer's text, its marks as links to what they cite.
std::string linked(std::string_view text, const std::map<int64_t, json>& sources) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t size = 0;
    const int64_t number = text[at] == '[' ? mark_at(text.substr(at), size) : 0;
    const auto source = sources.find(number);
    if (source == sources.end()) {
      append_plain(out, text.substr(at++, 1));
      continue;
    }
    const std::string target = link_target(text_at(source->second, "url"));
    out += target.empty() ? fmt::format("\\[{}\\]", number) : fmt::format("[\\[{}\\]](<{}>)", number, target);
    at += size;
  }
  return out;
}

std::string source_line(int64_t number, const json& source) {
  const json author = source.value("author", json::object());
  const std::string handle = author.is_object() ? text_at(author, "handle") : "";
  std::string who = one_line(handle.empty() ? text_at(source, "source") : "@" + handle);
  if (const std::string target = link_target(text_at(source, "url")); !target.empty())
    who = fmt::format("[{}](<{}>)", who, target);
  std::string line = fmt::format("{}. {}, {}: ", number, who, one_line(text_at(source, "created_at")));
  const std::string passage = text_at(source, "passage");
  line += one_line(passage.empty() ? text_at(source, "text") : passage);
  return line + "\n";
}

std::string content_of(const json& item) {
  std::string out;
  const auto content = item.find("content");
  if (content == item.end() || !content->is_array()) return out;
  for (const json& part : *content)
    if (part.is_object()) out += text_at(part, "text");
  return out;
}

std::string answer_text(const json& item) {
  const json record = item.value("fathom", json::object());
  const auto sources = sources_of(record);
  const std::string own = text_at(record, "text");  // without the links of other formats
  std::string out = linked(own.empty() ? content_of(item) : own, sources) + "\n\n";
  if (!sources.empty()) out += "Sources:\n\n";
  for (const auto& [number, source] : sources) out += source_line(number, source);
  if (!sources.empty()) out += "\n";
  if (const std::string as_of = text_at(record, "as_of"); !as_of.empty())
    out += fmt::format(
        "As of {} by the feed's clock.{}\n\n", one_line(as_of),
        record.value("fiction", json()) == json(true) ? " The sample world: all of it is fiction." : "");
  return out;
}

std::string quoted(const std::string& text) {
  std::string out;
  for (const std::string_view line : split(text, '\n')) {
    out += "> ";
    append_plain(out, line);
    out += '\n';
  }
  return out + "\n";
}

}  // namespace

std::string to_markdown(const json& conversation, const std::vector<json>& items) {
  std::string out = fmt::format("# {}\n\n", one_line(text_at(conversation, "title")));
  const auto created = conversation.find("created_at");
  if (created != conversation.end() && created->is_number_integer())
    out += fmt::format("Begun {}.\n\n", format_time(Time(std::chrono::seconds(created->get<int64_t>()))));
  for (const json& item : items) {
    if (text_at(item, "type") != "message") continue;
    out += text_at(item, "role") == "assistant" ? answer_text(item) : quoted(content_of(item));
  }
  return out;
}

}  // namespace fathom::server
