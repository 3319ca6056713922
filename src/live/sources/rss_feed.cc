#include "live/sources/rss_feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/checksum.h"
#include "base/text.h"
#include "base/url.h"
#include "live/sources/feed_http.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr int kMaxRedirects = 5;
constexpr milliseconds kLongestFailure{6 * 3600 * 1000};
constexpr size_t kKeptUndated = 200;      // entries without a date whose first sight is kept over a restart
constexpr size_t kMaxHeaderBytes = 1024;  // of an ETag
constexpr std::string_view kAccept =
    "application/atom+xml, application/rss+xml, application/feed+json, application/rdf+xml, "
    "application/xml;q=0.9, "
    "text/xml;q=0.9, application/json;q=0.8, text/html;q=0.5, */*;q=0.1";

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

uint64_t hash_of(const Post& post) {
  std::string all = post.text + '\0' + post.url + '\0' + post.author.name;
  for (const std::string& link : post.links) all += '\0' + link;
  for (const std::string& tag : post.tags) all += '\0' + tag;
  return checksum64(all) | 1;  // never 0
}

}  // namespace

RssFeed::RssFeed(std::string configured, const RssOptions& options)
    : configured_(std::move(configured)),
      options_(options),
      address_(configured_),
      interval_(options.first_interval) {
  parse_url(address_);
}

// --- asking

HttpRequest RssFeed::request(const std::string& address) const {
  HttpRequest request;
  request.url = address;
  request.timeout = options_.timeout;
  request.max_bytes = options_.max_bytes;
  request.follow_redirects = false;  // whether one is for good matters
  request.headers["Accept"] = kAccept;
  if (address != address_) return request;
  if (!etag_.empty()) request.headers["If-None-Match"] = etag_;
  if (!modified_.empty()) request.headers["If-Modified-Since"] = modified_;
  return request;
}

/// The answer at the end of all redirects. Those for good, as far as no other stood before them, change the address.
HttpResponse RssFeed::follow(Transport& transport, const std::stop_token& stop, Fetched& fetched) {
  std::string at = address_;
  bool for_good = true;
  for (int redirects = 0;; ++redirects) {
    HttpResponse response = transport.fetch(request(at), stop);
    if (!is_redirect(response.status)) return response;
    const std::string to = resolve_link(at, header_of(response, "location"));
    if (to.empty() || redirects == kMaxRedirects)
      throw Error(ErrorCode::kNetwork, fmt::format("{} redirects wrongly, or too often", at));
    if (at.starts_with("https://") && !to.starts_with("https://"))
      throw Error(ErrorCode::kNetwork, fmt::format("{} redirects to {}, without encryption", at, to));
    for_good = for_good && (response.status == 301 || response.status == 308);
    at = to;
    if (!for_good) continue;
    fetched.remarks.push_back(fmt::format("{} has moved to {}", address_, to));
    address_ = to;
    etag_.clear();
    modified_.clear();
  }
}

RssFeed::Fetched RssFeed::fetch(Transport& transport, const Clock& clock, const std::stop_token& stop) {
  Fetched fetched;
  try {
    // A page that stands for a feed is read first; the feed that it names must be one.
    if (!read(follow(transport, stop, fetched), clock, fetched))
      read(follow(transport, stop, fetched), clock, fetched);
  } catch (const Error& error) {
    if (stop.stop_requested()) throw;
    fetched.error = error;
    if (const auto* later = dynamic_cast<const RetryAfter*>(&error)) told_ = later->wait();
  }
  return fetched;
}

/// False when the answer was a page, and `address_` is now that of the feed which it names.
bool RssFeed::read(const HttpResponse& response, const Clock& clock, Fetched& fetched) {
  told_ = fresh_for(response, clock.now()).value_or(milliseconds(0));
  if (response.status == 304) return true;
  fetched.gone = response.status == 410;
  check_status(response, address_, clock.now());
  const auto type = header_of(response, "content-type");
  if (is_web_page(response.body, type)) {
    const std::string feed = discover_feed(response.body, address_);
    if (feed.empty() || feed == address_)
      throw Error(ErrorCode::kCorrupt, fmt::format("{} is a page that names no feed", address_));
    fetched.remarks.push_back(fmt::format("{} is a page; its feed is {}", address_, feed));
    address_ = feed;
    return false;
  }
  fetched.document = parse_feed(response.body, type, address_);
  etag_ = header_of(response, "etag").substr(0, kMaxHeaderBytes);
  modified_ = header_of(response, "last-modified").substr(0, kMaxHeaderBytes);
  return true;
}

// --- what it brought

std::vector<Post> RssFeed::take(const Fetched& fetched, Time now) {
  std::vector<Post> news;
  if (fetched.gone) gone_ = true;
  if (fetched.document) {
    const FeedDocument& feed = *fetched.document;
    skip_hours_ = feed.skip_hours;
    skip_days_ = feed.skip_days;
    if (feed.ttl) told_ = std::max(told_, std::chrono::duration_cast<milliseconds>(*feed.ttl));
    present_.clear();
    for (const FeedEntry& entry : feed.entries) {
      Post post = feed_post(entry, feed, address_, now);
      if (post.text.empty()) continue;
      const auto [seen, added] = seen_.try_emplace(post.id, Seen{.content = 0, .first = now});
      if (!entry.published) post.created_at = seen->second.first;
      present_.push_back(post.id);
      const uint64_t content = hash_of(post);
      if (std::exchange(seen->second.content, content) != content) news.push_back(std::move(post));
    }
    forget_old();
    // Mostly the newest stand first; undated ones keep the order that they then have.
    std::reverse(news.begin(), news.end());
    std::stable_sort(news.begin(), news.end(),
                     [](const Post& a, const Post& b) { return a.created_at < b.created_at; });
  }
  schedule(fetched, !news.empty(), now);
  return news;
}

/// What is no longer in the document may still come back, but not for ever.
void RssFeed::forget_old() {
  if (seen_.size() <= 2 * present_.size() + kKeptUndated) return;
  const std::set<std::string> present(present_.begin(), present_.end());
  std::erase_if(seen_, [&](const auto& entry) { return !present.contains(entry.first); });
}

// --- when it is asked again

void RssFeed::schedule(const Fetched& fetched, bool news, Time now) {
  if (fetched.error) {
    const milliseconds wait = options_.shortest * (int64_t{1} << std::min(failures_++, 12));
    due_ = now + std::max(told_, std::min(wait, std::max(kLongestFailure, options_.shortest)));
    return;
  }
  failures_ = 0;
  interval_ = news ? interval_ / 2 : interval_ * 3 / 2;
  interval_ = std::clamp(interval_, options_.shortest, options_.longest);
  due_ = allowed_from(now + std::max(interval_, told_));
}

/// The first hour from `time` on that is not to be skipped; `time` when all are.
Time RssFeed::allowed_from(Time time) const {
  if (skip_hours_.all() || skip_days_.all()) return time;
  Time at = time;
  for (int hour = 0; hour < 8 * 24; ++hour) {
    const auto day = std::chrono::floor<std::chrono::days>(at);
    const auto hours = std::chrono::floor<std::chrono::hours>(at - day).count();
    const std::chrono::weekday weekday(day);
    if (!skip_hours_.test(static_cast<size_t>(hours)) && !skip_days_.test(weekday.c_encoding())) return at;
    at = std::chrono::ceil<std::chrono::hours>(at + Micros(1));
  }
  return time;
}

// --- over a restart

json RssFeed::to_json() const {
  json kept = json::object();
  if (address_ != configured_) kept["address"] = address_;
  if (!etag_.empty()) kept["etag"] = etag_;
  if (!modified_.empty()) kept["modified"] = modified_;
  if (gone_) kept["gone"] = true;
  json first = json::object();
  for (const std::string& id : present_)
    if (first.size() < kKeptUndated)
      if (const auto seen = seen_.find(id); seen != seen_.end()) first[id] = format_time(seen->second.first);
  if (!first.empty()) kept["first_seen"] = std::move(first);
  return kept;
}

void RssFeed::restore(const json& kept) {
  const std::string_view address = text_of(kept, "address");
  if (!address.empty() && !resolve_link(configured_, address).empty()) address_ = address;
  etag_ = text_of(kept, "etag").substr(0, kMaxHeaderBytes);
  modified_ = text_of(kept, "modified").substr(0, kMaxHeaderBytes);
  gone_ = is_true(member(kept, "gone"));
  const json& first = member(kept, "first_seen");
  if (!first.is_object()) return;
  for (const auto& [id, time] : first.items())
    if (const auto seen = parse_time(text_of(time))) {
      seen_[id].first = *seen;
      present_.push_back(id);
    }
}

}  // namespace fathom::live
