// GET /v1/setup: what there is and what could be; POST /v1/setup: one of the offers, made real.
#include "server/setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/json_body.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxBody = 64 * 1024;
constexpr size_t kMaxOptions = 32, kMaxEntries = 200;

Setup& setup_of(const Context& context) {
  if (context.services.setup != nullptr) return *context.services.setup;
  throw ApiError(404, "this server cannot be set up through its API", "no_setup");
}

const char* state_name(SetupOffer::State state) {
  switch (state) {
    case SetupOffer::State::kAvailable: return "available";
    case SetupOffer::State::kFetching: return "fetching";
    case SetupOffer::State::kInstalled: return "installed";
    case SetupOffer::State::kFailed: return "failed";
  }
  return "";
}

json offer_json(const SetupOffer& offer) {
  json out = {{"id", offer.id},
              {"kind", offer.kind},
              {"title", offer.title},
              {"description", offer.description},
              {"state", state_name(offer.state)},
              {"installed", offer.state == SetupOffer::State::kInstalled}};
  if (offer.needs_address) out.update({{"needs", "address"}, {"example", offer.example}});
  if (offer.state == SetupOffer::State::kFetching || offer.state == SetupOffer::State::kFailed)
    out["progress"] = {{"done", offer.done}, {"total", offer.total}};
  if (offer.state == SetupOffer::State::kFailed) out["progress"]["error"] = offer.problem;
  if (offer.state == SetupOffer::State::kInstalled && !offer.problem.empty()) out["problem"] = offer.problem;
  if (offer.kind == "model") out["restart"] = !offer.problem.empty();
  return out;
}

/// As in GET /v1/status, and whether it can be removed here.
json source_list(const Context& context) {
  const auto removable = setup_of(context).removable();
  json out = sources_json(context.services);
  for (json& source : out)
    source["removable"] =
        std::find(removable.begin(), removable.end(), source.value("name", "")) != removable.end();
  return out;
}

json setup_json(const Context& context, const Request& request) {
  const Services& services = context.services;
  json offers = json::array();
  for (const auto& offer : setup_of(context).offers()) offers.push_back(offer_json(offer));
  json model;
  if (services.engine != nullptr) model = {{"name", services.engine->info().name}};
  return {{"posts", services.store.stats().posts},
          {"fiction", services.fiction_feed},
          {"may_change", request.role.empty() || request.role == to_string(Role::kAdmin)},
          {"sources", source_list(context)},
          {"model", std::move(model)},
          {"offers", std::move(offers)}};
}

std::string read_option(const JsonFields& options, const std::string& name, const ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer() || value.is_boolean()) return value.dump();
  std::string out;
  for (const auto& entry : options.texts(name, kMaxEntries)) out += (out.empty() ? "" : "\n") + entry;
  return out;
}

SetupOrder read_order(const Request& request) {
  const auto body = parse_json(request.body);
  const JsonFields fields(body, "");
  SetupOrder out;
  out.id = fields.required_text("id");
  out.address = fields.text("address").value_or("");
  out.name = fields.text("name").value_or("");
  const ordered_json* options = fields.find("options");
  if (options == nullptr) return out;
  const JsonFields inner(*options, "options");
  if (options->size() > kMaxOptions) fields.refuse("options", "has too many members");
  for (const auto& entry : options->items())
    out.options.emplace_back(entry.key(), read_option(inner, entry.key(), entry.value()));
  return out;
}

std::string_view to_string(SetupEffect effect) {
  if (effect == SetupEffect::kNow) return "now";
  return effect == SetupEffect::kRestart ? "restart" : "when_fetched";
}

SetupEffect begin(Setup& setup, const SetupOrder& order) {
  try {
    return setup.begin(order);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted) throw;
    throw ApiError(409, error.what(), "busy");
  }
}

Response begin(const Context& context, const Request& request) {
  const SetupOrder order = read_order(request);
  const SetupEffect effect = begin(setup_of(context), order);
  return json_response({{"id", order.id}, {"effect", to_string(effect)}},
                       effect == SetupEffect::kNow ? 201 : 202);
}

Response remove(const Context& context, const Request& request) {
  const std::string& name = *find_field(request.captures, "name");
  const auto effect = setup_of(context).remove(name);
  if (!effect)
    throw ApiError(
        404, fmt::format("no source \"{}\" was added to this server", sanitize_utf8(name.substr(0, 64))),
        "source_not_found", "name");
  return json_response({{"name", name}, {"removed", true}, {"effect", to_string(*effect)}},
                       *effect == SetupEffect::kNow ? 200 : 202);
}

}  // namespace

void add_setup_routes(Router& router, const Context& context) {
  router.add({.method = "GET",
              .pattern = "/v1/setup",
              .name = "setup",
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                reply->send(json_response(setup_json(context, request)));
              }});
  router.add({.method = "DELETE",
              .pattern = "/v1/setup/sources/{name}",
              .name = "setup",
              .role = Role::kAdmin,
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                reply->send(remove(context, request));
              }});
  router.add({.method = "POST",
              .pattern = "/v1/setup",
              .name = "setup",
              .role = Role::kAdmin,
              .max_body = kMaxBody,
              .json_body = true,
              .handler = [&context](const Request& request, const std::shared_ptr<Reply>& reply) {
                reply->send(begin(context, request));
              }});
}

}  // namespace fathom::server
