// The keys whose orders to delete retention has let go of with their segments: a post that was removed stays away when its
// source sends it again, though neither the post nor the order is held any more.
//
// A hash table from a key's hash to the time of its latest order, 16 bytes an entry; two keys of one hash (once in 10^12 looks
// at a million keys) would share a time. Bounded: orders older than an age are forgotten, and the oldest beyond kMostRemovedKeys.
//
// File "REMOVED", replaced atomically: the magic, the number of entries, each hash and time (microseconds), sorted by hash, all
// little-endian, 8 bytes each; XXH64 of all before. Value type; const methods may be called from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace fathom::live {

inline constexpr size_t kMostRemovedKeys = 4'000'000;

class RemovedKeys {
 public:
  /// The time of the latest order for the key of this hash (key_hash of segment.h).
  std::optional<Time> find(uint64_t key_hash) const;
  void add(uint64_t key_hash, Time order);

  /// Forgets orders older than `oldest`, and the oldest of more than `most`.
  void forget(Time oldest, size_t most = kMostRemovedKeys);

  size_t size() const { return size_; }

  std::string encode() const;
  /// Errors: kCorrupt.
  static RemovedKeys decode(std::string_view bytes);

 private:
  struct Entry {
    uint64_t hash = 0;
    int64_t time = kFree;
  };
  static constexpr int64_t kFree = INT64_MIN;

  size_t slot_of(uint64_t hash) const;
  void resize(size_t slots);
  std::vector<Entry> entries() const;

  std::vector<Entry> slots_;  // open addressing, a power of two, at most three quarters full
  size_t size_ = 0;
};

/// None when there is no file. Errors: kCorrupt (names the file), kIo.
RemovedKeys read_removed_keys(const std::filesystem::path& folder);
/// Errors: kIo, kResourceExhausted (disk full).
void write_removed_keys(const std::filesystem::path& folder, const RemovedKeys& keys);

}  // namespace fathom::live
