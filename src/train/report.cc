#include "train/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/svg.h"
#include "train/checkpoint.h"
#include "train/monitor.h"
#include "train/trainer.h"

namespace fathom::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using svg::escape;

constexpr size_t kNewest = 20;       // steps whose mean stands for the present
constexpr size_t kMostPoints = 600;  // of a line; steps between them are averaged
constexpr size_t kMostMarks = 12;
constexpr size_t kMostEvents = 200;

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#15222b;--quiet:#5d6a73;--line:#e3e0d9;--bg:#f8f7f4;--card:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e8eff1;--quiet:#94a5ad;--line:#223038;--bg:#0b1216;--card:#121c22}}
*{box-sizing:border-box}body{margin:0 auto;max-width:76rem;padding:2rem 1.25rem;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
h1,h2{font-family:Charter,Georgia,serif;line-height:1.2;margin:0 0 .5rem}h1{font-size:2rem}h2{font-size:1.25rem;margin-top:2.5rem}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.75rem;margin:1.5rem 0}
dl div,figure,pre{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem;margin:0;min-width:0}pre{overflow-x:auto}
dt{color:var(--quiet);font-size:.85rem}dd{margin:0;font:600 1.6rem/1.2 Charter,Georgia,serif}dd small{display:block;font:400 .85rem/1.4 system-ui,sans-serif;color:var(--quiet)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(32rem,100%),1fr));gap:1rem}figure{overflow-x:auto}figcaption{font:600 1rem Charter,Georgia,serif;margin-bottom:.5rem}
svg{display:block;width:100%;height:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
.scroll{overflow-x:auto}@media print{body{background:#fff}figure,dl div{break-inside:avoid}}
)";

/// A number of a line, NaN where it has none.
double number(const ordered_json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number() ? found->get<double>() : std::nan("");
}

uint64_t count(const ordered_json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

std::string text(const ordered_json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : "";
}

struct RunFiles {
  std::vector<ordered_json> metrics, events;
  ordered_json record;  // run.json
};

RunFiles read_files(const fs::path& folder) {
  if (!fs::exists(folder / kRunRecord))
    throw Error(ErrorCode::kNotFound, fmt::format("'{}' is no folder of a training run: it has no {}",
                                                  folder.string(), kRunRecord));
  return {read_json_lines(folder / "metrics.jsonl"), read_json_lines(folder / "events.jsonl"),
          ordered_json::parse(read_file(folder / kRunRecord), nullptr, false)};
}

/// A metric by step; where there are more steps than a plot has points for, means of them.
svg::Line line_of(const std::vector<ordered_json>& metrics, const std::string& name, const char* key) {
  svg::Line out{.name = name, .x = {}, .y = {}, .low = {}, .high = {}};
  const size_t group = (metrics.size() + kMostPoints - 1) / kMostPoints;
  double sum = 0, step = 0;
  size_t in_group = 0;
  const auto end_group = [&] {
    if (in_group > 0) {
      out.x.push_back(step);
      out.y.push_back(sum / static_cast<double>(in_group));
    }
    sum = 0;
    in_group = 0;
  };
  for (size_t i = 0; i < metrics.size(); ++i) {
    if (i % group == 0) end_group();
    const double value = number(metrics[i], key);
    if (!std::isfinite(value)) continue;
    sum += value;
    step = number(metrics[i], "step");
    ++in_group;
  }
  end_group();
  return out;
}

class Page {
 public:
  Page(const fs::path& folder, RunFiles files)
      : folder_(folder), files_(std::move(files)), sum_(summarise(folder)) {}

  std::string make() {
    const std::string title = run_name(folder_);
    out_ = fmt::format(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\"><title>{0}</title><style>{1}</style></head><body>"
        "<h1>Training of {0}</h1>",
        escape(title), kStyle);
    figures();
    out_ += "<div class=\"plots\">";
    loss();
    plot("Learning rate", "learning rate by step", "",
         {line_of(files_.metrics, "learning rate", "learning_rate")});
    plot("Speed", "tokens a second by step", "tokens/s",
         {line_of(files_.metrics, "tokens/s", "tokens_per_s")});
    plot("Norm of the gradient", "global norm before clipping, by step", "",
         {line_of(files_.metrics, "norm", "grad_norm")});
    plot("Seconds of a step", "duration of a step and what of it waits for communication", "s",
         {line_of(files_.metrics, "step_time", "step_time"),
          line_of(files_.metrics, "exposed_comm", "exposed_comm")});
    out_ += "</div>";
    events();
    out_ += fmt::format("<h2>Configuration</h2><pre>{}</pre>", escape(text(files_.record, "text")));
    changes();
    out_ += "</body></html>\n";
    return std::move(out_);
  }

 private:
  void figure(std::string_view name, const std::string& value, const std::string& note) {
    out_ +=
        fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>", name, escape(value), escape(note));
  }

  void figures() {
    out_ += "<dl>";
    figure("Steps", std::to_string(sum_.steps), sum_.finished ? "finished" : "not finished");
    figure("Tokens", human_count(static_cast<double>(sum_.tokens)),
           format_duration(3600 * sum_.hours) + " in steps");
    figure("Loss", fmt::format("{:.4f}", sum_.loss), fmt::format("mean of the newest {} steps", kNewest));
    if (sum_.held_out_loss)
      figure("Held out", fmt::format("{:.4f}", *sum_.held_out_loss),
             fmt::format("perplexity {:.2f}; best loss {:.4f}", std::exp(*sum_.held_out_loss),
                         *sum_.best_held_out_loss));
    figure("Speed", human_count(sum_.tokens_per_s) + " tokens/s",
           fmt::format("{:.0f} % of the measured peak", 100 * sum_.share_of_peak));
    figure("Interruptions", std::to_string(sum_.resumed),
           fmt::format("{} batches skipped, {} returns to a checkpoint", sum_.skipped, sum_.rolled_back));
    out_ += "</dl>";
  }

  void plot(const std::string& title, const std::string& about, const std::string& y,
            std::vector<svg::Line> lines, std::vector<svg::Mark> marks = {}, bool from_zero = true) {
    svg::LinePlot drawing;
    drawing.heading = {title, about};
    drawing.x_label = "step";
    drawing.y_label = y;
    drawing.from_zero = from_zero;
    drawing.lines = std::move(lines);
    drawing.marks = std::move(marks);
    out_ +=
        fmt::format("<figure><figcaption>{}</figcaption>{}</figure>", escape(title), svg::line_plot(drawing));
  }

  void loss() {
    std::vector<ordered_json> evaluated;
    for (const ordered_json& line : files_.metrics)
      if (line.contains("held_out_loss")) evaluated.push_back(line);
    std::vector<svg::Line> lines = {line_of(files_.metrics, "training", "loss")};
    if (!evaluated.empty()) lines.push_back(line_of(evaluated, "held out", "held_out_loss"));
    plot("Loss", "mean cross-entropy in nats by step, of the batch and of held-out text", "nats a token",
         std::move(lines), marks(), false);
  }

  std::vector<svg::Mark> marks() const {
    std::vector<svg::Mark> out;
    for (const ordered_json& event : files_.events) {
      const std::string name = text(event, "event");
      if ((name == "resumed" || name == "rolled_back" || name == "skipped") && out.size() < kMostMarks)
        out.push_back(
            {static_cast<double>(count(event, "step")), name == "rolled_back" ? "went back" : name});
    }
    return out;
  }

  void events() {
    out_ +=
        "<h2>What happened</h2><div "
        "class=\"scroll\"><table><thead><tr><th>time</th><th>step</th><th>event</th>"
        "<th></th></tr></thead><tbody>";
    const size_t first = files_.events.size() > kMostEvents ? files_.events.size() - kMostEvents : 0;
    for (size_t i = first; i < files_.events.size(); ++i) {
      const ordered_json& event = files_.events[i];
      std::string more;
      for (const auto& [key, value] : event.items())
        if (key != "event" && key != "step" && key != "time")
          more += fmt::format("{}{} {}", more.empty() ? "" : ", ", key,
                              value.is_string()
                                  ? value.get<std::string>()
                                  : value.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
      out_ +=
          fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", escape(text(event, "time")),
                      count(event, "step"), escape(text(event, "event")), escape(more));
    }
    out_ += "</tbody></table></div>";
  }

  void changes() {
    const auto found = files_.record.is_object() ? files_.record.find("changes") : files_.record.end();
    if (!files_.record.is_object() || found == files_.record.end() || !found->is_array() || found->empty())
      return;
    out_ += "<p>Changed on the command line:</p><pre>";
    for (const auto& change : *found)
      if (change.is_string()) out_ += escape(change.get<std::string>()) + "\n";
    out_ += "</pre>";
  }

  const fs::path& folder_;
  RunFiles files_;
  RunSummary sum_;
  std::string out_;
};

}  // namespace

RunSummary summarise(const fs::path& folder) {
  const RunFiles files = read_files(folder);
  RunSummary out;
  const size_t newest = std::min(kNewest, files.metrics.size());
  for (size_t i = 0; i < files.metrics.size(); ++i) {
    const ordered_json& line = files.metrics[i];
    if (const double seconds = number(line, "step_time"); seconds > 0) out.hours += seconds / 3600;
    if (const double held = number(line, "held_out_loss"); std::isfinite(held)) {
      out.held_out_loss = held;
      out.best_held_out_loss = std::min(held, out.best_held_out_loss.value_or(held));
    }
    if (i + newest < files.metrics.size()) continue;
    out.loss += number(line, "loss") / static_cast<double>(newest);
    out.tokens_per_s += number(line, "tokens_per_s") / static_cast<double>(newest);
    out.share_of_peak += number(line, "share_of_peak") / static_cast<double>(newest);
    out.steps = count(line, "step");
    out.tokens = count(line, "tokens");
    out.skipped = count(line, "skipped");
  }
  for (const ordered_json& event : files.events) {
    const std::string name = text(event, "event");
    out.resumed += name == "resumed" ? 1 : 0;
    out.rolled_back += name == "rolled_back" ? 1 : 0;
    out.finished = name == "finished";
    if (name == "slow_rank") out.slow_ranks.push_back(count(event, "rank"));
  }
  for (const fs::path& path : list_checkpoints(folder / kCheckpointsFolder))
    out.checkpoints.push_back(path.filename().string());
  return out;
}

ordered_json to_json(const RunSummary& s) {
  ordered_json out = {{"step", s.steps},
                      {"tokens", s.tokens},
                      {"hours", s.hours},
                      {"loss", s.loss},
                      {"tokens_per_s", s.tokens_per_s},
                      {"share_of_peak", s.share_of_peak},
                      {"skipped", s.skipped},
                      {"resumed", s.resumed},
                      {"rolled_back", s.rolled_back},
                      {"slow_ranks", s.slow_ranks},
                      {"finished", s.finished},
                      {"checkpoints", s.checkpoints}};
  if (s.held_out_loss) {
    out["held_out_loss"] = *s.held_out_loss;
    out["best_held_out_loss"] = *s.best_held_out_loss;
  }
  return out;
}

std::string report_html(const fs::path& folder) { return Page(folder, read_files(folder)).make(); }

}  // namespace fathom::train
