// What the subcommands of `fathom train` share: a file each.
#pragma once

#include <filesystem>

#include "cli/command.h"
#include "train/run_config.h"

namespace fathom::cli {

void add_train_show(CLI::App& train, Run& run);
void add_train_report(CLI::App& train, Run& run);
void add_train_export(CLI::App& train, Run& run);

/// The configuration of a run by its folder. Errors: kNotFound where it is none.
train::RunConfig read_run_folder(const std::filesystem::path& folder);

}  // namespace fathom::cli
