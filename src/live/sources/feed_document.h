// A feed read into entries, whatever it is written in: RSS 0.9 to 2.0, RSS 1.0 (RDF), Atom 0.3 and 1.0 (RFC 4287), JSON Feed 1.
//
// Pure functions over untrusted bytes.
#pragma once

#include <bitset>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/post.h"

namespace fathom::live {

struct FeedEntry {
  std::string id;            // guid or id, else the link, else a digest of the words; never empty
  std::string title, html;   // plain; the summary, else the beginning of the content
  std::string link;          // absolute http(s), may be empty
  std::string author, lang;  // may be empty
  std::vector<std::string> tags, links;
  std::optional<Time> published;  // else changed
};

struct FeedDocument {
  std::string title, link, lang;
  std::vector<FeedEntry> entries;           // as they stand, mostly newest first
  std::optional<std::chrono::minutes> ttl;  // how long it need not be asked for again
  std::bitset<24> skip_hours;               // UTC, in which it does not change
  std::bitset<7> skip_days;                 // 0: Sunday
  std::string problem;                      // empty, or why the rest was left out
};

/// `address`: where the feed was read, for relative links. `content_type` may be empty. Errors: kCorrupt for what is no feed.
FeedDocument parse_feed(std::string_view bytes, std::string_view content_type, const std::string& address);

/// An HTML page rather than a feed.
bool is_web_page(std::string_view bytes, std::string_view content_type);

/// The address of the feed that an HTML page names (<link rel="alternate">), the first one; empty when there is none.
std::string discover_feed(std::string_view html, const std::string& address);

/// The absolute http(s) address of a link in a document at `base`; empty for what is none. "../" is folded away.
std::string resolve_link(const std::string& base, std::string_view link);

/// What the store keeps: the id is made of the feed's host and the entry's (of the feed's whole address where the entry's is
/// no address itself), so that the feeds of one site share what they have in common.
Post feed_post(const FeedEntry& entry, const FeedDocument& feed, const std::string& address, Time first_seen);

}  // namespace fathom::live
