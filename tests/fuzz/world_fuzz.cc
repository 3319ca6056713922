// Storyline files of the sample world: TOML, template syntax, and generation from whatever parses.
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "live/world/generator.h"
#include "live/world/scenario.h"

namespace {

fathom::live::world::Common make_common() {
  std::string kinds = "[lists]\ngiven = [\"Ada\", \"Bo\"]\n";
  for (const char* kind : {"local", "fan", "press", "bot", "spam"}) {
    kinds += "[[kind]]\nkind = \"" + std::string(kind) +
             "\"\nfollowers = [\"5\", \"900\"]\nnames = [\"{given}\"]\nhandles = [\"{given}{1..99999}\"]\n"
             "bios = [\"hello\"]\n";
  }
  return fathom::live::world::parse_common(
      {{"accounts.toml", kinds},
       {"chatter.toml",
        "news_replies = [\"well\"]\nchatter_replies = [\"ha\"]\nquotes = [\"look\"]\n"
        "[[topic]]\nname = \"talk\"\nposts = [\"lunch {1..900}\"]\n"},
       {"spam.toml", "[[topic]]\nname = \"spam\"\nkind = \"spam\"\nposts = [\"buy {1..900} {tag}\"]\n"}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fathom::live::world::Common common = make_common();
  if (size > 16 * 1024) return 0;
  try {
    fathom::live::world::Scenarios scenarios;
    scenarios.common = common;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    scenarios.storylines.push_back(fathom::live::world::parse_storyline(text, "fuzz.toml", common));
    fathom::live::WorldOptions options;
    options.posts = 60;
    options.accounts = 90 + scenarios.storylines[0].cast.size();
    fathom::live::world::build_world(scenarios, options);
  } catch (const fathom::Error&) {
    // A mistake in the file, named: what an author sees.
  }
  return 0;
}
