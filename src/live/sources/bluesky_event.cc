#include "live/sources/bluesky_event.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "live/sources/bluesky_record.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr std::string_view kSource = "bluesky";
constexpr std::string_view kPost = "app.bsky.feed.post", kLike = "app.bsky.feed.like",
                           kRepost = "app.bsky.feed.repost";
constexpr int64_t kLastMicrosecond = 253402300799000000;  // 9999-12-31T23:59:59Z

[[noreturn]] void refuse(std::string_view what) {
  throw Error(ErrorCode::kCorrupt, fmt::format("Jetstream sent {}", what));
}

bool is_did(std::string_view text) {
  constexpr std::string_view kOthers = ":._-%";
  return text.starts_with("did:") && text.size() <= 256 && std::all_of(text.begin(), text.end(), [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  kOthers.find(c) != std::string_view::npos;
         });
}

/// https://atproto.com/specs/record-key, but for its upper limit of 512: with the DID, an id must fit.
bool is_record_key(std::string_view text) {
  constexpr std::string_view kOthers = "._:~-";
  return !text.empty() && text.size() <= 200 && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kOthers.find(c) != std::string_view::npos;
  });
}

/// The members of an event under the names that both versions share.
struct Fields {
  std::string_view did, kind;
  const json& body;  // of a commit, an account
};

void read_post(const json& record, Time received_at, BlueskyEvent& event) {
  Post& post = *event.post;
  post.created_at = believable_time(text_of(record, "createdAt"), event.time);
  post.received_at = received_at;
  read_bluesky_record(record, post);
  if (post.text.empty()) event.post.reset();  // pictures without words
}

void read_like(const Fields& fields, std::string_view collection, std::string_view operation,
               BlueskyEvent& event) {
  const std::string_view key = text_of(fields.body, "rkey");
  const bool created = operation == "create";
  if (!is_record_key(key) || (!created && operation != "delete")) return;
  const int32_t change = created ? 1 : -1;
  event.count = collection == kLike ? CountChange{.likes = change} : CountChange{.reposts = change};
  event.counting = fmt::format("{}/{}", fields.did, key);
  if (created)
    event.counted = bluesky_post_id(text_of(member(member(fields.body, "record"), "subject"), "uri"));
}

void read_commit(const Fields& fields, Time received_at, BlueskyEvent& event) {
  const std::string_view collection = text_of(fields.body, "collection");
  const std::string_view operation = text_of(fields.body, "operation");
  const std::string_view key = text_of(fields.body, "rkey");
  const bool written = operation == "create" || operation == "update";
  const json& record = member(fields.body, "record");
  if (collection == kLike || collection == kRepost) return read_like(fields, collection, operation, event);
  if (collection != kPost) return;
  if (!is_record_key(key)) refuse("a post with a key that is none");
  if (!written && operation != "delete") return;
  Post& post = event.post.emplace();
  post.id = fmt::format("{}/{}", fields.did, key);
  post.source = kSource;
  post.author.handle = fields.did;
  post.created_at = event.time;
  post.received_at = received_at;
  if (operation == "delete") {
    post.deleted = true;
    return;
  }
  post.url = fmt::format("https://bsky.app/profile/{}/post/{}", fields.did, key);
  read_post(record, received_at, event);
  if (!event.post || operation != "create" || event.post->reply_to.empty()) return;
  event.counted = event.post->reply_to;
  event.count = {.replies = 1};
}

/// An account that is deleted, deactivated, suspended or taken down. One that returns posts anew.
void read_account(const Fields& fields, BlueskyEvent& event) {
  const json& active = member(fields.body, "active");
  if (active.is_boolean() && !active.get<bool>()) event.gone = fields.did;
}

void read_identity(const Fields& fields, BlueskyEvent& event) {
  event.handle = text_of(fields.body, "handle");
  if (!event.handle.empty()) event.renamed = fields.did;
}

void read_body(const Fields& fields, Time received_at, BlueskyEvent& event) {
  if (!is_did(fields.did)) refuse("an event of nobody");
  if (fields.kind == "commit") read_commit(fields, received_at, event);
  if (fields.kind == "account") read_account(fields, event);
  if (fields.kind == "identity") read_identity(fields, event);
}

/// {"$type": "message", "payload": {"$type": "...#commit", "seq": ..., "did": ..., "time": ..., ...}}
void read_version2(const json& payload, Time received_at, BlueskyEvent& event) {
  const auto time = parse_time(text_of(payload, "time"));
  const auto sequence = number_of(member(payload, "seq"));
  if (!time || !sequence) refuse("an event without its time or number");
  event.time = *time;
  event.sequence = static_cast<uint64_t>(*sequence);
  const std::string_view type = text_of(payload, "$type");
  const size_t mark = type.find('#');
  const std::string_view kind = mark == std::string_view::npos ? type : type.substr(mark + 1);
  read_body({text_of(payload, "did"), kind, payload}, received_at, event);
}

void read_version1(const json& value, Time received_at, BlueskyEvent& event) {
  const auto time = number_of(member(value, "time_us"));
  if (!time || *time == 0 || *time > kLastMicrosecond) refuse("an event without its time");
  event.time = Time(Micros(*time));
  const std::string_view kind = text_of(value, "kind");
  read_body({text_of(value, "did"), kind, member(value, std::string(kind).c_str())}, received_at, event);
}

}  // namespace

std::string bluesky_post_id(std::string_view uri) {
  constexpr std::string_view kScheme = "at://";
  if (!uri.starts_with(kScheme)) return {};
  uri.remove_prefix(kScheme.size());
  const size_t first = uri.find('/');
  const size_t second = first == std::string_view::npos ? first : uri.find('/', first + 1);
  if (second == std::string_view::npos) return {};
  const auto did = uri.substr(0, first), collection = uri.substr(first + 1, second - first - 1),
             key = uri.substr(second + 1);
  if (!is_did(did) || collection != kPost || !is_record_key(key)) return {};
  return fmt::format("{}/{}", did, key);
}

BlueskyEvent parse_bluesky_event(std::string_view text, Time received_at) {
  const json value = json::parse(text, nullptr, false);
  if (!value.is_object()) refuse("something that is not a JSON object");
  BlueskyEvent event;
  const json& payload = member(value, "payload");
  if (payload.is_object())
    read_version2(payload, received_at, event);
  else
    read_version1(value, received_at, event);
  return event;
}

}  // namespace fathom::live
