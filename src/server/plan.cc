// GET /v1/plan (what there is to plan with), POST /v1/plan (a scenario with changes), and the page /plan.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cluster/planner.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/json_body.h"

namespace fathom::server {
namespace {

constexpr size_t kMaxBody = 64 * 1024;
constexpr size_t kMaxChanges = 64;
constexpr size_t kMaxValue = 256;

/// A number, a text or true and false, as a scenario file would have it.
std::string value_text(const JsonFields& fields, const std::string& key,
                       const nlohmann::ordered_json& value) {
  std::string text;
  if (value.is_string()) {
    text = value.get<std::string>();
  } else if (value.is_number() || value.is_boolean() || value.is_array()) {
    text = value.dump();
  } else {
    fields.refuse_type("changes." + key, "a number, a text, true, false or a list");
  }
  if (text.empty() || text.size() > kMaxValue)
    fields.refuse("changes." + key, "must have from 1 to 256 characters");
  return text;
}

std::vector<std::pair<std::string, std::string>> read_changes(const JsonFields& fields) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto* changes = fields.find("changes");
  if (changes == nullptr) return out;
  if (!changes->is_object()) fields.refuse_type("changes", "an object");
  if (changes->size() > kMaxChanges) fields.refuse("changes", "has more than 64 members");
  for (const auto& [key, value] : changes->items()) out.emplace_back(key, value_text(fields, key, value));
  return out;
}

/// Only so many wait for the one that is made: plans may not take the threads of answers.
constexpr size_t kPlansAtOnce = 4;

}  // namespace

void add_plan_routes(Router& router, const Context& context) {
  if (context.services.planner == nullptr) return;
  cluster::Planner& planner = *context.services.planner;
  router.add({.method = "GET",
              .pattern = "/v1/plan",
              .name = "plan_choices",
              .handler = [&planner](const Request&, const std::shared_ptr<Reply>& reply) {
                reply->send(json_response(planner.choices()));
              }});
  router.add({.method = "POST",
              .pattern = "/v1/plan",
              .name = "plan",
              .lane = Lane::kAnswers,
              .max_body = kMaxBody,
              .json_body = true,
              .handler = [&planner, slots = std::make_shared<Slots>(kPlansAtOnce)](
                             const Request& request, const std::shared_ptr<Reply>& reply) {
                const auto body = parse_json(request.body);
                const JsonFields fields(body, "");
                const std::string scenario = fields.required_text("scenario");
                const auto changes = read_changes(fields);
                if (!planner.has(scenario))
                  fields.refuse("scenario", "names no scenario; GET /v1/plan lists them", 404, "not_found");
                const auto slot = slots->take(1);
                if (!slot)
                  throw ApiError(429, "too many plans are being made; try again in a moment",
                                 "rate_limit_exceeded");
                try {
                  reply->send(json_response(planner.plan(scenario, changes, reply->stop())));
                } catch (const Error& error) {
                  if (error.code() != ErrorCode::kInvalidArgument && error.code() != ErrorCode::kNotFound)
                    throw;
                  throw ApiError(400, error.what(), "impossible_scenario", "scenario");
                }
              }});
}

}  // namespace fathom::server
