#include "live/sources/hackernews_item.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "live/source_html.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr int64_t kMaxId = int64_t{1} << 53;   // what JSON numbers carry exactly
constexpr int64_t kLastSecond = 253402300799;  // 9999-12-31T23:59:59Z
constexpr size_t kMaxIds = 5000;               // the longest list of the API has 500

[[noreturn]] void refuse(std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("Hacker News sent {}", what));
}

json parse(std::string_view text) {
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) refuse("something that is not JSON");
  return value;
}

bool is_id(const json& value) {
  return value.is_number_integer() && value.get<int64_t>() > 0 && value.get<int64_t>() <= kMaxId;
}

std::string string_of(const json& item, const char* field) {
  const auto found = item.find(field);
  if (found == item.end() || found->is_null()) return {};
  if (!found->is_string()) refuse(fmt::format("an item whose field '{}' is not a string", field));
  return found->get<std::string>();
}

std::optional<int64_t> number_of(const json& item, const char* field) {
  const auto found = item.find(field);
  if (found == item.end() || found->is_null()) return {};
  if (!found->is_number_integer())
    refuse(fmt::format("an item whose field '{}' is not a whole number", field));
  return found->get<int64_t>();
}

bool flag_of(const json& item, const char* field) {
  const auto found = item.find(field);
  return found != item.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

std::optional<HackerNewsItem> parse_hackernews_item(std::string_view text) {
  const json value = parse(text);
  if (value.is_null()) return {};
  if (!value.is_object() || !value.contains("id") || !is_id(value["id"])) refuse("an item without a number");
  HackerNewsItem item;
  item.id = value["id"].get<int64_t>();
  item.type = string_of(value, "type");
  item.by = string_of(value, "by");
  item.title = string_of(value, "title");
  item.text = string_of(value, "text");
  item.url = string_of(value, "url");
  item.time =
      Time(std::chrono::seconds(std::clamp<int64_t>(number_of(value, "time").value_or(0), 0, kLastSecond)));
  item.parent = std::clamp<int64_t>(number_of(value, "parent").value_or(0), 0, kMaxId);
  if (item.parent >= item.id) item.parent = 0;  // threads only grow: anything else would be a loop
  item.score = number_of(value, "score");
  item.descendants = number_of(value, "descendants");
  if (const auto kids = value.find("kids"); kids != value.end() && kids->is_array()) item.kids = kids->size();
  item.deleted = flag_of(value, "deleted");
  item.dead = flag_of(value, "dead");
  return item;
}

int64_t parse_hackernews_number(std::string_view text) {
  const json value = parse(text);
  if (!is_id(value)) refuse("something else than a whole number");
  return value.get<int64_t>();
}

std::vector<int64_t> parse_hackernews_ids(std::string_view text) {
  const json whole = parse(text);
  const json* value = &whole;
  if (value->is_object() && value->contains("path") && value->contains("data")) value = &(*value)["data"];
  if (value->is_object() && value->contains("items")) value = &(*value)["items"];
  std::vector<int64_t> ids;
  if (is_id(*value)) ids.push_back(value->get<int64_t>());
  if (!value->is_array()) return ids;
  for (const json& id : *value)
    if (is_id(id) && ids.size() < kMaxIds) ids.push_back(id.get<int64_t>());
  return ids;
}

std::optional<Post> hackernews_post(const HackerNewsItem& item, int64_t story, std::string_view source,
                                    std::string_view site_url, Time received_at) {
  Post post;
  post.id = std::to_string(item.id);
  post.source = source;
  post.created_at = item.time;
  post.received_at = received_at;
  post.author.handle = item.by;
  if (item.deleted || item.dead) {
    post.deleted = true;
    return post;
  }
  const auto page = [&](int64_t id) { return fmt::format("{}/item?id={}", site_url, id); };
  HtmlText body = html_to_text(item.text);
  post.text = decode_html_references(item.title);
  if (!post.text.empty() && !body.text.empty()) post.text += "\n\n";
  post.text += body.text;
  if (post.text.empty()) return {};
  cut_text(post.text);
  post.lang = "en";  // the site's language
  post.url = page(item.id);
  add_link(post, item.url);
  if (story != 0 && story != item.id) add_link(post, page(story));
  for (const auto& link : body.links) add_link(post, link);
  if (item.parent != 0) post.reply_to = std::to_string(item.parent);
  if (item.score && *item.score >= 0) post.metrics.likes = item.score;
  post.metrics.replies =
      item.descendants && *item.descendants >= 0 ? *item.descendants : static_cast<int64_t>(item.kids);
  return post;
}

}  // namespace fathom::live
