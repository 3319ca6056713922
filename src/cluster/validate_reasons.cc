#include "cluster/validate_reasons.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/file.h"
#include "base/text.h"
#include "base/toml.h"

namespace fathom::cluster {
namespace {

struct Attribute {
  const char* name;
  double (*of)(const MeasuredRun&);
};

double number(uint64_t n) { return static_cast<double>(n); }

constexpr Attribute kAttributes[] = {
    {"chips", [](const MeasuredRun& r) { return number(r.chips); }},
    {"tensor", [](const MeasuredRun& r) { return number(r.serves ? r.layout.tensor : r.plan.tensor); }},
    {"pipeline", [](const MeasuredRun& r) { return number(r.plan.pipeline); }},
    {"data", [](const MeasuredRun& r) { return number(r.plan.data); }},
    {"context", [](const MeasuredRun& r) { return number(r.plan.context); }},
    {"expert", [](const MeasuredRun& r) { return number(r.plan.expert); }},
    {"zero", [](const MeasuredRun& r) { return number(r.plan.zero); }},
    {"micro_batch", [](const MeasuredRun& r) { return number(r.plan.micro_batch); }},
    {"micro_batches",
     [](const MeasuredRun& r) {
       return number(r.job.global_batch) / (number(r.plan.data) * number(r.plan.micro_batch));
     }},
    {"sequence", [](const MeasuredRun& r) { return number(r.job.sequence); }},
    {"hidden", [](const MeasuredRun& r) { return number(r.model.d_model); }},
    {"micro_tokens",
     [](const MeasuredRun& r) { return number(r.job.sequence) * number(r.plan.micro_batch); }},
    {"input_tokens", [](const MeasuredRun& r) { return number(r.serving.input_tokens); }},
    {"output_tokens", [](const MeasuredRun& r) { return number(r.serving.output_tokens); }},
};

/// "vtrain_*" stands for everything that begins so.
bool matches(const std::string& pattern, std::string_view text) {
  if (pattern.ends_with('*'))
    return text.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
  return text == pattern;
}

bool any_matches(const std::vector<std::string>& patterns, std::string_view text) {
  return patterns.empty() || std::any_of(patterns.begin(), patterns.end(),
                                         [&](const std::string& pattern) { return matches(pattern, text); });
}

bool any_within(const std::vector<std::string>& parts, std::string_view text) {
  return parts.empty() || std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
           return text.find(part) != std::string_view::npos;
         });
}

bool in_range(const std::pair<std::string, std::pair<double, double>>& range, const MeasuredRun& run) {
  for (const Attribute& attribute : kAttributes)
    if (range.first == attribute.name) {
      const double value = attribute.of(run);
      return value >= range.second.first && value <= range.second.second;
    }
  return false;
}

}  // namespace

ValidationReasons ValidationReasons::read(const std::filesystem::path& path) {
  return parse(read_file(path, size_t{4} << 20), path.string());
}

ValidationReasons ValidationReasons::parse(std::string_view text, const std::string& name) {
  const TomlTable root = TomlTable::parse(text, name);
  root.allow({"reason"});
  ValidationReasons out;
  for (const TomlTable& table : root.tables("reason")) {
    table.allow({"text",     "sets",   "groups",       "machines",     "models",
                 "notes",    "chips",  "tensor",       "pipeline",     "data",
                 "context",  "expert", "zero",         "micro_batch",  "micro_batches",
                 "sequence", "hidden", "micro_tokens", "input_tokens", "output_tokens"});
    Rule rule;
    rule.text = table.text("text");
    rule.sets = table.texts("sets");
    rule.groups = table.texts("groups");
    rule.machines = table.texts("machines");
    rule.models = table.texts("models");
    rule.notes = table.texts("notes");
    for (const Attribute& attribute : kAttributes) {
      if (!table.has(attribute.name)) continue;
      const std::vector<double> bounds = table.numbers(attribute.name, 0, 1e15);
      if (bounds.size() != 2 || bounds[0] > bounds[1]) table.error(attribute.name, "must be [least, most]");
      rule.ranges.push_back({attribute.name, {bounds[0], bounds[1]}});
    }
    if (rule.text.size() < 20) table.error("text", "must say why in a sentence");
    out.rules_.push_back(std::move(rule));
  }
  return out;
}

std::string ValidationReasons::find(const ValidationRow& row, const MeasuredRun& run) const {
  for (const Rule& rule : rules_) {
    const bool holds = any_matches(rule.sets, row.set) && any_matches(rule.groups, row.group) &&
                       any_matches(rule.machines, row.machine) && any_within(rule.models, run.about) &&
                       any_within(rule.notes, run.note) &&
                       std::all_of(rule.ranges.begin(), rule.ranges.end(),
                                   [&](const auto& range) { return in_range(range, run); });
    if (holds) return rule.text;
  }
  return "";
}

}  // namespace fathom::cluster
