#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace fathom {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid_argument";
    case ErrorCode::kNotFound: return "not_found";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kNetwork: return "network";
    case ErrorCode::kUnauthenticated: return "unauthenticated";
    case ErrorCode::kPermissionDenied: return "permission_denied";
    case ErrorCode::kResourceExhausted: return "resource_exhausted";
    case ErrorCode::kDeadlineExceeded: return "deadline_exceeded";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kInternal: return "internal";
  }
  return "internal";
}

namespace detail {

void check_failed(const char* condition, const char* file, int line, std::string_view note) {
  std::fprintf(stderr, "fathom: broken invariant '%s' at %s:%d%s%.*s\n", condition, file, line,
               note.empty() ? "" : ": ", static_cast<int>(note.size()), note.data());
  std::abort();
}

}  // namespace detail
}  // namespace fathom
