// Who stands behind the DIDs of Bluesky: handles, names and followers, as the stream and the public AppView tell them.
//
// Jetstream names authors by DID alone and tells a handle only when it changes. Accounts that are not known are asked for at the
// AppView (https://docs.bsky.app, app.bsky.actor.getProfiles: 25 at a time, at most five calls a second, none for a minute after
// a refusal) on a thread of its own: no post waits, an author's first ones show the DID. Bounded: the accounts that were met last.
//
// Owns its thread; transport and clock outlive it. Thread-safe.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/transport.h"
#include "live/post.h"
#include "live/sources/recent_map.h"

namespace fathom::live {

/// https://atproto.com/specs/handle, but for "handle.invalid", which says that there is none.
bool is_bluesky_handle(std::string_view text);

/// The answer of getProfiles: of each account its DID (Author::id), handle, name and followers; what is none is left out.
/// Errors: kCorrupt.
std::vector<Author> parse_bluesky_profiles(std::string_view json);

class BlueskyAuthors {
 public:
  /// `app_view`: "https://public.api.bsky.app"; empty: none is asked, and `transport` may be null.
  BlueskyAuthors(std::string app_view, Transport* transport, const Clock& clock);
  ~BlueskyAuthors();
  BlueskyAuthors(const BlueskyAuthors&) = delete;
  BlueskyAuthors& operator=(const BlueskyAuthors&) = delete;

  /// The stream told of a new handle.
  void set_handle(const std::string& did, std::string_view handle);

  /// The account as far as it is known; else with its DID for a handle, and it is asked for.
  Author find(const std::string& did);

 private:
  void ask_all(const std::stop_token& stop);
  std::vector<std::string> next_batch(const std::stop_token& stop);
  void ask(const std::vector<std::string>& dids, const std::stop_token& stop);

  const std::string app_view_;
  Transport* const transport_;
  const Clock& clock_;

  std::mutex mutex_;  // of all that follows
  std::condition_variable_any wanted_;
  RecentMap<std::string, Author> known_;  // an entry without a handle was asked for in vain, or is on its way
  std::vector<std::string> queue_;
  std::jthread thread_;  // last: ends before what it uses
};

}  // namespace fathom::live
