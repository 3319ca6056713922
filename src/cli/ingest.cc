// fathom ingest: posts from files or standard input into the store.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "cli/client.h"
#include "cli/command.h"
#include "live/sources/file_source.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

struct Options {
  std::filesystem::path state;
  std::vector<std::string> files;
  std::string source;
  bool json = false;
};

struct Totals {
  size_t added = 0, replaced = 0, duplicates = 0, deleted = 0, rejected = 0;
};

/// Gathers what a file source delivers and posts it in batches; a batch that was acknowledged is durable.
class PostingSink final : public live::Sink {
 public:
  PostingSink(Client& client, Totals& totals)
      : client_(client), totals_(totals), progress_("Ingesting", 0, "posts") {}

  std::string cursor() const override { return {}; }
  bool deliver(live::Post post) override {
    batch_ += live::to_json(post).dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    if (++held_ >= kBatch || batch_.size() >= kBatchBytes) flush();
    return true;
  }
  void advance(std::string) override {}
  void set_live() override {}
  void reject(std::string_view why) override {
    if (++totals_.rejected <= kShownRejections) std::cerr << "left out: " << why << "\n";
  }
  void warn(std::string_view what) override { std::cerr << what << "\n"; }

  void flush() {
    if (held_ == 0) return;
    const json result = client_.post("/v1/posts", batch_, "application/x-ndjson");
    totals_.added += result.value("added", size_t{0});
    totals_.replaced += result.value("replaced", size_t{0});
    totals_.duplicates += result.value("duplicates", size_t{0});
    totals_.deleted += result.value("deleted", size_t{0});
    sent_ += held_;
    progress_.update(sent_);
    batch_.clear();
    held_ = 0;
  }

 private:
  static constexpr size_t kBatch = 2000;
  static constexpr size_t kBatchBytes = size_t{8} << 20;
  static constexpr size_t kShownRejections = 5;

  Client& client_;
  Totals& totals_;
  Progress progress_;
  std::string batch_;
  size_t held_ = 0;
  size_t sent_ = 0;
};

int ingest(const Options& options) {
  Client client(options.state, /*with_model=*/false);
  const SystemClock clock;
  Totals totals;
  for (const auto& path : options.files) {
    live::FileSourceOptions file;
    file.path = path;
    if (!options.source.empty()) file.default_source = options.source;
    PostingSink sink(client, totals);
    live::make_file_source(file, clock)->run(sink, {});
    sink.flush();
  }
  if (options.json) {
    std::cout << json{{"added", totals.added},
                      {"replaced", totals.replaced},
                      {"duplicates", totals.duplicates},
                      {"deleted", totals.deleted},
                      {"rejected", totals.rejected}}
                     .dump()
              << "\n";
  } else {
    std::cout << fmt::format("{} added, {} replaced, {} already there, {} deleted, {} left out\n",
                             totals.added, totals.replaced, totals.duplicates, totals.deleted,
                             totals.rejected);
  }
  return totals.rejected == 0 ? 0 : 2;
}

}  // namespace

void add_ingest(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("ingest", "Add posts from NDJSON files (plain or zstd) or standard input");
  command->footer(
      "Example:\n"
      "  fathom ingest posts.jsonl.zst more.ndjson\n"
      "  echo '{\"id\":\"1\",\"author\":\"me\",\"text\":\"first post\"}' | fathom ingest -\n\n"
      "Every post counted as added is on disk. Lines that are not posts are left out, named, and make the "
      "exit code 2.");
  add_state_option(*command, options->state);
  command->add_option("files", options->files, "NDJSON files; '-' is standard input")
      ->required()
      ->type_name("FILE");
  command->add_option("--source", options->source, "Source of posts that name none")->type_name("NAME");
  command->add_flag("--json", options->json, "The totals as JSON");
  command->callback([options, &run] { run = [options] { return ingest(*options); }; });
}

}  // namespace fathom::cli
