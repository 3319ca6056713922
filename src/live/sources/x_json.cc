#include "live/sources/x_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr int64_t kFirstMillisecond = 1288834974657;  // of the ids
constexpr std::string_view kSource = "x";
constexpr size_t kMaxEarlier = 16;                  // versions of one post; X allows five edits
constexpr auto kMaxSkew = std::chrono::minutes(1);  // of X's clock before ours
constexpr size_t kMaxEntries = 1000;  // of a page, and of each list that comes with it; X sends up to 100

json parse(std::string_view text) {
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded() || !value.is_object())
    throw Error(ErrorCode::kCorrupt, "X sent something that is not a JSON object");
  return value;
}

/// The entry with this id in a list of `includes`.
const json& included(const json& list, std::string_view id) {
  static const json kNone;
  if (!list.is_array() || id.empty()) return kNone;
  for (size_t i = 0; i < std::min(list.size(), kMaxEntries); ++i)
    if (text_of(list[i], "id") == id) return list[i];
  return kNone;
}

/// In linear time; a replacement that would make the text far too long is not made.
void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  size_t begin = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, begin)) {
    out.append(text, begin, at - begin).append(to);
    begin = at + from.size();
    if (out.size() > 2 * kMaxTextBytes) return;
  }
  if (begin == 0) return;
  text = std::move(out.append(text, begin));
}

/// The three characters that the API escapes in texts.
void unescape(std::string& text) {
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");
  replace_all(text, "&amp;", "&");
}

/// Pseudo-codes (no text, undetermined, only emoji, ...) are no language; two old codes have successors.
std::string language(std::string_view code) {
  if (code == "und" || code == "zxx" || (code.size() == 3 && code.front() == 'q')) return {};
  if (code == "in") return "id";
  if (code == "iw") return "he";
  return std::string(code);
}

/// Short addresses (t.co) give way to those that they stand for.
void read_entities(const json& entities, Post& post) {
  constexpr size_t kMaxUrls = 64;
  const json& urls = member(entities, "urls");
  for (size_t i = 0; urls.is_array() && i < std::min(urls.size(), kMaxUrls); ++i) {
    std::string_view target = text_of(urls[i], "unwound_url");
    if (target.empty()) target = text_of(urls[i], "expanded_url");
    const std::string_view shortened = text_of(urls[i], "url");
    if (target.empty()) continue;
    if (shortened.starts_with("http")) replace_all(post.text, shortened, target);
    add_link(post, target);
  }
  const json& hashtags = member(entities, "hashtags");
  for (size_t i = 0; hashtags.is_array() && i < hashtags.size(); ++i)
    add_tag(post, text_of(hashtags[i], "tag"));
}

void read_text(const json& tweet, Post& post) {
  const json& note = member(tweet, "note_tweet", "note_post");
  const bool is_long = !text_of(note, "text").empty();
  post.text = std::string(is_long ? text_of(note, "text") : text_of(tweet, "text"));
  cut_text(post.text);
  read_entities(member(tweet, "entities"), post);
  if (is_long) read_entities(member(note, "entities"), post);
  unescape(post.text);
  cut_text(post.text);
}

void read_author(const json& tweet, const json& includes, Post& post) {
  const std::string_view id = text_of(tweet, "author_id");
  const json& user = included(member(includes, "users"), id);
  const std::string_view handle = text_of(user, "username");
  post.author.handle = std::string(handle.empty() ? id : handle);
  if (!handle.empty()) post.author.id = std::string(id);
  post.author.name = std::string(text_of(user, "name"));
  post.author.followers = number_of(member(member(user, "public_metrics"), "followers_count"));
  post.url = fmt::format("https://x.com/{}/status/{}", handle.empty() ? "i" : handle, post.id);
}

void read_references(const json& tweet, const json& includes, Post& post) {
  const json& references = member(tweet, "referenced_tweets", "referenced_posts");
  for (size_t i = 0; references.is_array() && i < references.size(); ++i) {
    const std::string_view type = text_of(references[i], "type"), id = text_of(references[i], "id");
    if (parse_x_id(id) == 0) continue;
    if (type == "replied_to") post.reply_to = std::string(id);
    if (type == "quoted") post.quote_of = std::string(id);
    if (type != "retweeted" && type != "reposted") continue;
    post.repost_of = std::string(id);
    // The text of a repost is cut; that of what it repeats is whole.
    const json& original = included(member(includes, "tweets", "posts"), id);
    if (!text_of(original, "text").empty()) read_text(original, post);
  }
}

void read_metrics(const json& tweet, Post& post) {
  const json& metrics = member(tweet, "public_metrics");
  post.metrics.likes = number_of(member(metrics, "like_count"));
  post.metrics.reposts = number_of(member(metrics, "retweet_count", "repost_count"));
  post.metrics.replies = number_of(member(metrics, "reply_count"));
  post.metrics.views = number_of(member(metrics, "impression_count"));
}

Post removal(std::string_view id, Time at, Time received_at) {
  Post post;
  post.id = std::string(id);
  post.source = kSource;
  post.created_at = at;
  post.received_at = received_at;
  post.deleted = true;
  return post;
}

/// An edited post has a new id; those before it in its history are replaced by it.
void remove_earlier(const json& tweet, uint64_t id, Time received_at, XMessage& message) {
  const json& history = member(tweet, "edit_history_tweet_ids", "edit_history_post_ids");
  for (size_t i = 0; history.is_array() && i < std::min(history.size(), kMaxEarlier); ++i) {
    const uint64_t earlier = parse_x_id(text_of(history[i]));
    if (earlier != 0 && earlier < id)
      message.posts.push_back(removal(std::to_string(earlier), x_time_of_id(id), received_at));
  }
}

void read_post(const json& tweet, const json& includes, Time received_at, XMessage& message) {
  const uint64_t id = parse_x_id(text_of(tweet, "id"));
  if (id == 0) {
    message.left_out.emplace_back("a post without an id");
    return;
  }
  Post post;
  post.id = std::to_string(id);
  post.source = kSource;
  post.received_at = received_at;
  post.created_at = parse_time(text_of(tweet, "created_at")).value_or(x_time_of_id(id));
  read_text(tweet, post);
  read_author(tweet, includes, post);
  read_references(tweet, includes, post);
  read_metrics(tweet, post);
  post.lang = language(text_of(tweet, "lang"));
  post.sensitive = is_true(member(tweet, "possibly_sensitive"));
  if (x_time_of_id(id) <= received_at + kMaxSkew) message.newest_id = std::max(message.newest_id, id);
  if (post.text.empty()) {
    message.left_out.push_back(fmt::format("post {}, which has no text", id));
    return;
  }
  remove_earlier(tweet, id, received_at, message);
  message.posts.push_back(std::move(post));
}

/// {"delete": {"tweet": {"id": ...}, "event_at": ...}} of the compliance stream; "drop" is the same to us. Returns whether
/// `data` is such an order.
bool read_compliance(const json& data, Time received_at, XMessage& message) {
  const json& order = member(data, "delete", "drop");
  if (!order.is_object()) return false;
  const uint64_t id = parse_x_id(text_of(member(order, "tweet", "post"), "id"));
  const Time at = believable_time(text_of(order, "event_at"), received_at);
  if (id != 0) message.posts.push_back(removal(std::to_string(id), at, received_at));
  return true;
}

std::optional<XProblem> read_problem(const json& value) {
  const json& errors = member(value, "errors");
  const json& first = errors.is_array() && !errors.empty() ? errors[0] : value;
  XProblem problem;
  problem.title = text_of(first, "title");
  problem.detail = text_of(first, "detail");
  if (problem.detail.empty()) problem.detail = text_of(first, "message");
  problem.type = text_of(first, "type");
  problem.too_many_connections = text_of(first, "connection_issue") == "TooManyConnections";
  if (problem.title.empty() && problem.detail.empty() && &first == &value) return {};
  return problem;
}

}  // namespace

Time x_time_of_id(uint64_t id) {
  return Time(std::chrono::milliseconds(static_cast<int64_t>(id >> 22) + kFirstMillisecond));
}

uint64_t parse_x_id(std::string_view text) {
  uint64_t id = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool whole = ec == std::errc{} && end == text.data() + text.size();
  return whole && id <= uint64_t{INT64_MAX} ? id : 0;
}

XMessage parse_x_message(std::string_view text, Time received_at) {
  const json value = parse(text);
  const json& data = member(value, "data");
  const json& includes = member(value, "includes");
  XMessage message;
  if (data.is_array()) {
    for (size_t i = 0; i < std::min(data.size(), kMaxEntries); ++i)
      read_post(data[i], includes, received_at, message);
  } else if (data.is_object() && !read_compliance(data, received_at, message)) {
    read_post(data, includes, received_at, message);
  }
  message.next_token = text_of(member(value, "meta"), "next_token");
  if (data.is_null() && !member(value, "meta").is_object()) message.problem = read_problem(value);
  return message;
}

std::string x_problem_sentence(std::string_view body) {
  const json value = json::parse(body, nullptr, false);
  if (!value.is_object()) return {};
  const auto problem = read_problem(value);
  if (!problem) return {};
  const bool both = !problem->title.empty() && !problem->detail.empty();
  return fmt::format("{}{}{}", problem->title, both ? ": " : "", problem->detail).substr(0, 500);
}

size_t XFrames::feed(std::string_view piece, const std::function<bool(std::string_view)>& on_frame) {
  size_t left_out = 0;
  const auto take = [&](std::string_view line) {  // the end of the piece, or up to a line feed
    if (rest_.size() + line.size() > max_frame_bytes_) {
      too_long_ = true;
      rest_.clear();
    }
    if (!too_long_) rest_ += line;
  };
  while (!piece.empty()) {
    const size_t end = piece.find('\n');
    if (end == std::string_view::npos) {
      take(piece);
      break;
    }
    take(piece.substr(0, end));
    piece.remove_prefix(end + 1);
    left_out += too_long_ ? 1 : 0;
    const std::string frame = std::exchange(rest_, {});
    const std::string_view content = trim(frame);
    if (!std::exchange(too_long_, false) && !content.empty() && !on_frame(content)) break;
  }
  return left_out;
}

}  // namespace fathom::live
