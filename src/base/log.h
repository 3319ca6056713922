// The program's log: one line an event on standard error, through spdlog. `Logger` is spdlog's; thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace fathom {

/// The program's log; level from FATHOM_LOG (trace, debug, info, warn, error, off), else info. Library code logs what
/// an operator must know (a source that reconnects, a file that was repaired) and returns everything else.
spdlog::logger& log();

}  // namespace fathom
