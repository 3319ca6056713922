// The subcommands of `fathom plan`, a file each.
#pragma once

#include "cli/command.h"

namespace fathom::cli {

void add_plan_search(CLI::App& plan, Run& run);
void add_plan_validate(CLI::App& plan, Run& run);
void add_plan_track(CLI::App& plan, Run& run);

}  // namespace fathom::cli
