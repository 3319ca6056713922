// How a report of the planner looks in a terminal. Prints to standard output.
#pragma once

#include <string>
#include <vector>

#include "cluster/report.h"

namespace fathom::cli {

void show_report(const cluster::Report& report, const cluster::Scenario& scenario);

/// Two scenarios side by side, with what differs.
void show_comparison(const cluster::Report& a, const cluster::Scenario& scenario_a, const cluster::Report& b,
                     const cluster::Scenario& scenario_b);

}  // namespace fathom::cli
