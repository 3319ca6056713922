#include "live/removed_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"

namespace fathom::live {
namespace {

constexpr const char* kName = "REMOVED";
constexpr std::string_view kMagic = "fthmrem1";
constexpr size_t kFewestSlots = 64;
constexpr size_t kWord = sizeof(uint64_t), kHead = 2 * kWord, kEntry = 2 * kWord;
constexpr size_t kMaxBytes = kHead + kMostRemovedKeys * kEntry + kWord;
static_assert(std::endian::native == std::endian::little);

void put(std::string& out, uint64_t value) {
  char bytes[kWord];
  std::memcpy(bytes, &value, kWord);
  out.append(bytes, kWord);
}

uint64_t get(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, kWord);
  return value;
}

[[noreturn]] void corrupt(std::string_view why) {
  throw Error(
      ErrorCode::kCorrupt,
      fmt::format("the list of removed posts {}; posts that were removed long ago may come back", why));
}

}  // namespace

/// The slot that a hash has or would take.
size_t RemovedKeys::slot_of(uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash & mask;
  while (slots_[slot].time != kFree && slots_[slot].hash != hash) slot = (slot + 1) & mask;
  return slot;
}

std::optional<Time> RemovedKeys::find(uint64_t key_hash) const {
  if (size_ == 0) return std::nullopt;
  const Entry& entry = slots_[slot_of(key_hash)];
  return entry.time == kFree ? std::nullopt : std::optional(Time(Micros(entry.time)));
}

void RemovedKeys::add(uint64_t key_hash, Time order) {
  if (4 * (size_ + 1) > 3 * slots_.size()) resize(std::max(kFewestSlots, 2 * slots_.size()));
  Entry& entry = slots_[slot_of(key_hash)];
  const int64_t time = std::max(order.time_since_epoch().count(), kFree + 1);
  if (entry.time == kFree) ++size_;
  entry = {key_hash, std::max(entry.time, time)};
}

void RemovedKeys::resize(size_t slots) {
  const std::vector<Entry> all = entries();
  slots_.assign(slots, {});
  for (const Entry& entry : all) slots_[slot_of(entry.hash)] = entry;
}

std::vector<RemovedKeys::Entry> RemovedKeys::entries() const {
  std::vector<Entry> all;
  all.reserve(size_);
  std::copy_if(slots_.begin(), slots_.end(), std::back_inserter(all),
               [](const Entry& entry) { return entry.time != kFree; });
  return all;
}

void RemovedKeys::forget(Time oldest, size_t most) {
  std::vector<Entry> kept = entries();
  std::erase_if(kept, [&](const Entry& entry) { return Time(Micros(entry.time)) < oldest; });
  if (kept.size() > most) {
    const auto newer = [](const Entry& a, const Entry& b) {
      return a.time != b.time ? a.time > b.time : a.hash < b.hash;
    };
    std::nth_element(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(most), kept.end(), newer);
    kept.resize(most);
  }
  *this = {};
  for (const Entry& entry : kept) add(entry.hash, Time(Micros(entry.time)));
}

std::string RemovedKeys::encode() const {
  std::vector<Entry> all = entries();
  std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.hash < b.hash; });
  std::string out(kMagic);
  out.reserve(kHead + all.size() * kEntry + kWord);
  put(out, all.size());
  for (const Entry& entry : all) {
    put(out, entry.hash);
    put(out, static_cast<uint64_t>(entry.time));
  }
  put(out, checksum64(out));
  return out;
}

RemovedKeys RemovedKeys::decode(std::string_view bytes) {
  if (bytes.size() < kHead + kWord || !bytes.starts_with(kMagic)) corrupt("does not begin as one");
  const size_t end = bytes.size() - kWord;
  if (get(bytes, end) != checksum64(bytes.substr(0, end)))
    corrupt("does not have the checksum that it names");
  const uint64_t count = get(bytes, kWord);
  if (count > kMostRemovedKeys || kHead + count * kEntry != end)
    corrupt("has not so many entries as it says");
  RemovedKeys keys;
  for (size_t at = kHead; at < end; at += kEntry)
    keys.add(get(bytes, at), Time(Micros(static_cast<int64_t>(get(bytes, at + kWord)))));
  return keys;
}

RemovedKeys read_removed_keys(const std::filesystem::path& folder) {
  const auto path = folder / kName;
  if (!std::filesystem::exists(path)) return {};
  try {
    return RemovedKeys::decode(read_file(path, kMaxBytes));
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("'{}': {}", path.string(), error.what()));
  }
}

void write_removed_keys(const std::filesystem::path& folder, const RemovedKeys& keys) {
  write_file_atomic(folder / kName, keys.encode());
}

}  // namespace fathom::live
