#include "cluster/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/toml.h"
#include "cluster/scenario_check.h"
#include "model/description.h"

namespace fathom::cluster {
namespace {

constexpr int64_t kMostChips = int64_t{1} << 24;

model::ModelConfig read_model_file(const std::filesystem::path& path) {
  if (path.extension() == ".toml") return model::read_description(path);
  return model::ModelConfig::from_gguf(model::GgufFile::open(path, model::GgufContents::kDescription));
}

model::ModelConfig read_model(const TomlTable& document, const std::filesystem::path& models) {
  if (!document.has("model")) document.error("model", "is missing: add [model] with preset = \"NAME\"");
  const TomlTable table = document.table("model");
  table.allow({"preset", "file"});
  if (table.has("preset") == table.has("file"))
    table.error(
        "[model] takes either 'preset', a name of data/models, or 'file', a GGUF file, a Hugging Face folder "
        "or a "
        "description");
  if (table.has("preset"))
    return at_place(table.place("preset"), [&] {
      return model::read_description(model::find_description(models, table.text("preset")));
    });
  const std::filesystem::path beside = std::filesystem::path(document.file()).parent_path();
  return at_place(table.place("file"), [&] { return read_model_file(beside / table.text("file")); });
}

/// The host that is named, else the chip's own: the one whose chips fill a scale-up domain, if there are several.
const Host& find_host(const TomlTable& table, const Accelerator& chip, const Catalogue& catalogue) {
  std::string known;
  const Host* own = nullptr;
  for (const auto& [id, host] : catalogue.hosts) {
    if (host.accelerator != chip.id) continue;
    known += (known.empty() ? "" : ", ") + id;
    if (!own || (own->chips != chip.scale_up_chips && host.chips == chip.scale_up_chips)) own = &host;
  }
  if (!table.has("host")) {
    if (!own)
      table.error("accelerator",
                  fmt::format("is '{}', and no host of the catalogue carries it; name a 'host'", chip.id));
    return *own;
  }
  const Host& host =
      at_place(table.place("host"), [&]() -> const Host& { return catalogue.host(table.text("host")); });
  if (!host.accelerator.empty() && host.accelerator != chip.id)
    table.error("host", fmt::format("is '{}', which carries {}, not {}; hosts of it: {}", host.id,
                                    host.accelerator, chip.id, known.empty() ? "none" : known));
  return host;
}

/// Racks that all hosts take, by their height and by what a rack can feed.
void count_racks(const TomlTable& table, const Catalogue& catalogue, Scenario& out) {
  if (!table.has("rack")) return;
  const Rack& rack =
      at_place(table.place("rack"), [&]() -> const Rack& { return catalogue.rack(table.text("rack")); });
  const Host& host = out.machine.host;
  const double host_w = host.power_w + host.chips * out.machine.chip.power_w;
  const double by_units = host.rack_units > 0 ? std::floor(rack.units / host.rack_units) : rack.units;
  const double by_power = host_w > 0 ? std::floor(rack.power_w / host_w) : by_units;
  const double hosts_per_rack = std::min(by_units, by_power);
  if (hosts_per_rack < 1)
    table.error(
        "rack",
        fmt::format("is '{}' with {:g} units and {:.1f} kW, but one host takes {:g} units and {:.1f} kW; "
                    "take a larger rack",
                    rack.id, rack.units, rack.power_w / 1e3, host.rack_units, host_w / 1e3));
  out.racks = std::ceil(static_cast<double>(out.machine.chips) / host.chips / hosts_per_rack);
  out.rack_usd = out.racks * rack.price_usd;
}

void read_machine(const TomlTable& document, const Catalogue& catalogue, Scenario& out) {
  if (!document.has("machine"))
    document.error("machine", "is missing: add [machine] with accelerator = \"ID\" and chips = NUMBER");
  const TomlTable table = document.table("machine");
  table.allow({"accelerator", "host", "chips", "rack"});
  Machine& machine = out.machine;
  machine.chip =
      at_place(table.place("accelerator"), [&] { return catalogue.accelerator(table.text("accelerator")); });
  machine.host = find_host(table, machine.chip, catalogue);
  machine.chips = static_cast<uint64_t>(table.integer("chips", 1, kMostChips));
  if (const uint64_t within = std::max(1U, machine.host.chips); machine.chips % within != 0) {
    const uint64_t below = machine.chips / within * within;
    table.error("chips", fmt::format("must be whole hosts of {}: {}{}", within,
                                     below > 0 ? fmt::format("{} or ", below) : "", below + within));
  }
  const NetworkSpec network = NetworkSpec::read(document.table("network"));
  const std::string place =
      document.has("network") ? document.table("network").place() : table.place("chips");
  machine.network = at_place(
      place, [&] { return Network::build(catalogue, network, machine.chip, machine.host, machine.chips); });
  count_racks(table, catalogue, out);
}

}  // namespace

ParallelPlan read_plan(const TomlTable& table, uint64_t chips) {
  table.allow({"data", "tensor", "pipeline", "context", "expert", "expert_tensor", "interleave",
               "micro_batch", "zero", "sequence_parallel", "recompute", "schedule", "precision",
               "offload_optimizer", "offload_activations", "overlap_data", "overlap_tensor",
               "overlap_expert"});
  ParallelPlan plan;
  const auto degree = [&](std::string_view key, uint32_t& value) {
    value = static_cast<uint32_t>(table.integer_or(key, value, 1, kMostChips));
  };
  degree("tensor", plan.tensor);
  degree("pipeline", plan.pipeline);
  degree("context", plan.context);
  degree("expert", plan.expert);
  degree("expert_tensor", plan.expert_tensor);
  degree("interleave", plan.interleave);
  degree("micro_batch", plan.micro_batch);
  degree("data", plan.data);
  // Bounded by 2^24 each, of which two already make more than there can be chips: no product may overflow.
  const double replica = static_cast<double>(plan.tensor) * plan.pipeline * plan.context;
  const auto all = static_cast<double>(chips);
  if (!table.has("data")) {
    const double left = std::floor(all / replica);
    if (left < 1 || left * replica != all)
      table.error(
          fmt::format("tensor x pipeline x context is {:.0f}, which does not divide the {} chips; change a "
                      "degree, or say 'data'",
                      replica, chips));
    plan.data = static_cast<uint32_t>(left);
  } else if (replica * plan.data > all) {
    table.error(fmt::format(
        "data x tensor x pipeline x context is {:.0f}, but the machine has {} chips; lower a degree",
        replica * plan.data, chips));
  }
  plan.zero = static_cast<uint8_t>(table.integer_or("zero", plan.zero, 0, 3));
  plan.sequence_parallel = table.flag_or("sequence_parallel", plan.tensor > 1);
  plan.recompute = static_cast<Recompute>(table.choice_or("recompute", 0, {"none", "selective", "full"}));
  plan.schedule = static_cast<Schedule>(table.choice_or("schedule", 0, {"1f1b", "zero-bubble"}));
  plan.precision = static_cast<Precision>(table.choice_or("precision", static_cast<size_t>(plan.precision),
                                                          {"fp32", "tf32", "bf16", "fp16", "fp8", "fp4"}));
  plan.offload_optimizer = table.flag_or("offload_optimizer", false);
  plan.offload_activations = table.flag_or("offload_activations", false);
  plan.overlap_data = table.flag_or("overlap_data", plan.overlap_data);
  plan.overlap_tensor = table.flag_or("overlap_tensor", plan.overlap_tensor);
  plan.overlap_expert = table.flag_or("overlap_expert", plan.overlap_expert);
  return plan;
}

Scenario Scenario::from(const TomlTable& document, const Catalogue& catalogue,
                        const std::filesystem::path& models) {
  document.allow({"title", "about", "model", "job", "machine", "network", "plan", "search", "run", "serving",
                  "power", "money", "schedule", "task", "crew", "risk"});
  Scenario out;
  out.file = document.file();
  out.title = document.text_or("title", std::filesystem::path(out.file).stem().string());
  out.about = document.text_or("about", "");
  for (const std::string& key : document.keys()) out.places.emplace(key, document.place(key));
  out.model = read_model(document, models);
  out.job = TrainingJob::read(document.table("job"));
  read_machine(document, catalogue, out);
  if (document.has("plan")) out.plan = read_plan(document.table("plan"), out.machine.chips);
  out.search = SearchSpace::read(document.table("search"));
  if (document.has("run")) out.run = RunSpec::read(document.table("run"));
  if (document.has("serving")) out.serving = ServingSpec::read(document.table("serving"));
  if (document.has("power")) out.power = PowerSpec::read(document);
  if (document.has("money")) out.money = MoneySpec::read(document);
  for (const char* key : {"task", "crew", "risk"})
    if (document.has(key) && !document.has("schedule"))
      document.error(key, "needs a [schedule] with 'start' and 'target'");
  if (document.has("schedule")) out.schedule = ScheduleSpec::read(document);
  check_scenario(out, document, catalogue);
  return out;
}

Scenario Scenario::parse(std::string_view text, const std::string& name, const Catalogue& catalogue,
                         const std::filesystem::path& models) {
  return from(TomlTable::parse(text, name), catalogue, models);
}

Scenario Scenario::read(const std::filesystem::path& file, const Catalogue& catalogue,
                        const std::filesystem::path& models) {
  return from(TomlTable::read(file), catalogue, models);
}

std::string Scenario::place(std::string_view section) const {
  const auto found = places.find(section);
  return found == places.end() ? file : found->second;
}

}  // namespace fathom::cluster
