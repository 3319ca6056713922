// fathom world: writes the sample world, a day of invented posts with the truth beside it.
#include "live/world.h"

#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/command.h"
#include "cli/instance.h"

namespace fathom::cli {
namespace {

struct Options {
  live::WorldOptions world;
  std::filesystem::path out = "world";
  bool json = false;
};

int world(const Options& options) {
  const live::World made = live::generate_world(options.world);
  std::error_code failed;
  std::filesystem::create_directories(options.out, failed);
  if (failed)
    throw Error(ErrorCode::kIo,
                fmt::format("cannot create the folder '{}': {}", options.out.string(), failed.message()));
  live::write_world(made, options.out);
  if (options.json) {
    std::cout << nlohmann::json{{"folder", options.out.string()},
                                {"posts", made.posts.size()},
                                {"accounts", made.truth.accounts.size()},
                                {"storylines", made.truth.storylines.size()},
                                {"facts", made.truth.facts.size()},
                                {"questions", made.truth.questions.size()}}
                     .dump()
              << "\n";
  } else {
    std::cout << fmt::format(
        "{}: posts.ndjson with {} posts by {} accounts on {} storylines, truth.json with {} facts and {} "
        "questions. "
        "All of it is fiction.\n",
        options.out.string(), made.posts.size(), made.truth.accounts.size(), made.truth.storylines.size(),
        made.truth.facts.size(), made.truth.questions.size());
  }
  return 0;
}

}  // namespace

void add_world(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  options->world.scenarios = default_scenarios();
  CLI::App* command =
      app.add_subcommand("world", "Write the sample world: invented posts and the truth about them");
  command->footer(
      "Example:\n"
      "  fathom world --seed 7 --posts 30000 --out my-world\n"
      "  fathom serve --source file:my-world/posts.ndjson,lead=18h,rate=2");
  command->add_option("--out", options->out, "Folder to write posts.ndjson and truth.json into")
      ->capture_default_str()
      ->type_name("DIR");
  command->add_option("--seed", options->world.seed, "The same seed gives the same bytes")
      ->capture_default_str();
  command->add_option("--posts", options->world.posts, "Posts, at least")->capture_default_str();
  command->add_option("--accounts", options->world.accounts, "Accounts in all")->capture_default_str();
  command
      ->add_option("--questions-per-value", options->world.questions_per_value,
                   "Questions about each value of a figure")
      ->capture_default_str();
  command->add_option("--scenarios", options->world.scenarios, "Scenario files")
      ->capture_default_str()
      ->type_name("DIR");
  command->add_flag("--json", options->json, "What was written, as JSON");
  command->callback([options, &run] { run = [options] { return world(*options); }; });
}

}  // namespace fathom::cli
