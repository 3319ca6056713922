// One file a command: each adds its subcommand to the program and says how to run it. No logic of its own.
//
// A command's `run` returns the process's exit code; it throws fathom::Error for anything that a sentence explains, and
// main prints that sentence and turns it into the exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <string>

namespace fathom::cli {

/// What main runs after the command line has been read: set by the subcommand that was named.
using Run = std::function<int()>;

void add_serve(CLI::App& app, Run& run);
void add_chat(CLI::App& app, Run& run);
void add_conversations(CLI::App& app, Run& run);
void add_search(CLI::App& app, Run& run);
void add_trends(CLI::App& app, Run& run);
void add_watch(CLI::App& app, Run& run);
void add_sources(CLI::App& app, Run& run);
void add_keys(CLI::App& app, Run& run);
void add_ingest(CLI::App& app, Run& run);
void add_models(CLI::App& app, Run& run);
void add_world(CLI::App& app, Run& run);
void add_inspect(CLI::App& app, Run& run);
void add_bench(CLI::App& app, Run& run);
void add_eval(CLI::App& app, Run& run);
void add_quantize(CLI::App& app, Run& run);
void add_pull(CLI::App& app, Run& run);
void add_plan(CLI::App& app, Run& run);
void add_simulate(CLI::App& app, Run& run);
void add_calibrate(CLI::App& app, Run& run);
void add_train(CLI::App& app, Run& run);
void add_data(CLI::App& app, Run& run);
void add_tokenizer(CLI::App& app, Run& run);

/// Where posts, models and settings live: $FATHOM_STATE, else .fathom here if it exists, else the user's data folder.
std::filesystem::path default_state_folder();

/// The option --data, with its help, on a command that uses the state folder.
void add_state_option(CLI::App& command, std::filesystem::path& folder);

}  // namespace fathom::cli
