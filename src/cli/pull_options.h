// What every way of fetching models has in common: the server and the token of the environment, the folder of the state.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "model/pull.h"

namespace fathom::cli {

/// $HF_ENDPOINT is the server, $HF_TOKEN opens private models.
inline model::PullOptions pull_options(const std::filesystem::path& state) {
  const auto environment = [](const char* name, const std::string& otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? std::string(value) : otherwise;
  };
  model::PullOptions out;
  out.endpoint = environment("HF_ENDPOINT", out.endpoint);
  out.token = environment("HF_TOKEN", "");
  out.folder = state / "models";
  return out;
}

}  // namespace fathom::cli
