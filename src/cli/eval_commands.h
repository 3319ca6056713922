// The subcommands of `fathom eval` that have files of their own.
#pragma once

#include "cli/command.h"

namespace fathom::cli {

void add_eval_retrieval(CLI::App& eval, Run& run);

}  // namespace fathom::cli
