// xAI's `search_parameters` (Live Search): JSON -> what the assistant obeys. docs/api.md has the mapping.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "answer/assistant.h"

namespace fathom::server {

/// Errors: ApiError as parse_chat_request, `param` below "search_parameters".
answer::SearchParameters parse_search_parameters(const nlohmann::ordered_json& object);

}  // namespace fathom::server
