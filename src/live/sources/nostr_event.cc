#include "live/sources/nostr_event.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/digest.h"
#include "base/error.h"
#include "base/text.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr size_t kMaxTags = 5000;              // lists of thousands are sent, by programs
constexpr int64_t kLastSecond = 253402300799;  // 9999-12-31T23:59:59Z

[[noreturn]] void refuse(std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("a Nostr relay sent {}", what));
}

bool is_id(std::string_view hex) { return bytes_of_hex<32>(hex).has_value(); }

std::vector<std::vector<std::string>> read_tags(const json& value) {
  if (!value.is_array() || value.size() > kMaxTags) refuse("an event without a list of tags");
  std::vector<std::vector<std::string>> tags;
  for (const json& tag : value) {
    if (!tag.is_array()) refuse("an event with a tag that is no list");
    auto& entries = tags.emplace_back();
    for (const json& entry : tag) {
      if (!entry.is_string()) refuse("an event with a tag that is not of strings");
      entries.push_back(entry.get<std::string>());
    }
  }
  return tags;
}

NostrEvent read_event(const json& value) {
  NostrEvent event;
  event.id = text_of(value, "id");
  event.pubkey = text_of(value, "pubkey");
  event.sig = text_of(value, "sig");
  if (!is_id(event.id) || !is_id(event.pubkey) || !bytes_of_hex<64>(event.sig))
    refuse("an event whose id, key or signature is not of its length");
  const auto created = number_of(member(value, "created_at")), kind = number_of(member(value, "kind"));
  if (!created || *created > kLastSecond || !kind) refuse("an event without its time or kind");
  event.created_at = *created;
  event.kind = *kind;
  event.tags = read_tags(member(value, "tags"));
  const json& content = member(value, "content");
  if (!content.is_string()) refuse("an event without content");
  event.content = content.get<std::string>();
  if (nostr_event_id(event) != event.id)
    refuse(fmt::format("event {}, which is not the digest of what it says", event.id));
  return event;
}

/// The event that a note answers: the tag marked "reply", else "root", else the last of those without a mark (NIP-10).
std::string parent_of(const NostrEvent& event) {
  std::string_view root, last;
  for (const auto& tag : event.tags) {
    if (tag.size() < 2 || tag[0] != "e" || !is_id(tag[1])) continue;
    const std::string_view mark = tag.size() > 3 ? std::string_view(tag[3]) : std::string_view();
    if (mark == "reply") return tag[1];
    if (mark == "root") root = tag[1];
    if (mark.empty()) last = tag[1];
  }
  return std::string(root.empty() ? last : root);
}

/// NIP-32: ["l", "en", "ISO-639-1"].
std::string language_of(const NostrEvent& event) {
  for (const auto& tag : event.tags)
    if (tag.size() >= 3 && tag[0] == "l" && tag[2] == "ISO-639-1" && tag[1].size() == 2) return tag[1];
  return {};
}

void add_links_of_text(std::string_view text, Post& post) {
  constexpr std::string_view kSpace = " \t\r\n", kTrailing = ".,;:!?)]}>\"'";
  for (size_t at = text.find("http"); at != std::string_view::npos; at = text.find("http", at)) {
    std::string_view word = text.substr(at, text.find_first_of(kSpace, at) - at);
    at += word.size();
    while (!word.empty() && kTrailing.find(word.back()) != std::string_view::npos) word.remove_suffix(1);
    add_link(post, word);
  }
}

constexpr std::string_view kBech32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

uint32_t bech32_checksum(std::string_view prefix, const std::vector<uint8_t>& values) {
  constexpr std::array<uint32_t, 5> kGenerator{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
  uint32_t sum = 1;
  const auto take = [&](uint32_t value) {
    const uint32_t top = sum >> 25;
    sum = (sum & 0x1ffffff) << 5 ^ value;
    for (size_t i = 0; i < kGenerator.size(); ++i)
      if ((top >> i & 1) != 0) sum ^= kGenerator[i];
  };
  for (const char c : prefix) take(static_cast<uint8_t>(c) >> 5);
  take(0);
  for (const char c : prefix) take(static_cast<uint8_t>(c) & 31);
  for (const uint8_t value : values) take(value);
  for (int i = 0; i < 6; ++i) take(0);
  return sum ^ 1;
}

}  // namespace

std::string_view NostrEvent::tag(std::string_view name) const {
  for (const auto& entry : tags)
    if (entry.size() >= 2 && entry[0] == name) return entry[1];
  return {};
}

std::vector<std::string_view> NostrEvent::references() const {
  std::vector<std::string_view> ids;
  for (const auto& entry : tags)
    if (entry.size() >= 2 && entry[0] == "e" && is_id(entry[1])) ids.push_back(entry[1]);
  return ids;
}

std::string nostr_event_id(const NostrEvent& event) {
  Digest digest(DigestKind::kSha256);
  digest.update(json::array({0, event.pubkey, event.created_at, event.kind, event.tags, event.content})
                    .dump(-1, ' ', false, json::error_handler_t::replace));
  return digest.finish();
}

NostrMessage parse_nostr_message(std::string_view text) {
  const json value = json::parse(text, nullptr, false);
  if (!value.is_array() || value.empty() || !value[0].is_string())
    refuse("something that is no list with a name");
  const std::string_view type = text_of(value[0]);
  NostrMessage message;
  if (type == "EVENT") {
    if (value.size() < 3) refuse("an event that is missing");
    message.type = NostrMessage::Type::kEvent;
    message.event = read_event(value[2]);
  } else if (type == "EOSE") {
    message.type = NostrMessage::Type::kEndOfStored;
  } else if (type == "CLOSED" || type == "NOTICE") {
    message.type = type == "CLOSED" ? NostrMessage::Type::kClosed : NostrMessage::Type::kNotice;
    message.text = text_of(value.back()).substr(0, 500);
    message.text.resize(message.text.size() - incomplete_utf8_tail(message.text));
  }
  return message;
}

std::optional<Post> nostr_post(const NostrEvent& event, std::string_view site, Time received_at) {
  if (trim(event.content).empty()) return {};
  Post post;
  post.id = event.id;
  post.source = "nostr";
  post.author.handle = nostr_bech32("npub", event.pubkey);
  post.author.id = event.pubkey;
  post.text = event.content;
  cut_text(post.text);
  post.lang = language_of(event);
  post.created_at = Time(std::chrono::seconds(event.created_at));
  post.received_at = received_at;
  post.url = fmt::format("{}{}", site, nostr_bech32("note", event.id));
  post.reply_to = parent_of(event);
  if (const auto quoted = event.tag("q"); is_id(quoted)) post.quote_of = quoted;
  for (const auto& tag : event.tags)
    if (tag.size() >= 2 && tag[0] == "t") add_tag(post, tag[1]);
  add_links_of_text(post.text, post);
  post.sensitive = std::any_of(event.tags.begin(), event.tags.end(),
                               [](const auto& tag) { return !tag.empty() && tag[0] == "content-warning"; });
  return post;
}

std::string nostr_bech32(std::string_view prefix, std::string_view hex) {
  const auto bytes = bytes_of_hex<32>(hex);
  FATHOM_CHECK(bytes.has_value());
  std::vector<uint8_t> values;  // five bits each
  uint32_t bits = 0;
  int count = 0;
  for (const uint8_t byte : *bytes) {
    bits = (bits << 8 | byte) & 0xFFF;
    for (count += 8; count >= 5; count -= 5) values.push_back(bits >> (count - 5) & 31);
  }
  values.push_back(bits << (5 - count) & 31);
  const uint32_t sum = bech32_checksum(prefix, values);
  for (int i = 0; i < 6; ++i) values.push_back(sum >> (5 * (5 - i)) & 31);
  std::string text = std::string(prefix) + '1';
  for (const uint8_t value : values) text += kBech32[value];
  return text;
}

}  // namespace fathom::live
