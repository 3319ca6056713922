// The planner's results as JSON, for `--json`, the page and the report: one form everywhere. Names are the fields' own,
// with their units; shares are fractions, dates "2025-09-30". Pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "cluster/money.h"
#include "cluster/network.h"
#include "cluster/power.h"
#include "cluster/schedule.h"
#include "cluster/search.h"
#include "cluster/serving.h"
#include "cluster/simulate.h"
#include "cluster/step_cost.h"

namespace fathom::cluster {

void to_json(nlohmann::json& out, const ParallelPlan& plan);
void to_json(nlohmann::json& out, const StepCost& cost);
void to_json(nlohmann::json& out, const RankedPlan& ranked);
void to_json(nlohmann::json& out, const SearchResult& result);
void to_json(nlohmann::json& out, const RunResult& result);
void to_json(nlohmann::json& out, const ServingPoint& point);
void to_json(nlohmann::json& out, const ServingResult& result);
void to_json(nlohmann::json& out, const ScheduleResult& result);
void to_json(nlohmann::json& out, const TrackResult& result);
void to_json(nlohmann::json& out, const PowerResult& result);
void to_json(nlohmann::json& out, const MoneyResult& result);
void to_json(nlohmann::json& out, const NetworkBill& bill);
void to_json(nlohmann::json& out, const Network& network);

}  // namespace fathom::cluster
