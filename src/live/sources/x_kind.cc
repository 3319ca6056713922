#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "live/sources/config.h"
#include "live/sources/x.h"

namespace fathom::live {
namespace {

struct ModeName {
  std::string_view name;
  XMode mode;
};
constexpr std::array kModes{ModeName{"filtered", XMode::kFiltered}, ModeName{"sampled", XMode::kSampled},
                            ModeName{"sampled10", XMode::kSampled10},
                            ModeName{"compliance", XMode::kCompliance}, ModeName{"search", XMode::kSearch}};

XMode mode_of(std::string_view name) {
  for (const auto& entry : kModes)
    if (entry.name == name) return entry.mode;
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("'mode' of an X source is filtered, sampled, sampled10, compliance or search, not '{}'",
                  name));
}

std::unique_ptr<Source> make_from_spec(const SourceSpec& spec, const SourceContext& context) {
  XOptions options;
  options.name = spec.name;
  if (const auto mode = spec.option("mode"); !mode.empty()) options.mode = mode_of(mode);
  if (const auto api = spec.option("api"); !api.empty()) options.api_url = api;
  options.rules = spec.list("rules");
  options.query = spec.option("query");
  options.partition = static_cast<int>(spec.number("partition", 0, 0, 20));
  options.backfill_minutes = static_cast<int>(spec.number("backfill_minutes", 0, 0, 5));
  options.interval =
      std::chrono::milliseconds(static_cast<int64_t>(spec.number("interval", 15, 1, 86400) * 1000));
  options.max_pages = static_cast<size_t>(spec.number("max_pages", 10, 1, 100));
  options.bearer_token = read_secret(spec.option("token"));
  return make_x_source(options, context.transport, context.clock);
}

}  // namespace

std::vector<SourceKind> x_kinds() {
  return {
      {.name = "x",
       .summary = "X over its API v2: filtered or sampled stream, or recent search; needs a bearer token",
       .options = {{.name = "mode",
                    .help = "filtered (default), sampled, sampled10, compliance (deletions) or search",
                    .example = "filtered"},
                   {.name = "token",
                    .help = "the bearer token of the account",
                    .required = true,
                    .secret = true,
                    .example = "$X_BEARER_TOKEN"},
                   {.name = "rules",
                    .help = "what the filtered stream matches, up to 1000 rules of 1024 characters",
                    .list = true,
                    .example = "from:nasa"},
                   {.name = "query", .help = "of the search", .example = "earthquake lang:en -is:retweet"},
                   {.name = "interval", .help = "seconds between searches", .example = "15"},
                   {.name = "max_pages", .help = "pages of 100 posts of one search", .example = "10"},
                   {.name = "backfill_minutes",
                    .help = "0 to 5: how much of a gap a stream is asked for again, where the plan allows it",
                    .example = "5"},
                   {.name = "partition", .help = "of sampled10 and compliance", .example = "1"},
                   {.name = "api", .help = "another address of the API", .example = "https://api.x.com"}},
       .make = make_from_spec}};
}

}  // namespace fathom::live
