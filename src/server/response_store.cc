#include "server/response_store.h"

#include <nlohmann/json.hpp>

namespace fathom::server {

using nlohmann::ordered_json;

size_t memory_of(const ordered_json& value) {
  size_t bytes = sizeof(ordered_json);
  if (value.is_string()) return bytes + sizeof(std::string) + value.get_ref<const std::string&>().size();
  if (value.is_object()) {
    for (const auto& [name, member] : value.items())
      bytes += sizeof(std::string) + name.size() + memory_of(member);
  } else if (value.is_array()) {
    for (const auto& entry : value) bytes += memory_of(entry);
  }
  return bytes;
}

void ResponseStore::put(const std::string& id, StoredResponse response) {
  const size_t bytes = sizeof(Entry) + id.size() * 2 + response.body.size() + memory_of(*response.input) +
                       memory_of(*response.dialog);
  if (bytes > most_bytes_ || most_ == 0) return;
  auto kept = std::make_shared<const StoredResponse>(std::move(response));
  std::lock_guard lock(mutex_);
  drop(id);
  while (!order_.empty() && (entries_.size() >= most_ || bytes_ + bytes > most_bytes_)) drop(order_.back());
  order_.push_front(id);
  entries_[id] = {std::move(kept), bytes, order_.begin()};
  bytes_ += bytes;
}

std::shared_ptr<const StoredResponse> ResponseStore::find(const std::string& id) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return nullptr;
  order_.splice(order_.begin(), order_, found->second.place);
  return found->second.response;
}

bool ResponseStore::remove(const std::string& id) {
  std::lock_guard lock(mutex_);
  const bool there = entries_.contains(id);
  drop(id);
  return there;
}

/// REQUIRES: the lock is held. `id` may be the list's own string.
void ResponseStore::drop(const std::string& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  bytes_ -= found->second.bytes;
  const auto place = found->second.place;
  entries_.erase(found);
  order_.erase(place);
}

}  // namespace fathom::server
