// The names under which /v1/chat/completions answers, beside the loaded model's own.
#pragma once

#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/server.h"

namespace fathom::server {

inline constexpr std::string_view kAutoModel = "fathom";
inline constexpr std::string_view kExtractModel = "fathom-extract";
inline constexpr std::string_view kGenerateModel = "fathom-generate";

/// 404 with a sentence that says what there is.
inline ApiError model_not_found(const std::string& name, const Services& services) {
  if (name == kGenerateModel && services.engine == nullptr)
    return {404,
            "no language model is loaded, so \"fathom-generate\" cannot answer; \"fathom\" and "
            "\"fathom-extract\" can",
            "model_not_found", "model"};
  return {404, "the model \"" + name.substr(0, 200) + "\" does not exist; GET /v1/models lists those that do",
          "model_not_found", "model"};
}

/// For endpoints of the language model alone. `does`: "completes texts". Errors: ApiError 404; 400 "unsupported" for the
/// names that answer from the feed.
inline void require_language_model(const std::string& name, const Services& services, std::string_view does) {
  if (services.engine != nullptr && name == services.engine->info().name) return;
  if (name == kAutoModel || name == kExtractModel || name == kGenerateModel)
    throw ApiError(400,
                   "the model \"" + name + "\" answers questions; the language model alone " +
                       std::string(does) +
                       (services.engine != nullptr ? ": \"" + services.engine->info().name + "\""
                                                   : ", and none is loaded"),
                   "unsupported", "model");
  throw model_not_found(name, services);
}

}  // namespace fathom::server
