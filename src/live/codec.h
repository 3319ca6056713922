// The stored form of a post: one self-contained record, the value in the log and, byte for byte, what the index keeps in
// memory. The text is kept once, inside its record. And the two other payloads of the log: orders to remove, and counts.
//
// Record, version 1 (integers little-endian base-128 varints, signed ones zig-zag; a string is its length and bytes):
//   version byte (1) | key "source:id" | text | flags byte (1 sensitive, 2 fiction) |
//   handle | author id | name | lang | url | reply_to | repost_of | quote_of |
//   presence byte (1 followers, 2 likes, 4 reposts, 8 replies, 16 views) and those that are present |
//   number of links, links | number of tags, tags | created_at (us, zig-zag) | received_at (us, 8 bytes little-endian)
// received_at comes last so that two records can be compared without it: the same post delivered twice.
//
// Pure functions; views point into the record.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "live/post.h"

namespace fathom::live {

struct CountUpdate;

std::string encode_record(const Post& post);

/// The same into memory with room for `record_room(post)` bytes; returns the record's size.
size_t encode_record(const Post& post, char* out);
size_t record_room(const Post& post);

/// Errors: kCorrupt.
Post decode_record(std::string_view record);

/// The key and the text without decoding the rest. REQUIRES: a record that `decode_record` takes.
std::string_view record_key(std::string_view record);
std::string_view record_text(std::string_view record);

/// Equal in all but the time of receipt.
bool same_content(std::string_view a, std::string_view b);

/// An order to remove the post of a key. As bytes: time (us, zig-zag) | key.
struct Order {
  Time time{};
  std::string_view key;
};
std::string encode_order(const Order& order);
/// Errors: kCorrupt.
Order decode_order(std::string_view bytes);

/// As bytes: number of updates, then of each key | likes | reposts | replies (zig-zag).
std::string encode_counts(std::span<const CountUpdate> updates);
/// Errors: kCorrupt.
std::vector<CountUpdate> decode_counts(std::string_view bytes);

}  // namespace fathom::live
