// The report as one page that can be sent by mail: figures, drawings, tables; no script, nothing fetched.
#include <fmt/format.h>

#include <algorithm>

#include "base/svg.h"
#include "base/toml.h"
#include "cluster/drawings.h"
#include "cluster/format.h"
#include "cluster/report.h"

namespace fathom::cluster {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#15222b;--quiet:#5d6a73;--line:#e3e0d9;--bg:#f8f7f4;--card:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e8eff1;--quiet:#94a5ad;--line:#223038;--bg:#0b1216;--card:#121c22}}
*{box-sizing:border-box}body{margin:0 auto;max-width:76rem;padding:2rem 1.25rem;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
h1,h2{font-family:Charter,Georgia,serif;line-height:1.2;margin:0 0 .5rem}h1{font-size:2rem}h2{font-size:1.25rem;margin-top:2.5rem}
p{margin:.25rem 0}.quiet{color:var(--quiet)}dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.75rem;margin:1.5rem 0}
dl div,figure{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem;margin:0;min-width:0}
dt{color:var(--quiet);font-size:.85rem}dd{margin:0;font:600 1.6rem/1.2 Charter,Georgia,serif}dd small{display:block;font:400 .85rem/1.4 system-ui,sans-serif;color:var(--quiet)}
.drawings{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(32rem,100%),1fr));gap:1rem}figure{overflow-x:auto}figcaption{font:600 1rem Charter,Georgia,serif;margin-bottom:.5rem}
svg{display:block;width:100%;height:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap}.scroll{overflow-x:auto}
@media print{body{background:#fff}figure,dl div{break-inside:avoid}}
)";

using svg::escape;

class Page {
 public:
  Page(const Report& report, const Scenario& scenario) : report_(report), scenario_(scenario) {}

  std::string make() {
    out_ = fmt::format(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width, "
        "initial-scale=1\"><title>{0}</title><style>{1}</style></head><body><h1>{0}</h1>",
        escape(report_.title), kStyle);
    if (!scenario_.about.empty()) out_ += fmt::format("<p class=\"quiet\">{}</p>", escape(scenario_.about));
    figures();
    out_ += "<div class=\"drawings\">";
    for (const auto& drawing : drawings(report_, scenario_))
      out_ +=
          fmt::format("<figure><figcaption>{}</figcaption>{}</figure>", escape(drawing.title), drawing.svg);
    out_ += "</div>";
    plans();
    bill();
    costs();
    purchases();
    out_ += "</body></html>\n";
    return std::move(out_);
  }

 private:
  void figure(std::string_view name, const std::string& value, const std::string& note) {
    out_ +=
        fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>", name, escape(value), escape(note));
  }

  void figures() {
    const StepCost& step = report_.step;
    out_ += "<dl>";
    figure("Chips", format_number(static_cast<double>(scenario_.machine.chips)), scenario_.machine.chip.name);
    figure("Step", format_seconds(step.time.step_time),
           fmt::format("{}, MFU {}", format_rate(step.tokens_per_s, "tokens"), format_share(step.mfu)));
    if (report_.training_days > 0)
      figure("Training run", format_seconds(report_.training_days * 86'400),
             format_count(scenario_.job.tokens) + " tokens");
    if (report_.run)
      figure("Goodput", format_share(report_.run->goodput.middle),
             fmt::format("{} to {}", format_share(report_.run->goodput.low),
                         format_share(report_.run->goodput.high)));
    if (report_.schedule)
      figure("Ready by the target", format_share(report_.schedule->probability),
             fmt::format("target {}, middle {}, nine in ten by {}", format_date(scenario_.schedule->target),
                         format_date(report_.schedule->p50), format_date(report_.schedule->p90)));
    if (report_.power)
      figure("Site power", format_watts(report_.power->draw.peak_facility_w), report_.power->sentence);
    if (report_.money)
      figure("Money", format_usd(report_.money->total_usd),
             fmt::format("{} to buy, {} a year to run", format_usd(report_.money->capital_usd),
                         format_usd(report_.money->running_usd_per_year)));
    if (report_.serving && report_.serving->best.feasible)
      figure("Served at once", format_count(report_.serving->users_served) + " users",
             format_usd(report_.serving->best.usd_per_million_output) + " a million output tokens");
    out_ += "</dl>";
    out_ += fmt::format("<p>Layout: {}.</p>", escape(describe(report_.plan)));
  }

  void begin_table(std::string_view title, std::initializer_list<std::string_view> columns) {
    out_ += fmt::format("<h2>{}</h2><div class=\"scroll\"><table><thead><tr>", title);
    bool first = true;
    for (const auto column : columns) {
      out_ += fmt::format("<th{}>{}</th>", first ? "" : " class=\"n\"", column);
      first = false;
    }
    out_ += "</tr></thead><tbody>";
  }
  void table_row(std::initializer_list<std::string> cells) {
    out_ += "<tr>";
    bool first = true;
    for (const auto& cell : cells) {
      out_ += fmt::format("<td{}>{}</td>", first ? "" : " class=\"n\"", escape(cell));
      first = false;
    }
    out_ += "</tr>";
  }
  void end_table() { out_ += "</tbody></table></div>"; }

  void plans() {
    if (!report_.search) return;
    begin_table("Best layouts", {"plan", "step", "MFU", "memory"});
    for (const auto& [plan, cost] : report_.search->best)
      table_row({describe(plan), format_seconds(cost.time.step_time), format_share(cost.mfu),
                 format_bytes(cost.memory.total)});
    end_table();
  }

  void bill() {
    const NetworkBill& bill = scenario_.machine.network.bill();
    if (bill.lines.empty()) return;
    begin_table("Network: bill of materials", {"part", "count", "each", "in all", "power"});
    for (const auto& line : bill.lines) {
      const double count = static_cast<double>(line.count);
      table_row({fmt::format("{} ({})", line.what, line.item), format_number(count),
                 format_usd(line.unit_usd), format_usd(count * line.unit_usd),
                 format_watts(count * line.unit_w)});
    }
    table_row({"in all", "", "", format_usd(bill.price_usd), format_watts(bill.power_w)});
    end_table();
  }

  void costs() {
    if (!report_.money) return;
    const MoneyResult& money = *report_.money;
    begin_table("Money", {"what", "once", "a year"});
    for (const auto& line : money.lines)
      table_row({line.name, line.group == "capital" ? format_usd(line.usd) : "",
                 line.group == "capital" ? "" : format_usd(line.usd)});
    table_row({"in all", format_usd(money.capital_usd), format_usd(money.running_usd_per_year)});
    end_table();
    begin_table("Own or rent", {"option", "over the years", "a chip-hour", "months until the first chips"});
    for (const auto& option : money.options)
      table_row({option.name, format_usd(option.usd_over_years), format_usd(option.usd_per_chip_hour),
                 format_number(option.months_until_first_chips)});
    end_table();
  }

  void purchases() {
    if (!report_.schedule || report_.schedule->purchases.empty()) return;
    begin_table("What to buy to be sooner", {"task", "weeks", "price", "chance gained"});
    for (const auto& purchase : report_.schedule->purchases)
      table_row({purchase.task, format_number(purchase.weeks), format_usd(purchase.usd),
                 fmt::format("{:+.1f} points", purchase.probability_gain * 100)});
    end_table();
  }

  const Report& report_;
  const Scenario& scenario_;
  std::string out_;
};

}  // namespace

std::string to_html(const Report& report, const Scenario& scenario) { return Page(report, scenario).make(); }

}  // namespace fathom::cluster
