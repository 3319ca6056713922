// Queries and results as JSON, whole: for searches that one replica asks of another (POST /v1/search).
//
// Pure functions. Unknown members are ignored, so that replicas of neighbouring versions understand each other.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "live/store.h"

namespace fathom::live {

nlohmann::json query_to_json(const Query& query);
/// Errors: kInvalidArgument, names the member.
Query query_from_json(const nlohmann::json& json);

/// {"as_of", "matched", "matched_exact", "query_terms", "terms": [{"term", "posts"}], "expansion", "missing",
///  "hits": [{"post", "sequence", "score", "text_score", "matched_terms", "folded"}]}
nlohmann::json result_to_json(const SearchResult& result);
/// Errors: kCorrupt (what an answer says is not this).
SearchResult result_from_json(const nlohmann::json& json);

}  // namespace fathom::live
