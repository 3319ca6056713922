// One relay, read on a thread of its own for as long as it lives: what it sends is checked there and put into an inbox.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "base/websocket.h"
#include "live/sources/nostr.h"
#include "live/sources/nostr_event.h"
#include "live/sources/nostr_signature.h"

namespace fathom::live {

/// What a relay has to say to the source.
struct NostrLetter {
  enum class Type { kEvent, kCurrent, kRejected, kNotice, kFailed, kConnected } type = Type::kEvent;
  size_t relay = 0;
  std::optional<NostrEvent> event;  // of kEvent
  std::string text;                 // of kRejected, kNotice and kFailed
};

/// Thread-safe. Holds so many letters that a slow store makes the relays wait.
class NostrInbox {
 public:
  /// Waits while it is full. False when `stop` came first.
  bool put(NostrLetter letter, const std::stop_token& stop);
  /// Waits for one. Empty when `stop` came first.
  std::optional<NostrLetter> take(const std::stop_token& stop);

 private:
  static constexpr size_t kMostLetters = 2000;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<NostrLetter> letters_;
};

/// The request of a subscription. `since`: seconds; 0: the newest `backfill` notes.
std::string nostr_request(const NostrOptions& options, int64_t since);

/// Connects, subscribes and reads until it is destroyed, coming back later and later after failures. What it is given
/// outlives it.
class NostrRelay {
 public:
  NostrRelay(size_t number, const NostrOptions& options, int64_t since, WebSockets& sockets,
             const Clock& clock, const NostrSignatures& signatures, NostrInbox& inbox);

 private:
  void run(const std::stop_token& stop);
  void follow(const std::stop_token& stop);
  /// Returns false when the relay ended the subscription.
  bool take(std::string_view text, const std::stop_token& stop);
  void put(NostrLetter::Type type, std::string text, const std::stop_token& stop);

  const size_t number_;
  const NostrOptions& options_;
  const std::string url_;
  int64_t since_;
  WebSockets& sockets_;
  const Clock& clock_;
  const NostrSignatures& signatures_;
  NostrInbox& inbox_;
  bool said_something_ = false;  // since the last connection
  std::jthread thread_;          // last: stops and ends before what it uses
};

}  // namespace fathom::live
