// The audit log: a line of JSON for each request that somebody was answerable for: when, whose key, from where, what, how it ended.
//
//   {"time", "id", "key", "role", "from", "method", "path", "status", "seconds"}
//
// Neither queries nor bodies stand in it: it says who did what, not what they asked or wrote. Files over 64 MiB are
// set aside as FILE.1 (the one before is replaced). Thread-safe; a full disk is logged once and does not stop the server.
#pragma once

#include <cstddef>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace fathom::server {

struct AuditEntry {
  std::string id, key, role, from, method, path;
  int status = 0;
  double seconds = 0;
};

class Audit {
 public:
  /// Errors: kIo when the file cannot be begun.
  Audit(std::filesystem::path file, const Clock& clock);
  ~Audit();
  Audit(const Audit&) = delete;
  Audit& operator=(const Audit&) = delete;

  void write(const AuditEntry& entry);

 private:
  void open();
  void set_aside();

  const std::filesystem::path file_;
  const Clock& clock_;
  std::mutex mutex_;
  int descriptor_ = -1;
  size_t bytes_ = 0;
  bool failed_ = false;
};

}  // namespace fathom::server
