// One item of the Hacker News API and the post that it becomes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/post.h"

namespace fathom::live {

struct HackerNewsItem {
  int64_t id = 0;
  std::string type;         // story, comment, job, poll, pollopt
  std::string by;           // empty when deleted
  std::string title, text;  // with character references; HTML
  std::string url;
  Time time{};
  int64_t parent = 0;  // 0: none
  std::optional<int64_t> score, descendants;
  size_t kids = 0;
  bool deleted = false;
  bool dead = false;
};

/// Reads the answer to item/ID.json. Empty for `null` (no such item, or not yet).
/// Errors: kCorrupt, naming the field, for anything that is no item.
std::optional<HackerNewsItem> parse_hackernews_item(std::string_view json);

/// A whole number, as maxitem.json gives it. Errors: kCorrupt.
int64_t parse_hackernews_number(std::string_view json);

/// The item numbers in a list (topstories.json), in `{"items": [...]}` (updates.json), in a single number (maxitem.json), or
/// in any of these inside the `{"path": ..., "data": ...}` of an event; others are passed over. Errors: kCorrupt.
std::vector<int64_t> parse_hackernews_ids(std::string_view json);

/// `story` is the item at the root of a comment's thread, 0 when unknown. A deleted or dead item becomes an order to remove
/// it. A story's text is its title and, after an empty line, its own text. Empty for an item without any text.
std::optional<Post> hackernews_post(const HackerNewsItem& item, int64_t story, std::string_view source,
                                    std::string_view site_url, Time received_at);

}  // namespace fathom::live
