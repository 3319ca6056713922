// The pictures of a report, as SVG that stands in a page by itself: for the HTML report and the server's page alike.
// Pure functions; no scripts, no links, colours by CSS classes with `currentColor` as the fall-back.
#pragma once

#include <string>
#include <vector>

#include "cluster/report.h"

namespace fathom::cluster {

struct Drawing {
  std::string name;  // "network", "power", "schedule", "cost", "heat", ...
  std::string title;
  std::string svg;
};

/// Those that the report has parts for.
std::vector<Drawing> drawings(const Report& report, const Scenario& scenario);

}  // namespace fathom::cluster
