#include "answer/conversation_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {

using nlohmann::json;

namespace {

constexpr size_t kSnippetBefore = 60, kSnippetBytes = 200;

}  // namespace

void put_number(std::string& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

bool is_conversation_id(std::string_view id) {
  return id.size() == 5 + 2 * kConversationIdBytes && id.starts_with("conv_") &&
         id.find_first_not_of("0123456789abcdef", 5) == std::string_view::npos;
}

std::string space_of(char space, const std::string& owner) {
  std::string out(1, space);
  out += static_cast<char>(owner.size() >> 8);
  out += static_cast<char>(owner.size() & 0xff);
  return out + owner;
}

std::string order_key(const std::string& owner, const Conversation& conversation) {
  std::string out = space_of(kOrder, owner);
  put_number(out, ~static_cast<uint64_t>(conversation.updated.time_since_epoch().count()));
  return out + conversation.id;
}

std::string behind(std::string prefix) {
  while (static_cast<uint8_t>(prefix.back()) == 0xff) prefix.pop_back();
  ++prefix.back();
  return prefix;
}

std::string in_one_line(std::string_view text, size_t most) {
  std::string out(trim(text).substr(0, most));
  const bool cut = out.size() < trim(text).size();
  if (cut) out.resize(out.size() - incomplete_utf8_tail(out));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<uint8_t>(c) < 0x20; }, ' ');
  return cut ? out + "..." : out;
}

std::string around(std::string_view text, size_t place) {
  size_t begin = place > kSnippetBefore ? place - kSnippetBefore : 0;
  while (begin > 0 && begin < text.size() && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return (begin > 0 ? "..." : "") + in_one_line(text.substr(begin), kSnippetBytes);
}

std::string encode(const StoredItem& stored) {
  std::string out;
  for (const std::string* field :
       {&stored.item.id, &stored.item.role, &stored.item.text, &stored.item.body, &stored.hashes}) {
    for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(field->size() >> shift);
    out += *field;
  }
  return out;
}

void throw_damaged_conversations(const std::string& what) {
  throw Error(
      ErrorCode::kCorrupt,
      fmt::format("the stored conversations are damaged: {}; restore the folder 'conversations' from a "
                  "backup, or move it away to begin anew",
                  what));
}

StoredItem decode_item(std::string_view bytes) {
  StoredItem out;
  for (std::string* field : {&out.item.id, &out.item.role, &out.item.text, &out.item.body, &out.hashes}) {
    if (bytes.size() < 4) throw_damaged_conversations("an item ends early");
    size_t size = 0;
    for (size_t i = 0; i < 4; ++i) size |= static_cast<size_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
    bytes.remove_prefix(4);
    if (bytes.size() < size) throw_damaged_conversations("an item ends early");
    *field = bytes.substr(0, size);
    bytes.remove_prefix(size);
  }
  return out;
}

std::string encode(const ConversationHead& head) {
  const Conversation& c = head.conversation;
  return json{{"created", c.created.time_since_epoch().count()},
              {"updated", c.updated.time_since_epoch().count()},
              {"title", c.title},
              {"opening", c.opening},
              {"metadata", c.metadata},
              {"items", c.items},
              {"turns", c.turns},
              {"bytes", c.bytes},
              {"next", head.next}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

ConversationHead decode_head(std::string_view id, std::string_view bytes) {
  try {
    const json from = json::parse(bytes);
    ConversationHead out;
    Conversation& c = out.conversation;
    c.id = id;
    c.created = Time(Micros(from.at("created").get<int64_t>()));
    c.updated = Time(Micros(from.at("updated").get<int64_t>()));
    c.title = from.at("title").get<std::string>();
    c.opening = from.at("opening").get<std::string>();
    c.metadata = from.at("metadata").get<std::string>();
    c.items = from.at("items").get<size_t>();
    c.turns = from.at("turns").get<size_t>();
    c.bytes = from.at("bytes").get<uint64_t>();
    out.next = from.at("next").get<uint64_t>();
    return out;
  } catch (const json::exception&) {
    throw_damaged_conversations(fmt::format("the head of {} is unreadable", id));
  }
}

}  // namespace fathom::answer
