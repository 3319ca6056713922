// GET /v1/models, GET /v1/models/{id}.
#include <nlohmann/json.hpp>

#include "server/api_error.h"
#include "server/context.h"
#include "server/model_names.h"

namespace fathom::server {
namespace {

using nlohmann::json;

json model_json(const std::string& id, Time created, const std::string& description) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(created.time_since_epoch()).count();
  return {{"id", id},
          {"object", "model"},
          {"created", seconds},
          {"owned_by", "fathom"},
          {"description", description}};
}

json own_model_json(const infer::ModelInfo& info, Time created) {
  json model = model_json(info.name, created,
                          "The language model alone; searches only when search_parameters ask for it.");
  model["architecture"] = info.architecture;
  model["quantisation"] = info.quantisation;
  model["parameters"] = info.parameters;
  model["context_length"] = info.context;
  model["max_model_len"] = info.context;
  model["vocabulary"] = info.vocabulary;
  return model;
}

json embedder_json(const infer::EmbedderInfo& info, Time created) {
  json model = model_json(info.name, created, "Turns texts into vectors: POST /v1/embeddings.");
  model["architecture"] = info.architecture;
  model["dimensions"] = info.dimensions;
  model["context_length"] = info.context;
  return model;
}

}  // namespace

json models_json(const Services& services) {
  const Time created{};  // not known; a constant, so that lists can be compared
  json list = json::array();
  list.push_back(
      model_json(std::string(kAutoModel), created,
                 "Answers from the live feed with citations; writes with the model when there is one."));
  list.push_back(model_json(std::string(kExtractModel), created,
                            "Answers from the live feed by quoting its posts; needs no language model."));
  if (services.engine != nullptr) {
    list.push_back(model_json(
        std::string(kGenerateModel), created,
        "Answers from the live feed in the model's words, each sentence checked against its post."));
    list.push_back(own_model_json(services.engine->info(), created));
  }
  if (services.embedder != nullptr) list.push_back(embedder_json(services.embedder->info(), created));
  return list;
}

void add_model_routes(Router& router, const Context& context) {
  const Services& services = context.services;
  router.add({.method = "GET",
              .pattern = "/v1/models",
              .name = "models",
              .handler = [&services](const Request&, const std::shared_ptr<Reply>& reply) {
                reply->send(json_response({{"object", "list"}, {"data", models_json(services)}}));
              }});
  router.add({.method = "GET",
              .pattern = "/v1/models/{id}",
              .name = "models",
              .handler = [&services](const Request& request, const std::shared_ptr<Reply>& reply) {
                const std::string& id = *find_field(request.captures, "id");
                for (const auto& model : models_json(services)) {
                  if (model["id"] == id) return reply->send(json_response(model));
                }
                throw model_not_found(id, services);
              }});
}

}  // namespace fathom::server
