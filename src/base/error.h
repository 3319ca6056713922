// The one exception type of Fathom: a code that machines act on and a sentence that people act on.
//
// Thrown at the edges (files, network, configuration, input), caught once per command or request. The sentence names
// what was wrong, where, and what to do about it. Hot loops do not throw; broken invariants end in FATHOM_CHECK.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace fathom {

enum class ErrorCode {
  kInvalidArgument,    // the caller's input is wrong: a flag, a field, a query
  kNotFound,           // the named thing is not there
  kCorrupt,            // bytes that do not follow their format
  kUnsupported,        // well-formed, but not something this build can do
  kIo,                 // the operating system refused a file operation
  kNetwork,            // the other end could not be reached or broke off
  kUnauthenticated,    // no key, or a wrong one
  kPermissionDenied,   // a good key without the right
  kResourceExhausted,  // a limit was reached: disk, memory, queue, rate
  kDeadlineExceeded,   // it took too long
  kCancelled,          // the caller went away or asked to stop
  kInternal,           // a defect of Fathom's
};

/// The code's name in snake_case, as it stands in logs and JSON.
std::string_view to_string(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

namespace detail {
[[noreturn]] void check_failed(const char* condition, const char* file, int line, std::string_view note);
}

}  // namespace fathom

/// Ends the process with place and condition when an invariant of the program itself does not hold. Never for input.
#define FATHOM_CHECK(condition, ...)                                                                 \
  do {                                                                                               \
    if (!(condition)) [[unlikely]]                                                                   \
      ::fathom::detail::check_failed(#condition, __FILE__, __LINE__, std::string_view{__VA_ARGS__}); \
  } while (false)
