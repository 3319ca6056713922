// live: news feeds (RSS, Atom, JSON Feed), pages that name one, and the dates in them.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/feed_document.h"
#include "live/sources/feed_http.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom::live;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string address = "https://site.example/blog/feed.xml";
  if (const auto time = parse_feed_date(bytes))
    FATHOM_CHECK(fathom::parse_time(fathom::format_time(*time)).has_value());
  const std::string found = discover_feed(bytes, address);
  FATHOM_CHECK(found.empty() || resolve_link(address, found) == found);
  try {
    const FeedDocument feed = parse_feed(bytes, "text/xml; charset=iso-8859-2", address);
    for (const FeedEntry& entry : feed.entries) {
      FATHOM_CHECK(!entry.id.empty());
      const Post post = feed_post(entry, feed, address, {});
      if (post.text.empty()) continue;  // such are passed over
      validate(post);
    }
  } catch (const fathom::Error& error) {
    FATHOM_CHECK(error.code() == fathom::ErrorCode::kCorrupt);  // no post that is refused
  }
  return 0;
}
