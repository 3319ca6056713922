// What goes to the webhook of a standing query: how it is checked, signed and sent. See standing.h for the protocol.
//
// Pure but for `deliver`, which waits for the answer; thread-safe.
#pragma once

#include <stop_token>
#include <string>

#include "base/transport.h"
#include "live/trends/standing.h"

namespace fathom::live {

/// Errors: kInvalidArgument, says what is wrong with the address or the secret.
void check_webhook(const StandingQuery& query, bool allow_private);

/// Sends `match`; `place`: where its posts begin, so that a repeat has the same id. Returns nothing, or why it was not taken.
/// Errors: those of Transport::fetch.
std::string deliver(Transport& transport, const StandingQuery& query, uint64_t place,
                    const StandingMatch& match, bool allow_private, const std::stop_token& stop);

}  // namespace fathom::live
