// The body of POST /v1/posts: one post a line (NDJSON), or a JSON array, or one JSON object.
#pragma once

#include <string_view>
#include <vector>

#include "base/clock.h"
#include "live/post.h"
#include "server/http.h"

namespace fathom::server {

inline constexpr size_t kMaxPostsPerRequest = 100'000;

/// True when the request says that its body is one JSON document.
bool is_json(const Request& request);

/// All posts of `body`, or an ApiError 400 "invalid_posts" that names the first bad lines (the entries of an array count
/// as lines, from 1), also as `error.lines` [{line, message}]. 413 beyond kMaxPostsPerRequest.
std::vector<live::Post> parse_posts(std::string_view body, bool json_document, Time received_at);

}  // namespace fathom::server
