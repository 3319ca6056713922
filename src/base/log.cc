#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <cstdlib>

namespace fathom {

spdlog::logger& log() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto logger =
        std::make_shared<spdlog::logger>("fathom", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc);
    if (const char* level = std::getenv("FATHOM_LOG")) logger->set_level(spdlog::level::from_str(level));
    return logger;
  }();
  return *instance;
}

}  // namespace fathom
