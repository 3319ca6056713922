// Events of Nostr (https://github.com/nostr-protocol/nips: 01 the protocol, 09 deletions, 18 reposts, 25 reactions) and the
// posts that they become.
//
// Pure functions on untrusted bytes.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/post.h"

namespace fathom::live {

enum class NostrKind : int64_t { kNote = 1, kDeletion = 5, kRepost = 6, kReaction = 7 };

struct NostrEvent {
  std::string id, pubkey, sig;  // lower-case hexadecimal: 32, 32 and 64 bytes
  int64_t created_at = 0;       // seconds
  int64_t kind = 0;
  std::vector<std::vector<std::string>> tags;
  std::string content;

  bool is(NostrKind which) const { return kind == static_cast<int64_t>(which); }
  /// The second entry of the first tag of this name; empty when there is none.
  std::string_view tag(std::string_view name) const;
  /// Ids of the events that `e` tags name.
  std::vector<std::string_view> references() const;
};

/// What a relay sends.
struct NostrMessage {
  enum class Type { kEvent, kEndOfStored, kClosed, kNotice, kOther } type = Type::kOther;
  std::optional<NostrEvent> event;  // of kEvent
  std::string text;                 // of kClosed and kNotice
};

/// Errors: kCorrupt for what is no message, or an event whose members are not of their kind or whose id is not the digest
/// of the rest. The signature is not looked at (see nostr_signature.h).
NostrMessage parse_nostr_message(std::string_view json);

/// SHA-256 of [0, pubkey, created_at, kind, tags, content] without white space (NIP-01).
std::string nostr_event_id(const NostrEvent& event);

/// A note (kind 1) as a post; empty when it has no text. Its page is `site` + its id as NIP-19 writes it.
std::optional<Post> nostr_post(const NostrEvent& event, std::string_view site, Time received_at);

/// "npub1..." or "note1...": the bytes of an identifier with a checksum (NIP-19, BIP-173). `hex` is 32 bytes.
std::string nostr_bech32(std::string_view prefix, std::string_view hex);

/// The bytes of lower-case hexadecimal; empty for anything but exactly `Size` bytes of it.
template <size_t Size>
std::optional<std::array<uint8_t, Size>> bytes_of_hex(std::string_view hex) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (hex.size() != 2 * Size) return {};
  std::array<uint8_t, Size> bytes;
  for (size_t i = 0; i < Size; ++i) {
    const int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return {};
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return bytes;
}

}  // namespace fathom::live
