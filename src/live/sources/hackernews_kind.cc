#include "live/sources/config.h"
#include "live/sources/hackernews.h"

namespace fathom::live {
namespace {

std::unique_ptr<Source> make_from_spec(const SourceSpec& spec, const SourceContext& context) {
  HackerNewsOptions options;
  options.name = spec.name;
  if (const auto api = spec.option("api"); !api.empty()) options.api_url = api;
  options.stream = spec.flag("stream", true);
  return make_hackernews_source(options, context.transport, context.clock);
}

}  // namespace

std::vector<SourceKind> hackernews_kinds() {
  return {{.name = "hackernews",
           .summary = "Stories and comments of Hacker News, by its public API; no key is needed",
           .options = {{.name = "api",
                        .help = "Another address of the API",
                        .example = "https://hacker-news.firebaseio.com/v0"},
                       {.name = "stream", .help = "false: poll only", .example = "false"}},
           .make = make_from_spec}};
}

}  // namespace fathom::live
