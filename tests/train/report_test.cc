#include "train/report.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "train/monitor.h"
#include "train/trainer.h"

namespace fathom::train {
namespace {

/// A folder as a run leaves it.
void write_run(const std::filesystem::path& folder, uint64_t steps) {
  Monitor monitor(folder, steps, false);
  monitor.event("started", 0, {{"ranks", 2}});
  for (uint64_t step = 1; step <= steps; ++step) {
    StepMetrics m;
    m.step = step;
    m.loss = 4.0 / static_cast<double>(step);
    m.tokens = 1000 * step;
    m.tokens_per_s = 500;
    m.step_time = 2;
    if (step % 10 == 0) m.held_out_loss = step == 20 ? 1.5 : 2.0;
    monitor.step(m);
  }
  monitor.event("resumed", 12, {});
  monitor.event("rolled_back", 15, {{"from", 18}});
  monitor.event("slow_rank", 16, {{"rank", 1}, {"note", "<script>alert(1)</script>"}});
  monitor.event("finished", steps, {});
  write_file_atomic(folder / kRunRecord,
                    nlohmann::json{{"file", "x"}, {"text", "a = \"<b>\"\n"}, {"changes", {"seed=4"}}}.dump());
}

TEST(Report, FiguresOfARun) {
  const TempDir folder;
  write_run(folder.path(), 40);
  const RunSummary s = summarise(folder.path());
  EXPECT_EQ(s.steps, 40u);
  EXPECT_EQ(s.tokens, 40'000u);
  EXPECT_NEAR(s.hours, 80.0 / 3600, 1e-9);
  EXPECT_EQ(s.held_out_loss, 2.0);
  EXPECT_EQ(s.best_held_out_loss, 1.5);
  EXPECT_EQ(s.resumed, 1u);
  EXPECT_EQ(s.rolled_back, 1u);
  EXPECT_EQ(s.slow_ranks, std::vector<uint64_t>{1});
  EXPECT_TRUE(s.finished);
  EXPECT_EQ(to_json(s)["step"], 40);
}

TEST(Report, APageThatStandsByItself) {
  const TempDir folder;
  write_run(folder.path(), 2000);
  const std::string page = report_html(folder.path());
  for (const char* part : {"<svg", "Learning rate", "Norm of the gradient", "held out", "went back", "seed=4",
                           "a = &quot;&lt;b&gt;&quot;"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  for (const char* part : {"<script", "src=", "href=", "<b>", "nan"})
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  EXPECT_LT(page.size(), size_t{600'000});
}

TEST(Report, ARunThatHasNotBegunAndAFolderThatIsNone) {
  const TempDir folder;
  EXPECT_THROW(report_html(folder.path()), Error);
  write_file_atomic(folder.path() / kRunRecord, "{ torn");
  EXPECT_EQ(summarise(folder.path()).steps, 0u);
  EXPECT_NE(report_html(folder.path()).find("<svg"), std::string::npos);
}

}  // namespace
}  // namespace fathom::train
