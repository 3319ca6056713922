// Stands in for a full disk.
#pragma once

#include <signal.h>
#include <sys/resource.h>

namespace fathom::live::testing {

/// While it lives no file of this process grows beyond `bytes`. One at a time.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGXFSZ, &ignore, &action_);
    ::getrlimit(RLIMIT_FSIZE, &limit_);
    struct rlimit lower = limit_;
    lower.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &lower);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &limit_);
    ::sigaction(SIGXFSZ, &action_, nullptr);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  struct sigaction action_ {};
  struct rlimit limit_ {};
};

}  // namespace fathom::live::testing
