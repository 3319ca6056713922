// Covers the body of POST /v1/posts (NDJSON, JSON array, JSON object) and the request target's path and query.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "server/api_error.h"
#include "server/http.h"
#include "server/posts_body.h"

namespace {

using namespace fathom;

void read_target(std::string_view line) {
  const auto target = server::parse_target(line);
  if (!target) return;
  FATHOM_CHECK(!target->path.empty() && target->path.front() == '/');
  for (const auto& [name, value] : target->query)
    FATHOM_CHECK(name.find('\0') == std::string::npos && value.find('\0') == std::string::npos);
}

void read_posts(std::string_view body, bool json_document) {
  try {
    const auto posts = server::parse_posts(body, json_document, Time{});
    FATHOM_CHECK(!posts.empty() && posts.size() <= server::kMaxPostsPerRequest);
    for (const auto& post : posts) FATHOM_CHECK(!post.id.empty() && post.text.size() <= live::kMaxTextBytes);
  } catch (const server::ApiError& error) {
    FATHOM_CHECK(error.status >= 400 && error.status < 500);
    FATHOM_CHECK(!server::error_response(error).body.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view line = input.substr(0, input.find('\n'));
  read_target(line);
  const std::string_view body = input.substr(std::min(line.size() + 1, input.size()));
  read_posts(body, false);
  read_posts(body, true);
  return 0;
}
