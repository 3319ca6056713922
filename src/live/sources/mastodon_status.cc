#include "live/sources/mastodon_status.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "live/source_html.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr size_t kMaxIdBytes = 100;
constexpr size_t kMaxNameBytes = 512;
constexpr size_t kMaxLangBytes = 35;

[[noreturn]] void refuse(std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("the Mastodon server sent {}", what));
}

json parse(std::string_view text, std::string_view what) {
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) refuse(fmt::format("{} that is not JSON", what));
  return value;
}

bool is_id(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  });
}

std::string language_of(const json& status) {
  const std::string_view lang = text_of(status, "language");
  const bool fits =
      lang.size() <= kMaxLangBytes && std::all_of(lang.begin(), lang.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
      });
  return fits ? std::string(lang) : std::string();
}

Author author_of(const json& account, std::string_view host) {
  Author author;
  author.handle = one_line(text_of(account, "acct"), kMaxNameBytes - host.size() - 1);
  if (!author.handle.empty() && author.handle.find('@') == std::string::npos)
    author.handle += fmt::format("@{}", host);  // of this server: told with it, as others are
  author.id = one_line(text_of(account, "url"), kMaxNameBytes);
  author.name = one_line(text_of(account, "display_name"), kMaxNameBytes);
  author.followers = number_of(member(account, "followers_count"));
  return author;
}

/// Addresses of people and tags, which the text links but which are no links of the post.
std::set<std::string> own_addresses(const json& status) {
  std::set<std::string> own;
  for (const char* list : {"mentions", "tags"})
    for (const json& entry : member(status, list)) own.emplace(text_of(entry, "url"));
  return own;
}

/// The server's pages of tags and people, whose addresses in the text may differ from those told beside it.
bool is_tag_or_profile(std::string_view address) {
  const size_t host_end = address.find('/', address.find("://") + 3);
  if (host_end == std::string_view::npos) return false;
  const std::string_view path = address.substr(host_end);
  return path.starts_with("/tags/") || path.starts_with("/tag/") ||
         (path.starts_with("/@") && path.find('/', 2) == std::string_view::npos);
}

void add_links(Post& post, const json& status, const std::vector<std::string>& in_text) {
  const std::set<std::string> own = own_addresses(status);
  for (const std::string& link : in_text)
    if (!own.contains(link) && !is_tag_or_profile(link)) add_link(post, link);
  add_link(post, text_of(member(status, "card"), "url"));
}

/// The warning, the words, the choices of a poll; of pictures alone, what they are described as.
std::string words_of(const json& status, const HtmlText& content) {
  std::string words;
  const auto add = [&](const std::string& text, std::string_view between) {
    if (!text.empty()) words += (words.empty() ? "" : std::string(between)) + text;
  };
  add(decode_html_references(text_of(status, "spoiler_text")), "");
  add(content.text, "\n\n");
  for (const json& choice : member(member(status, "poll"), "options"))
    add("- " + one_line(text_of(choice, "title"), kMaxNameBytes), "\n");
  if (words.empty())
    for (const json& media : member(status, "media_attachments"))
      add(decode_html_references(text_of(media, "description")), "\n\n");
  cut_text(words);
  return words;
}

std::string related(const json& object, const char* name, std::string_view host) {
  const std::string_view id = text_of(object, name);
  return is_id(id) ? mastodon_post_id(id, host) : std::string();
}

Post post_of(const json& status, std::string_view host, Time received_at) {
  Post post;
  post.id = related(status, "id", host);
  post.source = "mastodon";
  post.author = author_of(member(status, "account"), host);
  const HtmlText content = html_to_text(text_of(status, "content"));
  post.text = words_of(status, content);
  post.lang = language_of(status);
  post.received_at = received_at;
  post.created_at = parse_time(text_of(status, "created_at")).value_or(received_at);
  const std::string_view url = text_of(status, "url"), uri = text_of(status, "uri");
  post.url = is_web_address(url) ? url : is_web_address(uri) ? uri : std::string_view();
  post.reply_to = related(status, "in_reply_to_id", host);
  post.quote_of = related(member(member(status, "quote"), "quoted_status"), "id", host);
  add_links(post, status, content.links);
  for (const json& tag : member(status, "tags")) add_tag(post, one_line(text_of(tag, "name"), kMaxNameBytes));
  post.metrics.likes = number_of(member(status, "favourites_count"));
  post.metrics.reposts = number_of(member(status, "reblogs_count"));
  post.metrics.replies = number_of(member(status, "replies_count"));
  post.sensitive = is_true(member(status, "sensitive")) || !text_of(status, "spoiler_text").empty();
  return post;
}

bool is_public(const json& status) { return text_of(status, "visibility") == "public"; }

MastodonStatus status_of(const json& status, std::string_view host, Time received_at) {
  MastodonStatus out;
  out.id = text_of(status, "id");
  if (!is_id(out.id)) refuse("a status without an id");
  if (!is_public(status)) return out;
  const json& original = member(status, "reblog");
  if (!original.is_object()) {
    Post post = post_of(status, host, received_at);
    if (!post.text.empty()) out.posts.push_back(std::move(post));
    return out;
  }
  if (!is_public(original) || !is_id(text_of(original, "id"))) return out;
  Post shown = post_of(original, host, received_at);
  if (shown.text.empty()) return out;
  Post repost = post_of(status, host, received_at);
  repost.text = shown.text;
  repost.lang = shown.lang;
  repost.repost_of = shown.id;
  repost.sensitive = shown.sensitive;
  repost.metrics = {};
  out.posts = {std::move(shown), std::move(repost)};
  return out;
}

}  // namespace

std::string mastodon_post_id(std::string_view status_id, std::string_view host) {
  return fmt::format("{}@{}", status_id, host);
}

MastodonStatus parse_mastodon_status(std::string_view text, std::string_view host, Time received_at) {
  return status_of(parse(text, "a status"), host, received_at);
}

MastodonPage parse_mastodon_page(std::string_view text, std::string_view host, Time received_at) {
  const json list = parse(text, "a timeline");
  if (!list.is_array()) refuse("a timeline that is no list");
  MastodonPage page;
  for (const json& status : list) {
    try {
      page.statuses.push_back(status_of(status, host, received_at));
    } catch (const Error&) {
      ++page.bad;
    }
  }
  return page;
}

Post mastodon_removal(std::string_view status_id, std::string_view host, Time at) {
  if (!is_id(status_id)) refuse("an order to remove a status without its id");
  Post order;
  order.id = mastodon_post_id(status_id, host);
  order.source = "mastodon";
  order.created_at = order.received_at = at;
  order.deleted = true;
  return order;
}

MastodonMessage parse_mastodon_message(std::string_view text) {
  const json message = parse(text, "a message");
  if (!message.is_object()) refuse("a message that is no object");
  MastodonMessage out{.event = std::string(text_of(message, "event")),
                      .payload = {},
                      .error = std::string(text_of(message, "error"))};
  const json& payload = member(message, "payload");
  out.payload = payload.is_string() ? payload.get<std::string>() : payload.is_null() ? "" : payload.dump();
  return out;
}

std::string mastodon_streaming_url(std::string_view instance_json) {
  const json instance = json::parse(instance_json, nullptr, false);
  std::string_view url = text_of(member(member(instance, "configuration"), "urls"), "streaming");
  if (url.empty()) url = text_of(member(instance, "urls"), "streaming_api");  // GET /api/v1/instance
  return std::string(url);
}

bool mastodon_id_before(std::string_view a, std::string_view b) {
  const auto digits = [](std::string_view id) {
    return std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  return digits(a) && digits(b) && a.size() != b.size() ? a.size() < b.size() : a < b;
}

std::string mastodon_id_earlier(std::string_view id, std::chrono::milliseconds overlap) {
  uint64_t number = 0;
  const auto [end, ec] = std::from_chars(id.data(), id.data() + id.size(), number);
  if (ec != std::errc{} || end != id.data() + id.size()) return std::string(id);
  const uint64_t step = static_cast<uint64_t>(overlap.count()) << 16;
  return std::to_string(number > step ? number - step : 0);
}

}  // namespace fathom::live
