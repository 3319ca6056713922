#include "live/sources/config.h"
#include "live/sources/nostr.h"

namespace fathom::live {
namespace {

std::unique_ptr<Source> make_from_spec(const SourceSpec& spec, const SourceContext& context) {
  NostrOptions options;
  options.name = spec.name;
  if (auto relays = spec.list("relays"); !relays.empty()) options.relays = std::move(relays);
  options.authors = spec.list("authors");
  options.tags = spec.list("tags");
  options.counts = spec.flag("counts", true);
  if (const auto site = spec.option("site"); !site.empty()) options.site = site;
  return make_nostr_source(options, context.web_sockets, context.clock);
}

}  // namespace

std::vector<SourceKind> nostr_kinds() {
  return {
      {.name = "nostr",
       .summary = "Notes of Nostr from several relays, each checked to be its author's; no key is needed",
       .options = {{.name = "relays", .help = "all are read", .list = true, .example = "wss://nos.lol"},
                   {.name = "authors", .help = "only these public keys, in hexadecimal", .list = true},
                   {.name = "tags",
                    .help = "only notes with one of these hashtags",
                    .list = true,
                    .example = "news"},
                   {.name = "counts", .help = "false: without reactions and reposts", .example = "true"},
                   {.name = "site", .help = "where the pages of posts are", .example = "https://njump.me/"}},
       .make = make_from_spec}};
}

}  // namespace fathom::live
