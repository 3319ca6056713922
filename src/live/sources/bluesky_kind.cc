#include "live/sources/bluesky.h"
#include "live/sources/config.h"

namespace fathom::live {
namespace {

std::unique_ptr<Source> make_from_spec(const SourceSpec& spec, const SourceContext& context) {
  BlueskyOptions options;
  options.name = spec.name;
  if (auto hosts = spec.list("hosts"); !hosts.empty()) options.hosts = std::move(hosts);
  options.dids = spec.list("dids");
  options.counts = spec.flag("counts", true);
  options.version = static_cast<int>(spec.number("version", 1, 1, 2));
  if (spec.options.contains("app_view")) options.app_view = spec.option("app_view");
  if (options.app_view == "none") options.app_view.clear();
  return make_bluesky_source(options, context.web_sockets, context.transport, context.clock);
}

}  // namespace

std::vector<SourceKind> bluesky_kinds() {
  return {{.name = "bluesky",
           .summary = "All of Bluesky by its public Jetstream; no key is needed",
           .options = {{.name = "hosts",
                        .help = "where Jetstream runs, tried in turn",
                        .list = true,
                        .example = "wss://jetstream2.us-east.bsky.network"},
                       {.name = "dids",
                        .help = "only these accounts, up to 10000",
                        .list = true,
                        .example = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"},
                       {.name = "counts", .help = "false: without likes and reposts", .example = "true"},
                       {.name = "app_view",
                        .help = "where handles of authors are asked for; none: their DIDs are shown",
                        .example = "https://public.api.bsky.app"},
                       {.name = "version", .help = "of the protocol, 1 or 2", .example = "1"}},
           .make = make_from_spec}};
}

}  // namespace fathom::live
