#include <cstdio>
#include "base/error.h"
#include "cli/command.h"
#include "cli/scenario_options.h"
namespace fathom::cli { std::filesystem::path models_folder() { return "/work/main/data/models"; } }
int main(int argc, char** argv) {
  using namespace fathom;
  CLI::App app("t", "fathom"); app.require_subcommand(1); cli::Run run;
  cli::add_train(app, run); cli::add_data(app, run); cli::add_tokenizer(app, run);
  try { CLI11_PARSE(app, argc, argv); return run(); }
  catch (const Error& e) { fprintf(stderr, "fathom: %s\n", e.what()); return e.code()==ErrorCode::kIo||e.code()==ErrorCode::kInternal||e.code()==ErrorCode::kCancelled ? 1 : 2; }
}
