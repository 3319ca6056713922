#include "live/sources/x.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/x_api.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxQueryCharacters = 4096;

}  // namespace

std::unique_ptr<Source> make_x_source(const XOptions& options, Transport& transport, const Clock& clock) {
  parse_url(options.api_url);
  if (options.bearer_token.empty())
    throw Error(ErrorCode::kInvalidArgument, "an X source needs a bearer token: give the option 'token'");
  if (options.mode != XMode::kSearch) return make_x_stream(options, transport, clock);
  if (trim(options.query).empty() || options.query.size() > kMaxQueryCharacters)
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("an X search needs the option 'query', of up to {} characters", kMaxQueryCharacters));
  return make_x_search(options, transport, clock);
}

}  // namespace fathom::live
