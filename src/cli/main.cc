// The program `fathom`: finds the command, runs it, and turns an Error into one sentence and an exit code
// (2: the input was wrong, 1: anything else went wrong).
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "base/error.h"
#include "cli/command.h"

namespace fathom::cli {

std::filesystem::path default_state_folder() {
  if (const char* state = std::getenv("FATHOM_STATE"); state != nullptr && *state != '\0') return state;
  if (std::filesystem::is_directory(".fathom")) return ".fathom";
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0')
    return std::filesystem::path(data) / "fathom";
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : ".") / ".local/share/fathom";
}

void add_state_option(CLI::App& command, std::filesystem::path& folder) {
  folder = default_state_folder();
  command.add_option("--data", folder, "Folder of posts, models and settings ($FATHOM_STATE)")
      ->capture_default_str()
      ->type_name("DIR");
}

namespace {

bool is_bad_input(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kCorrupt:
    case ErrorCode::kUnsupported: return true;
    default: return false;
  }
}

int main_checked(int argc, char** argv) {
  CLI::App app(
      "Fathom: an assistant that answers from what the world is posting right now, each claim cited to a "
      "post.\n\n"
      "  fathom serve                      the page and the API, on this machine\n"
      "  fathom chat \"what is going on?\"    an answer in the terminal\n"
      "  fathom search storm since:2026-11-01\n"
      "  fathom plan autumn-2025            a machine of 100,000 chips: speed, power, money, date\n",
      "fathom");
  app.set_version_flag("--version", "fathom " FATHOM_VERSION);
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error&) { return std::string(); });

  Run run;
  add_serve(app, run);
  add_chat(app, run);
  add_conversations(app, run);
  add_search(app, run);
  add_trends(app, run);
  add_watch(app, run);
  add_sources(app, run);
  add_keys(app, run);
  add_ingest(app, run);
  add_models(app, run);
  add_world(app, run);
  add_inspect(app, run);
  add_bench(app, run);
  add_eval(app, run);
  add_quantize(app, run);
  add_pull(app, run);
  add_plan(app, run);
  add_simulate(app, run);
  add_calibrate(app, run);
  add_train(app, run);
  add_data(app, run);
  add_tokenizer(app, run);

  const auto is_named = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
  if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(is_named).empty()) {
    std::fprintf(stderr, "fathom: there is no command '%s'; 'fathom --help' lists them\n", argv[1]);
    return 2;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked_for_help) {
    return app.exit(asked_for_help);
  } catch (const CLI::ParseError& error) {
    const auto named = app.get_subcommands();
    const std::string command = named.empty() ? "fathom" : "fathom " + named.front()->get_name();
    std::fprintf(stderr, "%s: %s; '%s --help' shows what it takes\n", command.c_str(), error.what(),
                 command.c_str());
    return 2;
  }
  return run();
}

}  // namespace
}  // namespace fathom::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return fathom::cli::main_checked(argc, argv);
  } catch (const fathom::Error& error) {
    std::fprintf(stderr, "fathom: %s\n", error.what());
    return fathom::cli::is_bad_input(error.code()) ? 2 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fathom: %s\n", error.what());
    return 1;
  }
}
