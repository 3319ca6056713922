// How conversations lie in their database (conversations.h tells the keys): keys, items and heads as bytes, and the short texts by
// which a conversation is shown. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "answer/conversations.h"

namespace fathom::answer {

inline constexpr char kHeads = 'c', kItems = 'i', kOrder = 'u', kWords = 't';
inline constexpr size_t kNumberBytes = 8, kConversationIdBytes = 16;
inline constexpr size_t kHashDigits = 16;  // hexadecimal: 64 bits

/// 8 bytes, big-endian.
void put_number(std::string& out, uint64_t value);

/// Ids are fixed in length, so that one never begins another's keys.
bool is_conversation_id(std::string_view id);

/// What all keys of one kind begin with. REQUIRES: an owner below 64 KiB.
std::string space_of(char space, const std::string& owner);
std::string order_key(const std::string& owner, const Conversation& conversation);
/// The first key behind all that begin with `prefix`, whose first byte is a letter.
std::string behind(std::string prefix);

/// The beginning of a text in one line, cut between characters.
std::string in_one_line(std::string_view text, size_t most);
/// A line of `text` from a little before `place` on.
std::string around(std::string_view text, size_t place);

/// An item as it lies in the database.
struct StoredItem {
  ConversationItem item;
  std::string hashes;  // of its words, kHashDigits each

  uint64_t bytes() const { return item.id.size() + item.role.size() + item.text.size() + item.body.size(); }
};
std::string encode(const StoredItem& stored);
/// Errors: kCorrupt.
StoredItem decode_item(std::string_view bytes);

/// A conversation and where its next item goes.
struct ConversationHead {
  Conversation conversation;
  uint64_t next = 0;
};
std::string encode(const ConversationHead& head);
/// Errors: kCorrupt.
ConversationHead decode_head(std::string_view id, std::string_view bytes);

[[noreturn]] void throw_damaged_conversations(const std::string& what);

}  // namespace fathom::answer
