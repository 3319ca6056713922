// Who may ask: named API keys with a role and a rate, kept in a file that holds their digests alone.
//
//   [[key]]
//   name = "alice"                   # unique; stands in the audit log
//   sha256 = "9f86d0..."             # of the key
//   role = "reader"                  # reader: search and ask; poster: post as well; admin: everything
//   requests_per_minute = 60         # absent: no limit
//   created = "2026-11-23T08:00:00Z"
//
// A KeyRing reads the file again when it changes, so that a key given or withdrawn counts within seconds. Thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace fathom::server {

/// What a key may do; each role may do what those before it may.
enum class Role : uint8_t { kReader, kPoster, kAdmin };
std::string_view to_string(Role role);
/// Errors: kInvalidArgument.
Role parse_role(std::string_view text);

struct ApiKey {
  std::string name;
  std::string sha256;  // lower-case hexadecimal
  Role role = Role::kAdmin;
  std::optional<uint32_t> requests_per_minute{};
  Time created{};
};

/// Errors: kInvalidArgument, kCorrupt (names the line), kIo. A file that is not there has no keys.
std::vector<ApiKey> read_keys(const std::filesystem::path& file);
/// The file is its owner's alone (mode 0600). Errors: kIo, kResourceExhausted.
void write_keys(const std::filesystem::path& file, const std::vector<ApiKey>& keys);
/// A fresh key that cannot be guessed: "fathom-" and 43 characters (256 bits).
std::string make_key();
std::string key_digest(std::string_view key);

/// Lets `per_minute` through a minute, in bursts up to that many (a token bucket). Thread-safe.
class RateLimit {
 public:
  explicit RateLimit(uint32_t per_minute) : per_minute_(per_minute), tokens_(per_minute) {}

  struct Decision {
    bool allowed = true;
    uint32_t limit = 0, remaining = 0;
    std::chrono::milliseconds wait{0};  // until the next one is let through
  };
  Decision take(std::chrono::steady_clock::time_point now);

 private:
  const uint32_t per_minute_;
  std::mutex mutex_;
  double tokens_;
  std::chrono::steady_clock::time_point last_{};
};

/// A key as the server holds it: what it may do and how much is left of its rate.
struct KeyHolder {
  explicit KeyHolder(const ApiKey& the_key) : key(the_key) {
    if (key.requests_per_minute) limit.emplace(*key.requests_per_minute);
  }
  const ApiKey key;
  std::optional<RateLimit> limit;
};

class KeyRing {
 public:
  /// `plain`: keys without a name, role admin and no limit. `file`: as above; empty: none. Errors: as read_keys.
  KeyRing(const std::vector<std::string>& plain, std::filesystem::path file);

  /// Null when the key is not one of these. All digests are compared, whole, so that the time taken says nothing.
  std::shared_ptr<KeyHolder> find(std::string_view key);
  bool empty();

 private:
  void look_again();

  const std::filesystem::path file_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<KeyHolder>> plain_, named_;
  /// Of the file as it was read: a file that replaces it within one tick of the clock is another inode.
  struct Version {
    int64_t seconds = 0, nanoseconds = 0;
    uint64_t inode = 0, bytes = 0;
    bool operator==(const Version&) const = default;
  };
  Version version() const;
  Version read_;
  std::chrono::steady_clock::time_point looked_;
};

}  // namespace fathom::server
