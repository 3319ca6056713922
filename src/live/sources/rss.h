// News feeds: RSS, Atom and JSON Feed (see feed_document.h), many in one source.
//
// Each feed is asked for with what its server said of it last (ETag, Last-Modified), not before its ttl, Cache-Control,
// Retry-After, skipHours and skipDays allow, and else the more often the more it brings. A page that names a feed stands
// for it; a feed that has moved for good is followed for good; one that is gone (410) is left alone. Entries are delivered
// when they are new or have changed; those without a date get the time at which they were first seen. The cursor holds all
// that is known of each feed, so that a restart asks for nothing twice.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/transport.h"
#include "live/source.h"

namespace fathom::live {

struct RssOptions {
  std::string name = "rss";
  std::vector<std::string> feeds;  // addresses
  std::chrono::milliseconds first_interval{300'000};
  std::chrono::milliseconds shortest{60'000};    // between two requests for a feed,
  std::chrono::milliseconds longest{3'600'000};  // and the longest that is waited without being told to
  std::chrono::milliseconds timeout{20'000};     // of a request
  std::chrono::milliseconds keep{30'000};        // between cursors
  size_t parallel = 8;                           // requests at a time
  size_t max_bytes = size_t{16} << 20;           // of a feed
};

/// Errors: kInvalidArgument for no feeds, or an address that is none. `run`: where no feed at all can be read, the error of
/// the first; trouble with single feeds is warned of.
std::unique_ptr<Source> make_rss_source(const RssOptions& options, Transport& transport, const Clock& clock);

}  // namespace fathom::live
