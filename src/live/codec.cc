#include "live/codec.h"

#include <fmt/format.h>

#include "live/record_bytes.h"
#include "live/store.h"

namespace fathom::live {
namespace {

constexpr char kVersion = 1;
constexpr unsigned kSensitive = 1, kFiction = 2;

}  // namespace

size_t record_room(const Post& post) {
  // Version, flags, presence; key, text, eight fields; five counts, two numbers of strings and the time of the post.
  size_t room = 3 + 10 * kMostVarint + 8 * kMostVarint + kReceivedBytes + post.source.size() + 1 +
                post.id.size() + post.text.size() + post.author.handle.size() + post.author.id.size() +
                post.author.name.size() + post.lang.size() + post.url.size() + post.reply_to.size() +
                post.repost_of.size() + post.quote_of.size();
  for (const auto& link : post.links) room += kMostVarint + link.size();
  for (const auto& tag : post.tags) room += kMostVarint + tag.size();
  return room;
}

std::string encode_record(const Post& post) {
  std::string out(record_room(post), '\0');
  out.resize(encode_record(post, out.data()));
  return out;
}

size_t encode_record(const Post& post, char* memory) {
  RecordWriter out(memory);
  out.byte(static_cast<unsigned>(kVersion));
  out.varint(post.source.size() + 1 + post.id.size());
  out.bytes(post.source);
  out.byte(':');
  out.bytes(post.id);
  out.string(post.text);
  out.byte((post.sensitive ? kSensitive : 0u) | (post.fiction ? kFiction : 0u));
  for (const auto* field : {&post.author.handle, &post.author.id, &post.author.name, &post.lang, &post.url,
                            &post.reply_to, &post.repost_of, &post.quote_of})
    out.string(*field);
  const std::optional<int64_t>* counts[] = {&post.author.followers, &post.metrics.likes,
                                            &post.metrics.reposts, &post.metrics.replies,
                                            &post.metrics.views};
  unsigned present = 0;
  for (size_t i = 0; i < std::size(counts); ++i) present |= counts[i]->has_value() ? 1u << i : 0u;
  out.byte(present);
  for (const auto* count : counts)
    if (*count) out.varint(zigzag(**count));
  out.varint(post.links.size());
  for (const auto& link : post.links) out.string(link);
  out.varint(post.tags.size());
  for (const auto& tag : post.tags) out.string(tag);
  out.varint(zigzag(post.created_at.time_since_epoch().count()));
  const auto received = static_cast<uint64_t>(post.received_at.time_since_epoch().count());
  for (size_t i = 0; i < kReceivedBytes; ++i) out.byte(static_cast<unsigned>(received >> (8 * i)) & 0xFFu);
  return static_cast<size_t>(out.at() - memory);
}

Post decode_record(std::string_view record) {
  RecordReader in(record);
  if (const auto version = in.byte(); version != static_cast<uint8_t>(kVersion))
    RecordReader::broken(fmt::format("has the unknown version {}", version));
  Post post;
  const std::string_view key = in.string();
  const size_t colon = key.find(':');
  if (colon == std::string_view::npos) RecordReader::broken("has no source in its key");
  post.source = key.substr(0, colon);
  post.id = key.substr(colon + 1);
  post.text = in.string();
  const unsigned flags = in.byte();
  post.sensitive = (flags & kSensitive) != 0;
  post.fiction = (flags & kFiction) != 0;
  for (auto* field : {&post.author.handle, &post.author.id, &post.author.name, &post.lang, &post.url,
                      &post.reply_to, &post.repost_of, &post.quote_of})
    *field = in.string();
  const unsigned present = in.byte();
  std::optional<int64_t>* counts[] = {&post.author.followers, &post.metrics.likes, &post.metrics.reposts,
                                      &post.metrics.replies, &post.metrics.views};
  for (size_t i = 0; i < std::size(counts); ++i)
    if ((present >> i) & 1u) *counts[i] = in.signed_varint();
  post.links = in.strings();
  post.tags = in.strings();
  post.created_at = Time(Micros(in.signed_varint()));
  post.received_at = in.fixed_time();
  return post;
}

std::string_view record_key(std::string_view record) {
  RecordReader in(record);
  in.byte();
  return in.string();
}

std::string_view record_text(std::string_view record) {
  RecordReader in(record);
  in.byte();
  in.string();
  return in.string();
}

bool same_content(std::string_view a, std::string_view b) {
  return a.size() == b.size() && a.size() >= kReceivedBytes &&
         a.substr(0, a.size() - kReceivedBytes) == b.substr(0, b.size() - kReceivedBytes);
}

namespace {

void put_varint(std::string& out, uint64_t value) {
  char bytes[kMostVarint];
  RecordWriter writer(bytes);
  writer.varint(value);
  out.append(bytes, writer.at());
}

}  // namespace

std::string encode_order(const Order& order) {
  std::string out;
  put_varint(out, zigzag(order.time.time_since_epoch().count()));
  out += order.key;
  return out;
}

Order decode_order(std::string_view bytes) {
  RecordReader in(bytes);
  const Time time{Micros(in.signed_varint())};
  if (in.rest().find(':') == std::string_view::npos) RecordReader::broken("has no source in its key");
  return {time, in.rest()};
}

std::string encode_counts(std::span<const CountUpdate> updates) {
  std::string out;
  put_varint(out, updates.size());
  for (const CountUpdate& update : updates) {
    put_varint(out, update.key.size());
    out += update.key;
    for (const int32_t count : {update.change.likes, update.change.reposts, update.change.replies})
      put_varint(out, zigzag(count));
  }
  return out;
}

std::vector<CountUpdate> decode_counts(std::string_view bytes) {
  RecordReader in(bytes);
  const uint64_t count = in.varint();
  if (count > bytes.size()) RecordReader::broken("has a list longer than itself");
  std::vector<CountUpdate> updates(count);
  for (CountUpdate& update : updates) {
    update.key = in.string();
    for (int32_t* change : {&update.change.likes, &update.change.reposts, &update.change.replies})
      *change = in.small_number();
  }
  if (!in.rest().empty()) RecordReader::broken("has bytes behind its end");
  return updates;
}

}  // namespace fathom::live
