// Records that cannot be read: each is counted once, each damaged place is told of once in the program's log, and whoever
// reads goes on without it.
//
// Thread-safe; takes a lock only where something is damaged.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <unordered_set>

#include "base/error.h"

namespace fathom::live {

class DamageLog {
 public:
  /// What `read` gives of the record of `sequence`; empty where it throws kCorrupt.
  template <class Read>
  std::optional<std::invoke_result_t<Read>> contain(uint64_t sequence, Read&& read) {
    try {
      return read();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorrupt) throw;
      note(sequence, error.what());
      return std::nullopt;
    }
  }

  /// Records that were met and could not be read; beyond 65,536 they are not counted.
  uint64_t records() const;

 private:
  void note(uint64_t sequence, const std::string& what);

  mutable std::mutex mutex_;
  std::unordered_set<uint64_t> sequences_;
  std::set<std::string> told_;
};

}  // namespace fathom::live
