// GET /v1/styles: how answers may be told.
#include <nlohmann/json.hpp>

#include "answer/style.h"
#include "server/api_error.h"
#include "server/context.h"

namespace fathom::server {
namespace {

using nlohmann::json;

json styles_json(const Services& services) {
  if (services.styles == nullptr) throw ApiError(404, "this server has no styles", "no_styles");
  json list = json::array();
  std::vector<std::string> errors;
  for (const auto& style : services.styles->list(&errors))
    list.push_back({{"name", style.name}, {"title", style.title}, {"description", style.description}});
  json out = {{"object", "list"}, {"data", std::move(list)}};
  if (!errors.empty()) out["problems"] = errors;
  return out;
}

}  // namespace

void add_style_routes(Router& router, const Context& context) {
  router.add({.method = "GET",
              .pattern = "/v1/styles",
              .name = "styles",
              .handler = [&context](const Request&, const std::shared_ptr<Reply>& reply) {
                reply->send(json_response(styles_json(context.services)));
              }});
}

}  // namespace fathom::server
