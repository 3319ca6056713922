#include "server/audit.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "server/http.h"

namespace fathom::server {
namespace {

constexpr size_t kMostBytes = size_t{64} << 20;
constexpr mode_t kOwnerOnly = 0600;

}  // namespace

Audit::Audit(std::filesystem::path file, const Clock& clock) : file_(std::move(file)), clock_(clock) {
  open();
  if (descriptor_ < 0)
    throw Error(ErrorCode::kIo, fmt::format("the audit log '{}' cannot be written: {}", file_.string(),
                                            std::strerror(errno)));
}

Audit::~Audit() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Audit::write(const AuditEntry& entry) {
  const nlohmann::ordered_json line = {{"time", format_time(clock_.now())},
                                       {"id", entry.id},
                                       {"key", entry.key},
                                       {"role", entry.role},
                                       {"from", entry.from},
                                       {"method", entry.method},
                                       {"path", entry.path},
                                       {"status", entry.status},
                                       {"seconds", entry.seconds}};
  const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::lock_guard lock(mutex_);
  if (bytes_ + text.size() > kMostBytes) set_aside();
  const ssize_t written = ::write(descriptor_, text.data(), text.size());  // one call: lines stay whole
  bytes_ += text.size();
  if (written == static_cast<ssize_t>(text.size())) {
    failed_ = false;
  } else if (!failed_) {
    failed_ = true;
    log().error("the audit log '{}' has gaps: {}", file_.string(), std::strerror(errno));
  }
}

void Audit::open() {
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kOwnerOnly);
  struct stat about {};
  bytes_ = descriptor_ >= 0 && ::fstat(descriptor_, &about) == 0 ? static_cast<size_t>(about.st_size) : 0;
}

void Audit::set_aside() {
  ::close(descriptor_);
  std::error_code ignored;
  std::filesystem::rename(file_, file_.string() + ".1", ignored);
  open();
}

}  // namespace fathom::server
