#include "live/post.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

namespace fathom::live {
namespace {

namespace od = simdjson::ondemand;

constexpr size_t kMaxJsonBytes = 4 * 1024 * 1024;
constexpr size_t kMaxIdBytes = 512;
constexpr size_t kMaxNameBytes = 512;
constexpr size_t kMaxSourceBytes = 32;
constexpr size_t kMaxLangBytes = 35;  // BCP 47, section 4.4.1
constexpr size_t kMaxUrlBytes = 4096;
constexpr size_t kMaxLinks = 64;
constexpr size_t kMaxTags = 256;
constexpr size_t kMaxTagBytes = 512;

[[noreturn]] void refuse(std::string_view field, std::string_view why) {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("post: field '{}' {}", field, why));
}

/// Reports what simdjson found; `field` is empty while no field is being read.
[[noreturn]] void refuse_json(std::string_view field, simdjson::error_code error) {
  const std::string place = field.empty() ? "" : fmt::format(" at field '{}'", field);
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("post: not a JSON object{}: {}", place, simdjson::error_message(error)));
}

bool is_null(od::value& value, std::string_view field) {
  od::json_type type{};
  if (const auto error = value.type().get(type)) refuse_json(field, error);
  return type == od::json_type::null;
}

od::json_type type_of(od::value& value, std::string_view field) {
  od::json_type type{};
  if (const auto error = value.type().get(type)) refuse_json(field, error);
  return type;
}

std::string read_string(od::value& value, std::string_view field) {
  if (type_of(value, field) != od::json_type::string) refuse(field, "must be a string");
  std::string_view text;
  if (const auto error = value.get_string().get(text)) {
    if (error == simdjson::STRING_ERROR) throw error;  // a bad escape: parse_post repairs it once
    refuse_json(field, error);
  }
  return std::string(text);
}

/// An identifier: a string, or a whole number as its digits.
std::string read_id(od::value& value, std::string_view field) {
  switch (type_of(value, field)) {
    case od::json_type::string: return read_string(value, field);
    case od::json_type::number: {
      int64_t number = 0;
      if (value.get_int64().get(number) != simdjson::SUCCESS)
        refuse(field, "must be a string or a whole number");
      return std::to_string(number);
    }
    default: refuse(field, "must be a string or a whole number");
  }
}

int64_t read_count(od::value& value, std::string_view field) {
  int64_t number = 0;
  if (type_of(value, field) != od::json_type::number || value.get_int64().get(number) != simdjson::SUCCESS ||
      number < 0)
    refuse(field, "must be a whole number of at least 0");
  return number;
}

bool read_bool(od::value& value, std::string_view field) {
  bool flag = false;
  if (type_of(value, field) != od::json_type::boolean || value.get_bool().get(flag) != simdjson::SUCCESS)
    refuse(field, "must be true or false");
  return flag;
}

Time read_time(od::value& value, std::string_view field) {
  const auto time = parse_time(read_string(value, field));
  if (!time) refuse(field, "must be a time such as 2026-11-23T06:35:00Z");
  return *time;
}

void read_strings(od::value& value, std::string_view field, size_t most, std::vector<std::string>& out) {
  od::array array;
  if (type_of(value, field) != od::json_type::array || value.get_array().get(array) != simdjson::SUCCESS)
    refuse(field, "must be a list of strings");
  for (auto item : array) {
    od::value element;
    if (const auto error = item.get(element)) refuse_json(field, error);
    if (out.size() == most) refuse(field, fmt::format("has more than {} entries", most));
    out.push_back(read_string(element, field));
  }
}

/// Calls visit(name, value) for each field that is not null.
template <class Visit>
void each_field(od::object object, std::string_view place, Visit&& visit) {
  for (auto item : object) {
    std::string_view name;
    od::value value;
    if (const auto error = item.unescaped_key().get(name)) {
      if (error == simdjson::STRING_ERROR) throw error;
      refuse_json(place, error);
    }
    // The name lies in the parser's string buffer, which later strings only append to.
    if (const auto error = item.value().get(value)) refuse_json(name, error);
    if (!is_null(value, name)) visit(name, value);
  }
}

od::object read_object(od::value& value, std::string_view field) {
  od::object object;
  if (type_of(value, field) != od::json_type::object || value.get_object().get(object) != simdjson::SUCCESS)
    refuse(field, "must be an object");
  return object;
}

void read_author(od::value& value, Author& author) {
  if (type_of(value, "author") == od::json_type::string) {
    author.handle = read_string(value, "author");
    return;
  }
  each_field(read_object(value, "author"), "author", [&](std::string_view name, od::value& field) {
    if (name == "handle") author.handle = read_string(field, "author.handle");
    if (name == "id") author.id = read_id(field, "author.id");
    if (name == "name") author.name = read_string(field, "author.name");
    if (name == "followers") author.followers = read_count(field, "author.followers");
  });
}

bool read_metric(std::string_view name, od::value& value, Metrics& metrics) {
  if (name == "likes")
    metrics.likes = read_count(value, name);
  else if (name == "reposts")
    metrics.reposts = read_count(value, name);
  else if (name == "replies")
    metrics.replies = read_count(value, name);
  else if (name == "views")
    metrics.views = read_count(value, name);
  else
    return false;
  return true;
}

/// What a field is decided by: a table would hide the types, so a chain of names in order of
/// frequency.
struct Reader {
  Post post;
  bool has_text = false;
  std::optional<Time> created;

  bool read_main(std::string_view name, od::value& value) {
    if (name == "id")
      post.id = read_id(value, name);
    else if (name == "source")
      post.source = read_string(value, name);
    else if (name == "author")
      read_author(value, post.author);
    else if (name == "text")
      post.text = read_string(value, name), has_text = true;
    else if (name == "created_at")
      created = read_time(value, name);
    else if (name == "received_at")
      post.received_at = read_time(value, name);
    else if (name == "lang")
      post.lang = read_string(value, name);
    else if (name == "url")
      post.url = read_string(value, name);
    else
      return false;
    return true;
  }

  bool read_relation(std::string_view name, od::value& value) {
    if (name == "reply_to" || name == "in_reply_to")
      post.reply_to = read_id(value, name);
    else if (name == "repost_of")
      post.repost_of = read_id(value, name);
    else if (name == "quote_of")
      post.quote_of = read_id(value, name);
    else if (name == "links")
      read_strings(value, name, kMaxLinks, post.links);
    else if (name == "link")
      post.links.push_back(read_string(value, name));
    else if (name == "tags")
      read_strings(value, name, kMaxTags, post.tags);
    else
      return false;
    return true;
  }

  void read_rest(std::string_view name, od::value& value) {
    if (name == "author_name")
      post.author.name = read_string(value, name);
    else if (name == "author_id")
      post.author.id = read_id(value, name);
    else if (name == "followers")
      post.author.followers = read_count(value, name);
    else if (name == "sensitive")
      post.sensitive = read_bool(value, name);
    else if (name == "deleted")
      post.deleted = read_bool(value, name);
    else if (name == "fiction")
      post.fiction = read_bool(value, name);
    else if (name == "metrics")
      each_field(read_object(value, name), name, [&](std::string_view metric, od::value& count) {
        read_metric(metric, count, post.metrics);
      });
  }

  void read(std::string_view name, od::value& value) {
    if (read_main(name, value) || read_relation(name, value) || read_metric(name, value, post.metrics))
      return;
    read_rest(name, value);
  }
};

Reader read_document(std::string& padded, size_t size, Time received_at) {
  thread_local od::parser parser;  // its buffers are what is worth keeping between posts
  od::document document;
  if (const auto error = parser.iterate(padded.data(), size, padded.size()).get(document))
    refuse_json("", error);
  od::object object;
  if (const auto error = document.get_object().get(object)) refuse_json("", error);
  Reader reader;
  reader.post.received_at = received_at;
  each_field(object, "", [&](std::string_view name, od::value& value) { reader.read(name, value); });
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS)
    throw Error(ErrorCode::kInvalidArgument, "post: more text follows the JSON object");
  return reader;
}

std::optional<uint32_t> hex4(std::string_view text) {
  if (text.size() < 4) return {};
  uint32_t value = 0;
  for (const char c : text.substr(0, 4)) {
    const char lower = static_cast<char>(c | 0x20);
    if (c >= '0' && c <= '9')
      value = value * 16 + static_cast<uint32_t>(c - '0');
    else if (lower >= 'a' && lower <= 'f')
      value = value * 16 + static_cast<uint32_t>(lower - 'a' + 10);
    else
      return {};
  }
  return value;
}

/// Turns escaped surrogates without their other half (JavaScript writes them) into the escape of
/// U+FFFD.
void repair_surrogates(std::string& json) {
  const std::string_view view(json);
  for (size_t at = 0; at + 1 < json.size();) {
    if (json[at] != '\\') {
      ++at;
      continue;
    }
    const auto unit = json[at + 1] == 'u' ? hex4(view.substr(at + 2)) : std::nullopt;
    if (!unit || *unit < 0xD800 || *unit > 0xDFFF) {
      at += 2;
      continue;
    }
    const bool escape_follows = view.substr(std::min(at + 6, view.size())).starts_with("\\u");
    const auto next = escape_follows ? hex4(view.substr(at + 8)) : std::nullopt;
    if (*unit < 0xDC00 && next && *next >= 0xDC00 && *next <= 0xDFFF) {
      at += 12;
      continue;
    }
    json.replace(at + 2, 4, "fffd");
    at += 6;
  }
}

void check_length(std::string_view field, std::string_view value, size_t most) {
  if (value.size() > most) refuse(field, fmt::format("is longer than {} bytes", most));
}

/// An identifier is shown, logged and used in addresses: no control characters.
void check_plain(std::string_view field, std::string_view value, size_t most) {
  check_length(field, value, most);
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  if (std::any_of(value.begin(), value.end(), is_control)) refuse(field, "has a control character");
}

void check_url(std::string_view field, std::string_view url) {
  check_plain(field, url, kMaxUrlBytes);
  const std::string scheme = to_lower_ascii(url.substr(0, 8));
  if (!scheme.starts_with("http://") && !scheme.starts_with("https://"))
    refuse(field, "must be an http:// or https:// address");
}

void check_source(std::string_view source) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (source.empty() || source.size() > kMaxSourceBytes || !std::all_of(source.begin(), source.end(), fits))
    refuse("source", fmt::format("must be 1 to {} characters of a-z, 0-9, '_' and '-'", kMaxSourceBytes));
}

void check_utf8(std::string_view field, std::string_view value) {
  if (!simdjson::validate_utf8(value.data(), value.size())) refuse(field, "is not valid UTF-8");
}

void set_if(nlohmann::json& json, const char* name, const std::string& value) {
  if (!value.empty()) json[name] = value;
}

void set_if(nlohmann::json& json, const char* name, const std::optional<int64_t>& value) {
  if (value) json[name] = *value;
}

void set_if(nlohmann::json& json, const char* name, bool value) {
  if (value) json[name] = true;
}

}  // namespace

std::string Post::key() const {
  std::string key;
  key.reserve(source.size() + 1 + id.size());
  key += source;
  key += ':';
  key += id;
  return key;
}

void validate(const Post& post) {
  if (post.id.empty()) refuse("id", "is missing");
  check_plain("id", post.id, kMaxIdBytes);
  check_source(post.source);
  check_plain("author.handle", post.author.handle, kMaxNameBytes);
  check_plain("author.id", post.author.id, kMaxIdBytes);
  check_length("author.name", post.author.name, kMaxNameBytes);
  check_length("text", post.text, kMaxTextBytes);
  check_plain("lang", post.lang, kMaxLangBytes);
  if (!post.url.empty()) check_url("url", post.url);
  check_plain("reply_to", post.reply_to, kMaxIdBytes);
  check_plain("repost_of", post.repost_of, kMaxIdBytes);
  check_plain("quote_of", post.quote_of, kMaxIdBytes);
  if (post.links.size() > kMaxLinks) refuse("links", fmt::format("has more than {} entries", kMaxLinks));
  for (const auto& link : post.links) check_url("links", link);
  if (post.tags.size() > kMaxTags) refuse("tags", fmt::format("has more than {} entries", kMaxTags));
  for (const auto& tag : post.tags) check_length("tags", tag, kMaxTagBytes), check_utf8("tags", tag);
  for (const auto* value : {&post.id, &post.author.handle, &post.author.id, &post.author.name, &post.lang,
                            &post.url, &post.reply_to, &post.repost_of, &post.quote_of})
    check_utf8("id, author, lang, url or relation", *value);
  for (const auto& link : post.links) check_utf8("links", link);
  check_utf8("text", post.text);
  // Years 1 to 9999, so that each time has an RFC 3339 form.
  using namespace std::chrono;
  const Time first = sys_days{year{1} / 1 / 1}, end = sys_days{year{10000} / 1 / 1};
  if (post.created_at < first || post.created_at >= end)
    refuse("created_at", "lies outside the years 1 to 9999");
  if (post.received_at < first || post.received_at >= end)
    refuse("received_at", "lies outside the years 1 to 9999");
}

Post parse_post(std::string_view json, Time received_at, std::string_view default_source) {
  if (json.size() > kMaxJsonBytes)
    throw Error(ErrorCode::kInvalidArgument, fmt::format("post: longer than {} bytes", kMaxJsonBytes));
  thread_local std::string padded;
  padded.assign(json);
  if (!simdjson::validate_utf8(json.data(), json.size())) padded = sanitize_utf8(json);
  size_t size = padded.size();
  padded.append(simdjson::SIMDJSON_PADDING, ' ');
  Reader reader;
  try {
    reader = read_document(padded, size, received_at);
  } catch (simdjson::error_code) {
    padded.resize(size);
    repair_surrogates(padded);
    padded.append(simdjson::SIMDJSON_PADDING, ' ');
    try {
      reader = read_document(padded, size, received_at);
    } catch (simdjson::error_code error) {
      refuse_json("", error);
    }
  }
  Post& post = reader.post;
  if (padded.capacity() > kMaxTextBytes * 4) std::string().swap(padded);  // one giant does not stay resident
  if (post.source.empty()) post.source = default_source;
  if (!reader.has_text && !post.deleted) refuse("text", "is missing");
  post.created_at = reader.created.value_or(post.received_at);
  while (post.author.handle.starts_with('@')) post.author.handle.erase(0, 1);
  for (auto& tag : post.tags)
    while (tag.starts_with('#')) tag.erase(0, 1);
  validate(post);
  return std::move(post);
}

nlohmann::json to_json(const Post& post) {
  nlohmann::json author{{"handle", post.author.handle}};
  set_if(author, "id", post.author.id);
  set_if(author, "name", post.author.name);
  set_if(author, "followers", post.author.followers);
  nlohmann::json json{{"id", post.id},
                      {"source", post.source},
                      {"author", std::move(author)},
                      {"text", post.text},
                      {"created_at", format_time(post.created_at)},
                      {"received_at", format_time(post.received_at)}};
  set_if(json, "lang", post.lang);
  set_if(json, "url", post.url);
  set_if(json, "reply_to", post.reply_to);
  set_if(json, "repost_of", post.repost_of);
  set_if(json, "quote_of", post.quote_of);
  if (!post.links.empty()) json["links"] = post.links;
  if (!post.tags.empty()) json["tags"] = post.tags;
  nlohmann::json metrics = nlohmann::json::object();
  set_if(metrics, "likes", post.metrics.likes);
  set_if(metrics, "reposts", post.metrics.reposts);
  set_if(metrics, "replies", post.metrics.replies);
  set_if(metrics, "views", post.metrics.views);
  if (!metrics.empty()) json["metrics"] = std::move(metrics);
  set_if(json, "sensitive", post.sensitive);
  set_if(json, "deleted", post.deleted);
  set_if(json, "fiction", post.fiction);
  return json;
}

}  // namespace fathom::live
