// What feeds over HTTP say about time: dates in all the forms that are met, and when to come back.
//
// Pure functions over untrusted bytes.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/transport.h"

namespace fathom::live {

/// RFC 822, 1123, 850, asctime, RFC 3339 and other forms of ISO 8601, with the usual mistakes: no weekday or a wrong one, two
/// digits of a year, months in full, names of zones, no zone (UTC), am and pm, comments. Empty for anything else.
std::optional<Time> parse_feed_date(std::string_view text);

/// Retry-After, else what is left by X-RateLimit-Reset (a time or seconds since 1970); at most a day. Empty without either.
std::optional<std::chrono::milliseconds> retry_after(const HttpResponse& response, Time now);

/// How long the answer is fresh by its Cache-Control (max-age less Age), else by Expires; at most a day. Empty without both.
std::optional<std::chrono::milliseconds> fresh_for(const HttpResponse& response, Time now);

/// The header's value; empty when there is none. `name` in lower case.
std::string_view header_of(const HttpResponse& response, const std::string& name);

/// Throws for a status other than 200: kUnauthenticated (401), kPermissionDenied (403), kNotFound (404, 410), kInvalidArgument
/// (other 4xx), RetryAfter (429 and 503 that say when), else kNetwork. `whom` names the server in the sentence.
void check_status(const HttpResponse& response, std::string_view whom, Time now);

}  // namespace fathom::live
