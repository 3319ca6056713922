// X over its API v2 (https://docs.x.com/x-api): the filtered stream, the sampled streams, the stream of deletions, and
// recent search by polling. A bearer token is needed; what an account may read depends on its plan.
//
// The streams keep X's rules for coming back (x_backoff.h); nothing for 20 s means that a connection is dead. The cursor is
// the newest post's id: searches go on after it, streams fill the gap where the account may (`backfill_minutes`). What
// comes twice is the store's to recognise. An edited post removes its earlier versions.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/transport.h"
#include "live/source.h"

namespace fathom::live {

enum class XMode {
  kFiltered,    // posts that match the account's rules
  kSampled,     // about 1 % of all public posts
  kSampled10,   // about 10 %; needs an enterprise account
  kCompliance,  // orders to remove deleted posts; needs an enterprise account
  kSearch,      // recent search, polled
};

struct XOptions {
  std::string name = "x";  // of the source; its posts are of the source "x" whatever its name
  std::string api_url = "https://api.x.com";
  std::string bearer_token;
  XMode mode = XMode::kFiltered;
  std::vector<std::string> rules;             // of kFiltered
  std::string query;                          // of kSearch
  int partition = 0;                          // of kSampled10 and kCompliance; 0: not asked for
  int backfill_minutes = 0;                   // 0 to 5: how much of a gap a stream is asked for again
  std::chrono::milliseconds interval{15000};  // between polls
  size_t max_pages = 10;                      // of one poll, of 100 posts each
  std::chrono::milliseconds timeout{15000};   // of a request
  std::chrono::milliseconds silence{20000};   // of a stream
};

/// `transport` and `clock` outlive the source. Errors: kInvalidArgument (no token, rules or query; values out of bounds).
std::unique_ptr<Source> make_x_source(const XOptions& options, Transport& transport, const Clock& clock);

}  // namespace fathom::live
