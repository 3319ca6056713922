// Responses that may be gone on from, fetched and deleted: in memory, the least recently used go first. Thread-safe.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <unordered_map>

namespace fathom::server {

/// About what a value takes in memory.
size_t memory_of(const nlohmann::ordered_json& value);

struct StoredResponse {
  std::string body;                                     // the object "response" as JSON text
  std::shared_ptr<const nlohmann::ordered_json> input;  // the items it was asked with, without earlier ones
  std::shared_ptr<const nlohmann::ordered_json>
      dialog;  // all items of the conversation, its own output the last
};

class ResponseStore {
 public:
  ResponseStore(size_t most, size_t most_bytes) : most_(most), most_bytes_(most_bytes) {}

  /// Keeps it, if it fits at all.
  void put(const std::string& id, StoredResponse response);
  std::shared_ptr<const StoredResponse> find(const std::string& id);
  /// False: there was none.
  bool remove(const std::string& id);

 private:
  struct Entry {
    std::shared_ptr<const StoredResponse> response;
    size_t bytes = 0;
    std::list<std::string>::iterator place;  // in order_
  };
  void drop(const std::string& id);

  const size_t most_, most_bytes_;
  std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> order_;  // the most recently used first
  size_t bytes_ = 0;
};

}  // namespace fathom::server
