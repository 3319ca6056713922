// fathom train show, fathom train report: where a run stands, in the terminal and as a page.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/scenario_options.h"
#include "cli/show.h"
#include "cli/train_commands.h"
#include "train/monitor.h"
#include "train/report.h"
#include "train/trainer.h"

namespace fathom::cli {
namespace {

struct ShowOptions {
  std::filesystem::path folder;
  bool json = false;
};

struct ReportOptions {
  std::filesystem::path folder, out;
};

int show(const ShowOptions& options) {
  const train::RunSummary s = train::summarise(options.folder);
  if (options.json) {
    std::cout << train::to_json(s).dump(2) << "\n";
    return 0;
  }
  std::cout << fmt::format("Step {}{}, {} tokens in {}\n", s.steps, s.finished ? " (finished)" : "",
                           human_count(static_cast<double>(s.tokens)),
                           train::format_duration(3600 * s.hours));
  std::cout << fmt::format("Loss {:.4f}", s.loss);
  if (s.held_out_loss)
    std::cout << fmt::format(", held out {:.4f} (perplexity {:.2f}, best {:.4f})", *s.held_out_loss,
                             std::exp(*s.held_out_loss), *s.best_held_out_loss);
  std::cout << fmt::format("\n{} tokens/s, {:.0f} % of peak\n", human_count(s.tokens_per_s),
                           100 * s.share_of_peak);
  std::cout << fmt::format("Resumed {} times, {} batches skipped, went back {} times\n", s.resumed, s.skipped,
                           s.rolled_back);
  if (!s.slow_ranks.empty()) std::cout << fmt::format("Slow ranks: {}\n", fmt::join(s.slow_ranks, ", "));
  std::cout << fmt::format("Checkpoints: {}\n", s.checkpoints.empty()
                                                    ? "none"
                                                    : fmt::format("{}", fmt::join(s.checkpoints, ", ")));
  return 0;
}

int report(const ReportOptions& options) {
  const auto out = options.out.empty() ? options.folder / "report.html" : options.out;
  write_file_atomic(out, train::report_html(options.folder));
  std::cout << fmt::format("The report is in {}\n", for_terminal(out.string()));
  return 0;
}

}  // namespace

train::RunConfig read_run_folder(const std::filesystem::path& folder) {
  const auto record = folder / train::kRunRecord;
  if (!std::filesystem::exists(record))
    throw Error(ErrorCode::kNotFound, fmt::format("'{}' is no folder of a training run: it has no {}",
                                                  folder.string(), train::kRunRecord));
  return train::parse_run(read_file(record), models_folder());
}

void add_train_show(CLI::App& train, Run& run) {
  auto options = std::make_shared<ShowOptions>();
  CLI::App* command = train.add_subcommand("show", "Where a run stands");
  command->footer("Example:\n  fathom train show starter/\n");
  command->add_option("folder", options->folder, "The run's folder")->required()->type_name("RUN_FOLDER");
  command->add_flag("--json", options->json, "As JSON");
  command->callback([options, &run] { run = [options] { return show(*options); }; });
}

void add_train_report(CLI::App& train, Run& run) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = train.add_subcommand("report", "A page with plots of a run");
  command->footer("Example:\n  fathom train report starter/ --html starter.html\n");
  command->add_option("folder", options->folder, "The run's folder")->required()->type_name("RUN_FOLDER");
  command->add_option("--html", options->out, "The page; left out: report.html in the folder")
      ->type_name("FILE");
  command->callback([options, &run] { run = [options] { return report(*options); }; });
}

}  // namespace fathom::cli
